//! `inspect` and its relatives.

use crate::base::{Error, Kind, Result};
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::output::say;
use crate::cli::template::{Missing, Template};
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// return low-level information on containers, images, networks and volumes
#[derive(FromArgs, ArgsInfo)]
pub struct Inspect {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
    /// display total file sizes if the type is container
    #[argh(switch, short = 's')]
    size: bool,
    /// return JSON for the specified type only
    #[argh(option, default = "String::new()")]
    r#type: String,
    /// name or ID
    #[argh(positional)]
    names: Vec<String>,
}

/// display detailed information on one or more containers
#[derive(FromArgs, ArgsInfo)]
pub struct InspectContainer {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
    /// display total file sizes
    #[argh(switch, short = 's')]
    size: bool,
    /// container
    #[argh(positional)]
    names: Vec<String>,
}

/// display detailed information on one or more images
#[derive(FromArgs, ArgsInfo)]
pub struct InspectImage {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
    /// image
    #[argh(positional)]
    names: Vec<String>,
}

/// display detailed information on one or more volumes
#[derive(FromArgs, ArgsInfo)]
pub struct InspectVolume {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
    /// volume
    #[argh(positional)]
    names: Vec<String>,
}

/// display detailed information on one or more networks
#[derive(FromArgs, ArgsInfo)]
pub struct InspectNetwork {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
    /// verbose output for diagnostics
    #[argh(switch, short = 'v')]
    verbose: bool,
    /// network
    #[argh(positional)]
    names: Vec<String>,
}

/// A kind of object and where the API has it.
fn path(kind: &str, name: &str) -> String {
    let name = escape(name);
    match kind {
        "container" => format!("/containers/{name}/json"),
        "image" => format!("/images/{name}/json"),
        "network" => format!("/networks/{name}"),
        _ => format!("/volumes/{name}"),
    }
}

/// Asks every kind in turn.
pub fn inspect(cx: &Cx, args: Inspect) -> Result<i32> {
    let kinds: &[&str] = match args.r#type.as_str() {
        "" => &["container", "image", "network", "volume"],
        "container" => &["container"],
        "image" => &["image"],
        "network" => &["network"],
        "volume" => &["volume"],
        other => return Err(Error::invalid(format!("{other:?} is not a valid value for --type"))),
    };
    let noun = if let [one] = kinds { one } else { "object" };
    show(&args.format, &args.names, |name| {
        for kind in kinds {
            let query = Query::new().flag("size", args.size && *kind == "container");
            match cx.client.get(&path(kind, name), &query) {
                Err(e) if e.kind() == Kind::NotFound => {}
                // a name that one kind cannot have is not an error of the others
                Err(e) if e.kind() == Kind::Invalid && kinds.len() > 1 => {}
                other => return other,
            }
        }
        Err(Error::not_found(format!("Error: No such {noun}: {name}")))
    })
}

/// `container inspect`.
pub fn containers(cx: &Cx, args: InspectContainer) -> Result<i32> {
    let query = Query::new().flag("size", args.size);
    show(&args.format, &args.names, |name| cx.client.get(&path("container", name), &query))
}

/// `image inspect`.
pub fn images(cx: &Cx, args: InspectImage) -> Result<i32> {
    show(&args.format, &args.names, |name| cx.client.get(&path("image", name), &Query::new()))
}

/// `volume inspect`.
pub fn volumes(cx: &Cx, args: InspectVolume) -> Result<i32> {
    show(&args.format, &args.names, |name| cx.client.get(&path("volume", name), &Query::new()))
}

/// `network inspect`.
pub fn networks(cx: &Cx, args: InspectNetwork) -> Result<i32> {
    let query = Query::new().flag("verbose", args.verbose);
    show(&args.format, &args.names, |name| cx.client.get(&path("network", name), &query))
}

/// Prints what was found, then what was not.
fn show(format: &str, names: &[String], mut get: impl FnMut(&str) -> Result<Json>) -> Result<i32> {
    let template = match format {
        "" | "json" => None,
        format => Some(Template::parse(format)?),
    };
    let (mut found, mut errors, mut out) = (Vec::new(), Vec::new(), String::new());
    for name in names {
        match get(name) {
            Ok(object) => match &template {
                Some(template) => match template.render(&object, Missing::Api) {
                    Ok(text) => out.push_str(&(text + "\n")),
                    Err(e) => errors.push(e),
                },
                None => found.push(object),
            },
            Err(e) => errors.push(e),
        }
    }
    match format {
        "" => out = Json::Arr(found).pretty() + "\n",
        "json" => out = Json::Arr(found).compact() + "\n",
        _ => {}
    }
    say(&out)?;
    errors.iter().for_each(|e| eprintln!("{e}"));
    Ok(i32::from(!errors.is_empty()))
}
