//! Images from and to elsewhere: `pull`, `push`, `load`, `save`.

use super::images;
use crate::base::{Context, Error, Result};
use crate::cli::auth::{ConfigFile, registry_of};
use crate::cli::http::{Query, escape};
use crate::cli::output::line;
use crate::cli::{Cx, progress, terminal};
use argh::{ArgsInfo, FromArgs};
use std::io::{IsTerminal, Write};

/// download an image from a registry
#[derive(FromArgs, ArgsInfo)]
pub struct Pull {
    /// download all tagged images in the repository
    #[argh(switch, short = 'a')]
    all_tags: bool,
    /// skip image verification
    #[argh(option, arg_name = "bool", default = "true", hidden_help)]
    #[allow(dead_code)]
    disable_content_trust: bool,
    /// whether to take a delta: auto, never or require
    #[argh(option, default = "String::new()")]
    delta: String,
    /// set platform if server is multi-platform capable
    #[argh(option, default = "String::new()")]
    platform: String,
    /// suppress verbose output
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// reference
    #[argh(positional)]
    name: String,
}

/// upload an image to a registry
#[derive(FromArgs, ArgsInfo)]
pub struct Push {
    /// push all tags of an image to the repository
    #[argh(switch, short = 'a')]
    all_tags: bool,
    /// skip image signing
    #[argh(option, arg_name = "bool", default = "true", hidden_help)]
    #[allow(dead_code)]
    disable_content_trust: bool,
    /// suppress verbose output
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// reference
    #[argh(positional)]
    name: String,
}

/// load an image from a tar archive or STDIN
#[derive(FromArgs, ArgsInfo)]
pub struct Load {
    /// read from tar archive file, instead of STDIN
    #[argh(option, short = 'i', default = "String::new()")]
    input: String,
    /// suppress the load output
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(FromArgs, ArgsInfo)]
pub struct Save {
    /// write to a file, instead of STDOUT
    #[argh(option, short = 'o', default = "String::new()")]
    output: String,
    /// image
    #[argh(positional)]
    names: Vec<String>,
}

/// How an image is pulled.
pub struct How<'a> {
    /// `os[/arch[/variant]]`, or nothing.
    pub platform: &'a str,
    /// `auto`, `never`, `require`, or nothing.
    pub delta: &'a str,
    /// Without progress.
    pub quiet: bool,
}

/// The reference with `:latest` where it has neither tag nor digest.
pub fn with_tag(reference: &str) -> String {
    let has_tag = reference.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
    if has_tag || reference.contains('@') { reference.into() } else { format!("{reference}:latest") }
}

/// With registry and namespace, as `pull` says at its end what it pulled.
fn canonical(reference: &str) -> String {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => reference.into(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

fn credentials(cx: &Cx, reference: &str) -> Result<String> {
    ConfigFile::load(&cx.config)?.header(registry_of(reference))
}

/// Pulls one image and shows the progress on `out`.
pub fn pull_image(cx: &Cx, reference: &str, how: &How<'_>, out: &mut (impl Write + IsTerminal)) -> Result<()> {
    let full = with_tag(reference);
    let (name, tag) = match full.split_once('@') {
        Some((name, digest)) => (name, digest),
        None => full.rsplit_once(':').unwrap_or((&full, "latest")),
    };
    fetch(cx, name, tag, how, out)
}

fn fetch(cx: &Cx, name: &str, tag: &str, how: &How<'_>, out: &mut (impl Write + IsTerminal)) -> Result<()> {
    let query = Query::new().set("fromImage", name).maybe("tag", tag).maybe("platform", how.platform).maybe("delta", how.delta);
    let auth = credentials(cx, name)?;
    let headers: &[(&str, &str)] = if auth.is_empty() { &[] } else { &[("X-Registry-Auth", &auth)] };
    let body = cx.client.send("POST", "/images/create", &query, headers, None)?;
    let terminal = out.is_terminal();
    if how.quiet { progress::swallow(body) } else { progress::show(body, out, terminal) }
}

/// `pull`: ends with the name of what was pulled.
pub fn pull(cx: &Cx, args: Pull) -> Result<i32> {
    let tagged = with_tag(&args.name) == args.name;
    let how = How { platform: &args.platform, delta: &args.delta, quiet: args.quiet };
    if args.all_tags {
        if tagged {
            return Err(Error::invalid("tag can't be used with --all-tags/-a"));
        }
        fetch(cx, &args.name, "", &how, &mut std::io::stdout())?;
        return line(&canonical(&args.name)).map(|()| 0);
    }
    if !tagged && !args.quiet {
        line("Using default tag: latest")?;
    }
    pull_image(cx, &args.name, &how, &mut std::io::stdout())?;
    line(&canonical(&with_tag(&args.name))).map(|()| 0)
}

/// `push`.
pub fn push(cx: &Cx, args: Push) -> Result<i32> {
    let (name, tag) = images::split(&args.name)?;
    let tag = match (args.all_tags, tag) {
        (true, "") => "",
        (true, _) => return Err(Error::invalid("tag can't be used with --all-tags/-a")),
        (false, "") => "latest",
        (false, tag) => tag,
    };
    let auth = match credentials(cx, name)? {
        auth if auth.is_empty() => "e30=".into(), // {}: the header must be there
        auth => auth,
    };
    if !args.quiet {
        line(&format!("The push refers to repository [{}]", canonical(name)))?;
    }
    let path = format!("/images/{}/push", escape(name));
    let body = cx.client.send("POST", &path, &Query::new().maybe("tag", tag), &[("X-Registry-Auth", &auth)], None)?;
    if args.quiet {
        progress::swallow(body)?;
        return line(&canonical(&if tag.is_empty() { name.into() } else { format!("{name}:{tag}") })).map(|()| 0);
    }
    progress::show(body, &mut std::io::stdout(), terminal::stdout_is_terminal())?;
    Ok(0)
}

/// `load`.
pub fn load(cx: &Cx, args: Load) -> Result<i32> {
    let query = Query::new().set("quiet", if args.quiet || !terminal::stdout_is_terminal() { "1" } else { "0" });
    let answer = if args.input.is_empty() {
        if terminal::stdin_is_terminal() {
            return Err(Error::invalid("requested load from stdin, but stdin is empty"));
        }
        cx.client.upload("/images/load", &query, &[], &mut std::io::stdin().lock(), "application/x-tar")?
    } else {
        let mut file = std::fs::File::open(&args.input).context(|| format!("open {}", args.input))?;
        cx.client.upload("/images/load", &query, &[], &mut file, "application/x-tar")?
    };
    progress::show(answer, &mut std::io::stdout(), terminal::stdout_is_terminal())?;
    Ok(0)
}

/// `save`.
pub fn save(cx: &Cx, args: Save) -> Result<i32> {
    if args.output.is_empty() && terminal::stdout_is_terminal() {
        return Err(Error::invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let mut query = Query::new();
    for name in &args.names {
        query = query.set("names", name);
    }
    let body = cx.client.send("GET", "/images/get", &query, &[], None)?;
    copy_to(body, &args.output).map(|()| 0)
}

/// Writes a body to a file (whole or not at all), or to standard output.
pub fn copy_to(mut body: crate::cli::http::Response, file: &str) -> Result<()> {
    if file.is_empty() || file == "-" {
        std::io::copy(&mut body, &mut std::io::stdout().lock()).context(|| "write the output")?;
        return Ok(());
    }
    let doing = || format!("write {file}");
    let part = format!("{file}.part{}", std::process::id());
    let copied = std::fs::File::create(&part).and_then(|mut out| std::io::copy(&mut body, &mut out));
    if let Err(e) = copied.and_then(|_| std::fs::rename(&part, file)) {
        _ = std::fs::remove_file(&part);
        return Err(e).context(doing);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        assert_eq!(with_tag("a"), "a:latest");
        assert_eq!(with_tag("h:5000/a"), "h:5000/a:latest");
        assert_eq!(with_tag("a:b"), "a:b");
        assert_eq!(with_tag("a@sha256:0"), "a@sha256:0");
        assert_eq!(canonical("a:b"), "docker.io/library/a:b");
        assert_eq!(canonical("x/a"), "docker.io/x/a");
        assert_eq!(canonical("h.d/x/a"), "h.d/x/a");
    }
}
