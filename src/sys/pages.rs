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

/// Lets go of the program's own code and constants as far as they are mapped in: start-up has touched pages that a process which
/// now only waits does not need. They come back from the page cache, one by one, when they are used again.
pub fn forget_program() {
    // SAFETY: the linker defines both; only their addresses are taken.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start) as usize / page * page;
    let end = (&raw const etext) as usize / page * page;
    if end <= start {
        return;
    }
    // SAFETY: the range is the linker's span of read-only, file-backed pages of this very program; dropping clean pages of a
    // private file mapping changes nothing that can be read there.
    #[allow(unsafe_code)]
    unsafe {
        let _ = rustix::mm::madvise(start as *mut _, end - start, rustix::mm::Advice::LinuxDontNeed);
    }
}
