//! Messages between the daemon and the parent of a container (or of an exec).
//!
//! The daemon sends one [`Start`] (JSON) to a `prtiql-start`, which answers with one [`Started`] (JSON) and becomes the
//! shim. From then on both sides exchange [`Record`]s: fixed, little endian, readable without a heap. A record's first
//! byte is never `{`, so both may queue up in one socket. A newer daemon must understand an older shim: kinds and offsets
//! below are never reused.

use super::container::{Config, HostConfig, MountPoint, Ulimit};
use crate::base::Kind;
use serde::{Deserialize, Serialize};

/// Version of the records.
pub const VERSION: u8 = 1;
/// Bytes of a record's head; a payload may follow.
pub const HEAD: usize = 24;

/// Hand a client's connection over: `flags` say what it wants, the payload is what it has sent already; one descriptor.
pub const ATTACH: u8 = 1;
/// New terminal size: `a` rows, `b` columns.
pub const RESIZE: u8 = 2;
/// Send signal `a` to init.
pub const SIGNAL: u8 = 3;
/// Ask for a [`RUNNING`] record (a new daemon does).
pub const HELLO: u8 = 4;
/// Close the container's standard input.
pub const CLOSE_STDIN: u8 = 5;
/// From the shim: it runs; `a` is the pid, `time` when it started.
pub const RUNNING: u8 = 16;
/// From the shim: it has ended; `a` is the wait status, `flags` may hold [`OOM`], `time` is when.
pub const EXITED: u8 = 17;

/// ATTACH: the client's bytes go to standard input.
pub const STDIN: u16 = 1;
/// ATTACH: wants standard output.
pub const STDOUT: u16 = 2;
/// ATTACH: wants standard error.
pub const STDERR: u16 = 4;
/// ATTACH: output is framed (no terminal).
pub const FRAMED: u16 = 8;
/// EXITED: the kernel's out-of-memory killer was at work in the cgroup.
pub const OOM: u16 = 1;
/// EXITED: the cgroup could not be removed (there are groups below it, or its processes do not go): somebody else must.
pub const CGROUP_LEFT: u16 = 2;

/// A fixed message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// One of the constants above.
    pub kind: u8,
    /// Bits, by kind.
    pub flags: u16,
    /// By kind.
    pub a: u32,
    /// By kind.
    pub b: u32,
    /// Nanoseconds since 1970, by kind.
    pub time: i64,
}

impl Record {
    /// As bytes: kind, version, flags, a, b, 4 zero bytes, time.
    pub fn encode(&self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        out[0] = self.kind;
        out[1] = VERSION;
        out[2..4].copy_from_slice(&self.flags.to_le_bytes());
        out[4..8].copy_from_slice(&self.a.to_le_bytes());
        out[8..12].copy_from_slice(&self.b.to_le_bytes());
        out[16..24].copy_from_slice(&self.time.to_le_bytes());
        out
    }

    /// From bytes; `None` if too short or JSON. Returns the payload too.
    pub fn decode(bytes: &[u8]) -> Option<(Record, &[u8])> {
        let (head, payload) = bytes.split_first_chunk::<HEAD>()?;
        if head[0] == b'{' {
            return None;
        }
        let four = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let mut time = [0; 8];
        time.copy_from_slice(&head[16..24]);
        let record = Record {
            kind: head[0],
            flags: u16::from_le_bytes([head[2], head[3]]),
            a: u32::from_le_bytes(four(4)),
            b: u32::from_le_bytes(four(8)),
            time: i64::from_le_bytes(time),
        };
        Some((record, payload))
    }
}

/// Everything that starting a container takes; the daemon has resolved names, the starter looks at the host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Container ID.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    /// An exec into the running container instead of its init.
    pub exec: Option<Exec>,
    /// The container's configuration, merged with the image's.
    pub config: Config,
    /// What the host gives.
    pub host: HostConfig,
    /// `<data-root>/containers/<id>`: upper, work, log.
    pub dir: String,
    /// `<exec-root>/containers/<id>`: sockets, pid, generated files.
    pub run_dir: String,
    /// Folders of the image's layers, top first.
    pub lowers: Vec<String>,
    /// Mounts, resolved: volumes have their folder as source.
    pub mounts: Vec<MountPoint>,
    /// Destinations of volumes that take what the image has there.
    pub copy_up: Vec<String>,
    /// Sources of binds that are made if missing.
    pub make_sources: Vec<String>,
    /// Volumes made of a file system (`type`, `device`, `o`), by destination.
    pub volume_mounts: Vec<VolumeMount>,
    /// Which network namespace, and what is in it.
    pub network: Network,
    /// pid of the container whose pid namespace is shared.
    pub pid_of: Option<u32>,
    /// pid of the container whose ipc namespace (and /dev/shm) is shared.
    pub ipc_of: Option<u32>,
    /// Run directory of that container: its /dev/shm is shared.
    pub ipc_run_dir: String,
    /// Where the cgroup goes: parent and name.
    pub cgroup: String,
    /// The log driver: json-file, local or none.
    pub log: Log,
    /// Name servers and their options, where the container's differ from the host's.
    pub dns: Dns,
    /// What `host-gateway` means in `--add-host`.
    pub host_gateway: String,
    /// Limits of the daemon, where the container sets none.
    pub default_ulimits: Vec<Ulimit>,
    /// Our init runs first and reaps.
    pub init: bool,
    /// The daemon's default.
    pub no_new_privileges: bool,
    /// Log more.
    pub debug: bool,
}

/// The resolver's settings; empty parts are the host's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// `ndots:3` and the like.
    pub options: Vec<String>,
}

/// A volume that is a file system of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Where in the container.
    pub destination: String,
    /// File system type; "none" for a bind.
    pub fstype: String,
    /// Device or folder.
    pub device: String,
    /// Options, comma separated.
    pub options: String,
    /// Read-only in this container.
    pub read_only: bool,
}

/// A process in a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// Exec ID.
    pub id: String,
    /// pid of the container's init.
    pub pid: u32,
    /// Arguments.
    pub cmd: Vec<String>,
    /// Additional environment.
    pub env: Vec<String>,
    /// User, group.
    pub user: String,
    /// Working directory; empty is the container's.
    pub cwd: String,
    /// Has a terminal.
    pub tty: bool,
    /// Keeps standard input open.
    pub stdin: bool,
    /// Output has a reader; without one it goes nowhere.
    pub attached: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Rows, columns.
    pub size: [u32; 2],
}

/// The network namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Network {
    /// A namespace of its own with only a loopback.
    #[default]
    None,
    /// The host's.
    Host,
    /// That of another container's init.
    Join {
        /// Its pid.
        pid: u32,
        /// Its run directory: resolv.conf, hosts and hostname are shared.
        run_dir: String,
    },
    /// Attached to a bridge.
    Bridge(BridgePort),
}

/// One end on a bridge.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BridgePort {
    /// The bridge's name.
    pub bridge: String,
    /// The bridge's own address (the gateway), dotted.
    pub gateway: String,
    /// Prefix length.
    pub prefix: u8,
    /// The container's address, dotted.
    pub address: String,
    /// `02:42:…`.
    pub mac: String,
    /// Name of the host's end.
    pub host_ifname: String,
    /// MTU; 0 is the bridge's.
    pub mtu: u32,
    /// Make firewall rules.
    pub firewall: bool,
    /// Switch forwarding on.
    pub forward: bool,
    /// Masquerade what leaves.
    pub masquerade: bool,
}

/// Where output is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Folder; empty keeps nothing.
    pub dir: String,
    /// Bytes per file; 0 is without bound.
    pub max_size: u64,
    /// Files, the current one included.
    pub max_files: u32,
}

/// The starter's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Started {
    /// It runs.
    Running {
        /// pid of init (or of the exec's process), in the host's namespace.
        pid: u32,
        /// Warnings for the daemon's log.
        warnings: Vec<String>,
    },
    /// It does not; nothing is left of it.
    Failed {
        /// What kind.
        kind: Kind,
        /// Docker's words where clients read them.
        message: String,
        /// Exit code that Docker's clients derive: 125, 126, 127.
        code: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_stable_bytes() {
        let r = Record { kind: EXITED, flags: OOM, a: 0x0102_0304, b: 9, time: -2 };
        let bytes = r.encode();
        assert_eq!(bytes[..12], [17, 1, 1, 0, 4, 3, 2, 1, 9, 0, 0, 0]);
        let mut with_payload = bytes.to_vec();
        with_payload.extend(b"tail");
        assert_eq!(Record::decode(&with_payload), Some((r, &b"tail"[..])));
        assert_eq!(Record::decode(&bytes[..23]), None);
        assert_eq!(Record::decode(&[b'{'; HEAD]), None);
    }
}
