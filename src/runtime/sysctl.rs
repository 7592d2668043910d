//! Kernel parameters of the container's namespaces. They are written through the host's `/proc`, before the container's root is
//! built, so that nothing of an image can redirect the write; the kernel applies them to the writer's namespaces.

use super::spec::Spec;
use crate::base::{Context, Error, Result};

/// The namespace that a parameter belongs to; `None` if it belongs to the whole machine.
fn namespace(key: &str) -> Option<&'static str> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.msg_next_id",
    ];
    if IPC.contains(&key) || key.starts_with("fs.mqueue.") {
        return Some("ipc");
    }
    if key.starts_with("net.") {
        return Some("network");
    }
    matches!(key, "kernel.domainname" | "kernel.hostname").then_some("uts")
}

/// Sets the parameters that the specification asks for.
pub fn apply(spec: &Spec) -> Result<()> {
    for (name, value) in &spec.linux.sysctl {
        let (key, path) = names(name);
        let own = namespace(&key).is_some_and(|kind| spec.namespace(kind).is_some());
        if !own || key.split('.').any(|part| part.is_empty()) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::invalid(format!("sysctl {name:?} is not in a separate kernel namespace")));
        }
        if key == "kernel.hostname" {
            return Err(Error::invalid(format!("sysctl {name:?}: use the hostname field instead")));
        }
        std::fs::write(format!("/proc/sys/{path}"), value).context(|| format!("set sysctl {name} to {value:?}"))?;
    }
    Ok(())
}

/// A parameter with dots and as a path. As sysctl(8) has it, the first separator decides: in `net.ipv4.conf.eth0/1.x` the
/// slash stands for a dot of an interface's name.
fn names(name: &str) -> (String, String) {
    let dotted = match (name.find('.'), name.find('/')) {
        (Some(dot), Some(slash)) => dot < slash,
        (dot, _) => dot.is_some(),
    };
    let swap = |c: char| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let swapped: String = name.chars().map(swap).collect();
    if dotted { (name.to_owned(), swapped) } else { (swapped, name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_both_ways() {
        assert_eq!(names("net.ipv4.ip_forward"), ("net.ipv4.ip_forward".into(), "net/ipv4/ip_forward".into()));
        assert_eq!(names("net/ipv4/ip_forward"), ("net.ipv4.ip_forward".into(), "net/ipv4/ip_forward".into()));
        assert_eq!(names("net.ipv4.conf.eth0/1.x").1, "net/ipv4/conf/eth0.1/x");
    }

    #[test]
    fn only_what_is_namespaced() {
        let mut spec: Spec = serde_json::from_str(r#"{"linux":{"namespaces":[{"type":"network"}]}}"#).unwrap();
        for bad in ["kernel.panic", "vm.swappiness", "net/../kernel/panic", "fs.mqueue.msg_max", "net..x"] {
            spec.linux.sysctl = [(bad.to_owned(), "1".to_owned())].into();
            let text = apply(&spec).unwrap_err().to_string();
            assert!(text.contains("not in a separate kernel namespace"), "{bad}: {text}");
        }
    }
}
