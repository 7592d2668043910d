//! The OCI runtime specification's `config.json` (1.2), as far as it is used here, and the extensions of our own that the
//! engine fills in when it calls the runtime in its own process.
//!
//! Fields that are left out of a file get their default; unknown fields are ignored, as the specification demands.

pub use super::resources::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `config.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Version of the specification: `1.x.y`.
    pub oci_version: String,
    /// The container's process.
    pub process: Process,
    /// The root file system.
    pub root: Root,
    /// Host name; needs a new UTS namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS domain name; needs a new UTS namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Mounts, in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Programs to run at given moments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    pub linux: Linux,
    /// The engine's own extensions; never read from or written to a file.
    #[serde(skip)]
    pub ext: Ext,
}

/// What the engine asks for beyond the specification.
#[derive(Clone, Debug, Default)]
pub struct Ext {
    /// The root is an overlay, mounted in the container's own mount namespace only; `root.path` is then not used.
    pub overlay: Option<Overlay>,
    /// The user as in `docker run -u`: `name`, `uid`, `name:group`, `uid:gid`; resolved in the container's own
    /// /etc/passwd and /etc/group. Replaces `process.user`'s ids; for others than uid 0 the effective and permitted
    /// capabilities are dropped as moby does. HOME is set if the environment lacks it.
    pub user_name: Option<String>,
    /// Additional groups, by name or number, resolved in the container.
    pub group_add: Vec<String>,
    /// Use Docker's default seccomp profile, resolved against the bounding capabilities. `linux.seccomp` must be `None`.
    pub default_seccomp: bool,
    /// Make the working directory if it is not there.
    pub make_cwd: bool,
    /// Stay in the caller's session keyring instead of a new one.
    pub keep_keyring: bool,
}

/// Layers of an overlay.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Read-only directories, topmost first; at least one, at most 500 (125 on kernels before 6.7 if the paths are long).
    pub lowers: Vec<String>,
    /// The writable directory. Empty, together with `work`, makes the overlay read-only (needs two or more lowers).
    pub upper: String,
    /// Overlayfs' scratch directory, on the same file system as `upper`.
    pub work: String,
}

/// A process: the container's, or one that is executed in it later.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Attach a terminal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// The terminal's size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who runs it.
    pub user: User,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// Capability sets; none means no capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Set-uid programs and file capabilities give nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
    /// The out-of-memory killer's score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// AppArmor profile: not applied, a warning says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub apparmor_profile: String,
    /// SELinux label: not applied, a warning says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selinux_label: String,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Numeric identity of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// File mode mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// Names of capabilities (`CAP_CHOWN`) by set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// What may ever be had.
    pub bounding: Vec<String>,
    /// What is in force.
    pub effective: Vec<String>,
    /// What an exec keeps, together with the file's.
    pub inheritable: Vec<String>,
    /// What may be made effective.
    pub permitted: Vec<String>,
    /// What an exec keeps for users other than root.
    pub ambient: Vec<String>,
}

/// One resource limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Ceiling.
    pub hard: u64,
    /// In force.
    pub soft: u64,
}

/// The root file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: String,
    /// Mount it read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Where, in the container.
    pub destination: String,
    /// File system type; empty or `bind` for a bind mount.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Device, name or path on the host (relative to the bundle).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// As in fstab.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// If the source directory is empty, first copy into it what the root has at the destination (named volumes).
    #[serde(skip)]
    pub copy_up: bool,
}

/// Programs to run, by moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// After the namespaces are made; on the host (deprecated).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// After the namespaces are made, before the root is changed; on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// The same moment; in the container's namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// At start, before the process; in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// After the process has started; on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// After the container is deleted; on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// One program to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// Arguments, the name first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds until it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// What only Linux has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// Namespaces to make or to join.
    pub namespaces: Vec<Namespace>,
    /// User ids inside and outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids inside and outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Device nodes to make, beside the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Path of the control group; absolute from the hierarchy's root, relative from our own group's parent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroups_path: String,
    /// Kernel parameters of the new namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Filter of system calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// `private`, `slave`, `shared`, `unbindable`, or with an `r` in front.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rootfs_propagation: String,
    /// Paths that the container sees as empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
    /// Paths that the container cannot write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<String>,
    /// Execution domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Offsets of clocks in a new time namespace: `monotonic`, `boottime`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
    /// SELinux label of mounts: not applied, a warning says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
}

/// One namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup`, `time`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Join this one instead of making one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A device node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// Path in the container.
    pub path: String,
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits; 0666 if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// Execution domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
}

/// Offset of a clock.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

/// Filter of system calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// `SCMP_ACT_ERRNO`, …
    pub default_action: String,
    /// Error number of the default action; EPERM if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_X86_64`, …: only the native one matters here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Socket that gets the notifying descriptor: not supported.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    /// Rules.
    pub syscalls: Vec<SeccompRule>,
}

/// One rule of a filter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompRule {
    /// System calls.
    pub names: Vec<String>,
    /// `SCMP_ACT_ALLOW`, …
    pub action: String,
    /// Error number of `SCMP_ACT_ERRNO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SeccompArg>,
}

/// One condition of a rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompArg {
    /// Which argument, 0-5.
    pub index: u32,
    /// What to compare with (for `SCMP_CMP_MASKED_EQ`: the mask).
    pub value: u64,
    /// For `SCMP_CMP_MASKED_EQ`: the masked value.
    pub value_two: u64,
    /// `SCMP_CMP_EQ`, …
    pub op: String,
}

impl Spec {
    /// The namespace of that kind, if the container has one of its own or joins one.
    pub fn namespace(&self, kind: &str) -> Option<&Namespace> {
        self.linux.namespaces.iter().find(|n| n.kind == kind)
    }

    /// A new namespace of that kind is made.
    pub fn makes(&self, kind: &str) -> bool {
        self.namespace(kind).is_some_and(|n| n.path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_runc_writes_it() {
        let text = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":1,"gid":2,"additionalGids":[3]},
            "args":["sh"],"cwd":"/","rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":512}]},"root":{"path":"rootfs","readonly":true},
            "linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"disableOOMKiller":true},
            "blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":5}]}},
            "uidMappings":[{"containerID":0,"hostID":1000,"size":1}],"namespaces":[{"type":"pid"},{"type":"network","path":"/x"}]},"vm":{}}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert!(spec.process.terminal && spec.root.readonly);
        assert_eq!(spec.process.user.additional_gids, [3]);
        assert!(spec.makes("pid") && !spec.makes("network") && spec.namespace("network").is_some());
        assert_eq!(spec.linux.uid_mappings[0].host_id, 1000);
        let resources = spec.linux.resources.clone().unwrap();
        assert_eq!(resources.memory.unwrap().disable_oom_killer, Some(true));
        assert_eq!(resources.block_io.unwrap().throttle_read_iops_device[0].rate, 5);
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again.linux.resources, spec.linux.resources);
    }
}
