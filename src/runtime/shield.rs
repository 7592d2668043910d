//! Keeping containers from overwriting this program (CVE-2019-5736): what a container's process sees as `/proc/<pid>/exe`
//! while it is ours lies on a read-only mount that is nobody's, or in a sealed copy in memory.

use super::mount::{self, RDONLY};
use crate::base::{Context, Error, Result};
use crate::sys;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Makes sure that this process's program file cannot be opened for writing by way of `/proc/self/exe`; for that it executes
/// itself once more, with the same arguments and environment. Returns if all is well already. Children that are started from
/// `/proc/self/exe` inherit the protection, so that a daemon pays once.
pub fn shield() -> Result<()> {
    const AGAIN: &str = "PRTIQL_SHIELDED";
    let what = || "protect the program file";
    let own = rustix::fs::statvfs("/proc/self/exe").context(what)?;
    if own.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    if std::env::var_os(AGAIN).is_some() {
        // the sealed copy: its file system is not read-only, but nothing can write to the file
        return Ok(());
    }
    // std does not know the arguments: its start-up code has not run (src/main.rs).
    let line = std::fs::read("/proc/self/cmdline").context(what)?;
    let args: Vec<CString> =
        line.split_inclusive(|b| *b == 0).filter_map(|a| CString::new(a.strip_suffix(&[0]).unwrap_or(a)).ok()).collect();
    let mut env = sys::exec::environment();
    if let Ok(path) = std::env::current_exe() {
        // afterwards /proc/self/exe names no path that could be mounted (`--init` needs one)
        use std::os::unix::ffi::OsStringExt;
        env.extend(CString::new([b"PRTIQL_BINARY=".to_vec(), path.into_os_string().into_vec()].concat()));
    }
    let program = match read_only() {
        Ok(fd) => fd,
        Err(e) => {
            log::debug!("a read-only mount of the program is not possible, taking a copy: {e}");
            env.push(c"PRTIQL_SHIELDED=1".to_owned());
            sealed()?
        }
    };
    Err(sys::exec::fexecve(program.as_fd(), &args, &env)).context(what)
}

fn read_only() -> Result<OwnedFd> {
    if !mount::modern() {
        return Err(Error::unsupported("needs Linux 5.12"));
    }
    let tree = mount::copy(rustix::fs::CWD, "/proc/self/exe", false)?;
    sys::mountattr::set(tree.as_fd(), RDONLY, 0, 0, false)?;
    Ok(tree)
}

fn sealed() -> Result<OwnedFd> {
    let what = || "copy the program into memory";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("prtiql", flags).context(what)?;
    let mut from = std::fs::File::open("/proc/self/exe").context(what)?;
    let mut to = std::fs::File::from(memory);
    std::io::copy(&mut from, &mut to).context(what)?;
    rustix::fs::fcntl_add_seals(&to, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).context(what)?;
    // reopened for reading: a file that is open for writing cannot be executed
    let path = mount::fd_path(to.as_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(what)
}
