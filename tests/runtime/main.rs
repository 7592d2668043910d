//! `prtiql runtime` as a whole: the real binary on a root file system of busybox. Needs root and Debian's busybox-static.

#![allow(missing_docs)]

mod filesystem;
mod groups;
mod life;
mod process;
mod security;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    fn new(o: Output) -> Said {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        Said { code: o.status.code().unwrap_or(-1), out: text(&o.stdout), err: text(&o.stderr) }
    }

    /// Standard output of a command that went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Standard error of one that failed.
    #[track_caller]
    pub fn fails(self) -> String {
        assert_ne!(self.code, 0, "{}", self.out);
        self.err
    }
}

/// A bundle, and a folder for the state of containers; removed at the end, with whatever still runs.
pub struct Bed {
    pub dir: PathBuf,
    pub spec: Value,
    pub name: String,
}

const TOOLS: &[&str] = &[
    "sh",
    "true",
    "false",
    "cat",
    "ls",
    "id",
    "ps",
    "mount",
    "umount",
    "sleep",
    "echo",
    "env",
    "hostname",
    "ip",
    "stat",
    "dd",
    "mknod",
    "kill",
    "tty",
    "test",
    "touch",
    "grep",
    "head",
    "readlink",
    "mkdir",
    "chmod",
    "chown",
    "ln",
    "rm",
    "stty",
    "pwd",
    "dnsdomainname",
    "nproc",
    "unshare",
    "chroot",
    "wc",
    "seq",
    "tail",
    "sync",
    "cp",
    "find",
];

impl Bed {
    /// A bed whose container is called after the test.
    pub fn new(test: &str) -> Bed {
        let name = format!("t{}-{test}", std::process::id());
        let dir = std::env::temp_dir().join(format!("prtiql-runtime-{name}"));
        let root = dir.join("bundle/rootfs");
        for d in ["bin", "proc", "dev", "sys", "etc", "tmp", "root", "home"] {
            std::fs::create_dir_all(root.join(d)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is needed");
        for tool in TOOLS {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/home:/bin/sh\n").unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nwheel:x:10:root\nweb:x:33:\n").unwrap();
        let mut bed = Bed { dir, spec: Value::Null, name };
        bed.runtime(&["spec", "-b", bed.bundle().to_str().unwrap()]).ok();
        bed.spec = serde_json::from_slice(&std::fs::read(bed.bundle().join("config.json")).unwrap()).unwrap();
        bed.spec["process"]["terminal"] = json!(false);
        bed.spec["root"]["readonly"] = json!(false);
        bed.spec["process"]["noNewPrivileges"] = json!(false);
        bed.spec["linux"]["cgroupsPath"] = json!(format!("/prtiql-test/{}", bed.name));
        bed.capabilities(&prtiql::runtime::caps::DEFAULT);
        bed
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    pub fn root(&self, path: &str) -> PathBuf {
        self.bundle().join("rootfs").join(path)
    }

    pub fn capabilities(&mut self, names: &[&str]) {
        self.spec["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names});
    }

    /// The container's program: a shell script.
    pub fn script(&mut self, text: &str) -> &mut Bed {
        self.spec["process"]["args"] = json!(["sh", "-c", text]);
        self
    }

    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Bed {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    pub fn save(&self) {
        std::fs::write(self.bundle().join("config.json"), serde_json::to_vec(&self.spec).unwrap()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prtiql"));
        command
            .arg("runtime")
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(args)
            .current_dir(self.bundle())
            .stdin(Stdio::null());
        command
    }

    pub fn runtime(&self, args: &[&str]) -> Said {
        std::fs::create_dir_all(self.bundle()).unwrap();
        Said::new(self.command(args).output().unwrap())
    }

    /// Saves the specification and runs the container in the foreground.
    pub fn run(&self) -> Said {
        self.save();
        self.runtime(&["run", &self.name])
    }

    /// Makes and starts it; its output goes nowhere.
    pub fn start(&self) {
        self.save();
        let detached = |args: &[&str]| {
            let status = self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert!(status.success(), "{args:?}");
        };
        detached(&["create", &self.name]);
        detached(&["start", &self.name]);
    }

    pub fn exec(&self, script: &str) -> Said {
        self.runtime(&["exec", &self.name, "sh", "-c", script])
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.runtime(&["state", &self.name]).ok()).unwrap()
    }

    /// A shell command on the host, in a terminal of its own.
    pub fn in_terminal(&self, args: &[&str]) -> Said {
        let words: Vec<String> = args.iter().map(|a| format!("'{}'", a.replace('\'', "'\\''"))).collect();
        let state = self.dir.join("state");
        let line = format!("{} runtime --root {} {}", env!("CARGO_BIN_EXE_prtiql"), state.display(), words.join(" "));
        let o =
            Command::new("script").args(["-qec", &line, "/dev/null"]).current_dir(self.bundle()).stdin(Stdio::null()).output();
        Said::new(o.expect("script(1) is needed"))
    }

    /// Nothing is left: no state, no control group.
    #[track_caller]
    pub fn nothing_left(&self) {
        let state = self.dir.join("state");
        assert!(!state.exists() || state.read_dir().unwrap().next().is_none(), "state is left");
        assert_eq!(groups(&self.name), Vec::<PathBuf>::new(), "control groups are left");
    }
}

/// Directories of the container's control group that exist.
pub fn groups(name: &str) -> Vec<PathBuf> {
    let tops = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|e| e.unwrap().path());
    tops.chain([PathBuf::from("/sys/fs/cgroup")]).map(|d| d.join("prtiql-test").join(name)).filter(|d| d.exists()).collect()
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "-f", &self.name]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits up to five seconds for something to become true.
#[track_caller]
pub fn eventually(mut f: impl FnMut() -> bool) {
    for _ in 0..500 {
        if f() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it did not happen");
}

pub fn exists(path: &str) -> bool {
    Path::new(path).symlink_metadata().is_ok()
}
