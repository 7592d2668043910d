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

/// Polls; before it sleeps, the process lets go of the program's own code and constants as far as they are mapped in: a process
/// that only waits does not need them, and they come back from the page cache, 16 pages at a time, when it is woken.
///
/// Dropping and polling stand in one function, so that the code around the sleep is all that is mapped while it lasts.
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
    // SAFETY: the linker defines both; only their addresses are taken.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    // Whole pages, of any size that a kernel has.
    const PAGE: usize = 64 * 1024;
    let start = (&raw const __executable_start) as usize / PAGE * PAGE;
    let end = (&raw const etext) as usize / PAGE * PAGE;
    if end > start {
        // SAFETY: the range is the linker's span of read-only, file-backed pages of this very program; dropping clean pages of
        // a private file mapping changes nothing that can be read there.
        #[allow(unsafe_code)]
        unsafe {
            let _ = rustix::mm::madvise(start as *mut _, end - start, rustix::mm::Advice::LinuxDontNeed);
        }
    }
    rustix::event::poll(set, timeout)
}
