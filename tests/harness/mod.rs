//! What tests of jobs share: a worker run as the daemon runs it, images made by hand, and a registry that misbehaves.
#![allow(dead_code)] // each test file uses its part

pub mod image;
pub mod registry;
pub mod worker;

use std::path::PathBuf;

/// A folder that goes away with the value.
pub struct Temp(pub PathBuf);

impl Temp {
    pub fn new() -> Temp {
        let path = std::env::temp_dir().join(format!("prtiql-test-{}", &prtiql::base::id::random()[..12]));
        std::fs::create_dir_all(&path).unwrap();
        Temp(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-q").arg(&self.0).stderr(std::process::Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
