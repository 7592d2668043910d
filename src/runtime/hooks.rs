//! Hooks: programs of the host's that run at given moments of a container's life, with its state on standard input.

use super::spec::{Hook, Spec};
use crate::base::{Context, Error, Result};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A container's state, as hooks and `prtiql runtime state` give it.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    /// Version of the specification.
    pub oci_version: &'a str,
    /// The container's name.
    pub id: &'a str,
    /// `creating`, `created`, `running`, `paused`, `stopped`.
    pub status: &'a str,
    /// Its first process; 0 if there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Directory of `config.json`.
    pub bundle: &'a str,
    /// From `config.json`.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

/// The version of the specification that is implemented.
pub const VERSION: &str = "1.2.0";

/// The state of a container of `spec`.
pub fn state<'a>(spec: &Spec, id: &'a str, status: &'a str, pid: i32, bundle: &'a str) -> State<'a> {
    State { oci_version: VERSION, id, status, pid, bundle, annotations: spec.annotations.clone() }
}

/// Runs hooks one after the other; the first that fails ends it.
pub fn run(name: &str, hooks: &[Hook], state: &State<'_>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(state)?;
    for (i, hook) in hooks.iter().enumerate() {
        one(hook, &text).context(|| format!("error running {name} hook #{i}"))?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &[u8]) -> Result<()> {
    use std::os::unix::process::CommandExt;
    if !hook.path.starts_with('/') {
        return Err(Error::invalid(format!("hook path {:?} is not absolute", hook.path)));
    }
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|e| e.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context(|| format!("start {}", hook.path))?;
    if let Some(mut input) = child.stdin.take() {
        // a hook need not read its input: a broken pipe is no failure
        let _ = input.write_all(state);
    }
    let end = hook.timeout.map(|s| Instant::now() + Duration::from_secs(s.into()));
    let status = loop {
        match end {
            None => break child.wait().context(|| hook.path.clone())?,
            Some(end) => {
                if let Some(status) = child.try_wait().context(|| hook.path.clone())? {
                    break status;
                }
                if Instant::now() >= end {
                    let _ = child.kill(); // it may have ended just now
                    let _ = child.wait();
                    return Err(Error::internal(format!("{}: timed out", hook.path)));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(1000).read_to_string(&mut said); // only to make the message better
    }
    Err(Error::internal(format!("{}: {status}: {}", hook.path, said.trim())))
}
