//! One table of routes; versions; finding the handler.

use crate::api::call::{Call, Context, Handled};
use crate::api::server::Ready;
use crate::api::{containers, exec, images, inspect, lifecycle, networks, store, system, volumes};
use crate::base::{Error, Result};
use crate::wire::http::{Request, percent_decode};

type Handler = fn(&mut Context<'_>, Call) -> Handled;

/// Method, path (`{}` is one part, `{*}` one or more), handler. Order matters where two fit.
const ROUTES: &[(&str, &str, Handler)] = &[
    ("GET", "/_ping", system::ping),
    ("HEAD", "/_ping", system::ping),
    ("GET", "/version", system::version),
    ("GET", "/info", system::info),
    ("GET", "/events", system::events),
    ("GET", "/system/df", system::df),
    ("POST", "/auth", system::auth),
    ("POST", "/system/verify", store::verify),
    ("GET", "/system/wear", store::wear),
    ("POST", "/session", system::no_session),
    ("POST", "/grpc", system::no_session),
    ("GET", "/plugins", system::no_plugins),
    ("POST", "/build/prune", system::build_prune),
    ("GET", "/containers/json", containers::list),
    ("POST", "/containers/create", containers::create),
    ("POST", "/containers/prune", containers::prune),
    ("GET", "/containers/{}/json", inspect::container),
    ("GET", "/containers/{}/top", containers::top),
    ("GET", "/containers/{}/logs", containers::logs),
    ("POST", "/containers/{}/start", lifecycle::start),
    ("POST", "/containers/{}/stop", lifecycle::stop),
    ("POST", "/containers/{}/restart", lifecycle::restart),
    ("POST", "/containers/{}/kill", lifecycle::kill),
    ("POST", "/containers/{}/pause", lifecycle::pause),
    ("POST", "/containers/{}/unpause", lifecycle::unpause),
    ("POST", "/containers/{}/wait", lifecycle::wait),
    ("POST", "/containers/{}/resize", lifecycle::resize),
    ("POST", "/containers/{}/rename", lifecycle::rename),
    ("POST", "/containers/{}/attach", lifecycle::attach),
    ("DELETE", "/containers/{}", lifecycle::remove),
    ("POST", "/containers/{}/exec", exec::create),
    ("POST", "/exec/{}/start", exec::start),
    ("POST", "/exec/{}/resize", exec::resize),
    ("GET", "/exec/{}/json", exec::inspect),
    ("GET", "/images/json", images::list),
    ("POST", "/images/create", images::create),
    ("POST", "/images/delta", images::delta),
    ("POST", "/images/load", images::load),
    ("POST", "/images/prune", images::prune),
    ("GET", "/images/{*}/json", images::inspect),
    ("GET", "/images/{*}/history", images::history),
    ("POST", "/images/{*}/tag", images::tag),
    ("DELETE", "/images/{*}", images::remove),
    ("GET", "/volumes", volumes::list),
    ("POST", "/volumes/create", volumes::create),
    ("POST", "/volumes/prune", volumes::prune),
    ("GET", "/volumes/{}", volumes::inspect),
    ("DELETE", "/volumes/{}", volumes::remove),
    ("GET", "/networks", networks::list),
    ("POST", "/networks/create", networks::create),
    ("POST", "/networks/prune", networks::prune),
    ("POST", "/networks/{}/connect", networks::later),
    ("POST", "/networks/{}/disconnect", networks::later),
    ("GET", "/networks/{}", networks::inspect),
    ("DELETE", "/networks/{}", networks::remove),
];

/// Routes of Docker's API whose feature comes with a later version: a clear answer instead of "page not found".
const LATER: &[(&str, &str)] = &[
    ("POST", "/build"),
    ("POST", "/commit"),
    ("GET", "/images/search"),
    ("GET", "/images/get"),
    ("GET", "/images/{*}/get"),
    ("POST", "/images/{*}/push"),
    ("GET", "/distribution/{*}/json"),
    ("GET", "/containers/{}/archive"),
    ("HEAD", "/containers/{}/archive"),
    ("PUT", "/containers/{}/archive"),
    ("GET", "/containers/{}/export"),
    ("GET", "/containers/{}/changes"),
    ("GET", "/containers/{}/stats"),
    ("POST", "/containers/{}/update"),
    ("GET", "/containers/{}/attach/ws"),
];

fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let wanted: Vec<&str> = pattern.split('/').collect();
    let parts: Vec<&str> = path.split('/').collect();
    let many = wanted.iter().position(|w| *w == "{*}");
    let extra = match many {
        Some(_) => parts.len().checked_sub(wanted.len())?,
        None if parts.len() == wanted.len() => 0,
        None => return None,
    };
    let (mut args, mut at) = (Vec::new(), 0);
    for part in wanted {
        let take = if part == "{*}" { 1 + extra } else { 1 };
        let text = parts.get(at..at + take)?.join("/");
        match part {
            "{}" | "{*}" if text.is_empty() => return None,
            "{}" | "{*}" => args.push(text),
            fixed if fixed == text => {}
            _ => return None,
        }
        at += take;
    }
    Some(args)
}

/// Splits `/v1.NN` off.
fn version(path: &str) -> Result<(u32, &str)> {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/').unwrap_or(rest.len());
        let (major, minor) = rest[..end].split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?, &rest[end..]))
    });
    match versioned {
        None => Ok((44, path)),
        Some((1, minor @ 24..=44, rest)) => Ok((minor, rest)),
        Some((major, minor, _)) if (major, minor) < (1, 24) => Err(Error::invalid(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        ))),
        Some((major, minor, _)) => {
            Err(Error::invalid(format!("client version {major}.{minor} is too new. Maximum supported API version is 1.44")))
        }
    }
}

/// The route takes the body as a stream: it is not collected first.
pub fn takes_stream(request: &Request) -> bool {
    let path = version(&request.path).map_or("", |(_, p)| p);
    request.method == "POST" && path == "/images/load"
        // An upgraded stream has no body that ends.
        || request.upgrade() && request.body == crate::wire::http::Body::Length(0)
}

/// Finds the handler and calls it.
pub fn dispatch(context: &mut Context<'_>, ready: Ready) -> Handled {
    let Ready { conn, request, body } = ready;
    log::debug!("{} {}", request.method, request.path);
    let (version, path) = version(&request.path)?;
    let path = path.to_string();
    for (method, pattern, handler) in ROUTES {
        if *method == request.method
            && let Some(args) = matches(pattern, &path)
        {
            let args = args.iter().map(|a| percent_decode(a, false)).collect();
            return handler(context, Call { conn, request, body, args, version });
        }
    }
    if LATER.iter().any(|(method, pattern)| *method == request.method && matches(pattern, &path).is_some()) {
        return Err(Error::unsupported(format!("{} {path} is not part of this version of the engine yet", request.method)));
    }
    if path.starts_with("/swarm") || path.starts_with("/nodes") || path.starts_with("/services") || path.starts_with("/tasks") {
        return Err(Error::unavailable("This node is not a swarm manager: swarm is not part of this engine"));
    }
    Err(Error::not_found("page not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert_eq!(matches("/images/{*}/json", "/images/a/b/c/json"), Some(vec!["a/b/c".to_string()]));
        assert_eq!(matches("/images/{*}/json", "/images/json"), None);
        assert_eq!(matches("/containers/{}/json", "/containers/x/json"), Some(vec!["x".to_string()]));
        assert_eq!(matches("/containers/{}/json", "/containers//json"), None);
        assert_eq!(matches("/containers/{}", "/containers/x/y"), None);
    }

    #[test]
    fn versions_are_gated() {
        assert_eq!(version("/v1.41/info").unwrap(), (41, "/info"));
        assert_eq!(version("/volumes").unwrap(), (44, "/volumes"));
        assert_eq!(version("/version").unwrap(), (44, "/version"));
        assert!(version("/v9.99/info").unwrap_err().to_string().contains("too new"));
        assert!(version("/v1.12/info").unwrap_err().to_string().contains("too old"));
    }
}
