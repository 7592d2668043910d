//! What registries' error answers mean, in the words that Docker's clients know.

use crate::base::{Error, Kind};
use crate::registry::auth::Challenge;
use crate::registry::failure::Failure;
use crate::registry::url::Url;
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Item>,
    /// Token servers say it without a list.
    #[serde(default)]
    details: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error that an answer of this status and body is. `challenge` is its bearer challenge, if it has one.
pub fn of_answer(status: u16, challenge: Option<&Challenge>, body: &[u8]) -> Failure {
    let refused = challenge.and_then(|c| c.parameters.get("error")).map(String::as_str);
    let text = match refused {
        Some("insufficient_scope") => "denied: requested access to the resource is denied".to_string(),
        Some("invalid_token") => "unauthorized: authentication required".to_string(),
        _ => text_of(status, body),
    };
    let kind = match status {
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        413 => Kind::TooLarge,
        429 | 500.. => Kind::Unavailable,
        _ => Kind::Internal,
    };
    let kind = if refused == Some("insufficient_scope") { Kind::Forbidden } else { kind };
    // Docker passes what a registry's failure is on as its own.
    let kind = if kind == Kind::Unavailable { Kind::Internal } else { kind };
    let passing = matches!(status, 408 | 429 | 500 | 502 | 503 | 504);
    Failure { passing, status, ..Failure::lasting(Error::new(kind, text)) }
}

fn text_of(status: u16, body: &[u8]) -> String {
    if let Ok(answer) = serde_json::from_slice::<Answer>(body) {
        if let Some(first) = answer.errors.first() {
            let code = first.code.to_ascii_lowercase().replace('_', " ");
            let clean = |t: &str| t.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect::<String>();
            return match (code.is_empty(), first.message.is_empty()) {
                (true, _) => clean(&first.message),
                (false, true) => code.clone(),
                (false, false) => format!("{code}: {}", clean(&first.message)),
            };
        }
        if !answer.details.is_empty() || !answer.message.is_empty() {
            let what = if answer.details.is_empty() { answer.message } else { answer.details };
            let word = match status {
                401 => "unauthorized: ",
                403 => "denied: ",
                429 => "toomanyrequests: ",
                _ => "",
            };
            return format!("{word}{what}");
        }
    }
    let html = is_html(body);
    let what = match status {
        401 => "unauthorized: authentication required",
        403 => "denied: requested access to the resource is denied",
        404 => "not found",
        429 => "toomanyrequests: too many requests",
        _ => "",
    };
    match (what.is_empty(), html) {
        (false, false) => what.to_string(),
        (false, true) => format!("{what} (the answer was HTML: is a proxy or a login page in between?)"),
        (true, false) => format!("received unexpected HTTP status: {status}"),
        (true, true) => format!("received unexpected HTTP status: {status}, and HTML: is a proxy or a login page in between?"),
    }
}

/// Does the body begin as a web page does?
pub fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

/// A web page where a registry's answer should be.
pub fn portal(url: &Url) -> Failure {
    let url = url.public();
    Failure::lasting(Error::internal(format!(
        "Get \"{url}\": something answers with HTML in the registry's place: it looks like the page of a captive portal or a proxy; \
         log in there, or set the proxy"
    )))
}

/// The failure of a pull of `name` (as people write it), in Docker's words.
pub fn of_pull(error: Error, name: &str, repository: &str) -> Error {
    let text = error.to_string();
    let last = text.as_str();
    if last.contains("denied: ") && error.kind() == Kind::Forbidden {
        let reason = &last[last.find("denied: ").unwrap_or(0)..];
        let message =
            format!("pull access denied for {repository}, repository does not exist or may require 'docker login': {reason}");
        return Error::not_found(message);
    }
    if error.kind() == Kind::NotFound {
        if let Some(at) = last.find("manifest unknown") {
            let reason = &last[at..];
            let reason = if reason == "manifest unknown" { "manifest unknown: manifest unknown" } else { reason };
            return Error::not_found(format!("manifest for {name} not found: {reason}"));
        }
        if let Some(at) = last.find("name unknown") {
            return Error::not_found(format!("repository {repository} not found: {}", &last[at..]));
        }
        if last.ends_with(": not found") || last == "not found" {
            return Error::not_found(format!("manifest for {name} not found: manifest unknown: manifest unknown"));
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_words() {
        let of = |status, body: &str| of_answer(status, None, body.as_bytes());
        let unknown = of(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
        assert!(!unknown.passing);
        let e = of_pull(unknown.error, "a:1", "a");
        assert_eq!(e.to_string(), "manifest for a:1 not found: manifest unknown: manifest unknown");
        assert_eq!(e.kind(), Kind::NotFound);
        let challenge =
            Challenge { scheme: "bearer".into(), parameters: [("error".to_string(), "insufficient_scope".to_string())].into() };
        let denied = of_answer(401, Some(&challenge), b"{}");
        assert_eq!(
            of_pull(denied.error, "a:1", "a").to_string(),
            "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        );
        assert!(of(429, "").passing && of(503, "").passing && !of(403, "").passing && !of(401, "").passing);
        assert!(of(502, "<html>").error.to_string().contains("HTML"));
        assert_eq!(
            of(401, r#"{"details":"incorrect username or password"}"#).error.to_string(),
            "unauthorized: incorrect username or password"
        );
    }
}
