//! What a shim does when its container has ended: the exit file, the count of OOM kills, the cgroup. No heap.

use super::supervise::fds;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

/// A decimal number; 0 if it is none.
pub fn number(text: &[u8]) -> i64 {
    core::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// `status time oom\n`, in place at once.
pub fn write_exit(name: &[u8], status: i32, time: i64, oom: bool) {
    let Ok(name) = core::str::from_utf8(name) else { return };
    if name.is_empty() {
        return;
    }
    let dir = crate::sys::inherit::borrow(fds::RUN_DIR);
    let mut text: heapless::String<64> = heapless::String::new();
    let _ = core::fmt::write(&mut text, format_args!("{status} {time} {}\n", u8::from(oom)));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if let Ok(file) = rustix::fs::openat(dir, ".exit", flags, Mode::from_raw_mode(0o600)) {
        let _ = rustix::io::write(&file, text.as_bytes());
        let _ = rustix::fs::renameat(dir, ".exit", dir, name);
    }
}

/// The count in `memory.events` (v2) or `memory.oom_control` (v1): the line `oom_kill N`.
pub fn oom_kills(path: &[u8]) -> u64 {
    if path.is_empty() {
        return 0;
    }
    let mut text = [0u8; 512];
    let read =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).and_then(|fd| rustix::io::read(&fd, &mut text));
    let Ok(n) = read else { return 0 };
    text[..n]
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"oom_kill "))
        .map_or(0, |count| number(count.trim_ascii()) as u64)
}

/// Kills whatever is left in a cgroup and removes it; waits for the kernel at most half a second. `false`: it is still there.
pub fn remove_cgroup(path: &[u8]) -> bool {
    for attempt in 0..50 {
        match rustix::fs::unlinkat(rustix::fs::CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return true,
            Err(Errno::BUSY) => {}
            Err(_) => return false,
        }
        kill_all(path);
        if attempt > 3 {
            let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            let _ = rustix::thread::nanosleep(&pause);
        }
    }
    false
}

fn kill_all(cgroup: &[u8]) {
    let Ok(dir) = rustix::fs::open(cgroup, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let Ok(file) = rustix::fs::openat(&dir, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let mut text = [0u8; 1024];
    let Ok(n) = rustix::io::read(&file, &mut text) else { return };
    for line in text[..n].split(|b| *b == b'\n') {
        if let Some(pid) = i32::try_from(number(line)).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}
