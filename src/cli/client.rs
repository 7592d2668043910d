//! The Docker API as the verbs use it: version prefix, JSON in and out, the daemon's errors as ours.

use crate::base::{Error, Kind, Result};
use crate::cli::http::{self, Endpoint, Payload, Query, Response};
use crate::cli::value::Json;
use std::cell::RefCell;

/// The API version that the command line speaks where the daemon does.
pub const API_VERSION: &str = "1.44";

/// The daemon, seen from here.
pub struct Client {
    endpoint: Endpoint,
    version: RefCell<String>,
}

impl Client {
    /// For the given place; `DOCKER_API_VERSION` pins the version.
    pub fn new(endpoint: Endpoint) -> Client {
        let version = std::env::var("DOCKER_API_VERSION").ok().filter(|v| !v.is_empty());
        Client { endpoint, version: RefCell::new(version.unwrap_or_else(|| API_VERSION.into())) }
    }

    /// The version in use: an older daemon has lowered it.
    pub fn version(&self) -> String {
        self.version.borrow().clone()
    }

    /// `GET`, the answer as JSON.
    pub fn get(&self, path: &str, query: &Query) -> Result<Json> {
        let mut answer = self.send("GET", path, query, &[], None)?;
        Json::parse(&answer.whole()?)
    }

    /// `POST` with a JSON body, or none; the answer as JSON (`null` where it is empty).
    pub fn post(&self, path: &str, query: &Query, body: Option<&[u8]>) -> Result<Json> {
        let mut answer = self.send("POST", path, query, &[], body)?;
        let bytes = answer.whole()?;
        if bytes.iter().all(u8::is_ascii_whitespace) { Ok(Json::Null) } else { Json::parse(&bytes) }
    }

    /// `DELETE`, the answer as JSON (`null` where it is empty).
    pub fn delete(&self, path: &str, query: &Query) -> Result<Json> {
        let mut answer = self.send("DELETE", path, query, &[], None)?;
        let bytes = answer.whole()?;
        if bytes.is_empty() { Ok(Json::Null) } else { Json::parse(&bytes) }
    }

    /// A request whose answer is read by the caller. A daemon that is older than we are says so; the request is then sent again in
    /// its version.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response> {
        loop {
            let payload = body.map_or(Payload::Empty, |b| Payload::Json(b.to_vec()));
            let answer = http::request(&self.endpoint, method, &self.target(path, query), headers, payload)?;
            match check(answer) {
                Err(e) if self.lower_version(&e) => {}
                other => return other,
            }
        }
    }

    /// Sends a stream as the body.
    pub fn upload(
        &self,
        path: &str,
        query: &Query,
        headers: &[(&str, &str)],
        from: &mut dyn std::io::Read,
        kind: &'static str,
    ) -> Result<Response> {
        self.negotiate()?; // the body can be sent only once
        check(http::request(&self.endpoint, "POST", &self.target(path, query), headers, Payload::Stream(from, kind))?)
    }

    /// A request whose connection becomes a raw stream.
    pub fn upgrade(&self, path: &str, query: &Query, body: &[u8]) -> Result<Response> {
        check(http::request(&self.endpoint, "POST", &self.target(path, query), &[], Payload::Upgrade(body.to_vec()))?)
    }

    /// Asks for the daemon's version, and lowers ours to it.
    pub fn negotiate(&self) -> Result<()> {
        let mut answer = http::request(&self.endpoint, "GET", "/_ping", &[], Payload::Empty)?;
        answer.whole()?;
        let theirs = answer.header("api-version");
        if older(theirs, &self.version.borrow()) {
            *self.version.borrow_mut() = theirs.into();
        }
        Ok(())
    }

    fn target(&self, path: &str, query: &Query) -> String {
        format!("/v{}{path}{}", self.version.borrow(), query.text())
    }

    fn lower_version(&self, e: &Error) -> bool {
        let text = e.to_string();
        let Some((_, theirs)) = text.split_once("Maximum supported API version is ") else { return false };
        let theirs = theirs.trim();
        let lower = older(theirs, &self.version.borrow());
        if lower {
            *self.version.borrow_mut() = theirs.into();
        }
        lower
    }
}

/// Is version `a` lower than `b`? Unreadable ones are not.
pub fn older(a: &str, b: &str) -> bool {
    let parse = |v: &str| v.split_once('.').and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)));
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a < b)
}

/// An answer of 400 and above becomes an error with Docker's wording.
fn check(mut answer: Response) -> Result<Response> {
    if answer.status < 400 {
        return Ok(answer);
    }
    let status = answer.status;
    let body = answer.whole().unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let message = match Json::parse(&body) {
        Ok(json) if !json.get("message").str().is_empty() => json.get("message").str().to_string(),
        _ if text.trim().is_empty() => format!("request returned status {status}"),
        _ => text.trim().to_string(),
    };
    let kind = match status {
        400 => Kind::Invalid,
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        501 => Kind::Unsupported,
        503 => Kind::Unavailable,
        _ => Kind::Internal,
    };
    Err(Error::new(kind, format!("Error response from daemon: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(
            older("1.9", "1.44") && older("1.41", "1.44") && !older("1.44", "1.44") && !older("x", "1.44") && !older("", "1.1")
        );
    }
}
