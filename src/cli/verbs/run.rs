//! `run` and `create`.

use super::transfer;
use crate::base::{Context, Error, Kind, Result};
use crate::cli::create::{self, Attach, Flags};
use crate::cli::http::{Query, Response, escape};
use crate::cli::output;
use crate::cli::pump::{Ended, Session, parse_keys};
use crate::cli::terminal::{self, Signals};
use crate::cli::value::Json;
use crate::cli::{Cx, auth};
use std::io::Write;

/// `create`: prints the ID.
pub fn create(cx: &Cx, flags: Flags) -> Result<i32> {
    match make(cx, &flags) {
        Ok(id) => output::line(&id).map(|()| 0),
        Err(e) => {
            report(cx, "create", &e, true);
            Ok(1)
        }
    }
}

/// `run`: what fails before the container's own exit status is known has a status of its own: 125, 126, 127.
pub fn run(cx: &Cx, flags: Flags) -> Result<i32> {
    let attach = match create::attach(&flags).and_then(|a| check_terminal(&flags, a).map(|()| a)) {
        Ok(attach) => attach,
        Err(e) => {
            report(cx, "run", &e, false);
            return Ok(125);
        }
    };
    let id = match make(cx, &flags) {
        Ok(id) => id,
        Err(e) => {
            report(cx, "run", &e, true);
            return Ok(125);
        }
    };
    let result = if attach == Attach::default() {
        cx.client.post(&format!("/containers/{id}/start"), &Query::new(), None).and_then(|_| output::line(&id)).map(|()| 0)
    } else {
        attached(cx, &flags, attach, &id)
    };
    result.or_else(|e| {
        report(cx, "run", &e, false);
        Ok(status_of(&e.to_string()))
    })
}

fn check_terminal(flags: &Flags, attach: Attach) -> Result<()> {
    if attach.stdin && flags.tty && !terminal::stdin_is_terminal() {
        return Err(Error::invalid("the input device is not a TTY"));
    }
    Ok(())
}

/// Starts the container with our terminal attached, and gives its exit status.
fn attached(cx: &Cx, flags: &Flags, attach: Attach, id: &str) -> Result<i32> {
    let mut signals = Signals::new(flags.sig_proxy)?;
    let config = auth::ConfigFile::load(&cx.config)?;
    let keys = if flags.detach_keys.is_empty() { config.setting("detachKeys") } else { &flags.detach_keys };
    let keys = if keys.is_empty() { "ctrl-p,ctrl-q" } else { keys };
    let session = Session {
        client: &cx.client,
        path: format!("/containers/{id}"),
        tty: flags.tty,
        stdin: attach.stdin,
        proxy: flags.sig_proxy,
        detach_keys: parse_keys(keys)?,
    };
    let query =
        Query::new().set("stream", "1").flag("stdin", attach.stdin).flag("stdout", attach.stdout).flag("stderr", attach.stderr);
    let connection = cx.client.upgrade(&format!("/containers/{id}/attach"), &query.set("detachKeys", keys), b"")?;
    // asked for before the start, so that no exit is too quick to be seen
    let condition = if flags.rm { "removed" } else { "next-exit" };
    let waiting =
        cx.client.send("POST", &format!("/containers/{id}/wait"), &Query::new().set("condition", condition), &[], None)?;
    let mut started = false;
    let ended = session.run(connection, &mut signals, &mut || {
        cx.client.post(&format!("/containers/{id}/start"), &Query::new(), None)?;
        started = true;
        Ok(())
    });
    match ended {
        Ok(Ended::Detached) => Ok(0),
        Ok(Ended::Closed) => exit_status(waiting),
        Err(e) => {
            if !started && flags.rm {
                _ = exit_status(waiting); // it is gone when we are
            }
            Err(e)
        }
    }
}

/// Reads the answer of `wait`.
pub fn exit_status(mut waiting: Response) -> Result<i32> {
    let answer = Json::parse(&waiting.whole()?)?;
    let error = answer.path("Error.Message").str();
    if !error.is_empty() {
        return Err(Error::internal(error));
    }
    Ok(answer.get("StatusCode").int() as i32)
}

/// Docker's statuses, derived from the text as Docker's own client derives them.
pub fn status_of(error: &str) -> i32 {
    let has = |text| error.contains(text);
    if has("executable file not found") || has("no such file or directory") || has("system cannot find the file specified") {
        127
    } else if has("permission denied") || has("Permission denied") || has("is a directory") || has("exec format error") {
        126
    } else {
        125
    }
}

fn report(cx: &Cx, verb: &str, e: &Error, with_help: bool) {
    let text = e.to_string();
    if text.is_empty() {
        return;
    }
    let help = if with_help { format!("\nSee '{} {verb} --help'.", cx.program) } else { String::new() };
    eprintln!("{}: {}.{help}", cx.program, text.trim_end().trim_end_matches('.'));
}

/// Creates the container, pulling the image if need be; returns its ID.
fn make(cx: &Cx, flags: &Flags) -> Result<String> {
    let body = create::body(flags)?;
    let mut cidfile = None;
    if !flags.cidfile.is_empty() {
        let path = &flags.cidfile;
        if std::fs::symlink_metadata(path).is_ok() {
            let why = format!("container ID file found, make sure the other container isn't running or delete {path}");
            return Err(Error::conflict(why));
        }
        cidfile = Some((path, std::fs::File::create(path).context(|| format!("failed to create the container ID file {path}"))?));
    }
    let result = ask(cx, flags, &serde_json::to_vec(&body.to_value()?)?);
    match (&result, cidfile) {
        (Ok(id), Some((path, mut file))) => file.write_all(id.as_bytes()).context(|| format!("write {path}"))?,
        (Err(_), Some((path, _))) => _ = std::fs::remove_file(path), // it is empty
        _ => {}
    }
    result
}

fn ask(cx: &Cx, flags: &Flags, body: &[u8]) -> Result<String> {
    let query = Query::new().maybe("name", &flags.name).maybe("platform", &flags.platform);
    let how = transfer::How { platform: &flags.platform, delta: "", quiet: flags.quiet };
    let pull = |why: bool| {
        if why {
            eprintln!("Unable to find image '{}' locally", transfer::with_tag(&flags.image));
        }
        transfer::pull_image(cx, &flags.image, &how, &mut std::io::stderr())
    };
    match flags.pull.as_str() {
        "always" => pull(false)?,
        "missing" | "never" => {}
        other => {
            return Err(Error::invalid(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            )));
        }
    }
    let create = || cx.client.post("/containers/create", &query, Some(body));
    let answer = match create() {
        Err(e)
            if e.kind() == Kind::NotFound
                && flags.pull == "missing"
                && e.to_string().to_lowercase().contains("no such image") =>
        {
            pull(true)?;
            create()?
        }
        other => other?,
    };
    for warning in answer.get("Warnings").items() {
        eprintln!("WARNING: {}", warning.str());
    }
    match answer.get("Id").str() {
        "" => Err(Error::internal("the daemon gave the container no ID")),
        id => Ok(escape(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn statuses_come_from_the_text() {
        assert_eq!(status_of("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(status_of("exec: \"/etc/passwd\": permission denied"), 126);
        assert_eq!(status_of("exec: \"true\": exec format error: unknown"), 126);
        assert_eq!(status_of("port is already allocated"), 125);
    }
}
