//! Capabilities: names and bits, and giving a process exactly the sets that it is to have.

use super::spec::Capabilities;
use crate::base::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// All names, by bit.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Docker's default set: 14 capabilities, 0xa80425fb.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Sets of capabilities as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// What may ever be had.
    pub bounding: u64,
    /// What is in force.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What an exec keeps, together with the file's.
    pub inheritable: u64,
    /// What an exec keeps for users other than root.
    pub ambient: u64,
}

/// The bit of a name, with or without `CAP_`, in any case.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| n.strip_prefix("CAP_") == Some(bare)).map(|i| 1 << i)
}

fn mask(names: &[String]) -> u64 {
    let mut all = 0;
    for name in names {
        match bit(name) {
            Some(bit) => all |= bit,
            None => crate::runtime::note::add(format!("capability {name} is not known and is left out")),
        }
    }
    all
}

impl Sets {
    /// From names; unknown ones are left out with a warning, as runc does.
    pub fn new(caps: &Capabilities) -> Sets {
        Sets {
            bounding: mask(&caps.bounding),
            effective: mask(&caps.effective),
            permitted: mask(&caps.permitted),
            inheritable: mask(&caps.inheritable),
            ambient: mask(&caps.ambient),
        }
    }
}

/// What this process has now: its permitted set.
pub fn permitted() -> Result<u64> {
    Ok(rustix::thread::capabilities(None).context(|| "read capabilities")?.permitted.bits())
}

/// Drops everything from the bounding set that is not in `keep`. Needs CAP_SETPCAP.
pub fn bound(keep: u64) -> Result<()> {
    for i in 0..64 {
        if keep & (1 << i) != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << i)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // beyond the last one that this kernel knows
            Err(e) => return Err(e).context(|| "drop a capability from the bounding set"),
        }
    }
    Ok(())
}

/// Makes everything permitted effective: changing the user id has cleared it.
pub fn raise() -> Result<()> {
    let mut now = rustix::thread::capabilities(None).context(|| "read capabilities")?;
    now.effective = now.permitted;
    rustix::thread::set_capabilities(None, now).context(|| "raise capabilities")
}

/// Gives this process its final sets. What it does not have cannot be given: `have` bounds them all.
pub fn apply(sets: &Sets, have: u64) -> Result<()> {
    let only = |bits: u64| CapabilitySet::from_bits_retain(bits & have);
    let new = CapabilitySets {
        effective: only(sets.effective & sets.permitted),
        permitted: only(sets.permitted),
        inheritable: only(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, new).context(|| "set capabilities")?;
    if sets.ambient != 0 {
        let ambient = sets.ambient & sets.permitted & sets.inheritable & have;
        for i in (0..64).filter(|i| ambient & (1 << i) != 0) {
            rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << i), true)
                .context(|| "set ambient capabilities")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_the_default_set() {
        let default: u64 = DEFAULT.iter().filter_map(|n| bit(n)).sum();
        assert_eq!(default, 0xa804_25fb);
        assert_eq!(bit("net_admin"), Some(1 << 12));
        assert_eq!(bit("CAP_NOSUCH"), None);
    }
}
