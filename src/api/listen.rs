//! Sockets that the daemon listens on, its pid file, and the service manager.

use crate::base::{Context, Error, Result};
use crate::config::Settings;
use crate::engine::{kind, token};
use crate::reactor::{Interest, Reactor};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

/// The default address.
pub const DEFAULT: &str = "unix:///run/prtiql.sock";
/// The first descriptor that a service manager passes.
const FIRST_PASSED: i32 = 3;

struct Listener {
    fd: OwnedFd,
    name: String,
    /// To be removed at the end.
    path: Option<String>,
}

/// All sockets.
pub struct Listeners {
    all: Vec<Listener>,
}

impl Listeners {
    /// Opens what `hosts` names.
    pub fn open(settings: &Settings) -> Result<Listeners> {
        let hosts = if settings.hosts.is_empty() { vec![DEFAULT.to_string()] } else { settings.hosts.clone() };
        let mut all = Vec::new();
        for host in &hosts {
            if let Some(path) = host.strip_prefix("unix://") {
                let fd = listen_unix(path, &settings.group)?;
                all.push(Listener { fd, name: host.clone(), path: Some(path.to_string()) });
            } else if host.starts_with("fd://") {
                let passed = passed_sockets();
                if passed.is_empty() {
                    return Err(Error::invalid(
                        "no sockets found via socket activation: make sure the service was started by systemd",
                    ));
                }
                all.extend(passed.into_iter().map(|fd| Listener { fd, name: host.clone(), path: None }));
            } else if host.starts_with("tcp://") {
                return Err(Error::unsupported(format!(
                    "{host}: TCP needs mutual TLS, which is not part of this version: use unix:// or fd://"
                )));
            } else {
                return Err(Error::invalid(format!("invalid bind address '{host}': use unix:///path or fd://")));
            }
        }
        Ok(Listeners { all })
    }

    /// Watches all.
    pub fn watch(&self, reactor: &Reactor) -> Result<()> {
        for (i, listener) in self.all.iter().enumerate() {
            rustix::io::ioctl_fionbio(&listener.fd, true)?;
            reactor.add(&listener.fd, token(kind::API, i as u32), Interest::Read)?;
        }
        Ok(())
    }

    /// A new connection, if one waits.
    pub fn accept(&self, number: u32) -> Option<OwnedFd> {
        let listener = self.all.get(number as usize)?;
        rustix::net::accept_with(&listener.fd, SocketFlags::CLOEXEC).ok()
    }

    /// For the log.
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|l| l.name.clone()).collect()
    }

    /// Removes the sockets' files.
    pub fn remove(&self) {
        for path in self.all.iter().filter_map(|l| l.path.as_ref()) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen_unix(path: &str, group: &str) -> Result<OwnedFd> {
    let what = || format!("listen on {path}");
    let address = SocketAddrUnix::new(path).context(what)?;
    let socket = || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    if std::path::Path::new(path).exists() {
        if rustix::net::connect(&socket()?, &address).is_ok() {
            return Err(Error::conflict(format!("{path} is served by another daemon")));
        }
        std::fs::remove_file(path).context(what)?;
    }
    if let Some(folder) = std::path::Path::new(path).parent() {
        std::fs::create_dir_all(folder).context(what)?;
    }
    let fd = socket()?;
    // Made without access for anybody, then opened to the group: no moment in which others could connect.
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&fd, &address);
    rustix::process::umask(old);
    bound.context(what)?;
    if let Some(gid) = group_id(group) {
        std::os::unix::fs::chown(path, None, Some(gid)).context(what)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).context(what)?;
    }
    rustix::net::listen(&fd, 128).context(what)?;
    Ok(fd)
}

fn group_id(name: &str) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// systemd's socket activation: LISTEN_PID, LISTEN_FDS.
fn passed_sockets() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<i32>().ok());
    if number("LISTEN_PID") != Some(rustix::process::getpid().as_raw_nonzero().get()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, 16);
    (FIRST_PASSED..FIRST_PASSED + count).filter_map(crate::sys::inherit::take).collect()
}

/// Refuses to start beside another daemon.
pub fn check_pidfile(path: &str) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let Ok(pid) = text.trim().parse::<i32>() else { return Ok(()) };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if pid != own && name.contains("prtiql") && name.contains("daemon") {
        return Err(Error::conflict(format!(
            "pid file {path} says that process {pid} is a daemon already: stop it, or use another --pidfile"
        )));
    }
    Ok(())
}

/// Writes the pid file.
pub fn write_pidfile(path: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    let pid = rustix::process::getpid().as_raw_nonzero();
    std::fs::write(path, pid.to_string()).context(|| format!("write pid file {path}"))
}

/// Removes it.
pub fn remove_pidfile(path: &str) {
    if !path.is_empty() {
        let _ = std::fs::remove_file(path);
    }
}

/// Tells the service manager (sd_notify's protocol: a datagram to NOTIFY_SOCKET).
pub fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(&*path),
    };
    let send = || -> Result<()> {
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::sendto(&fd, state.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &address?)?;
        Ok(())
    };
    if let Err(e) = send() {
        log::debug!("notify: {e}");
    }
}

/// Half of the watchdog's time (WATCHDOG_USEC, WATCHDOG_PID), in milliseconds; 0 without one.
pub fn watchdog_ms() -> u64 {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let own = rustix::process::getpid().as_raw_nonzero().get() as u64;
    match (number("WATCHDOG_USEC"), number("WATCHDOG_PID")) {
        (Some(us), None) => us / 2000,
        (Some(us), Some(pid)) if pid == own => us / 2000,
        _ => 0,
    }
}
