//! Floor 7: the command line. [`table`] names every verb; each verb is a file in `verbs/` that talks to the daemon's socket.

mod auth;
mod client;
mod create;
mod delta;
mod filters;
mod help;
mod http;
mod normal;
mod output;
mod pages;
mod progress;
mod pump;
mod runtime;
mod tabs;
mod table;
mod template;
mod terminal;
mod value;
mod verbs;

use crate::base::{Error, Result};
use client::Client;
use http::Endpoint;
use std::path::PathBuf;
use table::Refused;

/// What every verb works with.
pub struct Cx {
    client: Client,
    /// How the program was called: `prtiql`, or the name of the engine that it stands in for.
    program: String,
    /// The folder of config.json.
    config: PathBuf,
}

/// Runs the command line and returns the exit status.
pub fn main(args: Vec<String>) -> i32 {
    let called = args.first().map_or("", |a| a.rsplit('/').next().unwrap_or_default()).to_string();
    let rest = args.get(1..).unwrap_or_default();
    if matches!(called.as_str(), "dockerd" | "balenad" | "balena-engine-daemon") {
        return daemon(rest.to_vec());
    }
    match rest.first().map(String::as_str) {
        Some("daemon") => return daemon(rest[1..].to_vec()),
        Some("runtime") => return runtime::main(rest[1..].to_vec()),
        _ => {}
    }
    let program = match called.as_str() {
        "docker" | "balena" | "balena-engine" => called,
        _ => "prtiql".into(),
    };
    command(program, rest)
}

/// The engine itself: no part of the command line, only started by it.
fn daemon(args: Vec<String>) -> i32 {
    if args.iter().any(|a| a == "--help" || a == "-h") {
        return paged(&crate::config::help());
    }
    crate::api::daemon_main(args)
}

/// Flags before the verb.
#[derive(Default)]
struct Globals {
    host: String,
    config: String,
    version: bool,
    help: bool,
}

/// Parses the flags before the verb; returns them and how many arguments they are.
fn globals(args: &[String]) -> Result<(Globals, usize)> {
    let mut globals = Globals::default();
    let mut at = 0;
    while let Some(arg) = args.get(at).filter(|a| a.starts_with('-') && a.len() > 1) {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if arg.starts_with("--") => (name, Some(value.to_string())),
            _ if arg.starts_with("-H") && arg.len() > 2 => ("-H", Some(arg[2..].trim_start_matches('=').to_string())),
            _ => (arg.as_str(), None),
        };
        let mut value = || match inline.clone() {
            Some(value) => Ok(value),
            None => {
                at += 1;
                args.get(at).cloned().ok_or_else(|| Error::invalid(format!("flag needs an argument: {name}")))
            }
        };
        match name {
            "-H" | "--host" => globals.host = value()?,
            "--config" => globals.config = value()?,
            "-c" | "--context" | "-l" | "--log-level" => _ = value()?,
            "-D" | "--debug" => {}
            "-v" | "--version" => globals.version = true,
            "-h" | "--help" => globals.help = true,
            "--tls" | "--tlsverify" | "--tlscacert" | "--tlscert" | "--tlskey" => {
                return Err(Error::unsupported(format!(
                    "{name}: TLS is not part of this command line: use the socket, or ssh to the device"
                )));
            }
            _ => return Err(Error::invalid(format!("unknown flag: {name}"))),
        }
        at += 1;
    }
    Ok((globals, at))
}

fn endpoint(flag: &str) -> Result<Endpoint> {
    let from = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let text = match flag {
        "" => from("PRTIQL_HOST").or_else(|| from("DOCKER_HOST")).unwrap_or_else(|| "unix:///run/prtiql.sock".into()),
        flag => flag.into(),
    };
    Endpoint::parse(&text)
}

fn command(program: String, args: &[String]) -> i32 {
    let (globals, used) = match globals(args) {
        Ok(found) => found,
        Err(e) => return refuse(&format!("{e}\nSee '{program} --help'."), 125),
    };
    let words = &args[used..];
    if globals.version {
        return print(&format!("{program} version {}, build {}\n", env!("CARGO_PKG_VERSION"), verbs::version::COMMIT));
    }
    let first = words.first().map_or("", String::as_str);
    if words.is_empty() || globals.help || first == "help" {
        return asked_for_help(&program, words.get(usize::from(first == "help")..).unwrap_or_default());
    }
    match first {
        "completion" if words.get(1).is_none_or(|shell| shell == "bash") => return print(&help::bash(&program)),
        "man" => return print(&help::man(&program)),
        _ => {}
    }
    let Some((verb, length)) = table::find(words) else { return unknown(&program, words) };
    let name = words[..length].join(" ");
    let args = match verb.arguments(&words[length..]) {
        Ok(args) => args,
        Err(Refused::Help) => return paged(&help::verb(&program, &name, verb)),
        Err(Refused::Flag(e)) => return refuse(&format!("{e}\nSee '{program} {name} --help'."), 125),
        Err(Refused::Words(why)) => {
            let usage = help::usage(&program, &name, verb);
            let about = help::about(verb);
            return refuse(&format!("\"{program} {name}\" {why}\nSee '{program} {name} --help'.\n\n{usage}\n\n{about}"), 1);
        }
    };
    let endpoint = match endpoint(&globals.host) {
        Ok(endpoint) => endpoint,
        Err(e) => return refuse(&e.to_string(), 1),
    };
    let cx = Cx { client: Client::new(endpoint), program, config: auth::folder(&globals.config) };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match (verb.run)(&cx, &args) {
        Ok(status) => status,
        Err(e) => refuse(&e.to_string(), 1),
    }
}

fn asked_for_help(program: &str, words: &[String]) -> i32 {
    match (table::find(words), words.first()) {
        (Some((verb, length)), _) => paged(&help::verb(program, &words[..length].join(" "), verb)),
        (None, None) if terminal::plain_width().is_some() => paged(&help::short(program)),
        (None, None) => paged(&help::overview(program, None)),
        (None, Some(_)) => unknown(program, words),
    }
}

/// A group alone, a verb of Docker's that is not here, or nonsense.
fn unknown(program: &str, words: &[String]) -> i32 {
    let first = words[0].as_str();
    let two = words.get(1).map(|second| format!("{first} {second}")).unwrap_or_default();
    if let Some((name, why)) = table::ABSENT.iter().find(|(name, _)| *name == two || *name == first) {
        return refuse(&format!("{program} {name}: {why}"), 1);
    }
    if table::GROUPS.iter().any(|(group, _)| *group == first) {
        return match words.get(1).map(String::as_str) {
            None | Some("--help" | "-h") => paged(&help::overview(program, Some(first))),
            Some(other) => {
                refuse(&format!("{program}: '{other}' is not a {program} {first} command.\nSee '{program} {first} --help'"), 1)
            }
        };
    }
    refuse(&format!("{program}: '{first}' is not a {program} command.\nSee '{program} --help'"), 1)
}

fn print(text: &str) -> i32 {
    status(output::say(text))
}

/// For what people read.
fn paged(text: &str) -> i32 {
    status(pages::show(text))
}

fn status(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(e) => refuse(&e.to_string(), 1),
    }
}

fn refuse(text: &str, status: i32) -> i32 {
    if !text.is_empty() {
        eprintln!("{text}");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_the_verb() {
        let parse = |text: &str| globals(&text.split(' ').map(String::from).collect::<Vec<_>>()).map(|(g, n)| (g.host, n));
        assert_eq!(parse("-H unix:///x ps -a").unwrap(), ("unix:///x".into(), 2));
        assert_eq!(parse("-Hunix:///x --config=/c ps").unwrap(), ("unix:///x".into(), 2));
        assert_eq!(parse("-D --host=tcp://h ps").unwrap(), ("tcp://h".into(), 2));
        assert!(parse("--nope ps").is_err() && parse("-H").is_err() && parse("--tlsverify ps").is_err());
    }
}
