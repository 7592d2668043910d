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
