//! Syncs and write-behind, and I/O priority: calls that rustix lacks.

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

/// Makes everything in the file system of an open file or folder durable.
///
/// btrfs is first asked to commit, in its own words: its `syncfs` writes the blocks of its trees as they are before it commits, and the
/// commit then writes most of them once more.
pub fn sync_file_system(file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    const BTRFS_IOC_SYNC: libc::c_int = 0x9408;
    // SAFETY: takes a valid descriptor and a number only. Others do not know it, and whether it went well is what syncfs says.
    #[allow(unsafe_code)]
    unsafe {
        libc::ioctl(file.as_raw_fd(), BTRFS_IOC_SYNC as _);
    }
    rustix::fs::syncfs(file)
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
