//! `system wear`: how much was written to flash, and for what.

use crate::base::Result;
use crate::base::size::human_signed;
use crate::cli::Cx;
use crate::cli::http::Query;
use crate::cli::output::{Layout, line, say};
use crate::cli::tabs::wrap;
use crate::cli::terminal;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// show how much was written to the data root, and for what
#[derive(FromArgs, ArgsInfo)]
pub struct Wear {
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("Job", "JOB"),
        ("Count", "COUNT"),
        ("Written", "WRITTEN"),
        ("Device", "DEVICE MEANWHILE"),
        ("Requests", "REQUESTS MEANWHILE"),
    ],
    table: "{{.Job}}\t{{.Count}}\t{{.Written}}\t{{.Device}}\t{{.Requests}}",
    quiet: "{{.Job}}",
};

/// Prints a line for each kind of job, and one for all.
pub fn wear(cx: &Cx, args: Wear) -> Result<i32> {
    let wear = cx.client.get("/system/wear", &Query::new())?;
    if args.format == "json" {
        line(&wear.compact())?;
        return Ok(0);
    }
    LAYOUT.print(&args.format, false, &rows(&wear))?;
    if args.format.is_empty() {
        let device = wear.get("Device");
        let since = wear.get("Since").str().split('.').next().unwrap_or_default();
        let last = match device.get("Name").str() {
            "" => format!("since {since}; no block device below the data root"),
            name => format!(
                "since {since}; device {name}, by whomever, while the engine ran: {} in {} requests",
                human_signed(device.get("Bytes").int()),
                device.get("Requests").int()
            ),
        };
        let mut out = String::new();
        wrap(&mut out, "", &last, 2, terminal::plain_width().unwrap_or(usize::MAX));
        say(&out)?;
    }
    Ok(0)
}

fn rows(wear: &Json) -> Vec<Json> {
    let row = |job: &str, count: String, bytes: i64, device: &Json| {
        let known = !matches!(device, Json::Null) && job != "state";
        let or_dash = |text: String| if known { text } else { "-".into() };
        let fields = [
            ("Job", job.to_string()),
            ("Count", count),
            ("Written", human_signed(bytes)),
            ("Device", or_dash(human_signed(device.get("Bytes").int()))),
            ("Requests", or_dash(device.get("Requests").int().to_string())),
        ];
        Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
    };
    let jobs = wear.get("Jobs").items().iter();
    let mut rows: Vec<Json> =
        jobs.map(|j| row(j.get("Job").str(), j.get("Count").int().to_string(), j.get("Bytes").int(), j.get("Device"))).collect();
    rows.push(row("all", String::new(), wear.get("Bytes").int(), &Json::Null));
    rows
}
