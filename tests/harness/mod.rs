//! What tests of jobs share: a worker run as the daemon runs it, images made by hand, and a registry that misbehaves.
#![allow(dead_code)] // each test file uses its part

pub mod debian;
pub mod image;
pub mod program;
pub mod registry;
pub mod taker;
pub mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that goes away with the value.
pub struct Temp(pub PathBuf);

impl Temp {
    pub fn new() -> Temp {
        let path = std::env::temp_dir().join(format!("prtiql-test-{}", &prtiql::base::id::random()[..12]));
        std::fs::create_dir_all(&path).unwrap();
        Temp(path)
    }

    /// In memory where it takes every attribute: each layer syncs its file system, which on a busy disk is slow.
    pub fn in_memory() -> Temp {
        let memory = Path::new("/dev/shm").join(format!("prtiql-test-{}", &prtiql::base::id::random()[..12]));
        let takes = |key| rustix::fs::setxattr(&memory, key, b"y", rustix::fs::XattrFlags::empty()).is_ok();
        if std::fs::create_dir(&memory).is_ok() && takes("user.x") && takes("trusted.x") {
            let _ = rustix::fs::removexattr(&memory, "user.x");
            let _ = rustix::fs::removexattr(&memory, "trusted.x");
            return Temp(memory);
        }
        let _ = std::fs::remove_dir(&memory);
        Temp::new()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// An empty data root, and a registry.
pub fn set_up() -> (Temp, worker::Engine, registry::Registry) {
    let temp = Temp::new();
    let engine = worker::Engine::new(&temp.0);
    (temp, engine, registry::Registry::start())
}

/// Runs a script of bash in a folder; gives what it prints.
pub fn sh(script: &str, dir: &Path) -> String {
    let out = Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-q").arg(&self.0).stderr(std::process::Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
