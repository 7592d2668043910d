//! Descriptors that this process was started with, by number.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes an inherited descriptor; `None` if that number is not open. Call it once per number.
pub fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: borrowed only for the check that it is open.
    #[allow(unsafe_code)]
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(borrowed).ok()?;
    let _ = rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC);
    // SAFETY: it is open, and the process's own start-up contract gives this number to one caller.
    #[allow(unsafe_code)]
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Borrows an inherited descriptor that stays open for the life of the process.
pub fn borrow(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the start-up contract keeps this number open; a closed one only makes calls fail with EBADF.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(number)
    }
}

/// Puts descriptors at fixed numbers for the program that this process is about to exec, without close-on-exec.
///
/// Numbers below [`FIRST_FREE`] are overwritten, whatever they were.
pub fn place(pairs: &[(OwnedFd, RawFd)]) -> rustix::io::Result<()> {
    // First out of the way of the targets, then into place: no duplicate overwrites a source.
    let mut moved = Vec::new();
    for (fd, target) in pairs {
        moved.push((rustix::io::fcntl_dupfd_cloexec(fd, FIRST_FREE)?, *target));
    }
    for (fd, target) in moved {
        // SAFETY: the number is owned by this call; ManuallyDrop-like forgetting below keeps it open over the exec.
        #[allow(unsafe_code)]
        let mut slot = unsafe { OwnedFd::from_raw_fd(target) };
        let result = rustix::io::dup2(&fd, &mut slot);
        debug_assert!(slot.as_raw_fd() == target);
        std::mem::forget(slot);
        result?;
    }
    Ok(())
}

/// Descriptors from here on are not used by any fixed number.
pub const FIRST_FREE: RawFd = 32;
