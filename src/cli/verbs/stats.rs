//! `stats`.

use crate::base::{Result, id, size};
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::output::{Layout, say};
use crate::cli::terminal;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// display a live stream of container(s) resource usage statistics
#[derive(FromArgs, ArgsInfo)]
pub struct Stats {
    /// show all containers (default shows just running)
    #[argh(switch, short = 'a')]
    all: bool,
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// disable streaming stats and only pull the first result
    #[argh(switch)]
    no_stream: bool,
    /// do not truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
};

/// Prints the figures, again and again unless told otherwise.
pub fn stats(cx: &Cx, args: Stats) -> Result<i32> {
    loop {
        let names = if args.names.is_empty() { running(cx, args.all)? } else { args.names.clone() };
        let mut rows = Vec::new();
        for name in &names {
            // one-shot 0: the daemon takes two samples, so that a CPU share can be told
            let query = Query::new().set("stream", "0");
            let sample = cx.client.get(&format!("/containers/{}/stats", escape(name)), &query)?;
            rows.push(row(name, &sample, args.no_trunc));
        }
        let text = LAYOUT.render(&args.format, false, &rows)?;
        if args.no_stream {
            return say(&text).map(|()| 0);
        }
        // a plain terminal gets one table below the other
        say(&if terminal::is_plain() { text } else { format!("\x1b[2J\x1b[H{text}") })?;
        if names.is_empty() {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }
}

fn running(cx: &Cx, all: bool) -> Result<Vec<String>> {
    let list = cx.client.get("/containers/json", &Query::new().flag("all", all))?;
    Ok(list.items().iter().map(|c| c.get("Id").str().to_string()).collect())
}

fn row(name: &str, s: &Json, no_trunc: bool) -> Json {
    let human = |n: i64| size::human_digits(n.max(0) as u64, 3);
    let binary = |n: i64| size::human_binary(n.max(0) as u64);
    let memory = s.get("memory_stats");
    let details = memory.get("stats");
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|k| details.find(k)).map_or(0, Json::int);
    let used = memory.get("usage").int() - cache.min(memory.get("usage").int());
    let limit = memory.get("limit").int();
    let share = if limit > 0 { used as f64 / limit as f64 * 100.0 } else { 0.0 };
    let (mut received, mut sent) = (0, 0);
    for (_, network) in s.get("networks").fields() {
        received += network.get("rx_bytes").int();
        sent += network.get("tx_bytes").int();
    }
    let (mut read, mut written) = (0, 0);
    for entry in s.path("blkio_stats.io_service_bytes_recursive").items() {
        match entry.get("op").str().to_ascii_lowercase().as_str() {
            "read" => read += entry.get("value").int(),
            "write" => written += entry.get("value").int(),
            _ => {}
        }
    }
    let full = s.get("id").str();
    let fields = [
        ("BlockIO", format!("{} / {}", human(read), human(written))),
        ("CPUPerc", format!("{:.2}%", cpu(s))),
        ("Container", name.to_string()),
        ("ID", if no_trunc { full.into() } else { id::short(full).into() }),
        ("MemPerc", format!("{share:.2}%")),
        ("MemUsage", format!("{} / {}", binary(used), binary(limit))),
        ("Name", s.get("name").str().trim_start_matches('/').into()),
        ("NetIO", format!("{} / {}", human(received), human(sent))),
        ("PIDs", s.path("pids_stats.current").int().to_string()),
    ];
    Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
}

/// Share of one CPU in percent, from two samples.
fn cpu(s: &Json) -> f64 {
    let delta = |path: &str| s.path(&format!("cpu_stats.{path}")).int() - s.path(&format!("precpu_stats.{path}")).int();
    let (own, whole) = (delta("cpu_usage.total_usage"), delta("system_cpu_usage"));
    let cpus = match s.path("cpu_stats.online_cpus").int() {
        0 => s.path("cpu_stats.cpu_usage.percpu_usage").items().len() as i64,
        n => n,
    };
    if own > 0 && whole > 0 { own as f64 / whole as f64 * cpus as f64 * 100.0 } else { 0.0 }
}
