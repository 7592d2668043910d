//! `update`.

use crate::base::Result;
use crate::cli::Cx;
use crate::cli::create::{bytes, nano_cpus, restart};
use crate::cli::http::{Query, escape};
use crate::cli::output::{for_each, line};
use crate::wire::container::RestartPolicy;
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

/// update configuration of one or more containers
#[derive(FromArgs, ArgsInfo)]
pub struct Update {
    /// block IO (relative weight), between 10 and 1000, or 0 to disable
    #[argh(option)]
    blkio_weight: Option<u16>,
    /// limit CPU CFS period, in microseconds
    #[argh(option)]
    cpu_period: Option<i64>,
    /// limit CPU CFS quota, in microseconds
    #[argh(option)]
    cpu_quota: Option<i64>,
    /// cpu shares (relative weight)
    #[argh(option, short = 'c')]
    cpu_shares: Option<i64>,
    /// number of CPUs
    #[argh(option, default = "String::new()")]
    cpus: String,
    /// cpus in which to allow execution (0-3, 0,1)
    #[argh(option)]
    cpuset_cpus: Option<String>,
    /// memory nodes in which to allow execution (0-3, 0,1)
    #[argh(option)]
    cpuset_mems: Option<String>,
    /// memory limit
    #[argh(option, short = 'm', default = "String::new()")]
    memory: String,
    /// memory soft limit
    #[argh(option, default = "String::new()")]
    memory_reservation: String,
    /// swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[argh(option, default = "String::new()")]
    memory_swap: String,
    /// tune container pids limit (set -1 for unlimited)
    #[argh(option)]
    pids_limit: Option<i64>,
    /// restart policy to apply when a container exits
    #[argh(option)]
    restart: Option<String>,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// What is not given stays as it is: zero and "" mean that to the API.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    blkio_weight: u16,
    cpu_period: i64,
    cpu_quota: i64,
    cpu_shares: i64,
    nano_cpus: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    memory: i64,
    memory_reservation: i64,
    memory_swap: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids_limit: Option<i64>,
    restart_policy: RestartPolicy,
}

/// Changes limits and restart policy of each.
pub fn update(cx: &Cx, args: Update) -> Result<i32> {
    let body = Body {
        blkio_weight: args.blkio_weight.unwrap_or_default(),
        cpu_period: args.cpu_period.unwrap_or_default(),
        cpu_quota: args.cpu_quota.unwrap_or_default(),
        cpu_shares: args.cpu_shares.unwrap_or_default(),
        nano_cpus: nano_cpus(&args.cpus)?,
        cpuset_cpus: args.cpuset_cpus.unwrap_or_default(),
        cpuset_mems: args.cpuset_mems.unwrap_or_default(),
        memory: bytes(&args.memory)?,
        memory_reservation: bytes(&args.memory_reservation)?,
        memory_swap: if args.memory_swap == "-1" { -1 } else { bytes(&args.memory_swap)? },
        pids_limit: args.pids_limit,
        restart_policy: restart(args.restart.as_deref().unwrap_or_default())?,
    };
    let body = serde_json::to_vec(&body)?;
    for_each(&args.names, |name| {
        let answer = cx.client.post(&format!("/containers/{}/update", escape(name)), &Query::new(), Some(&body))?;
        answer.get("Warnings").items().iter().for_each(|w| eprintln!("{}", w.str()));
        line(name)
    })
}
