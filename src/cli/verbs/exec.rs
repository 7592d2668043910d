//! `exec`.

use super::run;
use crate::base::{Error, Result};
use crate::cli::create::pairs;
use crate::cli::http::{Query, escape};
use crate::cli::pump::{DETACHED, Ended, Session, parse_keys};
use crate::cli::terminal::{self, Signals};
use crate::cli::{Cx, auth};
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

/// execute a command in a running container
#[derive(FromArgs, ArgsInfo)]
pub struct Exec {
    /// detached mode: run command in the background
    #[argh(switch, short = 'd')]
    detach: bool,
    /// override the key sequence for detaching a container
    #[argh(option, default = "String::new()")]
    detach_keys: String,
    /// set environment variables
    #[argh(option, short = 'e')]
    env: Vec<String>,
    /// read in a file of environment variables
    #[argh(option)]
    env_file: Vec<String>,
    /// keep STDIN open even if not attached
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// give extended privileges to the command
    #[argh(switch)]
    privileged: bool,
    /// allocate a pseudo-TTY
    #[argh(switch, short = 't')]
    tty: bool,
    /// username or UID (format: <name|uid>[:<group|gid>])
    #[argh(option, short = 'u', default = "String::new()")]
    user: String,
    /// working directory inside the container
    #[argh(option, short = 'w', default = "String::new()")]
    workdir: String,
    /// container
    #[argh(positional)]
    name: String,
    /// command and its arguments
    #[argh(positional, greedy)]
    command: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    user: &'a str,
    privileged: bool,
    tty: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_size: Option<[u16; 2]>,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    detach: bool,
    detach_keys: &'a str,
    env: Vec<String>,
    working_dir: &'a str,
    cmd: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    detach: bool,
    tty: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_size: Option<[u16; 2]>,
}

/// Runs a command in a container.
pub fn exec(cx: &Cx, args: Exec) -> Result<i32> {
    let attach = !args.detach;
    if attach && args.interactive && args.tty && !terminal::stdin_is_terminal() {
        return Err(Error::invalid("the input device is not a TTY"));
    }
    let file = auth::ConfigFile::load(&cx.config)?;
    let keys = if args.detach_keys.is_empty() { file.setting("detachKeys") } else { &args.detach_keys };
    let console_size = if args.tty { terminal::size().map(|(rows, columns)| [rows, columns]) } else { None };
    let config = Config {
        user: &args.user,
        privileged: args.privileged,
        tty: args.tty,
        console_size,
        attach_stdin: attach && args.interactive,
        attach_stdout: attach,
        attach_stderr: attach,
        detach: args.detach,
        detach_keys: keys,
        env: pairs::environment(&args.env_file, &args.env)?,
        working_dir: &args.workdir,
        cmd: &args.command,
    };
    let body = serde_json::to_vec(&config)?;
    let made = cx.client.post(&format!("/containers/{}/exec", escape(&args.name)), &Query::new(), Some(&body))?;
    let id = escape(made.get("Id").str());
    let start = serde_json::to_vec(&Start { detach: args.detach, tty: args.tty, console_size })?;
    let path = format!("/exec/{id}");
    if args.detach {
        cx.client.post(&format!("{path}/start"), &Query::new(), Some(&start))?;
        return Ok(0);
    }
    let mut signals = Signals::new(false)?;
    let connection = match cx.client.upgrade(&format!("{path}/start"), &Query::new(), &start) {
        Ok(connection) => connection,
        Err(e) => {
            let status = run::status_of(&e.to_string());
            eprintln!("{e}");
            return Ok(if status == 125 { 1 } else { status });
        }
    };
    let session = Session {
        client: &cx.client,
        path: path.clone(),
        tty: args.tty,
        stdin: args.interactive,
        proxy: false,
        detach_keys: parse_keys(if keys.is_empty() { "ctrl-p,ctrl-q" } else { keys })?,
    };
    match session.run(connection, &mut signals, &mut || Ok(()))? {
        Ended::Detached => Err(Error::internal(DETACHED)),
        Ended::Closed => {
            let state = cx.client.get(&format!("{path}/json"), &Query::new())?;
            Ok(state.get("ExitCode").int() as i32)
        }
    }
}
