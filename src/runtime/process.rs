//! The last steps of a process on its way to the user's program; the same for a container's first process and for those that
//! are executed in it later.

use super::seccomp::Filter;
use super::spec::{Process, Rlimit};
use super::{caps, path, user};
use crate::base::{Context, Error, Kind, Result, error::errno_text};
use crate::sys;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Resource;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How the user is to be found.
#[derive(Clone, Copy, Default)]
pub struct Who<'a> {
    /// See [`super::spec::Ext::user_name`].
    pub name: Option<&'a str>,
    /// See [`super::spec::Ext::group_add`].
    pub groups: &'a [String],
}

/// A process that has its identity, limits, directory and streams, and now only needs to exec.
pub struct Ready {
    name: String,
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    sets: caps::Sets,
    have: u64,
    no_new_privs: bool,
    filter: Option<Filter>,
    umask: u32,
    root: bool,
}

/// Prepares this process to become `process`; `root` is its root directory, `make_cwd` creates a missing working directory.
pub fn prepare(root: BorrowedFd<'_>, process: &Process, who: Who<'_>, filter: Option<Filter>, make_cwd: bool) -> Result<Ready> {
    let mut sets = process.capabilities.as_ref().map(caps::Sets::new).unwrap_or_default();
    let mut env: Vec<String> = process.env.clone();
    let needs_home = !env.iter().any(|e| e.starts_with("HOME="));
    let (uid, gid, groups) = match who.name {
        Some(name) => {
            let found = user::resolve(root, name, who.groups)?;
            if needs_home {
                env.push(format!("HOME={}", found.home.as_deref().unwrap_or("/")));
            }
            if found.uid != 0 {
                // what an exec by another user than root would leave of them: nothing, save the ambient ones
                sets.effective = sets.ambient;
                sets.permitted = sets.ambient;
            }
            (found.uid, found.gid, found.groups)
        }
        None => {
            if needs_home {
                let home = user::home(root, process.user.uid);
                env.push(format!("HOME={}", home.as_deref().unwrap_or("/")));
            }
            (process.user.uid, process.user.gid, process.user.additional_gids.clone())
        }
    };
    let have = caps::permitted()?;
    process.rlimits.iter().try_for_each(limit)?;
    caps::bound(sets.bounding)?;
    give_streams(uid);
    let inside = enter_directory(root, &process.cwd, make_cwd)?;
    become_user(uid, gid, &groups)?;
    if !inside {
        enter_directory(root, &process.cwd, false)?; // a directory that only the user may enter
    }
    let name = process.args.first().filter(|a| !a.is_empty()).ok_or_else(|| Error::invalid("args must not be empty"))?;
    let c = |s: &String| CString::new(s.as_bytes()).map_err(|_| Error::invalid(format!("{s:?} holds a zero byte")));
    let variable = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    Ok(Ready {
        path: find(name, variable)?,
        name: name.clone(),
        args: process.args.iter().map(c).collect::<Result<_>>()?,
        env: env.iter().map(c).collect::<Result<_>>()?,
        sets,
        have,
        no_new_privs: process.no_new_privileges,
        filter,
        umask: process.user.umask.unwrap_or(0o022),
        root: uid == 0,
    })
}

impl Ready {
    /// Becomes the program; returns only on failure.
    pub fn launch(self) -> Error {
        match self.give_up() {
            Ok(()) => {
                let e = sys::exec::execve(&self.path, &self.args, &self.env);
                exec_error(&self.name, &errno_text(e))
            }
            Err(e) => e,
        }
    }

    fn give_up(&self) -> Result<()> {
        sys::exec::reset_signals();
        rustix::process::umask(Mode::from_raw_mode(self.umask & 0o777));
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
        }
        if let Some(filter) = &self.filter {
            if !self.root && !self.no_new_privs {
                caps::raise()?; // loading a filter takes CAP_SYS_ADMIN, which is in force until the next line but one
            }
            sys::exec::seccomp(&filter.program, filter.flags).context(|| "load the seccomp filter (CONFIG_SECCOMP_FILTER)")?;
        }
        caps::apply(&self.sets, self.have)
    }
}

fn exec_error(name: &str, text: &str) -> Error {
    Error::new(Kind::Invalid, format!("exec: {name:?}: {text}"))
}

/// Finds the program as a shell does; the texts are those of runc, from which Docker's clients tell 126 from 127.
fn find(name: &str, variable: &str) -> Result<CString> {
    let c = |s: &str| CString::new(s).map_err(|_| Error::invalid(format!("{s:?} holds a zero byte")));
    if name.contains('\0') {
        return c(name);
    }
    if name.contains('/') {
        return match check(name) {
            Ok(()) => c(name),
            Err(Errno::NOENT) => Err(exec_error(name, &format!("stat {name}: no such file or directory"))),
            Err(e) => Err(exec_error(name, &errno_text(e))),
        };
    }
    let mut refused = None;
    for dir in variable.split(':') {
        let candidate = if dir.is_empty() { format!("./{name}") } else { format!("{dir}/{name}") };
        match check(&candidate) {
            Ok(()) => return c(&candidate),
            Err(Errno::ACCESS) => refused = Some(Errno::ACCESS),
            Err(_) => {}
        }
    }
    Err(exec_error(name, &refused.map_or("executable file not found in $PATH".to_owned(), errno_text)))
}

fn check(path: &str) -> rustix::io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile if stat.st_mode & 0o111 != 0 => Ok(()),
        _ => Err(Errno::ACCESS),
    }
}

/// The process's streams belong to its user, so that it can open `/dev/stdout`.
fn give_streams(uid: u32) {
    if uid == 0 {
        return;
    }
    let owner = Some(rustix::fs::Uid::from_raw(uid));
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let null = kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
        // what is a file of its own on disk stays its owner's
        let passing = matches!(kind, FileType::Fifo | FileType::Socket | FileType::CharacterDevice) && !null;
        if passing
            && stat.st_uid != uid
            && let Err(e) = rustix::fs::fchown(stream, owner, None)
        {
            super::note::add(format!("a standard stream keeps its owner: {e}"));
        }
    }
}

/// Changes the working directory to `cwd` within `root`. `Ok(false)`: not allowed yet, perhaps the user is.
fn enter_directory(root: BorrowedFd<'_>, cwd: &str, make: bool) -> Result<bool> {
    if !cwd.starts_with('/') {
        return Err(Error::invalid(format!("cwd {cwd:?} is not an absolute path")));
    }
    let what = || format!("chdir to cwd ({cwd:?})");
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    if cwd == "/" {
        rustix::process::chdir("/").context(what)?;
        return Ok(true);
    }
    let dir: OwnedFd = match path::open(root, cwd, flags) {
        Err(Errno::NOENT) if make => path::mountpoint(root, cwd, path::Make::Directory)?,
        Err(Errno::ACCESS) => return Ok(false),
        other => other.context(what)?,
    };
    match rustix::process::fchdir(&dir) {
        Err(Errno::ACCESS) => return Ok(false),
        other => other.context(what)?,
    }
    // a descriptor that leaked from the host could have led out of the root: the kernel then names it "(unreachable)"
    match rustix::process::getcwd(Vec::new()) {
        Ok(now) if now.as_bytes().first() == Some(&b'/') => Ok(true),
        _ => Err(Error::invalid(format!("current working directory is outside of container mount namespace root: cwd {cwd:?}"))),
    }
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    let groups: Vec<rustix::thread::Gid> = groups.iter().map(|g| rustix::thread::Gid::from_raw(*g)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // in a user namespace that an ordinary user made, groups cannot be set
        Err(Errno::PERM) if groups.is_empty() => {}
        other => other.context(|| "set the groups")?,
    }
    let g = rustix::thread::Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(g, g, g).context(|| format!("set the group {gid}"))?;
    let u = rustix::thread::Uid::from_raw(uid);
    if uid != 0 {
        rustix::thread::set_keep_capabilities(true).context(|| "keep capabilities")?;
    }
    rustix::thread::set_thread_res_uid(u, u, u).context(|| format!("set the user {uid}"))
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name.strip_prefix("RLIMIT_").unwrap_or(name) {
        "CPU" => Resource::Cpu,
        "FSIZE" => Resource::Fsize,
        "DATA" => Resource::Data,
        "STACK" => Resource::Stack,
        "CORE" => Resource::Core,
        "RSS" => Resource::Rss,
        "NPROC" => Resource::Nproc,
        "NOFILE" => Resource::Nofile,
        "MEMLOCK" => Resource::Memlock,
        "AS" => Resource::As,
        "LOCKS" => Resource::Locks,
        "SIGPENDING" => Resource::Sigpending,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        _ => return None,
    })
}

/// Sets one limit; what cannot be raised beyond the hard limit is set as high as it goes.
fn limit(wanted: &Rlimit) -> Result<()> {
    let Some(resource) = resource(&wanted.kind) else {
        return Err(Error::invalid(format!("rlimit {:?} is not known", wanted.kind)));
    };
    let value = |n: u64| if n == u64::MAX { None } else { Some(n) };
    let set = |soft: u64, hard: u64| {
        rustix::process::setrlimit(resource, rustix::process::Rlimit { current: value(soft), maximum: value(hard) })
    };
    if wanted.soft > wanted.hard {
        return Err(Error::invalid(format!("rlimit {}: the soft limit is above the hard limit", wanted.kind)));
    }
    match set(wanted.soft, wanted.hard) {
        Err(Errno::PERM) => {
            let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX).min(wanted.hard);
            crate::runtime::note::add(format!(
                "rlimit {}: cannot be raised to {}, is {hard} (CAP_SYS_RESOURCE)",
                wanted.kind, wanted.hard
            ));
            set(wanted.soft.min(hard), hard).context(|| format!("set rlimit {}", wanted.kind))
        }
        other => other.context(|| format!("set rlimit {}", wanted.kind)),
    }
}

/// Sets the out-of-memory score of this process through `/proc`, which must be the host's or otherwise trusted.
pub fn oom_score(score: i32) -> Result<()> {
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
            crate::runtime::note::add(format!("oomScoreAdj {score}: cannot be lowered (CAP_SYS_RESOURCE)"));
            Ok(())
        }
        other => other.context(|| format!("set oomScoreAdj {score}")),
    }
}

/// Makes `fds` the standard streams of this process.
pub fn streams(fds: [BorrowedFd<'_>; 3]) -> Result<()> {
    for (to, fd) in fds.iter().enumerate() {
        sys::exec::dup_to(*fd, to as i32).context(|| "set up the standard streams")?;
    }
    Ok(())
}

/// Makes a terminal the standard streams and the controlling terminal of this process, which leads its session.
pub fn terminal(slave: &OwnedFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(slave).context(|| "make the terminal the controlling one")?;
    streams([slave.as_fd(); 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_with_the_texts_that_clients_know() {
        assert_eq!(find("sh", "/nowhere:/bin").unwrap().to_str(), Ok("/bin/sh"));
        let text = |name: &str| find(name, "/bin:/etc").unwrap_err().to_string();
        assert_eq!(text("nosuch"), "exec: \"nosuch\": executable file not found in $PATH");
        assert_eq!(text("/nosuch"), "exec: \"/nosuch\": stat /nosuch: no such file or directory");
        assert_eq!(text("/etc"), "exec: \"/etc\": is a directory");
        assert_eq!(text("/etc/passwd"), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(text("fstab"), "exec: \"fstab\": permission denied");
    }
}
