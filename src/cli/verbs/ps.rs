//! `ps`.

use crate::base::time::{self, Time};
use crate::base::{Result, id, size};
use crate::cli::http::Query;
use crate::cli::output::Layout;
use crate::cli::value::Json;
use crate::cli::{Cx, filters};
use argh::{ArgsInfo, FromArgs};

/// list containers
#[derive(FromArgs, ArgsInfo)]
pub struct List {
    /// show all containers (default shows just running)
    #[argh(switch, short = 'a')]
    all: bool,
    /// filter output based on conditions provided
    #[argh(option, short = 'f')]
    filter: Vec<String>,
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// show n last created containers (includes all states)
    #[argh(option, short = 'n', default = "-1")]
    last: i64,
    /// show the latest created container (includes all states)
    #[argh(switch, short = 'l')]
    latest: bool,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// only display container IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// display total file sizes
    #[argh(switch, short = 's')]
    size: bool,
}

const HEADINGS: &[(&str, &str)] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];
const LAYOUT: Layout = Layout {
    headings: HEADINGS,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
};
const LAYOUT_SIZE: Layout = Layout {
    headings: HEADINGS,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

/// Prints the list.
pub fn list(cx: &Cx, args: List) -> Result<i32> {
    let last = if args.latest { 1 } else { args.last };
    let size = args.size || args.format.contains(".Size");
    let query = Query::new()
        .flag("all", args.all)
        .maybe("limit", &if last > 0 { last.to_string() } else { String::new() })
        .flag("size", size)
        .maybe("filters", &filters::text(&args.filter)?);
    let containers = cx.client.get("/containers/json", &query)?;
    let now = Time::now();
    let rows: Vec<Json> = containers.items().iter().map(|c| row(c, args.no_trunc, now)).collect();
    let layout = if args.size { LAYOUT_SIZE } else { LAYOUT };
    layout.print(&args.format, args.quiet, &rows)?;
    Ok(0)
}

fn row(c: &Json, no_trunc: bool, now: Time) -> Json {
    let short = |text: &str| if no_trunc { text.to_string() } else { id::short(text).to_string() };
    let names: Vec<&str> = c.get("Names").items().iter().map(|n| n.str().trim_start_matches('/')).collect();
    // a link's name has a slash in it
    let names = names.iter().filter(|n| no_trunc || !n.contains('/')).copied().collect::<Vec<_>>().join(",");
    let mut quoted = String::new();
    crate::cli::value::quote(
        &mut quoted,
        &if no_trunc { c.get("Command").str().into() } else { ellipsis(c.get("Command").str(), 20) },
    );
    let created = c.get("Created").int();
    let labels: Vec<String> = c.get("Labels").fields().iter().map(|(k, v)| format!("{k}={}", v.str())).collect();
    let mounts: Vec<String> = c.get("Mounts").items().iter().map(|m| mount(m, no_trunc)).collect();
    let local = c.get("Mounts").items().iter().filter(|m| m.get("Driver").str() == "local").count();
    let networks: Vec<&str> = c.path("NetworkSettings.Networks").fields().iter().map(|(name, _)| name.as_str()).collect();
    let human = |n: i64| size::human_digits(n.max(0) as u64, 3);
    let (rw, root) = (c.get("SizeRw").int(), c.get("SizeRootFs").int());
    let space = if root > 0 { format!("{} (virtual {})", human(rw), human(root)) } else { human(rw) };
    let fields = [
        ("Command", quoted),
        ("CreatedAt", go_time(created)),
        ("ID", short(c.get("Id").str())),
        ("Image", image(c, no_trunc)),
        ("Labels", labels.join(",")),
        ("LocalVolumes", local.to_string()),
        ("Mounts", mounts.join(",")),
        ("Names", names),
        ("Networks", networks.join(",")),
        ("Platform", c.get("Platform").str().into()),
        ("Ports", ports(c.get("Ports").items())),
        ("RunningFor", time::human_duration(now.seconds() - created) + " ago"),
        ("Size", space),
        ("State", c.get("State").str().into()),
        ("Status", c.get("Status").str().into()),
    ];
    Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
}

/// Go's `time.Time.String()` in UTC.
pub fn go_time(seconds: i64) -> String {
    let (y, mo, d, h, mi, s) = time::civil(seconds);
    format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02} +0000 UTC")
}

/// At most so many characters, the last an ellipsis.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.into() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

fn image(c: &Json, no_trunc: bool) -> String {
    let (image, image_id) = (c.get("Image").str(), c.get("ImageID").str());
    match image {
        "" => "<no image>".into(),
        _ if no_trunc => image.into(),
        _ if id::short(image_id) == id::short(image) => id::short(image).into(),
        _ => image.split('@').next().unwrap_or(image).into(),
    }
}

fn mount(m: &Json, no_trunc: bool) -> String {
    let name = if m.get("Name").str().is_empty() { m.get("Source").str() } else { m.get("Name").str() };
    if no_trunc { name.into() } else { ellipsis(name, 15) }
}

/// Ports as `ps` shows them: runs of neighbours that are published under their own numbers become one range.
fn ports(list: &[Json]) -> String {
    struct Group {
        key: (String, String),
        first: i64,
        last: i64,
    }
    let shown = |g: &Group| {
        let range = if g.first == g.last { g.first.to_string() } else { format!("{}-{}", g.first, g.last) };
        match g.key.0.as_str() {
            "" => format!("{range}/{}", g.key.1),
            ip => format!("{ip}:{range}->{range}/{}", g.key.1),
        }
    };
    let mut list: Vec<&Json> = list.iter().collect();
    list.sort_by_key(|p| (p.get("PrivatePort").int(), p.get("IP").str(), p.get("PublicPort").int(), p.get("Type").str()));
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    let mut groups: Vec<Group> = Vec::new();
    for port in list {
        let (private, public, kind) = (port.get("PrivatePort").int(), port.get("PublicPort").int(), port.get("Type").str());
        let ip = match port.get("IP").str() {
            ip if ip.contains(':') => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        if !ip.is_empty() && public != private {
            mapped.push(format!("{ip}:{public}->{private}/{kind}"));
            continue;
        }
        let key = (ip, kind.to_string());
        match groups.iter_mut().find(|g| g.key == key) {
            Some(group) if private == group.last + 1 => group.last = private,
            Some(group) => {
                done.push(shown(group));
                (group.first, group.last) = (private, private);
            }
            None => groups.push(Group { key, first: private, last: private }),
        }
    }
    done.extend(groups.iter().map(shown));
    done.extend(mapped);
    done.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_docker_shows_them() {
        let shown = |text: &str| ports(Json::parse(text.as_bytes()).unwrap().items());
        assert_eq!(shown(r#"[{"IP":"127.0.0.1","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}]"#), "127.0.0.1:8080->80/tcp");
        assert_eq!(
            shown(r#"[{"PrivatePort":81,"Type":"tcp"},{"PrivatePort":80,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"}]"#),
            "53/udp, 80-81/tcp"
        );
        assert_eq!(
            shown(
                r#"[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":80,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":80,"Type":"tcp"}]"#
            ),
            "0.0.0.0:80->80/tcp, [::]:80->80/tcp"
        );
    }

    #[test]
    fn long_commands_end_in_an_ellipsis() {
        assert_eq!(ellipsis("sleep 300", 20), "sleep 300");
        assert_eq!(ellipsis("0123456789012345678901", 20), "0123456789012345678…");
    }
}
