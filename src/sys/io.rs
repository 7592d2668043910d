//! Write-behind and I/O priority: calls that rustix lacks.

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

fn check(result: libc::c_int) -> rustix::io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

fn sync_range(file: BorrowedFd<'_>, offset: u64, length: u64, flags: libc::c_uint) -> rustix::io::Result<()> {
    let (Ok(offset), Ok(length)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(length)) else {
        return Err(Errno::OVERFLOW);
    };
    // SAFETY: takes a valid descriptor and numbers only.
    #[allow(unsafe_code)]
    let done = check(unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) });
    match done {
        // Not a file, or a kernel or file system that cannot: the sync at the end does it all.
        Err(Errno::SPIPE | Errno::INVAL | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

/// Starts writing a range of a file's dirty pages to the device and does not wait. Length 0 is to the end.
pub fn start_writing(file: BorrowedFd<'_>, offset: u64, length: u64) -> rustix::io::Result<()> {
    sync_range(file, offset, length, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until a range of a file's pages is written. Reports errors of the device.
pub fn wait_written(file: BorrowedFd<'_>, offset: u64, length: u64) -> rustix::io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, length, all)
}

/// Puts this process behind all others: the idle class of I/O priority, served only when nobody else wants the device, and the
/// lowest share of the processor.
pub fn idle_priority() {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: takes numbers only. A kernel without it refuses, which does no harm.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE);
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}
