//! `logs`.

use crate::base::Result;
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::pump;
use argh::{ArgsInfo, FromArgs};

/// fetch the logs of a container
#[derive(FromArgs, ArgsInfo)]
pub struct Logs {
    /// show extra details provided to logs
    #[argh(switch)]
    details: bool,
    /// follow log output
    #[argh(switch, short = 'f')]
    follow: bool,
    /// show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[argh(option, default = "String::new()")]
    since: String,
    /// number of lines to show from the end of the logs
    #[argh(option, short = 'n', default = "String::from(\"all\")")]
    tail: String,
    /// show timestamps
    #[argh(switch, short = 't')]
    timestamps: bool,
    /// show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[argh(option, default = "String::new()")]
    until: String,
    /// container
    #[argh(positional)]
    name: String,
}

/// A point in time for the API: seconds with nanoseconds.
pub fn moment(text: &str) -> Result<String> {
    use crate::base::time::Time;
    if text.is_empty() {
        return Ok(String::new());
    }
    let t = Time::parse_flexible(text, Time::now())?;
    Ok(format!("{}.{:09}", t.seconds(), t.nanos()))
}

/// Prints the log, both streams where they belong.
pub fn logs(cx: &Cx, args: Logs) -> Result<i32> {
    let container = cx.client.get(&format!("/containers/{}/json", escape(&args.name)), &Query::new())?;
    let query = Query::new()
        .set("stdout", "1")
        .set("stderr", "1")
        .flag("details", args.details)
        .flag("follow", args.follow)
        .flag("timestamps", args.timestamps)
        .maybe("since", &moment(&args.since)?)
        .maybe("until", &moment(&args.until)?)
        .set("tail", &args.tail);
    let path = format!("/containers/{}/logs", container.get("Id").str());
    let body = cx.client.send("GET", &path, &query, &[], None)?;
    pump::copy_out(body, container.path("Config.Tty").is_true())?;
    Ok(0)
}
