//! `history`.

use super::ps::{ellipsis, go_time};
use crate::base::time::{self, Time};
use crate::base::{Result, id, size};
use crate::cli::Cx;
use crate::cli::http::{Query, escape};
use crate::cli::output::Layout;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// show the history of an image
#[derive(FromArgs, ArgsInfo)]
pub struct History {
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// print sizes and dates in human readable format
    #[argh(option, short = 'H', arg_name = "bool", default = "true")]
    human: bool,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// only show image IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// image
    #[argh(positional)]
    name: String,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
};

/// Prints the layers and the commands that made them.
pub fn history(cx: &Cx, args: History) -> Result<i32> {
    let layers = cx.client.get(&format!("/images/{}/history", escape(&args.name)), &Query::new())?;
    let now = Time::now();
    let row = |layer: &Json| {
        let created = layer.get("Created").int();
        let bytes = layer.get("Size").int();
        let by = layer.get("CreatedBy").str().replace('\t', " ");
        let full = layer.get("Id").str();
        let at = if args.human { time::human_duration(now.seconds() - created) + " ago" } else { go_time(created) };
        let fields = [
            ("Comment", layer.get("Comment").str().to_string()),
            ("CreatedAt", go_time(created)),
            ("CreatedBy", if args.no_trunc { by } else { ellipsis(&by, 45) }),
            ("CreatedSince", at),
            ("ID", if args.no_trunc { full.into() } else { id::short(full).into() }),
            ("Size", if args.human { size::human_digits(bytes.max(0) as u64, 3) } else { bytes.to_string() }),
        ];
        Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
    };
    let rows: Vec<Json> = layers.items().iter().map(row).collect();
    LAYOUT.print(&args.format, args.quiet, &rows)?;
    Ok(0)
}
