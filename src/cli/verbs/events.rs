//! `events`.

use super::logs::moment;
use crate::base::time::Time;
use crate::base::{Error, Result};
use crate::cli::http::Query;
use crate::cli::output::line;
use crate::cli::template::{Missing, Template};
use crate::cli::value::Json;
use crate::cli::{Cx, filters};
use argh::{ArgsInfo, FromArgs};

/// get real time events from the server
#[derive(FromArgs, ArgsInfo)]
pub struct Events {
    /// filter output based on conditions provided
    #[argh(option, short = 'f')]
    filter: Vec<String>,
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// show all events created since timestamp
    #[argh(option, default = "String::new()")]
    since: String,
    /// stream events until this timestamp
    #[argh(option, default = "String::new()")]
    until: String,
}

/// Prints events as they come.
pub fn events(cx: &Cx, args: Events) -> Result<i32> {
    let query = Query::new()
        .maybe("since", &moment(&args.since)?)
        .maybe("until", &moment(&args.until)?)
        .maybe("filters", &filters::text(&args.filter)?);
    let template = match args.format.as_str() {
        "" | "json" => None,
        format => Some(Template::parse(format)?),
    };
    let body = cx.client.send("GET", "/events", &query, &[], None)?;
    for event in serde_json::Deserializer::from_reader(body).into_iter::<Json>() {
        let event = event.map_err(|e| Error::internal(format!("the stream of events ended early: {e}")))?;
        match (&template, args.format.as_str()) {
            (Some(template), _) => line(&template.render(&event, Missing::Api)?)?,
            (None, "json") => line(&event.compact())?,
            (None, _) => line(&plain(&event))?,
        }
    }
    Ok(0)
}

/// `2026-11-25T14:17:03.123456789Z container die 0123… (exitCode=0, image=x, name=y)`
fn plain(event: &Json) -> String {
    let at = Time(event.get("timeNano").int()).rfc3339_fixed();
    let actor = event.get("Actor");
    let mut out = format!("{at} {} {} {}", event.get("Type").str(), event.get("Action").str(), actor.get("ID").str());
    let mut attributes: Vec<String> = actor.get("Attributes").fields().iter().map(|(k, v)| format!("{k}={}", v.str())).collect();
    attributes.sort();
    if !attributes.is_empty() {
        out.push_str(&format!(" ({})", attributes.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people() {
        let text = r#"{"Type":"container","Action":"die","Actor":{"ID":"ab","Attributes":{"name":"y","exitCode":"0"}},"timeNano":1700000000000000001}"#;
        let event = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(plain(&event), "2023-11-14T22:13:20.000000001Z container die ab (exitCode=0, name=y)");
    }
}
