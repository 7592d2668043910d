//! `attach`.

use super::run;
use crate::base::{Error, Result};
use crate::cli::http::{Query, Response, escape};
use crate::cli::pump::{DETACHED, Ended, Session, parse_keys};
use crate::cli::terminal::{self, Signals};
use crate::cli::{Cx, auth};
use argh::{ArgsInfo, FromArgs};

/// attach local standard input, output, and error streams to a running container
#[derive(FromArgs, ArgsInfo)]
pub struct Attach {
    /// override the key sequence for detaching a container
    #[argh(option, default = "String::new()")]
    detach_keys: String,
    /// do not attach STDIN
    #[argh(switch)]
    no_stdin: bool,
    /// proxy all received signals to the process
    #[argh(option, arg_name = "bool", default = "true")]
    sig_proxy: bool,
    /// container
    #[argh(positional)]
    name: String,
}

/// Opens the stream of a container.
pub fn open<'a>(cx: &'a Cx, id: &str, tty: bool, stdin: bool, proxy: bool, keys: &str) -> Result<(Session<'a>, Response)> {
    let config = auth::ConfigFile::load(&cx.config)?;
    let keys = if keys.is_empty() { config.setting("detachKeys") } else { keys };
    let keys = if keys.is_empty() { "ctrl-p,ctrl-q" } else { keys };
    let detach_keys = parse_keys(keys)?;
    let query =
        Query::new().set("stream", "1").flag("stdin", stdin).set("stdout", "1").set("stderr", "1").set("detachKeys", keys);
    let connection = cx.client.upgrade(&format!("/containers/{id}/attach"), &query, b"")?;
    Ok((Session { client: &cx.client, path: format!("/containers/{id}"), tty, stdin, proxy, detach_keys }, connection))
}

/// Attaches to a running container until it ends.
pub fn attach(cx: &Cx, args: Attach) -> Result<i32> {
    let container = cx.client.get(&format!("/containers/{}/json", escape(&args.name)), &Query::new())?;
    let state = container.get("State");
    for (field, why) in [
        ("Paused", "You cannot attach to a paused container, unpause it first"),
        ("Restarting", "You cannot attach to a restarting container, wait until it is running"),
    ] {
        if state.get(field).is_true() {
            return Err(Error::conflict(why));
        }
    }
    if !state.get("Running").is_true() {
        return Err(Error::conflict("You cannot attach to a stopped container, start it first"));
    }
    let id = container.get("Id").str();
    let tty = container.path("Config.Tty").is_true();
    let stdin = !args.no_stdin && container.path("Config.OpenStdin").is_true();
    if stdin && tty && !terminal::stdin_is_terminal() {
        return Err(Error::invalid("the input device is not a TTY"));
    }
    let mut signals = Signals::new(args.sig_proxy)?;
    let waiting = cx.client.send("POST", &format!("/containers/{id}/wait"), &Query::new(), &[], None)?;
    let (session, connection) = open(cx, id, tty, stdin, args.sig_proxy, &args.detach_keys)?;
    match session.run(connection, &mut signals, &mut || Ok(()))? {
        Ended::Detached => Err(Error::internal(DETACHED)),
        Ended::Closed => run::exit_status(waiting),
    }
}
