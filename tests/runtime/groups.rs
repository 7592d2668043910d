//! Limits, in control groups of the version that this machine has, and in a private view of version 2.

use super::{Bed, eventually, groups};
use serde_json::json;
use std::process::Command;

fn file(bed: &Bed, name: &str) -> String {
    let found = groups(&bed.name).into_iter().find_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
    found.unwrap_or_default().trim().to_owned()
}

fn version1() -> bool {
    std::fs::exists("/sys/fs/cgroup/memory/memory.limit_in_bytes").unwrap()
}

#[test]
fn limits_are_set_and_changed() {
    let mut bed = Bed::new("limits");
    bed.spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "reservation": 32 << 20});
    bed.spec["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"});
    bed.spec["linux"]["resources"]["pids"] = json!({"limit": 20});
    bed.script("sleep 100");
    bed.start();
    let name = bed.name.clone();
    let (memory, pids) = if version1() { ("memory.limit_in_bytes", "pids.max") } else { ("memory.max", "pids.max") };
    assert_eq!((file(&bed, memory), file(&bed, pids)), ((64 << 20).to_string(), "20".to_owned()));
    if version1() {
        assert_eq!(
            (file(&bed, "cpu.shares"), file(&bed, "cpu.cfs_quota_us"), file(&bed, "cpuset.cpus")),
            ("512".into(), "20000".into(), "0".into())
        );
    }
    assert_eq!(bed.exec("nproc").ok(), "1\n");
    bed.runtime(&["update", "--memory", "96m", "--pids-limit", "30", "--cpu-quota", "30000", &name]).ok();
    assert_eq!((file(&bed, memory), file(&bed, pids)), ((96 << 20).to_string(), "30".to_owned()));
    std::fs::write(bed.bundle().join("r.json"), r#"{"memory":{"limit":50331648}}"#).unwrap();
    bed.runtime(&["update", "-r", "r.json", &name]).ok();
    assert_eq!(file(&bed, memory), (48 << 20).to_string());
    assert!(bed.runtime(&["events", "--stats", &name]).ok().contains("50331648"));
    bed.runtime(&["delete", "-f", &name]).ok();
    bed.nothing_left();
}

#[test]
fn too_much_memory_is_killed_and_counted() {
    let mut bed = Bed::new("oom");
    bed.spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    bed.script("tail /dev/zero; echo after $?; sleep 100");
    bed.start();
    let group = prtiql::runtime::Cgroup::locate(&format!("/prtiql-test/{}", bed.name), "").unwrap();
    eventually(|| group.oom_kills().unwrap() > 0);
    bed.script("true");
}

#[test]
fn a_fork_bomb_is_stopped() {
    let mut bed = Bed::new("pids");
    bed.spec["linux"]["resources"]["pids"] = json!({"limit": 8});
    bed.script("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 2 & done; echo here");
    let said = bed.run();
    assert!(said.err.contains("fork"), "{} {}", said.out, said.err);
    bed.nothing_left();
}

#[test]
fn a_limit_that_the_kernel_cannot_keep_is_an_error() {
    let mut bed = Bed::new("cannot");
    bed.spec["linux"]["resources"]["unified"] = json!({"nosuch.max": "1"});
    bed.script("true");
    bed.run().fails();
    bed.nothing_left();
}

/// The same machine as if it had version 2 alone: its own mount namespace, cgroup2 on /sys/fs/cgroup.
#[test]
fn version_2_alone() {
    let mut bed = Bed::new("v2");
    bed.script(
        "cat /proc/self/cgroup; grep cgroup2 /proc/self/mountinfo; ls /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x; \
         mknod /tmp/sda b 254 0 && head -c 1 /tmp/sda; mknod /tmp/n c 1 3 && echo > /tmp/n && echo null; head -c 0 /dev/urandom && echo random",
    );
    bed.save();
    let prtiql = format!("{} runtime --root {}", env!("CARGO_BIN_EXE_prtiql"), bed.dir.join("state").display());
    let name = bed.name.clone();
    let long = bed.dir.join("long");
    std::fs::create_dir(&long).unwrap();
    let mut spec = bed.spec.clone();
    spec["root"]["path"] = json!(bed.root("").to_str().unwrap());
    spec["process"]["args"] = json!(["sleep", "100"]);
    std::fs::write(long.join("config.json"), spec.to_string()).unwrap();
    let mut limited = spec.clone();
    limited["linux"]["resources"]["memory"] = json!({"limit": 16 << 20});
    let dir = bed.dir.join("limited");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("config.json"), limited.to_string()).unwrap();
    let script = format!(
        "set -e; umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
         {prtiql} run {name}
         {prtiql} create -b {long} {name} >/dev/null 2>&1 </dev/null; {prtiql} start {name}
         {prtiql} exec {name} sh -c 'cat /proc/self/cgroup; cat /proc/1/cgroup'
         {prtiql} pause {name}; {prtiql} state {name} | grep status; {prtiql} resume {name}; {prtiql} state {name} | grep status
         {prtiql} exec -d {name} sleep 99 >/dev/null 2>&1; {prtiql} ps -f json {name} | grep -c ,
         {prtiql} kill --all {name} KILL; for i in $(seq 60); do {prtiql} state {name} | grep -q stopped && break; sleep 0.2; done; {prtiql} delete {name}
         ls -d /sys/fs/cgroup/prtiql-test/{name} 2>/dev/null || echo gone
         if ! grep -q memory /sys/fs/cgroup/cgroup.controllers; then {prtiql} run -b {limited} {name} || echo refused; fi",
        long = long.display(),
        limited = dir.display()
    );
    let o = Command::new("unshare").args(["-m", "sh", "-c", &script]).current_dir(bed.bundle()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(o.status.success(), "{out}{err}");
    for part in ["0::/\n", "cgroup2", "null\nrandom\n", "\"paused\"", "\"running\"", "gone"] {
        assert!(out.contains(part), "{part} is not in {out}{err}");
    }
    assert!(err.contains("/tmp/sda: Operation not permitted") && err.contains("Read-only file system"), "{out}{err}");
    if out.contains("refused") {
        assert!(err.contains("memory.max") && err.contains("bound to version 1"), "{err}");
    }
}
