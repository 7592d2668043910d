//! What a container's processes are: identity, streams, terminal, limits, namespaces.

use super::{Bed, eventually};
use serde_json::json;
use std::io::{Read, Write};
use std::process::Stdio;

#[test]
fn identity_environment_limits() {
    let mut bed = Bed::new("identity");
    bed.script("id; echo $HOME $A; umask; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj; cat /proc/self/setgroups 2>/dev/null");
    let process = &mut bed.spec["process"];
    process["user"] = json!({"uid": 33, "gid": 33, "additionalGids": [10, 77], "umask": 0o27});
    process["env"].as_array_mut().unwrap().push(json!("A=b c"));
    process["noNewPrivileges"] = json!(true);
    process["rlimits"] =
        json!([{"type": "RLIMIT_NOFILE", "hard": 321, "soft": 123}, {"type": "RLIMIT_CORE", "hard": u64::MAX, "soft": 0}]);
    process["oomScoreAdj"] = json!(500);
    process["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]});
    let out = bed.run().ok();
    assert!(out.contains("uid=33(web) gid=33(web) groups=10(wheel),77"), "{out}");
    assert!(out.contains("/home b c\n0027\n") && out.contains("\n123\n500\n"), "{out}");
    for line in [
        "CapInh:\t0000000000000020",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000021",
        "CapAmb:\t0000000000000020",
        "NoNewPrivs:\t1",
    ] {
        assert!(out.contains(line), "{line} is not in {out}");
    }
}

#[test]
fn a_limit_that_cannot_be_raised_is_no_failure() {
    let mut bed = Bed::new("rlimit");
    bed.script("ulimit -Hn");
    bed.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 1u64 << 40, "soft": 1024}]);
    bed.run().ok();
}

#[test]
fn programs_that_cannot_be_run_are_named() {
    let mut bed = Bed::new("noexec");
    std::fs::write(bed.root("bin/text"), "x").unwrap();
    std::fs::write(bed.root("bin/odd"), "\0").unwrap();
    std::fs::write(bed.root("bin/lost"), "#!/nosuch\n").unwrap();
    for tool in ["odd", "lost"] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(bed.root("bin").join(tool), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (program, text) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/bin/text", "exec: \"/bin/text\": permission denied"),
        ("odd", "exec: \"odd\": exec format error"),
        ("lost", "exec: \"lost\": no such file or directory"),
    ] {
        bed.spec["process"]["args"] = json!([program]);
        let said = bed.run().fails();
        assert!(said.contains(text), "{said}");
        bed.nothing_left();
    }
    bed.spec["process"]["args"] = json!(["odd"]);
    bed.save();
    let name = bed.name.clone();
    assert!(bed.command(&["create", &name]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    assert!(bed.runtime(&["start", &name]).fails().contains("exec format error"));
    eventually(|| bed.state()["status"] == "stopped");
}

#[test]
fn exec_joins_everything() {
    let mut bed = Bed::new("exec");
    bed.script("sleep 100");
    bed.spec["process"]["env"].as_array_mut().unwrap().push(json!("A=1"));
    bed.start();
    let name = bed.name.clone();
    let same = bed.exec("for n in cgroup ipc mnt net pid uts user; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo $n; done; cat /proc/self/cgroup /proc/1/cgroup | grep -c :").ok();
    assert_eq!(same.lines().count(), 1, "{same}");
    let out = bed
        .runtime(&[
            "exec",
            "-u",
            "33:10",
            "-g",
            "5",
            "--cwd",
            "/tmp",
            "-e",
            "B=2",
            &name,
            "sh",
            "-c",
            "id; pwd; echo $A$B; grep Cap /proc/self/status",
        ])
        .ok();
    assert!(out.contains("uid=33(web) gid=10(wheel) groups=5") && out.contains("/tmp\n12\n"), "{out}");
    assert!(out.contains("CapEff:\t0000000000000000") && out.contains("CapInh:\t0000000000000000"), "{out}");
    assert_eq!(bed.exec("exit 9").code, 9);
    assert_eq!(bed.exec("kill -TERM $$").code, 143);
    let nosuch = bed.runtime(&["exec", &name, "nosuch"]);
    assert!(nosuch.code == 255 && nosuch.err.contains("executable file not found in $PATH"), "{}", nosuch.err);
    assert!(bed.runtime(&["exec", "--cwd", "/nosuch", &name, "true"]).fails().contains("/nosuch"));
    for odd in ["-1", "x", "0:x", "99999999999", ":"] {
        bed.runtime(&["exec", "-u", odd, &name, "true"]).fails();
    }
    let mut detached = bed.command(&["exec", "-d", "--pid-file", "pid", &name, "sleep", "50"]);
    assert!(detached.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid = std::fs::read_to_string(bed.bundle().join("pid")).unwrap();
    assert!(bed.runtime(&["ps", "-f", "json", &name]).ok().contains(&pid));
    assert!(bed.runtime(&["ps", &name]).ok().contains("sleep 50"));
    let mut child = bed.command(&["exec", &name, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success() && text == "through");
    std::fs::write(
        bed.bundle().join("p.json"),
        json!({"args": ["id", "-u"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 5, "gid": 5}}).to_string(),
    )
    .unwrap();
    assert_eq!(bed.runtime(&["exec", "-p", "p.json", &name]).ok(), "5\n");
}

#[test]
fn terminals() {
    let mut bed = Bed::new("tty");
    bed.script(
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stty size; stat -c %t:%T /dev/console; ls -l /dev/pts; exit 3",
    );
    bed.spec["process"]["terminal"] = json!(true);
    bed.spec["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    bed.save();
    let name = bed.name.clone();
    let said = bed.in_terminal(&["run", &name]);
    assert_eq!(said.code, 3);
    assert!(said.out.contains("/dev/pts/0\r\n") && said.out.contains("all\r\n") && said.out.contains("88:0"), "{}", said.out);
    assert!(bed.runtime(&["create", &name]).fails().contains("console socket"));
    bed.nothing_left();
    bed.script("sleep 100");
    bed.spec["process"]["terminal"] = json!(false);
    bed.start();
    let said = bed.in_terminal(&["exec", "-t", &name, "sh", "-c", "tty; echo hi; exit 4"]);
    assert!(said.code == 4 && said.out.contains("/dev/pts/0\r\n") && said.out.contains("hi\r\n"), "{} {}", said.code, said.out);
}

#[test]
fn the_terminal_is_given_away_over_a_socket() {
    let mut bed = Bed::new("console");
    bed.script("tty; read line; echo got $line; sleep 100");
    bed.spec["process"]["terminal"] = json!(true);
    bed.save();
    let name = bed.name.clone();
    let path = bed.dir.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bed.runtime(&["create", "--console-socket", path.to_str().unwrap(), &name]).ok();
    let (socket, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut text = [0u8; 64];
    rustix::net::recvmsg(&socket, &mut [std::io::IoSliceMut::new(&mut text)], &mut ancillary, rustix::net::RecvFlags::empty())
        .unwrap();
    let fd = ancillary.drain().find_map(|m| match m {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut master = std::fs::File::from(fd.expect("a descriptor"));
    bed.runtime(&["start", &name]).ok();
    master.write_all(b"word\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("got word") {
        let n = master.read(&mut text).unwrap();
        seen.push_str(&String::from_utf8_lossy(&text[..n]));
    }
    assert!(seen.contains("/dev/pts/0"), "{seen}");
}

#[test]
fn namespaces_are_new_or_joined() {
    let mut bed = Bed::new("ns");
    bed.script("sleep 100");
    bed.start();
    let pid = bed.state()["pid"].to_string();
    let inode = |pid: &str, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        assert_ne!(inode(&pid, kind), inode("self", kind), "{kind}");
    }
    let mut other = Bed::new("ns2");
    other.script("hostname; ps; ip link show lo; readlink /proc/self/ns/ipc");
    other.spec["hostname"] = json!("");
    let join = |kind: &str, file: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")});
    other.spec["linux"]["namespaces"] =
        json!([{"type": "mount"}, join("pid", "pid"), join("network", "net"), join("ipc", "ipc"), join("uts", "uts")]);
    let out = other.run().ok();
    assert!(out.starts_with("prtiql\n") && out.contains("sleep 100") && out.contains("LOOPBACK,UP"), "{out}");
    assert!(out.contains(inode(&pid, "ipc").to_str().unwrap()), "{out}");
    // the host's: no namespace is named
    other.spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
    other.script("readlink /proc/self/ns/net");
    assert!(other.run().ok().contains(inode("self", "net").to_str().unwrap()));
}

#[test]
fn sysctls_names_and_user_namespaces() {
    let mut bed = Bed::new("names");
    bed.script("hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni");
    bed.spec["hostname"] = json!("box");
    bed.spec["domainname"] = json!("example");
    bed.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "81", "kernel.shmmni": "77"});
    assert_eq!(bed.run().ok(), "box\nexample\n81\n77\n");
    bed.spec["linux"]["sysctl"] = json!({});
    bed.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for map in ["uidMappings", "gidMappings"] {
        bed.spec["linux"][map] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    }
    assert!(std::process::Command::new("chown").args(["-hR", "100000:100000"]).arg(bed.root("")).status().unwrap().success());
    bed.script("id -u; cat /proc/self/uid_map; touch /x; stat -c %u /x /dev/null; echo > /dev/null && echo dev; cat /proc/sys/kernel/domainname");
    let out = bed.run().ok();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[..5], ["0", "0", "100000", "1000", "0"], "{out}");
    assert!(out.contains("dev\nexample"), "{out}");
    // another container in the same user namespace
    bed.script("sleep 100");
    bed.start();
    let mut other = Bed::new("names2");
    let path = format!("/proc/{}/ns/", bed.state()["pid"]);
    other.spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid", "path": format!("{path}pid")}, {"type": "ipc"}, {"type": "uts"},
        {"type": "user", "path": format!("{path}user")}, {"type": "network", "path": format!("{path}net")}]);
    other.spec["root"]["path"] = json!(bed.root("").to_str().unwrap());
    other.spec["process"]["oomScoreAdj"] = json!(300);
    other.script("id -u; readlink /proc/1/ns/user; readlink /proc/self/ns/user; ps; cat /proc/self/oom_score_adj; exit 5");
    let said = other.run();
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(said.code == 5 && lines[0] == "0" && lines[1] == lines[2], "{} {}", said.out, said.err);
    assert!(said.out.contains("sleep 100") && said.out.ends_with("300\n"), "{}", said.out);
    assert_eq!(
        bed.exec("id -u; cat /proc/self/uid_map").ok().split_whitespace().take(3).collect::<Vec<_>>(),
        ["0", "0", "100000"]
    );
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(bed.root("x")).unwrap().uid(), 100_000);
}
