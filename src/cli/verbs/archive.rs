//! What concerns a container's file system as a whole: `diff`, `commit`, `export`, `import`.

use super::transfer::copy_to;
use crate::base::{Context, Error, Result};
use crate::cli::http::{Query, escape};
use crate::cli::output::line;
use crate::cli::{Cx, progress, terminal};
use argh::{ArgsInfo, FromArgs};

/// inspect changes to files or directories on a container's filesystem
#[derive(FromArgs, ArgsInfo)]
pub struct Diff {
    /// container
    #[argh(positional)]
    name: String,
}

/// create a new image from a container's changes
#[derive(FromArgs, ArgsInfo)]
pub struct Commit {
    /// author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[argh(option, short = 'a', default = "String::new()")]
    author: String,
    /// apply Dockerfile instruction to the created image
    #[argh(option, short = 'c')]
    change: Vec<String>,
    /// commit message
    #[argh(option, short = 'm', default = "String::new()")]
    message: String,
    /// pause container during commit
    #[argh(option, short = 'p', arg_name = "bool", default = "true")]
    pause: bool,
    /// container
    #[argh(positional)]
    name: String,
    /// image
    #[argh(positional)]
    image: Option<String>,
}

/// export a container's filesystem as a tar archive
#[derive(FromArgs, ArgsInfo)]
pub struct Export {
    /// write to a file, instead of STDOUT
    #[argh(option, short = 'o', default = "String::new()")]
    output: String,
    /// container
    #[argh(positional)]
    name: String,
}

/// import the contents from a tarball to create a filesystem image
#[derive(FromArgs, ArgsInfo)]
pub struct Import {
    /// apply Dockerfile instruction to the created image
    #[argh(option, short = 'c')]
    change: Vec<String>,
    /// set commit message for imported image
    #[argh(option, short = 'm', default = "String::new()")]
    message: String,
    /// set platform if server is multi-platform capable
    #[argh(option, default = "String::new()")]
    platform: String,
    /// file, URL or -
    #[argh(positional)]
    source: String,
    /// image
    #[argh(positional)]
    image: Option<String>,
}

/// Prints `A`, `C`, `D` and the path.
pub fn diff(cx: &Cx, args: Diff) -> Result<i32> {
    let changes = cx.client.get(&format!("/containers/{}/changes", escape(&args.name)), &Query::new())?;
    for change in changes.items() {
        let kind = match change.get("Kind").int() {
            0 => "C",
            1 => "A",
            _ => "D",
        };
        line(&format!("{kind} {}", change.get("Path").str()))?;
    }
    Ok(0)
}

/// Repository and tag of an optional name.
fn target(image: Option<&String>) -> Result<(&str, &str)> {
    image.map_or(Ok(("", "")), |image| super::images::split(image))
}

/// Makes an image, prints its ID.
pub fn commit(cx: &Cx, args: Commit) -> Result<i32> {
    let (repository, tag) = target(args.image.as_ref())?;
    let mut query = Query::new()
        .set("container", &args.name)
        .maybe("repo", repository)
        .maybe("tag", tag)
        .maybe("comment", &args.message)
        .maybe("author", &args.author)
        .set("pause", if args.pause { "1" } else { "0" });
    for change in &args.change {
        query = query.set("changes", change);
    }
    let made = cx.client.post("/commit", &query, None)?;
    line(made.get("Id").str()).map(|()| 0)
}

/// Writes the file system as a tar archive.
pub fn export(cx: &Cx, args: Export) -> Result<i32> {
    if args.output.is_empty() && terminal::stdout_is_terminal() {
        return Err(Error::invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let body = cx.client.send("GET", &format!("/containers/{}/export", escape(&args.name)), &Query::new(), &[], None)?;
    copy_to(body, &args.output).map(|()| 0)
}

/// Makes an image of one layer from a tar archive.
pub fn import(cx: &Cx, args: Import) -> Result<i32> {
    let (repository, tag) = target(args.image.as_ref())?;
    let remote = args.source.starts_with("http://") || args.source.starts_with("https://");
    let mut query = Query::new().set("fromSrc", if remote { &args.source } else { "-" });
    query = query.maybe("repo", repository).maybe("tag", tag).maybe("message", &args.message).maybe("platform", &args.platform);
    for change in &args.change {
        query = query.set("changes", change);
    }
    let path = "/images/create";
    let answer = match args.source.as_str() {
        _ if remote => cx.client.send("POST", path, &query, &[], None)?,
        "-" => cx.client.upload(path, &query, &[], &mut std::io::stdin().lock(), "application/x-tar")?,
        file => {
            let mut file = std::fs::File::open(file).context(|| format!("open {file}"))?;
            cx.client.upload(path, &query, &[], &mut file, "application/x-tar")?
        }
    };
    progress::show(answer, &mut std::io::stdout(), terminal::stdout_is_terminal())?;
    Ok(0)
}
