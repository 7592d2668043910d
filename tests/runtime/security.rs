//! The classes of holes that other runtimes had, each as it was used.

use super::{Bed, exists};
use serde_json::json;

/// CVE-2019-5736: a container must not get hold of the runtime's file for writing.
#[test]
fn the_program_file_cannot_be_overwritten() {
    let mut bed = Bed::new("exe");
    let ours = std::fs::read(env!("CARGO_BIN_EXE_prtiql")).unwrap();
    // the entry point is the runtime itself: what it runs as is on a read-only mount
    bed.spec["process"]["args"] = json!(["/proc/self/exe", "runtime", "--version"]);
    let said = bed.run();
    // (a dynamic build does not find its loader in there)
    assert!(said.out.contains("prtiql runtime version") || said.err.contains("no such file"), "{} {}", said.out, said.err);
    // init waits to be started and is still ours
    bed.spec["process"]["args"] = json!(["sleep", "100"]);
    for privileged in [false, true] {
        let mut names = prtiql::runtime::caps::DEFAULT.to_vec();
        if privileged {
            names.extend(["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"]);
        }
        bed.capabilities(&names);
        bed.save();
        let name = bed.name.clone();
        let quiet = || std::process::Stdio::null();
        assert!(bed.command(&["create", &name]).stdout(quiet()).stderr(quiet()).status().unwrap().success());
        let said = bed.exec("for n in 3 4 5; do readlink /proc/1/fd/$n; done; echo overwritten > /proc/1/exe");
        let refused = if privileged { "/proc/1/exe: Read-only file system" } else { "/proc/1/exe: Permission denied" };
        assert!(said.err.contains(refused), "{}", said.err);
        assert!(privileged || said.out.is_empty(), "{}", said.out);
        bed.runtime(&["delete", "-f", &name]).ok();
    }
    assert!(std::fs::read(env!("CARGO_BIN_EXE_prtiql")).unwrap() == ours);
}

/// CVE-2024-21626: no descriptor of the host's, and no working directory out there.
#[test]
fn no_descriptor_leaks_and_the_directory_is_inside() {
    let mut bed = Bed::new("leak");
    bed.script("ls -l /proc/1/fd /proc/self/fd");
    bed.save();
    let name = bed.name.clone();
    // the caller's own leaks are not passed on, either
    let line = format!(
        "exec 7</etc 8</; {} runtime --root {} run {name}",
        env!("CARGO_BIN_EXE_prtiql"),
        bed.dir.join("state").display()
    );
    let o = std::process::Command::new("sh").args(["-c", &line]).current_dir(bed.bundle()).output().unwrap();
    let out = String::from_utf8_lossy(&o.stdout);
    let numbers: Vec<&str> = out.lines().filter(|l| l.contains(" -> ")).filter_map(|l| l.split_whitespace().nth(8)).collect();
    assert!(numbers.iter().all(|n| ["0", "1", "2"].contains(n)), "{out}");
    for n in 3..12 {
        bed.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{n}"));
        bed.run().fails();
    }
    bed.spec["process"]["cwd"] = json!("/");
    bed.script("sleep 100");
    bed.start();
    for n in 3..12 {
        bed.runtime(&["exec", "--cwd", &format!("/proc/self/fd/{n}"), &name, "pwd"]).fails();
    }
    let fds = bed.exec("ls -l /proc/1/fd").ok();
    assert_eq!(fds.lines().filter(|l| l.contains(" -> ")).count(), 3, "{fds}");
    // those that are asked for do pass
    let line = format!(
        "exec 3</etc/hostname; {} runtime --root {} exec --preserve-fds 1 {name} cat /proc/self/fd/3",
        env!("CARGO_BIN_EXE_prtiql"),
        bed.dir.join("state").display()
    );
    let o = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(o.status.success() && !o.stdout.is_empty());
}

/// CVE-2025-31133: what masks are made with must be the null device; an image can bring anything as `/dev/null`.
#[test]
fn a_false_dev_null_masks_nothing_but_harms_nobody() {
    let mut bed = Bed::new("null");
    let without_dev = |bed: &mut Bed| {
        bed.spec["mounts"].as_array_mut().unwrap().retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"))
    };
    without_dev(&mut bed);
    std::os::unix::fs::symlink("/proc/sysrq-trigger", bed.root("dev/null")).unwrap();
    bed.script("cat /proc/keys");
    assert!(bed.run().fails().contains("/dev/null"));
    bed.nothing_left();
}

/// CVE-2025-52565: the terminal comes from the container's own devpts, whatever else lies at /dev/pts and /dev/console.
#[test]
fn a_false_console_is_refused() {
    let mut bed = Bed::new("fakepts");
    bed.spec["process"]["terminal"] = json!(true);
    bed.spec["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev/pts");
    bed.mount("/dev/pts", "tmpfs", "tmpfs", &["mode=755"]);
    bed.script("true");
    bed.save();
    let name = bed.name.clone();
    let said = bed.in_terminal(&["run", &name]);
    assert!(said.code != 0 && said.out.contains("not a file system of terminals"), "{}", said.out);
    bed.nothing_left();
}

/// CVE-2019-19921, 2023-27561, 2023-28642: `/proc` of the image is a link, or something is mounted over it.
#[test]
fn proc_is_where_it_belongs() {
    let mut bed = Bed::new("proc");
    bed.script("true");
    std::fs::remove_dir(bed.root("proc")).unwrap();
    std::os::unix::fs::symlink("/tmp", bed.root("proc")).unwrap();
    assert!(bed.run().fails().contains("must be an ordinary directory"));
    std::fs::remove_file(bed.root("proc")).unwrap();
    std::fs::create_dir(bed.root("proc")).unwrap();
    let vol = bed.dir.join("vol");
    std::fs::create_dir_all(vol.join("self/attr")).unwrap();
    std::os::unix::fs::symlink("/proc/self", bed.root("me")).unwrap();
    let mounts = bed.spec["mounts"].clone();
    for (destination, kind, text) in [
        ("/proc", "bind", "not of type proc"),
        ("/proc/self/attr", "bind", "inside /proc"),
        ("/proc/sys", "tmpfs", "inside /proc"),
        ("/me/attr", "bind", "inside /proc"),
        ("/tmp/../proc/self", "bind", "inside /proc"),
    ] {
        bed.spec["mounts"] = mounts.clone();
        bed.mount(destination, kind, vol.to_str().unwrap(), if kind == "bind" { &["bind"] } else { &[] });
        let said = bed.run().fails();
        assert!(said.contains(text), "{destination}: {said}");
    }
    bed.nothing_left();
}

/// CVE-2024-45310 and those of 2026: links of the image lead to no file on the host.
#[test]
fn nothing_is_made_outside_of_the_root() {
    let mut bed = Bed::new("links");
    let evil = bed.dir.join("evil");
    let vol = bed.dir.join("vol");
    std::fs::create_dir(&vol).unwrap();
    for (link, to) in [
        ("a", evil.display().to_string()),
        ("b", format!("../../../../../../..{}", evil.display())),
        ("run", evil.display().to_string()),
    ] {
        std::os::unix::fs::symlink(to, bed.root(link)).unwrap();
    }
    std::fs::remove_dir(bed.root("dev")).unwrap();
    std::os::unix::fs::symlink(&evil, bed.root("dev")).unwrap();
    bed.mount("/a/x", "bind", vol.to_str().unwrap(), &["bind"]);
    bed.mount("/b/y", "tmpfs", "tmpfs", &[]);
    bed.mount("/run/z", "bind", vol.to_str().unwrap(), &["bind"]);
    bed.spec["linux"]["devices"] = json!([{"path": "/a/device", "type": "c", "major": 1, "minor": 3}]);
    bed.spec["process"]["cwd"] = json!("/b/cwd");
    bed.script("pwd; mount | grep -c evil");
    let out = bed.run().ok();
    assert!(!exists(evil.to_str().unwrap()), "made on the host");
    assert!(out.contains("cwd"), "{out}");
}

/// The default filter, as far as busybox can try it.
#[test]
fn seccomp_is_in_force() {
    let mut bed = Bed::new("seccomp");
    let profile: serde_json::Value = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    bed.spec["linux"]["seccomp"] = profile;
    bed.script("grep -E 'Seccomp:' /proc/self/status; mkdir /m; chmod 7 /etc/passwd; echo $?");
    let said = bed.run();
    assert!(
        said.out.contains("Seccomp:\t2") && said.err.contains("'/m': Operation not supported") && said.out.contains("159"),
        "{} {}",
        said.out,
        said.err
    );
    // a user other than root, without and with no_new_privs
    for nnp in [false, true] {
        bed.spec["process"]["user"] = json!({"uid": 33, "gid": 33});
        bed.spec["process"]["noNewPrivileges"] = json!(nnp);
        bed.script("grep -E 'Seccomp:|CapEff' /proc/self/status; mkdir /tmp/m");
        let said = bed.run();
        assert!(said.out.contains("Seccomp:\t2") && said.out.contains("CapEff:\t0000000000000000"), "{} {}", said.out, said.err);
    }
    bed.spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTIFY"});
    assert!(bed.run().fails().contains("SCMP_ACT_NOTIFY"));
}

/// A container's group of processes: nothing of the host's is visible or writable by way of `/sys/fs/cgroup`.
#[test]
fn control_groups_are_read_only_and_only_its_own() {
    let mut bed = Bed::new("cgview");
    bed.script("cat /proc/self/cgroup; mkdir /sys/fs/cgroup/memory/x; for f in /sys/fs/cgroup/*/release_agent; do echo $f; done; find /sys/fs/cgroup -type d -mindepth 2 | head");
    let said = bed.run();
    assert!(!said.out.contains("prtiql-test") && !said.out.contains(&bed.name), "{}", said.out);
    assert!(said.err.contains("Read-only file system"), "{}", said.err);
    assert!(!said.out.contains("memory/release_agent"), "{}", said.out);
}
