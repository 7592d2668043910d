//! Memory straight from the kernel, zeroed, and resident only where it is touched: buffers for code without a heap.

use crate::base::Result;

/// `len` zero bytes that live as long as the process.
pub fn zeroed(len: usize) -> Result<&'static mut [u8]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a fresh private mapping, aliased by nothing, never unmapped; zero bytes are valid `u8`s.
    #[allow(unsafe_code)]
    unsafe {
        let at = mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
        Ok(std::slice::from_raw_parts_mut(at.cast::<u8>(), len))
    }
}

/// The linker's span of this program's read-only pages, whole pages only: start and length in bytes.
fn program() -> (usize, usize) {
    // SAFETY: the linker defines both; only their addresses are taken.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start) as usize / page * page;
    let end = (&raw const etext) as usize / page * page;
    (start, end.saturating_sub(start))
}

/// Lets go of the program's own code and constants as far as they are mapped in: a process that only waits does not need them, and
/// they come back from the page cache, 16 pages at a time, when it is woken.
pub fn forget_program() {
    let (start, length) = program();
    // SAFETY: the range is read-only, file-backed pages of this very program; dropping clean pages of a private file mapping
    // changes nothing that can be read there.
    #[allow(unsafe_code)]
    unsafe {
        let _ = rustix::mm::madvise(start as *mut _, length, rustix::mm::Advice::LinuxDontNeed);
    }
}

const _: () = assert!(size_of::<rustix::event::PollFd<'_>>() == size_of::<libc::pollfd>());

/// Polls, and lets go of the program before it sleeps. Both stand in one function, so that the code around the sleep is all that is
/// mapped while it lasts.
#[inline(never)]
pub fn sleep_lightly(
    set: &mut [rustix::event::PollFd<'_>],
    timeout: Option<&rustix::event::Timespec>,
) -> rustix::io::Result<usize> {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = rustix::event::poll(set, Some(&now))?;
    if ready > 0 {
        return Ok(ready);
    }
    // 32-bit kernels have two forms of `timespec`: the library knows which to use, at the price of a page or two.
    #[cfg(target_pointer_width = "32")]
    let result = {
        forget_program();
        rustix::event::poll(set, timeout)
    };
    #[cfg(target_pointer_width = "64")]
    let result = {
        let (start, length) = program();
        let timeout = timeout.map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: as in `forget_program`; `PollFd` is the kernel's `struct pollfd`.
        #[allow(unsafe_code)]
        let n = unsafe {
            raw::call(libc::SYS_madvise, [start, length, libc::MADV_DONTNEED as usize, 0, 0]);
            raw::call(libc::SYS_ppoll, [set.as_mut_ptr() as usize, set.len(), timeout as usize, 0, 0])
        };
        usize::try_from(n).map_err(|_| rustix::io::Errno::from_raw_os_error(-n as i32))
    };
    result
}

/// A system call as one instruction in the caller's own code: a function elsewhere would bring its page in.
#[cfg(target_pointer_width = "64")]
mod raw {
    /// The result, or a negative error number.
    ///
    /// # Safety
    /// As the system call demands.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub unsafe fn call(number: libc::c_long, a: [usize; 5]) -> isize {
        let result: isize;
        // SAFETY: the caller's; the registers are those of the architecture's system call convention.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
                in("r10") a[3], in("r8") a[4], lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a[0] as isize => result, in("x1") a[1], in("x2") a[2],
                in("x3") a[3], in("x4") a[4], options(nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "riscv64")]
        unsafe {
            std::arch::asm!("ecall", in("a7") number, inlateout("a0") a[0] as isize => result, in("a1") a[1], in("a2") a[2],
                in("a3") a[3], in("a4") a[4], options(nostack));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec};

    #[test]
    fn sleeping_lightly_is_polling() {
        let (a, b) = crate::sys::channel::pair().unwrap();
        let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let mut set = [PollFd::new(&a, PollFlags::IN)];
        assert_eq!(super::sleep_lightly(&mut set, Some(&pause)), Ok(0));
        crate::sys::channel::send(std::os::fd::AsFd::as_fd(&b), b"x", &[]).unwrap();
        assert_eq!(super::sleep_lightly(&mut set, None), Ok(1));
        assert!(set[0].revents().contains(PollFlags::IN));
    }
}
