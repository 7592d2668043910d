//! `container|image|volume|network|system prune`.

use crate::base::{Result, size};
use crate::cli::http::Query;
use crate::cli::output::{confirm, line, say};
use crate::cli::value::Json;
use crate::cli::{Cx, filters};
use argh::{ArgsInfo, FromArgs};
use std::collections::BTreeMap;

/// remove all stopped containers
#[derive(FromArgs, ArgsInfo)]
pub struct ContainerPrune {
    /// provide filter values (e.g. "until=<timestamp>")
    #[argh(option)]
    filter: Vec<String>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

/// remove unused images
#[derive(FromArgs, ArgsInfo)]
pub struct ImagePrune {
    /// remove all unused images, not just dangling ones
    #[argh(switch, short = 'a')]
    all: bool,
    /// provide filter values (e.g. "until=<timestamp>")
    #[argh(option)]
    filter: Vec<String>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

/// remove unused local volumes
#[derive(FromArgs, ArgsInfo)]
pub struct VolumePrune {
    /// remove all unused volumes, not just anonymous ones
    #[argh(switch, short = 'a')]
    all: bool,
    /// provide filter values (e.g. "label=<label>")
    #[argh(option)]
    filter: Vec<String>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

/// remove all unused networks
#[derive(FromArgs, ArgsInfo)]
pub struct NetworkPrune {
    /// provide filter values (e.g. "until=<timestamp>")
    #[argh(option)]
    filter: Vec<String>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

/// remove unused data
#[derive(FromArgs, ArgsInfo)]
pub struct SystemPrune {
    /// remove all unused images, not just dangling ones
    #[argh(switch, short = 'a')]
    all: bool,
    /// provide filter values (e.g. "label=<key>=<value>")
    #[argh(option)]
    filter: Vec<String>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
    /// prune anonymous volumes
    #[argh(switch)]
    volumes: bool,
}

type Filters = BTreeMap<String, Vec<String>>;

fn prune(cx: &Cx, what: &str, filters: &Filters) -> Result<Json> {
    cx.client.post(&format!("/{what}/prune"), &Query::new().maybe("filters", &filters::json(filters)?), None)
}

/// The names in an answer under a heading, and an empty line.
fn names(heading: &str, items: &[Json]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = items.iter().map(Json::str).collect();
    format!("{heading}\n{}\n\n", names.join("\n"))
}

fn image_lines(items: &[Json]) -> String {
    let mut out = String::new();
    for item in items {
        match item.get("Untagged").str() {
            "" => out.push_str(&format!("deleted: {}\n", item.get("Deleted").str())),
            untagged => out.push_str(&format!("untagged: {untagged}\n")),
        }
    }
    if out.is_empty() { out } else { format!("Deleted Images:\n{out}\n") }
}

fn reclaimed(bytes: i64) -> Result<()> {
    line(&format!("Total reclaimed space: {}", size::human(bytes.max(0) as u64)))
}

/// Stopped containers.
pub fn containers(cx: &Cx, args: ContainerPrune) -> Result<i32> {
    if !args.force && !confirm("WARNING! This will remove all stopped containers.\nAre you sure you want to continue?")? {
        return Ok(0);
    }
    let answer = prune(cx, "containers", &filters::parse(&args.filter)?)?;
    say(&names("Deleted Containers:", answer.get("ContainersDeleted").items()))?;
    reclaimed(answer.get("SpaceReclaimed").int()).map(|()| 0)
}

fn image_filters(given: &[String], all: bool) -> Result<Filters> {
    let mut filters = filters::parse(given)?;
    filters.insert("dangling".into(), vec![(!all).to_string()]);
    Ok(filters)
}

/// Unused images.
pub fn images(cx: &Cx, args: ImagePrune) -> Result<i32> {
    let what = if args.all { "all images without at least one container associated to them" } else { "all dangling images" };
    if !args.force && !confirm(&format!("WARNING! This will remove {what}.\nAre you sure you want to continue?"))? {
        return Ok(0);
    }
    let answer = prune(cx, "images", &image_filters(&args.filter, args.all)?)?;
    say(&image_lines(answer.get("ImagesDeleted").items()))?;
    reclaimed(answer.get("SpaceReclaimed").int()).map(|()| 0)
}

/// Unused volumes.
pub fn volumes(cx: &Cx, args: VolumePrune) -> Result<i32> {
    let kind = if args.all { "" } else { "anonymous " };
    if !args.force
        && !confirm(&format!(
            "WARNING! This will remove {kind}local volumes not used by at least one container.\nAre you sure you want to continue?"
        ))?
    {
        return Ok(0);
    }
    let mut filters = filters::parse(&args.filter)?;
    if args.all {
        filters.insert("all".into(), vec!["true".into()]);
    }
    let answer = prune(cx, "volumes", &filters)?;
    say(&names("Deleted Volumes:", answer.get("VolumesDeleted").items()))?;
    reclaimed(answer.get("SpaceReclaimed").int()).map(|()| 0)
}

/// Unused networks.
pub fn networks(cx: &Cx, args: NetworkPrune) -> Result<i32> {
    if !args.force
        && !confirm(
            "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?",
        )?
    {
        return Ok(0);
    }
    let answer = prune(cx, "networks", &filters::parse(&args.filter)?)?;
    say(&names("Deleted Networks:", answer.get("NetworksDeleted").items())).map(|()| 0)
}

/// All of them.
pub fn system(cx: &Cx, args: SystemPrune) -> Result<i32> {
    let mut will = vec!["all stopped containers", "all networks not used by at least one container"];
    if args.volumes {
        will.push("all anonymous volumes not used by at least one container");
    }
    will.push(if args.all { "all images without at least one container associated to them" } else { "all dangling images" });
    let question = format!("WARNING! This will remove:\n  - {}\n\nAre you sure you want to continue?", will.join("\n  - "));
    if !args.force && !confirm(&question)? {
        return Ok(0);
    }
    let filters = filters::parse(&args.filter)?;
    let mut bytes = 0;
    let answer = prune(cx, "containers", &filters)?;
    say(&names("Deleted Containers:", answer.get("ContainersDeleted").items()))?;
    bytes += answer.get("SpaceReclaimed").int();
    let answer = prune(cx, "networks", &filters)?;
    say(&names("Deleted Networks:", answer.get("NetworksDeleted").items()))?;
    if args.volumes {
        let answer = prune(cx, "volumes", &filters)?;
        say(&names("Deleted Volumes:", answer.get("VolumesDeleted").items()))?;
        bytes += answer.get("SpaceReclaimed").int();
    }
    let answer = prune(cx, "images", &image_filters(&args.filter, args.all)?)?;
    say(&image_lines(answer.get("ImagesDeleted").items()))?;
    bytes += answer.get("SpaceReclaimed").int();
    reclaimed(bytes).map(|()| 0)
}
