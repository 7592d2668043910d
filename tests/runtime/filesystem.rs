//! What a container sees of file systems.

use super::Bed;
use serde_json::json;

#[test]
fn the_usual_mounts_and_devices() {
    let mut bed = Bed::new("mounts");
    bed.script("mount; for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u' /dev/$d; done; for l in fd stdin ptmx; do readlink /dev/$l; done; ls /dev; ls /proc/self/fd | wc -l");
    let out = bed.run().ok();
    for line in [
        "proc on /proc type proc (rw,relatime)",
        "tmpfs on /dev type tmpfs (rw,nosuid,size=65536k,mode=755",
        "devpts on /dev/pts type devpts (rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666)",
        "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec,relatime)",
        "/dev/null character special file 1:3 666 0",
        "/dev/tty character special file 5:0 666 0",
        "/proc/self/fd\n/proc/self/fd/0\npts/ptmx",
    ] {
        assert!(out.contains(line), "{line} is not in {out}");
    }
    assert!(!out.contains("console"));
}

#[test]
fn the_root_can_be_read_only_and_volumes_writable() {
    let mut bed = Bed::new("readonly");
    std::fs::create_dir_all(bed.dir.join("vol/sub")).unwrap();
    std::fs::write(bed.dir.join("vol/file"), "text").unwrap();
    let vol = bed.dir.join("vol").display().to_string();
    bed.spec["root"]["readonly"] = json!(true);
    bed.mount("/data", "bind", &vol, &["rbind", "rw"]);
    bed.mount("/frozen/deep", "", &vol, &["bind", "ro"]);
    bed.mount("/etc/one", "bind", &format!("{vol}/file"), &["bind", "ro", "noexec"]);
    bed.mount("/scratch", "tmpfs", "tmpfs", &["size=64k", "mode=1770", "noexec"]);
    bed.script(
        "touch /x; touch /data/made; touch /frozen/deep/x; echo y > /etc/one; cat /etc/one; stat -c %a /scratch; cp /bin/busybox /scratch 2>/dev/null; \
         dd if=/dev/zero of=/scratch/f bs=100k count=1; true",
    );
    let said = bed.run();
    for refused in ["/x: Read-only", "/frozen/deep/x: Read-only", "/etc/one: Read-only", "No space left"] {
        assert!(said.err.contains(refused), "{refused} is not in {}", said.err);
    }
    assert_eq!(said.out, "text1770\n");
    assert!(bed.dir.join("vol/made").exists());
}

#[test]
fn recursive_read_only_and_propagation() {
    let mut bed = Bed::new("rro");
    let (outer, inner) = (bed.dir.join("outer"), bed.dir.join("outer/inner"));
    std::fs::create_dir_all(&inner).unwrap();
    bed.mount("/v", "bind", outer.to_str().unwrap(), &["rbind", "rro", "rslave"]);
    bed.script("touch /v/x; touch /v/inner/x; grep ' /v' /proc/self/mountinfo");
    // the inner mount exists only in a mount namespace of the test's own
    bed.save();
    let command = format!(
        "mount -t tmpfs none {} && mount --make-rshared / && {} runtime --root {} run -b {} {}",
        inner.display(),
        env!("CARGO_BIN_EXE_prtiql"),
        bed.dir.join("state").display(),
        bed.bundle().display(),
        bed.name
    );
    let o = std::process::Command::new("unshare").args(["-m", "sh", "-c", &command]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(err.contains("/v/x: Read-only") && err.contains("/v/inner/x: Read-only"), "{err}");
    assert!(out.contains("master:"), "{out}");
}

#[test]
fn masked_and_read_only_paths() {
    let mut bed = Bed::new("masks");
    std::fs::write(bed.root("etc/secret"), "s").unwrap();
    std::fs::create_dir(bed.root("etc/dir")).unwrap();
    std::fs::write(bed.root("etc/dir/f"), "s").unwrap();
    bed.spec["linux"]["maskedPaths"].as_array_mut().unwrap().extend([json!("/etc/secret"), json!("/etc/dir"), json!("/nosuch")]);
    bed.spec["linux"]["readonlyPaths"].as_array_mut().unwrap().extend([json!("/home"), json!("/nosuch")]);
    bed.script("cat /etc/secret /proc/keys /proc/timer_list /proc/interrupts; ls /etc/dir /sys/firmware; echo 1 > /proc/sys/net/ipv4/ip_forward; touch /home/x; touch /etc/dir/x");
    let said = bed.run();
    assert_eq!(said.out, "/etc/dir:\n\n/sys/firmware:\n", "{}", said.err);
    for refused in ["ip_forward: Read-only", "/home/x: Read-only", "/etc/dir/x: Read-only"] {
        assert!(said.err.contains(refused), "{refused} is not in {}", said.err);
    }
}

#[test]
fn devices_that_are_asked_for() {
    let mut bed = Bed::new("devices");
    bed.capabilities(&[prtiql::runtime::caps::DEFAULT.as_slice(), &["CAP_SYSLOG"]].concat());
    bed.spec["linux"]["devices"] = json!([
        {"path": "/dev/deep/loop", "type": "b", "major": 7, "minor": 0, "fileMode": 0o640, "uid": 33, "gid": 10},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        {"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11}]);
    bed.spec["linux"]["resources"]["devices"]
        .as_array_mut()
        .unwrap()
        .push(json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}));
    bed.script("stat -c '%F %t:%T %a %u:%g' /dev/deep/loop /dev/pipe; head -c 1 /dev/kmsg2 > /dev/null && echo read; echo > /dev/kmsg2; mknod /tmp/sda b 254 0 && head -c 1 /tmp/sda; mknod /tmp/n c 1 3 && echo > /tmp/n && echo null");
    let said = bed.run();
    assert_eq!(said.out, "block special file 7:0 640 33:10\nfifo 0:0 600 0:0\nread\nnull\n", "{}", said.err);
    assert!(
        said.err.contains("/dev/kmsg2: Operation not permitted") && said.err.contains("/tmp/sda: Operation not permitted"),
        "{}",
        said.err
    );
    bed.spec["linux"]["devices"] = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}]);
    assert!(bed.run().fails().contains("/dev/null"));
    bed.spec["linux"]["devices"] = json!([{"path": "/dev/x", "type": "q"}]);
    assert!(bed.run().fails().contains("none of c, b, u, p"));
}

#[test]
fn without_pivot_root() {
    let mut bed = Bed::new("nopivot");
    bed.script("ls /; touch /x && echo ok; cat /proc/self/cgroup; ps | grep -c sh; echo 1 > /proc/sys/net/ipv4/ip_forward; ls -d /sys/fs/cgroup/*");
    bed.save();
    let name = bed.name.clone();
    let said = bed.runtime(&["run", "--no-pivot", &name]);
    assert!(said.err.contains("ip_forward: Read-only") && said.out.contains(":/\n"), "{} {}", said.out, said.err);
    let out = said.ok();
    assert!(out.contains("ok") && !out.contains("boot") && !out.contains("work"), "{out}");
}
