//! `update`: other limits for a running container.

use super::Global;
use super::options::Options;
use super::state::State;
use crate::base::{Context, Error, Result, size};
use crate::runtime::spec::{BlockIo, Cpu, Memory, Pids, Resources};
use std::io::Read;

/// The options.
pub const OPTIONS: &[&str] = &[
    "-r --resources",
    "--blkio-weight",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-burst",
    "--cpu-share",
    "--cpu-shares",
    "--cpu-rt-period",
    "--cpu-rt-runtime",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--cpu-idle",
    "--memory",
    "--memory-reservation",
    "--memory-swap",
    "--pids-limit",
];

/// Changes the limits of a container.
pub fn update(global: &Global, o: &Options) -> Result<i32> {
    let s = State::read(global, o.id()?)?;
    if s.status(global)? == "stopped" {
        return Err(Error::conflict("container not running"));
    }
    s.cgroup.update(&wanted(o)?)?;
    Ok(0)
}

fn wanted(o: &Options) -> Result<Resources> {
    if let Some(path) = o.get("--resources") {
        let mut text = String::new();
        if path == "-" {
            std::io::stdin().read_to_string(&mut text).context(|| "read the resources from standard input")?;
        } else {
            text = std::fs::read_to_string(path).context(|| format!("read {path}"))?;
        }
        return serde_json::from_str(&text).map_err(|e| Error::from(e).context("resources"));
    }
    let bytes = |name: &str| -> Result<Option<i64>> {
        match o.get(name) {
            None => Ok(None),
            Some("-1") => Ok(Some(-1)),
            Some(text) => size::parse(text).map(|n| Some(n as i64)),
        }
    };
    let memory = Memory {
        limit: bytes("--memory")?,
        reservation: bytes("--memory-reservation")?,
        swap: bytes("--memory-swap")?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: o.number("--cpu-share")?.or(o.number("--cpu-shares")?),
        quota: o.number("--cpu-quota")?,
        burst: o.number("--cpu-burst")?,
        period: o.number("--cpu-period")?,
        realtime_runtime: o.number("--cpu-rt-runtime")?,
        realtime_period: o.number("--cpu-rt-period")?,
        cpus: o.get("--cpuset-cpus").unwrap_or_default().to_owned(),
        mems: o.get("--cpuset-mems").unwrap_or_default().to_owned(),
        idle: o.number("--cpu-idle")?,
    };
    Ok(Resources {
        memory: Some(memory).filter(|m| *m != Memory::default()),
        cpu: Some(cpu).filter(|c| *c != Cpu::default()),
        pids: o.number("--pids-limit")?.map(|limit| Pids { limit }),
        block_io: o.number("--blkio-weight")?.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}
