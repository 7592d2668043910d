//! `start`.

use super::{attach, run};
use crate::base::{Error, Result};
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::output;
use crate::cli::pump::Ended;
use crate::cli::terminal::{self, Signals};
use argh::{ArgsInfo, FromArgs};

/// start one or more stopped containers
#[derive(FromArgs, ArgsInfo)]
pub struct Start {
    /// attach STDOUT/STDERR and forward signals
    #[argh(switch, short = 'a')]
    attach: bool,
    /// override the key sequence for detaching a container
    #[argh(option, default = "String::new()")]
    detach_keys: String,
    /// attach container's STDIN
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// Starts containers; one may be attached to.
pub fn start(cx: &Cx, args: Start) -> Result<i32> {
    if args.attach || args.interactive {
        let [name] = args.names.as_slice() else {
            return Err(Error::invalid("you cannot start and attach multiple containers at once"));
        };
        return attached(cx, &args, name);
    }
    let mut failed = Vec::new();
    for name in &args.names {
        match cx.client.post(&format!("/containers/{}/start", escape(name)), &Query::new(), None) {
            Ok(_) => output::line(name)?,
            Err(e) => {
                eprintln!("{e}");
                failed.push(name.as_str());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(0),
        false => Err(Error::internal(format!("Error: failed to start containers: {}", failed.join(", ")))),
    }
}

fn attached(cx: &Cx, args: &Start, name: &str) -> Result<i32> {
    let container = cx.client.get(&format!("/containers/{}/json", escape(name)), &Query::new())?;
    let id = container.get("Id").str();
    let tty = container.path("Config.Tty").is_true();
    let stdin = args.interactive && container.path("Config.OpenStdin").is_true();
    if stdin && tty && !terminal::stdin_is_terminal() {
        return Err(Error::invalid("the input device is not a TTY"));
    }
    let mut signals = Signals::new(true)?;
    let (session, connection) = attach::open(cx, id, tty, stdin, true, &args.detach_keys)?;
    let condition = if container.path("HostConfig.AutoRemove").is_true() { "removed" } else { "next-exit" };
    let waiting =
        cx.client.send("POST", &format!("/containers/{id}/wait"), &Query::new().set("condition", condition), &[], None)?;
    let ended = session.run(connection, &mut signals, &mut || {
        cx.client.post(&format!("/containers/{id}/start"), &Query::new(), None).map(|_| ())
    })?;
    match ended {
        Ended::Detached => Ok(0),
        Ended::Closed => run::exit_status(waiting),
    }
}
