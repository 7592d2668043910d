//! `top` and `port`.

use crate::base::{Error, Result};
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::output::say;
use crate::cli::tabs;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// display the running processes of a container
#[derive(FromArgs, ArgsInfo)]
pub struct Top {
    /// container
    #[argh(positional)]
    name: String,
    /// options of ps
    #[argh(positional, greedy)]
    options: Vec<String>,
}

/// list port mappings or a specific mapping for the container
#[derive(FromArgs, ArgsInfo)]
pub struct Port {
    /// container
    #[argh(positional)]
    name: String,
    /// port
    #[argh(positional)]
    port: Option<String>,
}

/// Prints the table of processes.
pub fn top(cx: &Cx, args: Top) -> Result<i32> {
    let query = Query::new().maybe("ps_args", &args.options.join(" "));
    let answer = cx.client.get(&format!("/containers/{}/top", escape(&args.name)), &query)?;
    let row = |cells: &[Json]| cells.iter().map(Json::str).collect::<Vec<_>>().join("\t") + "\n";
    let mut text = row(answer.get("Titles").items());
    answer.get("Processes").items().iter().for_each(|process| text.push_str(&row(process.items())));
    // Docker's `top` lets columns be as narrow as they are
    say(&tabs::show(&text)).map(|()| 0)
}

/// Prints where ports are published.
pub fn port(cx: &Cx, args: Port) -> Result<i32> {
    let container = cx.client.get(&format!("/containers/{}/json", escape(&args.name)), &Query::new())?;
    let ports = container.path("NetworkSettings").get("Ports");
    let at = |binding: &Json| match binding.get("HostIp").str() {
        ip if ip.contains(':') => format!("[{ip}]:{}", binding.get("HostPort").str()),
        ip => format!("{ip}:{}", binding.get("HostPort").str()),
    };
    let mut out = String::new();
    match &args.port {
        Some(port) => {
            let key = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
            let bindings = ports.get(&key).items();
            if bindings.is_empty() {
                return Err(Error::not_found(format!("Error: No public port '{key}' published for {}", args.name)));
            }
            bindings.iter().for_each(|binding| out.push_str(&(at(binding) + "\n")));
        }
        None => {
            let mut lines: Vec<((u32, &str), String)> = Vec::new();
            for (key, bindings) in ports.fields() {
                let (number, protocol) = key.split_once('/').unwrap_or((key, ""));
                for binding in bindings.items() {
                    lines.push(((number.parse().unwrap_or(0), protocol), format!("{key} -> {}\n", at(binding))));
                }
            }
            lines.sort_by(|a, b| a.0.cmp(&b.0)); // stable: bindings of one port keep their order
            lines.iter().for_each(|(_, line)| out.push_str(line));
        }
    }
    say(&out).map(|()| 0)
}
