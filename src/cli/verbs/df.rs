//! `system df`.

use crate::base::size::human_signed;
use crate::base::time::{self, Time};
use crate::base::{Result, id};
use crate::cli::Cx;
use crate::cli::http::Query;
use crate::cli::output::{Layout, say};
use crate::cli::tabs;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// show disk usage
#[derive(FromArgs, ArgsInfo)]
pub struct Df {
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// show detailed information on space usage
    #[argh(switch, short = 'v')]
    verbose: bool,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

/// Prints what takes how much space.
pub fn df(cx: &Cx, args: Df) -> Result<i32> {
    let usage = cx.client.get("/system/df", &Query::new())?;
    if args.verbose {
        return say(&verbose(&usage, Time::now())).map(|()| 0);
    }
    LAYOUT.print(&args.format, false, &rows(&usage))?;
    Ok(0)
}

fn rows(usage: &Json) -> Vec<Json> {
    let row = |kind: &str, total: usize, active: usize, bytes: i64, free: i64| {
        let reclaimable =
            if bytes > 0 && free >= 0 { format!("{} ({}%)", human_signed(free), free * 100 / bytes) } else { human_signed(free) };
        let fields = [
            ("Active", active.to_string()),
            ("Reclaimable", reclaimable),
            ("Size", human_signed(bytes)),
            ("TotalCount", total.to_string()),
            ("Type", kind.into()),
        ];
        Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
    };
    let images = usage.get("Images").items();
    let used: i64 = images
        .iter()
        .filter(|i| i.get("Containers").int() > 0)
        .map(|i| (i.get("Size").int() - i.get("SharedSize").int()).max(0))
        .sum();
    let active = images.iter().filter(|i| i.get("Containers").int() > 0).count();
    let layers = usage.get("LayersSize").int();
    let containers = usage.get("Containers").items();
    let running = |c: &&Json| ["running", "paused", "restarting"].contains(&c.get("State").str());
    let all: i64 = containers.iter().map(|c| c.get("SizeRw").int()).sum();
    let busy: i64 = containers.iter().filter(running).map(|c| c.get("SizeRw").int()).sum();
    let volumes = usage.get("Volumes").items();
    let bytes = |v: &Json| v.path("UsageData.Size").int().max(0);
    let unused: i64 = volumes.iter().filter(|v| v.path("UsageData.RefCount").int() == 0).map(bytes).sum();
    let in_use = volumes.iter().filter(|v| v.path("UsageData.RefCount").int() > 0).count();
    let cache = usage.get("BuildCache").items();
    let cached: i64 = cache.iter().map(|c| c.get("Size").int()).sum();
    vec![
        row("Images", images.len(), active, layers, layers - used),
        row("Containers", containers.len(), containers.iter().filter(running).count(), all, all - busy),
        row("Local Volumes", volumes.len(), in_use, volumes.iter().map(bytes).sum(), unused),
        row("Build Cache", cache.len(), cache.iter().filter(|c| c.get("InUse").is_true()).count(), cached, cached),
    ]
}

fn verbose(usage: &Json, now: Time) -> String {
    let since = |c: &Json| time::human_duration(now.seconds() - c.get("Created").int()) + " ago";
    let mut out = String::from("Images space usage:\n\n");
    let mut table = String::from("REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n");
    for image in usage.get("Images").items() {
        let name = image.get("RepoTags").items().first().map_or("<none>:<none>", Json::str);
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
        let (all, shared) = (image.get("Size").int(), image.get("SharedSize").int().max(0));
        let cells =
            [human_signed(all), human_signed(shared), human_signed(all - shared), image.get("Containers").int().to_string()];
        table.push_str(&format!(
            "{repository}\t{tag}\t{}\t{}\t{}\n",
            id::short(image.get("Id").str()),
            since(image),
            cells.join("\t")
        ));
    }
    out.push_str(&tabs::show(&table));
    out.push_str("\nContainers space usage:\n\n");
    table = "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES\n".into();
    for c in usage.get("Containers").items() {
        let names: Vec<&str> = c.get("Names").items().iter().map(|n| n.str().trim_start_matches('/')).collect();
        let local = c.get("Mounts").items().iter().filter(|m| m.get("Driver").str() == "local").count();
        let command = super::ps::ellipsis(c.get("Command").str(), 20);
        let cells = [
            id::short(c.get("Id").str()),
            c.get("Image").str(),
            &format!("{command:?}"),
            &local.to_string(),
            &human_signed(c.get("SizeRw").int()),
        ]
        .join("\t");
        table.push_str(&format!("{cells}\t{}\t{}\t{}\n", since(c), c.get("Status").str(), names.join(",")));
    }
    out.push_str(&tabs::show(&table));
    out.push_str("\nLocal Volumes space usage:\n\n");
    table = "VOLUME NAME\tLINKS\tSIZE\n".into();
    for v in usage.get("Volumes").items() {
        let data = v.get("UsageData");
        table.push_str(&format!(
            "{}\t{}\t{}\n",
            v.get("Name").str(),
            data.get("RefCount").int(),
            human_signed(data.get("Size").int())
        ));
    }
    out.push_str(&tabs::show(&table));
    out.push_str(&format!(
        "\nBuild cache usage: {}\n",
        human_signed(usage.get("BuildCache").items().iter().map(|c| c.get("Size").int()).sum())
    ));
    out
}
