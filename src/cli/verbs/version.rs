//! `version`.

use crate::base::Result;
use crate::cli::Cx;
use crate::cli::client::API_VERSION;
use crate::cli::http::Query;
use crate::cli::output::{object, say};
use crate::cli::value::Json;
use crate::image::Platform;
use argh::{ArgsInfo, FromArgs};

/// The commit that the binary was built from, where the build knew it.
pub const COMMIT: &str = match option_env!("PRTIQL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// show the version information
#[derive(FromArgs, ArgsInfo)]
pub struct Version {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
}

/// Prints both sides' versions.
pub fn version(cx: &Cx, args: Version) -> Result<i32> {
    let server = cx.client.get("/version", &Query::new());
    let arch = Platform::host().architecture;
    let text = |k: &str, v: &str| (k.to_string(), Json::from(v));
    let client = Json::Obj(vec![
        text("Version", env!("CARGO_PKG_VERSION")),
        text("ApiVersion", &cx.client.version()),
        text("APIVersion", &cx.client.version()),
        text("DefaultAPIVersion", API_VERSION),
        text("GitCommit", COMMIT),
        text("Os", "linux"),
        text("Arch", &arch),
        text("Context", "default"),
    ]);
    let (server, failure) = match server {
        Ok(server) => (api_names(server), None),
        Err(e) => (Json::Null, Some(e)),
    };
    let all = Json::Obj(vec![("Client".into(), client.clone()), ("Server".into(), server.clone())]);
    if !args.format.is_empty() {
        if let Some(e) = failure {
            return Err(e);
        }
        return object(&args.format, &all).map(|()| 0);
    }
    let mut out = format!(
        "Client:\n Version:           {}\n API version:       {}\n Git commit:        {COMMIT}\n OS/Arch:           linux/{arch}\n Context:           default\n",
        env!("CARGO_PKG_VERSION"),
        cx.client.version()
    );
    if let Some(e) = failure {
        say(&out)?;
        return Err(e);
    }
    let platform = server.path("Platform.Name").str();
    out.push_str(&format!("\nServer:{}{platform}\n", if platform.is_empty() { "" } else { " " }));
    for component in server.get("Components").items() {
        out.push_str(&format!(" {}:\n  Version:          {}\n", component.get("Name").str(), component.get("Version").str()));
        let details = component.get("Details");
        let detail = |key: &str| details.get(key).str();
        for (label, value) in [
            ("API version:", format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion"))),
            ("Git commit:", detail("GitCommit").into()),
            ("Built:", detail("BuildTime").into()),
            ("OS/Arch:", format!("{}/{}", detail("Os"), detail("Arch"))),
            ("Experimental:", detail("Experimental").into()),
        ] {
            if !value.is_empty() && !value.starts_with(" (") && value != "/" {
                out.push_str(&format!("  {label:<17} {value}\n"));
            }
        }
    }
    say(&out).map(|()| 0)
}

/// Docker's templates know the API's fields under Go's names too.
fn api_names(server: Json) -> Json {
    let Json::Obj(mut fields) = server else { return server };
    if let Some((_, version)) = fields.iter().find(|(k, _)| k == "ApiVersion").cloned() {
        fields.push(("APIVersion".into(), version));
    }
    Json::Obj(fields)
}
