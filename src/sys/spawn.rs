//! Starting this same binary as a child: a worker, a shim, the committer.

use crate::base::{Context, Result};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Starts `/proc/self/exe` with argv[0] = `name`, `args` after it, and `control` as its standard input. Standard error is
/// inherited (the daemon's log), standard output is /dev/null, the child leads a session of its own by its own call.
pub fn child(name: &str, args: &[&str], control: OwnedFd) -> Result<Child> {
    Command::new("/proc/self/exe")
        .arg0(name)
        .args(args)
        .stdin(Stdio::from(control))
        .stdout(Stdio::null())
        .spawn()
        .context(|| format!("start {name}"))
}
