//! `image delta`: makes a delta image of balenaEngine's kind.

use crate::base::Result;
use crate::cli::http::Query;
use crate::cli::{Cx, progress, terminal};
use argh::{ArgsInfo, FromArgs};

/// create an image of balenaEngine's delta format, which makes one image out of another where it is pulled or loaded
#[derive(FromArgs, ArgsInfo)]
pub struct Delta {
    /// name and optionally a tag in the 'name:tag' format
    #[argh(option, short = 't', default = "String::new()")]
    tag: String,
    /// image that the delta is from
    #[argh(positional)]
    source: String,
    /// image that the delta makes
    #[argh(positional)]
    target: String,
}

/// Shows what the daemon says while it makes the delta.
pub fn delta(cx: &Cx, args: Delta) -> Result<i32> {
    let query = Query::new().set("src", &args.source).set("dest", &args.target).maybe("t", &args.tag);
    let body = cx.client.send("POST", "/images/delta", &query, &[], None)?;
    progress::show(body, &mut std::io::stdout(), terminal::stdout_is_terminal())?;
    Ok(0)
}
