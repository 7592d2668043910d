//! A user's own seccomp profile, in Docker's format: rules with conditions on architecture, kernel and capabilities.

use crate::base::{Error, Result};
use crate::image::Platform;
use crate::runtime::spec::{Seccomp, SeccompArg, SeccompRule};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    flags: Option<Vec<String>>,
    syscalls: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    name: String,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<SeccompArg>>,
    includes: Condition,
    excludes: Condition,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Parses a profile (the JSON text itself: clients send that, not a path). Conditions on capabilities are taken as not met:
/// the profile is read before the container's set is known to it, and stricter is safe.
pub fn read(text: &str) -> Result<Seccomp> {
    let profile: Profile =
        serde_json::from_str(text).map_err(|e| Error::invalid(format!("decoding seccomp profile failed: {e}")))?;
    if profile.default_action.is_empty() {
        return Err(Error::invalid("decoding seccomp profile failed: it has no defaultAction"));
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls {
        if !rule.includes.holds(true) || rule.excludes.holds(false) {
            continue;
        }
        let mut names = rule.names.unwrap_or_default();
        if !rule.name.is_empty() {
            names.push(rule.name);
        }
        syscalls.push(SeccompRule { names, action: rule.action, errno_ret: rule.errno_ret, args: rule.args.unwrap_or_default() });
    }
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        flags: profile.flags.unwrap_or_default(),
        syscalls,
        ..Seccomp::default()
    })
}

impl Condition {
    /// Whether it is met; an empty one is `empty`.
    fn holds(&self, empty: bool) -> bool {
        let arch = self.arches.as_ref().filter(|a| !a.is_empty()).map(|a| a.contains(&Platform::host().architecture));
        let caps = self.caps.as_ref().filter(|c| !c.is_empty()).map(|_| false);
        let kernel = self.min_kernel.as_ref().filter(|k| !k.is_empty()).map(|k| kernel() >= version(k));
        let parts = [arch, caps, kernel];
        match (empty, parts.iter().all(Option::is_none)) {
            (_, true) => empty,
            // An include needs all of its parts, an exclude one.
            (true, false) => parts.iter().flatten().all(|p| *p),
            (false, false) => parts.iter().flatten().any(|p| *p),
        }
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel() -> (u32, u32) {
    version(&rustix::system::uname().release().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_choose_the_rules() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{},"excludes":{}},
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
            {"name":"write","action":"SCMP_ACT_ALLOW","args":null,"includes":{"minKernel":"3.0"}},
            {"names":["open"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"3.0"}}]}"#;
        let names: Vec<String> = read(text).unwrap().syscalls.into_iter().flat_map(|r| r.names).collect();
        assert_eq!(names, ["read", "write"]);
        assert!(read("{}").is_err() && read("/path/to/file").is_err());
    }
}
