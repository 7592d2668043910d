//! Sets a container (or an exec) up, tells the daemon, and becomes its shim: the same process, without its heap.

use super::supervise::fds;
use super::{files, spec};
use crate::base::time::Time;
use crate::base::{Context, Error, Result};
use crate::runtime::{self, Cgroup, Created, Exec, Request, Stdio};
use crate::sys::{channel, inherit};
use crate::wire::shim::{self as wire, Network, Record, Start, Started};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// What the shim takes over.
struct Running {
    pid: i32,
    /// Standard input's writing end, or the terminal's master.
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    tty: bool,
}

/// Reads one `Start` from standard input; does not return if all goes well.
pub fn start_main() -> i32 {
    let control = inherit::borrow(fds::CONTROL);
    let _ = rustix::process::setsid();
    let start: Start = match channel::receive_json(control, &mut Vec::new()) {
        Ok(Some(start)) => start,
        _ => return 1,
    };
    crate::base::logger::start("warn", start.debug);
    let error = match &start.exec {
        Some(exec) => run_exec(&start, exec).err(),
        None => run_container(&start).err(),
    };
    let Some(e) = error else { return 0 };
    let code = runtime::exit_code(&e) as u8;
    let words = match (&start.exec, code) {
        (Some(_), 126 | 127) => "OCI runtime exec failed: exec failed: unable to start container process: ",
        (None, 126 | 127) => {
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: \
             unable to start container process: "
        }
        _ => "",
    };
    let kind = if matches!(code, 126 | 127) { crate::base::Kind::Invalid } else { e.kind() };
    let message = format!("{words}{e}{}", if words.is_empty() { "" } else { ": unknown" });
    // The daemon first: a client whose stream has ended asks it at once what became of the exec.
    let _ = channel::send_json(control, &Started::Failed { kind, message: message.clone(), code }, &[]);
    if let Some(exec) = &start.exec {
        tell_clients(&message, exec.tty);
    }
    1
}

fn run_container(start: &Start) -> Result<()> {
    for source in &start.make_sources {
        if !std::path::Path::new(source).exists() {
            std::fs::create_dir_all(source)
                .context(|| format!("error while creating mount source path '{source}': mkdir {source}"))?;
        }
    }
    for m in start.mounts.iter().filter(|m| m.r#type == "bind") {
        if !std::path::Path::new(&m.source).exists() {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                m.source
            )));
        }
    }
    for dir in ["upper", "work", "log"] {
        let path = format!("{}/{dir}", start.dir);
        std::fs::create_dir_all(&path).context(|| format!("create {path}"))?;
    }
    copy_root_mode(start)?;
    files::write(start)?;
    if start.host.ipc_mode == "shareable" {
        mount_shm(start)?;
    }
    let spec = spec::build(start)?;
    let listen = listen(&format!("{}/shim.sock", start.run_dir))?;
    let (stdio, mut running) = streams(start.config.tty, start.config.open_stdin)?;
    let request = Request { id: &start.id, spec: &spec, bundle: "/", stdio, listener: None, no_pivot: false, preserve_fds: 0 };
    let mut created = runtime::create(request)?;
    running.pid = created.pid;
    running.stdin = created.console.take().or(running.stdin);
    let begun = connect_network(start, &created).and_then(|warnings| created.start().map(|()| warnings));
    let warnings = match begun {
        Ok(warnings) => warnings,
        Err(e) => {
            if let Err(more) = created.destroy() {
                log::warn!("{more}");
            }
            unmount_shm(start);
            return Err(e);
        }
    };
    let started = Time::now();
    report(created.pid, warnings);
    become_shim(start, running, Some((listen, &created.cgroup)), started)
}

/// An upper folder has its own mode: the root of the container must look like the image's.
fn copy_root_mode(start: &Start) -> Result<()> {
    let upper = format!("{}/upper", start.dir);
    let Some(top) = start.lowers.first() else { return Ok(()) };
    if let Ok(stat) = rustix::fs::stat(top.as_str()) {
        rustix::fs::chmod(upper.as_str(), Mode::from_raw_mode(stat.st_mode & 0o7777)).context(|| upper.clone())?;
    }
    Ok(())
}

/// Plugs the container's network namespace into its bridge. Returns warnings: a host that lacks address translation still
/// runs containers, they only do not get out.
fn connect_network(start: &Start, created: &Created) -> Result<Vec<String>> {
    use crate::network::{bridge, nat, veth};
    let Network::Bridge(port) = &start.network else { return Ok(Vec::new()) };
    let address = |text: &str| -> Result<std::net::Ipv4Addr> {
        text.parse().map_err(|_| Error::invalid(format!("invalid address '{text}'")))
    };
    let (ip, gateway) = (address(&port.address)?, address(&port.gateway)?);
    bridge::ensure(&port.bridge, gateway, port.prefix, port.mtu)?;
    let mut warnings = Vec::new();
    if port.forward
        && let Err(e) = bridge::forwarding()
    {
        warnings.push(e.to_string());
    }
    let subnet = std::net::Ipv4Addr::from(u32::from(gateway) & (u32::MAX << (32 - u32::from(port.prefix))));
    if port.firewall
        && let Err(e) =
            nat::ensure(&nat::Network { bridge: &port.bridge, subnet, prefix: port.prefix, masquerade: port.masquerade })
    {
        warnings.push(e.to_string());
    }
    veth::attach(&veth::Attach {
        bridge: &port.bridge,
        pid: created.pid,
        host_name: &port.host_ifname,
        name: "eth0",
        ip,
        prefix: port.prefix,
        gateway: Some(gateway),
        mac: hardware_address(&port.mac)?,
        mtu: port.mtu,
    })?;
    Ok(warnings)
}

fn hardware_address(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').filter_map(|b| u8::from_str_radix(b, 16).ok().filter(|_| b.len() == 2)).collect();
    bytes.try_into().map_err(|_| Error::invalid(format!("invalid MAC address '{text}'")))
}

fn mount_shm(start: &Start) -> Result<()> {
    let path = format!("{}/shm", start.run_dir);
    std::fs::create_dir_all(&path).context(|| path.clone())?;
    let options = CString::new(format!("mode=1777,size={}", start.host.shm_size)).unwrap_or_default();
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NOEXEC | rustix::mount::MountFlags::NODEV;
    rustix::mount::mount("shm", path.as_str(), "tmpfs", flags, options.as_c_str()).context(|| format!("mount {path}"))
}

fn unmount_shm(start: &Start) {
    if start.host.ipc_mode == "shareable" {
        let _ = rustix::mount::unmount(format!("{}/shm", start.run_dir), rustix::mount::UnmountFlags::DETACH);
    }
}

fn run_exec(start: &Start, exec: &wire::Exec) -> Result<()> {
    let security = spec::Security::parse(start.host.security_opt.as_deref().unwrap_or_default())?;
    let cgroup = Cgroup::locate(&start.cgroup, &start.id)?;
    let process = spec::exec_process(start, exec, &security)?;
    let user = if exec.user.is_empty() { &start.config.user } else { &exec.user };
    let groups = if exec.user.is_empty() { start.host.group_add.clone().unwrap_or_default() } else { Vec::new() };
    let (stdio, mut running) = match exec.attached || exec.tty {
        true => streams(exec.tty, exec.stdin)?,
        false => (nowhere()?, Running { pid: 0, stdin: None, stdout: None, stderr: None, tty: false }),
    };
    let filtered = security.filtered() && !exec.privileged && !start.host.privileged;
    let executed = runtime::exec(Exec {
        pid: exec.pid as i32,
        cgroup: &cgroup,
        process: &process,
        user_name: Some(user),
        group_add: &groups,
        default_seccomp: filtered && security.profile().is_none(),
        seccomp: security.profile().filter(|_| filtered),
        stdio,
        preserve_fds: 0,
    })?;
    running.pid = executed.pid;
    running.stdin = executed.console.or(running.stdin);
    report(executed.pid, Vec::new());
    become_shim(start, running, None, Time::now())
}

/// Standard streams for the process, and the shim's ends of them.
fn streams(tty: bool, stdin: bool) -> Result<(Stdio, Running)> {
    let none = Running { pid: 0, stdin: None, stdout: None, stderr: None, tty };
    if tty {
        return Ok((Stdio::Terminal, none));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (input, stdin) = match stdin {
        true => {
            let (read, write) = pipe()?;
            (read, Some(write))
        }
        false => (null()?, None),
    };
    let ((stdout, output), (stderr, error)) = (pipe()?, pipe()?);
    Ok((Stdio::Fds([input, output, error]), Running { stdin, stdout: Some(stdout), stderr: Some(stderr), ..none }))
}

fn null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context(|| "open /dev/null")
}

fn nowhere() -> Result<Stdio> {
    Ok(Stdio::Fds([null()?, null()?, null()?]))
}

fn listen(path: &str) -> Result<OwnedFd> {
    let what = || format!("listen on {path}");
    let _ = std::fs::remove_file(path);
    let fd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
            .context(what)?;
    rustix::net::bind(&fd, &SocketAddrUnix::new(path).context(what)?).context(what)?;
    rustix::net::listen(&fd, 64).context(what)?;
    Ok(fd)
}

fn report(pid: i32, warnings: Vec<String>) {
    let started = Started::Running { pid: pid as u32, warnings };
    // A daemon that is gone meanwhile finds the shim by its socket.
    let _ = channel::send_json(inherit::borrow(fds::CONTROL), &started, &[]);
}

/// Puts descriptors and arguments in their places and execs the shim. Returns only if that fails.
fn become_shim(start: &Start, running: Running, container: Option<(OwnedFd, &Cgroup)>, started: Time) -> Result<()> {
    let mut flags = String::new();
    let mut placed = Vec::new();
    if running.tty {
        flags.push('t');
    }
    if let Some(stdin) = running.stdin {
        flags.push('i');
        placed.push((stdin, fds::STDIN));
    }
    if start.exec.is_some() || start.config.stdin_once {
        flags.push('o');
    }
    if let (Some(stdout), Some(stderr)) = (running.stdout, running.stderr) {
        flags.push('d');
        placed.push((stdout, fds::STDOUT));
        placed.push((stderr, fds::STDERR));
    }
    let folder = |path: &str| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context(|| path.to_string())
    };
    let (mut exit_file, mut oom_file, mut cgroups) = ("", String::new(), Vec::new());
    if let Some((listen, cgroup)) = container {
        flags.push('r');
        placed.push((listen, fds::LISTEN));
        placed.push((folder(&start.run_dir)?, fds::RUN_DIR));
        if !start.log.dir.is_empty() {
            flags.push('l');
            placed.push((folder(&start.log.dir)?, fds::LOG_DIR));
        }
        if start.host.ipc_mode == "shareable" {
            flags.push('m');
        }
        exit_file = "exit";
        oom_file = cgroup.dir_of("memory").map_or(String::new(), |dir| {
            let v2 = format!("{dir}/memory.events");
            if std::path::Path::new(&v2).exists() { v2 } else { format!("{dir}/memory.oom_control") }
        });
        cgroups = cgroup.dirs();
    }
    let mut args = vec![
        "prtiql-shim".to_string(),
        running.pid.to_string(),
        flags,
        exit_file.to_string(),
        oom_file,
        start.log.max_size.to_string(),
        start.log.max_files.to_string(),
        started.0.to_string(),
    ];
    args.extend(cgroups);
    let args: Vec<CString> = args.into_iter().filter_map(|a| CString::new(a).ok()).collect();
    let null = null()?;
    placed.push((null.try_clone()?, 1));
    placed.push((null, 2)); // the daemon's log may close; the shim has nothing to say
    inherit::place(&placed)?;
    crate::sys::exec::close_on_exec_from(inherit::FIRST_FREE as u32)?;
    Err(crate::sys::exec::execve(c"/proc/self/exe", &args, &[])).context(|| "become the shim")
}

/// An exec that fails has clients waiting in the socket's queue: they read why.
fn tell_clients(message: &str, tty: bool) {
    let control = inherit::borrow(fds::CONTROL);
    if rustix::io::ioctl_fionbio(control, true).is_err() {
        return;
    }
    let (mut body, mut sockets) = (Vec::new(), Vec::new());
    while matches!(channel::receive(control, &mut body, &mut sockets), Ok(true)) {
        let Some((Record { kind: wire::ATTACH, .. }, _)) = Record::decode(&body) else { continue };
        let mut text = Vec::new();
        if !tty {
            text.extend_from_slice(&[1, 0, 0, 0]);
            text.extend_from_slice(&(message.len() as u32 + 2).to_be_bytes());
        }
        text.extend_from_slice(message.as_bytes());
        text.extend_from_slice(b"\r\n");
        for socket in sockets.drain(..) {
            let _ = rustix::net::send(socket.as_fd(), &text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
    let _ = rustix::io::ioctl_fionbio(control, false);
}
