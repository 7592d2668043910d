//! Debian's docker-registry, on a port of its own.

use super::Temp;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Debian {
    child: Child,
    pub port: u16,
    _data: Temp,
}

impl Debian {
    /// None where it is not installed.
    pub fn start() -> Option<Debian> {
        let data = Temp::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/registry");
        Command::new("docker-registry").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        let mut command = Command::new(script);
        command.arg(&data.0).arg(port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Debian { child: command.spawn().unwrap(), port, _data: data };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not start");
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
