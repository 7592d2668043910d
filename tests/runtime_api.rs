//! The runtime as the engine uses it, in its own process: overlay roots, users by name, volumes, streams, exec. One test only: the
//! runtime forks, which wants a process with nothing else going on.

use prtiql::runtime::spec::{Capabilities, ConsoleSize, Mount, Namespace, Overlay, Process, Spec};
use prtiql::runtime::{self, Created, Exec, Request, Stdio, caps, exit_code};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

struct Bed {
    dir: PathBuf,
    layers: Vec<String>,
}

impl Bed {
    /// A busybox as the lowest layer, and `more` layers with a file each above it.
    fn new(name: &str, more: usize) -> Bed {
        let dir = std::env::temp_dir().join(format!("prtiql-api-{}-{name}", std::process::id()));
        let base = dir.join("l0");
        for d in ["bin", "proc", "dev", "sys", "etc", "tmp", "data/sub"] {
            std::fs::create_dir_all(base.join(d)).unwrap();
        }
        std::fs::copy("/bin/busybox", base.join("bin/busybox")).expect("busybox-static is needed");
        for tool in ["sh", "cat", "id", "ls", "stat", "sleep", "true", "mount", "tty", "stty", "grep", "unshare", "readlink"] {
            std::os::unix::fs::symlink("busybox", base.join("bin").join(tool)).unwrap();
        }
        std::fs::write(base.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:w:/var/www:/bin/sh\n").unwrap();
        std::fs::write(base.join("etc/group"), "root:x:0:\nwww-data:x:33:\nstaff:x:50:www-data\nextra:x:60:\n").unwrap();
        std::fs::write(base.join("data/sub/seed"), "seed").unwrap();
        std::fs::set_permissions(base.join("data"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        let mut layers = vec![base.display().to_string()];
        for i in 1..=more {
            let layer = dir.join(format!("l{i}"));
            std::fs::create_dir_all(&layer).unwrap();
            std::fs::write(layer.join(format!("from{i}")), i.to_string()).unwrap();
            layers.insert(0, layer.display().to_string());
        }
        for d in ["upper", "work"] {
            std::fs::create_dir_all(dir.join(d)).unwrap();
        }
        Bed { dir, layers }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn spec(&self, script: &str) -> Spec {
        let process = Process {
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            capabilities: Some(capabilities()),
            ..Process::default()
        };
        let mut spec = Spec { process, ..Spec::default() };
        let mount = |destination: &str, kind: &str, options: &[&str]| Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: kind.into(),
            options: options.iter().map(|s| (*s).into()).collect(),
            copy_up: false,
        };
        spec.mounts = vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ];
        spec.linux.namespaces = ["mount", "pid", "network", "ipc", "uts", "cgroup"]
            .map(|kind| Namespace { kind: kind.into(), path: String::new() })
            .into();
        spec.linux.cgroups_path = format!("/prtiql-test/api-{}", std::process::id());
        spec.ext.overlay = Some(Overlay { lowers: self.layers.clone(), upper: self.path("upper"), work: self.path("work") });
        spec.ext.default_seccomp = true;
        spec.ext.make_cwd = true;
        spec
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn capabilities() -> Capabilities {
    let names: Vec<String> = caps::DEFAULT.iter().map(|s| (*s).into()).collect();
    Capabilities { bounding: names.clone(), effective: names.clone(), permitted: names, ..Capabilities::default() }
}

fn pipes() -> (Stdio, std::fs::File, std::fs::File) {
    let (in_read, in_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (out_read, out_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let err = out_write.try_clone().unwrap();
    (Stdio::Fds([in_read, out_write, err]), in_write.into(), out_read.into())
}

fn request<'a>(spec: &'a Spec, stdio: Stdio) -> Request<'a> {
    Request { id: "api", spec, bundle: "/", stdio, listener: None, no_pivot: false, preserve_fds: 0 }
}

fn wait(pid: i32) -> i32 {
    let pid = rustix::process::Pid::from_raw(pid);
    let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0))
}

fn read(file: std::fs::File) -> String {
    let mut text = String::new();
    let _ = { file }.read_to_string(&mut text); // EIO at the end of a terminal
    text
}

/// Runs to the end; status and output.
fn run(spec: &Spec) -> (i32, String) {
    let (stdio, input, output) = pipes();
    drop(input);
    let mut created = runtime::create(request(spec, stdio)).unwrap();
    created.start().unwrap();
    let text = read(output);
    let code = wait(created.pid);
    created.cgroup.delete().unwrap();
    (code, text)
}

fn start(spec: &Spec) -> (Created, std::fs::File, std::fs::File) {
    let (stdio, input, output) = pipes();
    let mut created = runtime::create(request(spec, stdio)).unwrap();
    created.start().unwrap();
    (created, input, output)
}

fn host_mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Calls that Linux 4.14 does not have.
const NEW: &[&str] = &[
    "clone3",
    "openat2",
    "fsopen",
    "fsconfig",
    "fsmount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "pidfd_open",
    "close_range",
    "faccessat2",
];

/// Makes this process, and all that it starts, see an old kernel.
fn age() {
    let mut profile = prtiql::runtime::spec::Seccomp { default_action: "SCMP_ACT_ALLOW".into(), ..Default::default() };
    profile.syscalls.push(prtiql::runtime::spec::SeccompRule {
        names: NEW.iter().map(|s| (*s).into()).collect(),
        action: "SCMP_ACT_ERRNO".into(),
        errno_ret: Some(libc::ENOSYS as u32),
        args: Vec::new(),
    });
    let filter = runtime::seccomp::compile(&profile).unwrap();
    prtiql::sys::exec::seccomp(&filter.program, filter.flags).unwrap();
}

#[test]
fn as_the_engine_uses_it() {
    const OLD: &str = "PRTIQL_TEST_OLD_KERNEL";
    if std::env::var_os(OLD).is_some() {
        age();
    } else {
        // the same once more on an "old" kernel: in a process of its own, since that cannot be undone
        let me = std::env::current_exe().unwrap();
        let old = std::process::Command::new(me).env(OLD, "1").output().unwrap();
        assert!(old.status.success(), "{}", String::from_utf8_lossy(&old.stdout));
    }
    mounts();
    overlays();
    users();
    volumes();
    failures();
    streams_and_exec();
    seccomp();
}

fn overlays() {
    let before = host_mounts();
    for layers in [0, 3, 120] {
        let bed = Bed::new("overlay", layers);
        let mut spec = bed.spec("echo new > /made; cat /from*; ls /; grep -c overlay /proc/self/mountinfo");
        let (code, text) = run(&spec);
        assert_eq!(code, 0, "{text}");
        assert!(layers == 0 || text.contains('3'), "{text}");
        assert_eq!(std::fs::read_to_string(bed.dir.join("upper/made")).unwrap(), "new\n");
        assert!(!Path::new(&bed.path("l0/made")).exists());
        spec.root.readonly = true;
        let (_, text) = run(&bed_script(&spec, "echo x > /made2"));
        assert!(text.contains("Read-only"), "{text}");
    }
    assert_eq!(before, host_mounts(), "the host's mount table has changed");
    let bed = Bed::new("lost", 1);
    let mut spec = bed.spec("true");
    if let Some(o) = &mut spec.ext.overlay {
        o.lowers[0] = "/nosuch/layer".into();
    }
    let (stdio, ..) = pipes();
    assert!(runtime::create(request(&spec, stdio)).err().unwrap().to_string().contains("/nosuch/layer"));
}

fn bed_script(spec: &Spec, script: &str) -> Spec {
    let mut spec = spec.clone();
    spec.process.args = vec!["sh".into(), "-c".into(), script.into()];
    spec
}

/// The attributes of mounts, whichever way they were made.
fn mounts() {
    let bed = Bed::new("mounts", 0);
    std::fs::create_dir(bed.path("vol")).unwrap();
    let mut spec = bed.spec("touch /v/x; touch /t/x; cat /proc/keys; ls /data; echo 1 > /proc/sys/net/ipv4/ip_forward; mount");
    let mut add = |destination: &str, kind: &str, source: &str, options: &str| {
        let options = options.split(',').map(Into::into).collect();
        spec.mounts.push(Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: source.into(),
            options,
            copy_up: false,
        });
    };
    add("/v", "bind", &bed.path("vol"), "rbind,ro,nosuid");
    add("/t", "tmpfs", "tmpfs", "size=1m,ro");
    add("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
    add("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,ro");
    spec.linux.masked_paths = ["/proc/keys", "/data", "/sys/firmware", "/nosuch"].map(Into::into).into();
    spec.linux.readonly_paths = ["/proc/sys", "/nosuch"].map(Into::into).into();
    let (_, text) = run(&spec);
    for line in [
        "/v/x: Read-only",
        "/t/x: Read-only",
        "ip_forward: Read-only",
        "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec,relatime)",
        "devpts on /dev/pts type devpts (rw,relatime,gid=5,mode=620,ptmxmode=666)",
        "/sys/fs/cgroup type",
        "on /v type",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("seed") && !text.contains("keyring"), "{text}");
}

fn users() {
    let bed = Bed::new("users", 0);
    let mut spec = bed.spec(
        "id; echo $HOME; grep -E 'CapEff|CapPrm|CapBnd' /proc/self/status; stat -c %u /proc/self/fd/1; echo x > /dev/stdout",
    );
    spec.ext.user_name = Some("www-data".into());
    spec.ext.group_add = vec!["extra".into(), "77".into()];
    let (code, text) = run(&spec);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("uid=33(www-data) gid=33(www-data) groups=33(www-data),50(staff),60(extra),77\n/var/www\n"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000") && text.contains("CapBnd:\t00000000a80425fb"), "{text}");
    spec.ext.user_name = Some(String::new());
    spec.ext.group_add.clear();
    let (_, text) = run(&spec);
    assert!(
        text.contains("uid=0(root) gid=0(root) groups=0(root)\n/root\n") && text.contains("CapEff:\t00000000a80425fb"),
        "{text}"
    );
    for (user, wanted) in [
        ("nosuchuser", "unable to find user nosuchuser: no matching entries in passwd file"),
        ("0:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ("4294967296", "must be in range"),
    ] {
        spec.ext.user_name = Some(user.into());
        let (stdio, ..) = pipes();
        let e = runtime::create(request(&spec, stdio)).err().unwrap();
        assert!(e.to_string().contains(wanted), "{e}");
    }
}

fn volumes() {
    let bed = Bed::new("volumes", 1);
    std::fs::create_dir(bed.path("vol")).unwrap();
    let mut spec = bed.spec("cat /data/sub/seed; stat -c %a /data; echo mine > /data/sub/seed");
    let mount = Mount {
        destination: "/data".into(),
        kind: "bind".into(),
        source: bed.path("vol"),
        options: vec!["rbind".into()],
        copy_up: true,
    };
    spec.mounts.push(mount);
    assert_eq!(run(&spec), (0, "seed1777\n".into()));
    assert_eq!(std::fs::read_to_string(bed.dir.join("vol/sub/seed")).unwrap(), "mine\n");
    assert_eq!(std::fs::metadata(bed.path("vol")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(run(&bed_script(&spec, "cat /data/sub/seed")), (0, "mine\n".into()));
}

fn failures() {
    let bed = Bed::new("failures", 0);
    for (program, code, text) in [
        ("nosuch", 127, "exec: \"nosuch\": executable file not found in $PATH"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
    ] {
        let mut spec = bed.spec("");
        spec.process.args = vec![program.into()];
        let (stdio, ..) = pipes();
        let e = runtime::create(request(&spec, stdio)).err().unwrap();
        assert_eq!((exit_code(&e), e.to_string().as_str()), (code, text));
    }
    let spec = bed.spec("sleep 100");
    let (stdio, ..) = pipes();
    runtime::create(request(&spec, stdio)).unwrap().destroy().unwrap();
    let group = runtime::Cgroup::locate(&spec.linux.cgroups_path, "").unwrap();
    assert!(group.dirs().iter().all(|d| !Path::new(d).exists()));
    group.delete().unwrap();
}

fn streams_and_exec() {
    let bed = Bed::new("exec", 0);
    let (created, mut input, output) = start(&bed.spec("read a; echo got $a; sleep 100"));
    input.write_all(b"word\n").unwrap();
    let mut text = [0u8; 16];
    let n = { &output }.read(&mut text).unwrap();
    assert_eq!(&text[..n], b"got word\n");
    let process = Process {
        args: vec!["sh".into(), "-c".into(), "id; readlink /proc/self/ns/net; exit 6".into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/tmp".into(),
        capabilities: Some(capabilities()),
        ..Process::default()
    };
    let exec = |process: &Process, stdio: Stdio, user: Option<&str>| {
        runtime::exec(Exec {
            pid: created.pid,
            cgroup: &created.cgroup,
            process,
            user_name: user,
            group_add: &[],
            default_seccomp: true,
            seccomp: None,
            stdio,
            preserve_fds: 0,
        })
    };
    let (stdio, _, out) = pipes();
    let made = exec(&process, stdio, Some("www-data")).unwrap();
    let text = read(out);
    assert_eq!(wait(made.pid), 6);
    let net = std::fs::read_link(format!("/proc/{}/ns/net", created.pid)).unwrap();
    assert!(text.contains("uid=33(www-data)") && text.contains(net.to_str().unwrap()), "{text}");
    let (stdio, ..) = pipes();
    let e = exec(&Process { args: vec!["nosuch".into()], ..process.clone() }, stdio, None).err().unwrap();
    assert_eq!(exit_code(&e), 127);
    // a terminal
    let tty = Process {
        console_size: Some(ConsoleSize { height: 33, width: 99 }),
        args: vec!["sh".into(), "-c".into(), "tty; stty size 2>&1; echo end".into()],
        ..process
    };
    let made = exec(&tty, Stdio::Terminal, Some("www-data")).unwrap();
    let master: OwnedFd = made.console.unwrap();
    let size = rustix::termios::tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 99));
    let text = read(master.into());
    assert_eq!(wait(made.pid), 0);
    assert!(text.contains("/dev/pts/0") && text.contains("end"), "{text}");
    // all of it goes
    created.cgroup.freeze().unwrap();
    assert!(created.cgroup.is_frozen());
    created.cgroup.thaw().unwrap();
    assert!(created.cgroup.pids().unwrap().contains(&created.pid));
    let group = created.cgroup.clone();
    created.destroy().unwrap();
    assert!(group.pids().unwrap().is_empty());
}

fn seccomp() {
    let bed = Bed::new("seccomp", 0);
    let spec = bed.spec("grep Seccomp: /proc/self/status; unshare -U true; unshare -n true; true");
    let (_, text) = run(&spec);
    assert!(text.contains("Seccomp:\t2"), "{text}");
    assert_eq!(text.matches("not permitted").count(), 2, "{text}");
}
