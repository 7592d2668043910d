//! `volume create|ls|rm`.

use crate::base::{Kind, Result, size};
use crate::cli::create;
use crate::cli::http::{Query, escape};
use crate::cli::output::{Layout, for_each, line};
use crate::cli::value::Json;
use crate::cli::{Cx, filters};
use crate::wire::container::Labels;
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

/// create a volume
#[derive(FromArgs, ArgsInfo)]
pub struct Create {
    /// specify volume driver name
    #[argh(option, short = 'd', default = "String::from(\"local\")")]
    driver: String,
    /// set metadata for a volume
    #[argh(option)]
    label: Vec<String>,
    /// set driver specific options
    #[argh(option, short = 'o')]
    opt: Vec<String>,
    /// specify volume name
    #[argh(option, hidden_help, default = "String::new()")]
    name: String,
    /// volume
    #[argh(positional)]
    volume: Option<String>,
}

/// list volumes
#[derive(FromArgs, ArgsInfo)]
pub struct List {
    /// provide filter values (e.g. "dangling=true")
    #[argh(option, short = 'f')]
    filter: Vec<String>,
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// only display volume names
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// remove one or more volumes
#[derive(FromArgs, ArgsInfo)]
pub struct Remove {
    /// force the removal of one or more volumes
    #[argh(switch, short = 'f')]
    force: bool,
    /// volume
    #[argh(positional)]
    names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    name: String,
    driver: String,
    driver_opts: Labels,
    labels: Labels,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
};

/// Creates a volume, prints its name.
pub fn create(cx: &Cx, args: Create) -> Result<i32> {
    let name = args.volume.unwrap_or(args.name);
    let body = Body { name, driver: args.driver, driver_opts: create::labels(&args.opt), labels: create::labels(&args.label) };
    let made = cx.client.post("/volumes/create", &Query::new(), Some(&serde_json::to_vec(&body)?))?;
    line(made.get("Name").str()).map(|()| 0)
}

/// Prints the list.
pub fn list(cx: &Cx, args: List) -> Result<i32> {
    let query = Query::new().maybe("filters", &filters::text(&args.filter)?);
    let answer = cx.client.get("/volumes", &query)?;
    let mut volumes: Vec<&Json> = answer.get("Volumes").items().iter().collect();
    volumes.sort_by_key(|v| v.get("Name").str());
    let row = |v: &&Json| {
        let labels: Vec<String> = v.get("Labels").fields().iter().map(|(k, v)| format!("{k}={}", v.str())).collect();
        let usage = v.get("UsageData");
        let known = *usage != Json::Null && usage.get("Size").int() >= 0;
        let na = || "N/A".to_string();
        let fields = [
            ("Availability", na()),
            ("Driver", v.get("Driver").str().into()),
            ("Group", na()),
            ("Labels", labels.join(",")),
            ("Links", if known { usage.get("RefCount").int().to_string() } else { na() }),
            ("Mountpoint", v.get("Mountpoint").str().into()),
            ("Name", v.get("Name").str().into()),
            ("Scope", v.get("Scope").str().into()),
            ("Size", if known { size::human_digits(usage.get("Size").int() as u64, 3) } else { na() }),
            ("Status", na()),
        ];
        Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
    };
    let rows: Vec<Json> = volumes.iter().map(row).collect();
    LAYOUT.print(&args.format, args.quiet, &rows)?;
    Ok(0)
}

/// Removes each.
pub fn remove(cx: &Cx, args: Remove) -> Result<i32> {
    for_each(&args.names, |name| {
        match cx.client.delete(&format!("/volumes/{}", escape(name)), &Query::new().flag("force", args.force)) {
            Err(e) if args.force && e.kind() == Kind::NotFound => line(name),
            other => other.and_then(|_| line(name)),
        }
    })
}
