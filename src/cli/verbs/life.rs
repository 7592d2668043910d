//! Verbs that change a container's state by one request each: wait, stop, restart, kill, pause, unpause, rename, rm.

use crate::base::{Error, Result};
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::output::{for_each, line};
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// block until one or more containers stop, then print their exit codes
#[derive(FromArgs, ArgsInfo)]
pub struct Wait {
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// stop one or more running containers
#[derive(FromArgs, ArgsInfo)]
pub struct Stop {
    /// signal to send to the container
    #[argh(option, short = 's', default = "String::new()")]
    signal: String,
    /// seconds to wait before killing the container
    #[argh(option, short = 't')]
    time: Option<i64>,
    /// seconds to wait before killing the container
    #[argh(option)]
    timeout: Option<i64>,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// restart one or more containers
#[derive(FromArgs, ArgsInfo)]
pub struct Restart {
    /// signal to send to the container
    #[argh(option, short = 's', default = "String::new()")]
    signal: String,
    /// seconds to wait before killing the container
    #[argh(option, short = 't')]
    time: Option<i64>,
    /// seconds to wait before killing the container
    #[argh(option)]
    timeout: Option<i64>,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// kill one or more running containers
#[derive(FromArgs, ArgsInfo)]
pub struct Kill {
    /// signal to send to the container
    #[argh(option, short = 's', default = "String::from(\"KILL\")")]
    signal: String,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// pause all processes within one or more containers
#[derive(FromArgs, ArgsInfo)]
pub struct Pause {
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// unpause all processes within one or more containers
#[derive(FromArgs, ArgsInfo)]
pub struct Unpause {
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// rename a container
#[derive(FromArgs, ArgsInfo)]
pub struct Rename {
    /// container
    #[argh(positional)]
    name: String,
    /// new name
    #[argh(positional)]
    new_name: String,
}

/// remove one or more containers
#[derive(FromArgs, ArgsInfo)]
pub struct Remove {
    /// force the removal of a running container (uses SIGKILL)
    #[argh(switch, short = 'f')]
    force: bool,
    /// remove the specified link
    #[argh(switch, short = 'l')]
    link: bool,
    /// remove anonymous volumes associated with the container
    #[argh(switch, short = 'v')]
    volumes: bool,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

fn post(cx: &Cx, name: &str, verb: &str, query: &Query) -> Result<Json> {
    cx.client.post(&format!("/containers/{}/{verb}", escape(name)), query, None)
}

/// Waits for each, prints the exit codes.
pub fn wait(cx: &Cx, args: Wait) -> Result<i32> {
    for_each(&args.names, |name| {
        let answer = post(cx, name, "wait", &Query::new())?;
        line(&answer.get("StatusCode").int().to_string())
    })
}

fn timed(signal: &str, time: Option<i64>) -> Query {
    let query = Query::new().maybe("signal", signal);
    match time {
        Some(seconds) => query.set("t", &seconds.to_string()),
        None => query,
    }
}

/// Stops each.
pub fn stop(cx: &Cx, args: Stop) -> Result<i32> {
    let query = timed(&args.signal, args.time.or(args.timeout));
    for_each(&args.names, |name| post(cx, name, "stop", &query).and_then(|_| line(name)))
}

/// Restarts each.
pub fn restart(cx: &Cx, args: Restart) -> Result<i32> {
    let query = timed(&args.signal, args.time.or(args.timeout));
    for_each(&args.names, |name| post(cx, name, "restart", &query).and_then(|_| line(name)))
}

/// Signals each.
pub fn kill(cx: &Cx, args: Kill) -> Result<i32> {
    let query = Query::new().maybe("signal", &args.signal);
    for_each(&args.names, |name| post(cx, name, "kill", &query).and_then(|_| line(name)))
}

/// Freezes each.
pub fn pause(cx: &Cx, args: Pause) -> Result<i32> {
    for_each(&args.names, |name| post(cx, name, "pause", &Query::new()).and_then(|_| line(name)))
}

/// Thaws each.
pub fn unpause(cx: &Cx, args: Unpause) -> Result<i32> {
    for_each(&args.names, |name| post(cx, name, "unpause", &Query::new()).and_then(|_| line(name)))
}

/// Gives a new name.
pub fn rename(cx: &Cx, args: Rename) -> Result<i32> {
    if args.new_name.trim().is_empty() {
        return Err(Error::invalid("Error: Neither old nor new names may be empty"));
    }
    post(cx, &args.name, "rename", &Query::new().set("name", &args.new_name)).map(|_| 0)
}

/// Removes each.
pub fn remove(cx: &Cx, args: Remove) -> Result<i32> {
    let query = Query::new().flag("v", args.volumes).flag("link", args.link).flag("force", args.force);
    for_each(&args.names, |name| {
        let name = name.trim_matches('/');
        match cx.client.delete(&format!("/containers/{}", escape(name)), &query) {
            // --force is about the outcome
            Err(e) if args.force && e.kind() == crate::base::Kind::NotFound => {
                eprintln!("{e}");
                Ok(())
            }
            other => other.and_then(|_| line(name)),
        }
    })
}
