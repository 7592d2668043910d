//! Floor 2: an OCI runtime. Used in the engine's own process by the container starter, and by `prtiql runtime`.
//!
//! ```text
//! spec            config.json, and the engine's extensions (Spec::ext, Mount::copy_up)
//! shield()        re-executes this program from a read-only mount of itself: call it once, first of all; children that are
//!                 started from /proc/self/exe inherit the protection
//! create(Request) -> Created { pid, pidfd, console, cgroup }   init waits before its exec; the caller is its parent
//!     the caller may now put a veth end into /proc/<pid>/ns/net
//! Created::start(&mut self)     lets it exec; the error tells why it could not, in runc's words
//! Created::destroy(self)        undoes create
//! Request::listener, start_by() the same, if another process is to start it
//! exec(Exec) -> Executed { pid, pidfd, console }   a process in a running container; the caller is its parent; it runs
//! Cgroup::locate(path, id)      the group of a container: make, restrict, update, pids, freeze, freeze_soon, thaw,
//!                               signal_all, kill_all, oom_kills, delete
//! exit_code(&Error)             127, 126 or 128 for an error of create, start or exec, as Docker's clients expect
//! ```
//!
//! How a container comes to be: `create` makes the control group and clones init (`namespaces`), then sets the limits while init
//! builds the root (`rootfs`: `overlay`, `mount`, `dev`, `console`, `mask`), makes it `/`, becomes the user and finds the
//! program (`process`, `user`, `caps`); both talk over a socket pair (`link`). At the start, init loads the filter of system
//! calls (`seccomp`), drops its capabilities and executes the program.
//!
//! All processes are single-threaded, and all calls block until the container has got so far (milliseconds): not for the
//! daemon's loop. A parent may exec another program at any time: children, pidfd and console survive it (clear
//! close-on-exec of those that are to be kept).

pub mod caps;
pub mod cgroup;
mod console;
mod copy;
mod create;
mod dev;
mod exec;
pub mod hooks;
mod init;
mod link;
mod mask;
mod mount;
mod namespaces;
mod note;
mod overlay;
mod path;
mod process;
mod resources;
mod rootfs;
pub mod seccomp;
mod shield;
pub mod spec;
mod sysctl;
mod user;

pub use cgroup::Cgroup;
pub use create::{Created, Request, Stdio, create, start_by};
pub use exec::{Exec, Executed, exec};
pub use mount::WORDS as MOUNT_OPTIONS;
pub use shield::shield;
pub use spec::Spec;

use crate::base::{Context, Error, Result};
use crate::sys::clone::{Forked, setns};
use std::os::fd::{AsFd, OwnedFd};

/// The exit status that Docker's clients expect for a container that could not be started for this reason: 127 if the
/// program is not there, 126 if it may not be executed, else 128.
pub fn exit_code(e: &Error) -> i32 {
    let text = e.to_string();
    if !text.contains("exec: \"") {
        return 128;
    }
    if text.contains("executable file not found") || text.contains("no such file or directory") { 127 } else { 126 }
}

/// Calls `make`, which makes a child, so that the child is born in the PID namespace `namespace`.
fn in_pid_namespace(namespace: &OwnedFd, make: impl FnOnce() -> rustix::io::Result<Forked>) -> Result<Forked> {
    let own = std::fs::File::open("/proc/self/ns/pid").context(|| "open our own PID namespace")?;
    setns(namespace.as_fd(), libc::CLONE_NEWPID).context(|| "join the PID namespace")?;
    let made = make();
    if !matches!(made, Ok(Forked::Child { .. })) {
        setns(own.as_fd(), libc::CLONE_NEWPID).context(|| "return to our own PID namespace")?;
    }
    Ok(made?)
}
