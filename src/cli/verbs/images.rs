//! `images`, `tag`, `rmi`.

use super::ps::go_time;
use crate::base::time::{self, Time};
use crate::base::{Error, Result, id, size};
use crate::cli::http::{Query, escape};
use crate::cli::output::{Layout, for_each, line};
use crate::cli::value::Json;
use crate::cli::{Cx, filters};
use argh::{ArgsInfo, FromArgs};

/// list images
#[derive(FromArgs, ArgsInfo)]
pub struct List {
    /// show all images (default hides intermediate images)
    #[argh(switch, short = 'a')]
    all: bool,
    /// show digests
    #[argh(switch)]
    digests: bool,
    /// filter output based on conditions provided
    #[argh(option, short = 'f')]
    filter: Vec<String>,
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// only show image IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// repository
    #[argh(positional)]
    name: Option<String>,
}

/// create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(FromArgs, ArgsInfo)]
pub struct Tag {
    /// source
    #[argh(positional)]
    source: String,
    /// target
    #[argh(positional)]
    target: String,
}

/// remove one or more images
#[derive(FromArgs, ArgsInfo)]
pub struct Remove {
    /// force removal of the image
    #[argh(switch, short = 'f')]
    force: bool,
    /// do not delete untagged parents
    #[argh(switch)]
    no_prune: bool,
    /// image
    #[argh(positional)]
    names: Vec<String>,
}

const HEADINGS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];
const LAYOUT: Layout =
    Layout { headings: HEADINGS, table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", quiet: "{{.ID}}" };
const LAYOUT_DIGESTS: Layout = Layout {
    headings: HEADINGS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

/// Prints the list: one line for each tag.
pub fn list(cx: &Cx, args: List) -> Result<i32> {
    let mut given = args.filter.clone();
    given.extend(args.name.iter().map(|name| format!("reference={name}")));
    let query = Query::new().flag("all", args.all).maybe("filters", &filters::text(&given)?);
    let images = cx.client.get("/images/json", &query)?;
    let digests = args.digests || args.format.contains("Digest");
    let now = Time::now();
    let mut rows = Vec::new();
    for image in images.items() {
        for (repository, tag, digest) in names(image, digests) {
            rows.push(row(image, &repository, &tag, &digest, args.no_trunc, now));
        }
    }
    let layout = if args.digests { LAYOUT_DIGESTS } else { LAYOUT };
    if args.quiet && args.format.is_empty() {
        rows.dedup_by(|a, b| a.get("ID") == b.get("ID"));
    }
    layout.print(&args.format, args.quiet, &rows)?;
    Ok(0)
}

/// Repository, tag, digest: the lines of one image.
fn names(image: &Json, digests: bool) -> Vec<(String, String, String)> {
    const NONE: &str = "<none>";
    let texts = |field: &str| image.get(field).items().iter().map(Json::str).filter(|t| !t.starts_with(NONE)).collect::<Vec<_>>();
    let tags: Vec<(&str, &str)> = texts("RepoTags").into_iter().filter_map(|t| t.rsplit_once(':')).collect();
    let by_digest: Vec<(&str, &str)> = texts("RepoDigests").into_iter().filter_map(|t| t.split_once('@')).collect();
    let mut out = Vec::new();
    let mut push = |repository: &str, tag: &str, digest: &str| out.push((repository.into(), tag.into(), digest.into()));
    for (repository, tag) in &tags {
        let own: Vec<&str> = by_digest.iter().filter(|(r, _)| digests && r == repository).map(|(_, d)| *d).collect();
        if own.is_empty() {
            push(repository, tag, NONE);
        }
        own.iter().for_each(|digest| push(repository, tag, digest));
    }
    let mut untagged: Vec<&str> = Vec::new();
    for (repository, digest) in &by_digest {
        if tags.iter().any(|(r, _)| r == repository) || (!digests && untagged.contains(repository)) {
            continue;
        }
        untagged.push(repository);
        push(repository, NONE, digest);
    }
    if tags.is_empty() && by_digest.is_empty() {
        push(NONE, NONE, NONE);
    }
    out
}

fn row(image: &Json, repository: &str, tag: &str, digest: &str, no_trunc: bool, now: Time) -> Json {
    let full = image.get("Id").str();
    let created = image.get("Created").int();
    let human = |n: i64| if n < 0 { "N/A".into() } else { size::human_digits(n as u64, 3) };
    let count = image.get("Containers").int();
    let fields = [
        ("Containers", if count < 0 || *image.get("Containers") == Json::Null { "N/A".into() } else { count.to_string() }),
        ("CreatedAt", go_time(created)),
        ("CreatedSince", time::human_duration(now.seconds() - created) + " ago"),
        ("Digest", digest.into()),
        ("ID", if no_trunc { full.into() } else { id::short(full).into() }),
        ("Repository", repository.into()),
        ("SharedSize", human(image.find("SharedSize").map_or(-1, Json::int))),
        ("Size", human(image.get("Size").int())),
        ("Tag", tag.into()),
        ("UniqueSize", "N/A".into()),
        ("VirtualSize", human(image.get("Size").int())),
    ];
    Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
}

/// Gives an image another name.
pub fn tag(cx: &Cx, args: Tag) -> Result<i32> {
    let (repository, tag) = split(&args.target)?;
    let query = Query::new().set("repo", repository).maybe("tag", tag);
    cx.client.post(&format!("/images/{}/tag", escape(&args.source)), &query, None)?;
    Ok(0)
}

/// Repository and tag of a reference; refuses what no reference can be.
pub fn split(reference: &str) -> Result<(&str, &str)> {
    let (repository, tag) = match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, ""),
    };
    let path =
        repository.split_once('/').map_or(repository, |(host, path)| if host.contains(['.', ':']) { path } else { repository });
    let bad =
        |why: &str| Err(Error::invalid(format!("Error parsing reference: {reference:?} is not a valid repository/tag: {why}")));
    if repository.is_empty() || repository.contains('@') {
        return bad("invalid reference format");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return bad("invalid reference format: repository name must be lowercase");
    }
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'/');
    if !path.bytes().all(fine) || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return bad("invalid reference format");
    }
    Ok((repository, tag))
}

/// Removes each.
pub fn remove(cx: &Cx, args: Remove) -> Result<i32> {
    let query = Query::new().flag("force", args.force).flag("noprune", args.no_prune);
    for_each(&args.names, |name| {
        let answer = cx.client.delete(&format!("/images/{}", escape(name)), &query)?;
        answer.items().iter().try_for_each(|item| match item.get("Deleted").str() {
            "" => line(&format!("Untagged: {}", item.get("Untagged").str())),
            deleted => line(&format!("Deleted: {deleted}")),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_tag() {
        let lines = |text: &str, digests| names(&Json::parse(text.as_bytes()).unwrap(), digests);
        let image = r#"{"RepoTags":["a:1","a:2"],"RepoDigests":["a@sha256:x","b@sha256:y"]}"#;
        let shown = lines(image, false).into_iter().map(|(r, t, d)| format!("{r} {t} {d}")).collect::<Vec<_>>();
        assert_eq!(shown, ["a 1 <none>", "a 2 <none>", "b <none> sha256:y"]);
        assert_eq!(lines(image, true)[0].2, "sha256:x");
        assert_eq!(lines(r#"{"RepoTags":null}"#, false)[0].0, "<none>");
    }

    #[test]
    fn targets_of_tag() {
        assert_eq!(split("127.0.0.1:5000/a/b:c").unwrap(), ("127.0.0.1:5000/a/b", "c"));
        assert_eq!(split("127.0.0.1:5000/a").unwrap(), ("127.0.0.1:5000/a", ""));
        assert!(split("UPPER/Case").unwrap_err().to_string().contains("must be lowercase"));
        assert!(split("").is_err() && split("a b").is_err() && split("a:b c").is_err());
    }
}
