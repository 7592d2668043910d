//! `system verify`: rebuilds every stored layer's tar and compares its digest; `--repair` fetches again what is damaged.

use crate::base::{Error, Result};
use crate::cli::Cx;
use crate::cli::auth::ConfigFile;
use crate::cli::http::Query;
use crate::cli::output::line;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// verify that every stored layer is what its digest says
#[derive(FromArgs, ArgsInfo)]
pub struct Verify {
    /// print damaged layers only
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// fetch damaged layers again from the registry that they came from
    #[argh(switch)]
    repair: bool,
    /// image
    #[argh(positional)]
    images: Vec<String>,
}

/// Prints a line for each layer; the exit status is 1 if one is damaged and not repaired.
pub fn verify(cx: &Cx, args: Verify) -> Result<i32> {
    let mut query = Query::new().flag("repair", args.repair);
    for image in &args.images {
        query = query.set("image", image);
    }
    let auths = if args.repair { ConfigFile::load(&cx.config)?.header_of_all()? } else { String::new() };
    let headers = [("X-Registry-Config", auths.as_str())];
    let body = cx.client.send("POST", "/system/verify", &query, &headers[..usize::from(!auths.is_empty())], None)?;
    let (mut good, mut bad, mut repaired) = (0, 0, 0);
    for report in serde_json::Deserializer::from_reader(body).into_iter::<Json>() {
        let report = report.map_err(|e| Error::internal(format!("the report ended early: {e}")))?;
        let any = |names: [&str; 2]| names.iter().map(|n| report.get(n).str()).find(|s| !s.is_empty()).unwrap_or("").to_string();
        let error = any(["error", "message"]);
        if !error.is_empty() {
            return Err(Error::internal(error));
        }
        let layer = any(["id", "layer"]);
        if layer.is_empty() || matches!(report.get("damage"), Json::Null) {
            continue; // how a repair goes on
        }
        match any(["damage", "error"]) {
            damage if damage.is_empty() => {
                good += 1;
                if !args.quiet {
                    line(&format!("{layer}: intact"))?;
                }
            }
            damage if report.get("repaired").is_true() => {
                repaired += 1;
                line(&format!("{layer}: repaired: {damage}"))?;
            }
            damage => {
                bad += 1;
                line(&format!("{layer}: damaged: {damage}"))?;
                let reason = report.get("reason").str();
                if !reason.is_empty() {
                    line(&format!("{layer}: not repaired: {reason}"))?;
                }
            }
        }
    }
    let mended = if args.repair { format!(", {repaired} repaired") } else { String::new() };
    line(&format!("{good} layers intact{mended}, {bad} damaged"))?;
    Ok(i32::from(bad > 0))
}
