//! Authentication: what a registry asks for in `WWW-Authenticate`, and tokens from the server that it names.

use crate::base::base64;
use crate::base::{Error, Kind};
use crate::registry::body::Body;
use crate::registry::failure::Failure;
use crate::registry::http::{Client, Request};
use crate::registry::trust::is_insecure;
use crate::registry::url::Url;
use crate::wire::http::percent_encode as encode;
use crate::wire::worker::Auth;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest answer of a token server.
const LARGEST_TOKEN: u64 = 256 * 1024;

/// One challenge: a scheme in lower case and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `basic` or `bearer`.
    pub scheme: String,
    /// `realm`, `service`, `scope`, `error`, …
    pub parameters: BTreeMap<String, String>,
}

/// Parses the value of a `WWW-Authenticate` header; several challenges may stand in it.
pub fn parse_challenges(mut text: &str) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Vec::new();
    let token_end = |t: &str| t.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(t.len());
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        let end = token_end(text);
        if end == 0 || all.len() > 8 {
            return all;
        }
        let (word, rest) = text.split_at(end);
        let value = rest.trim_start().strip_prefix('=');
        match (value, all.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, rest) = parse_value(value.trim_start(), &token_end);
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
                text = rest;
            }
            (Some(_), None) => return all,
            (None, _) => {
                all.push(Challenge { scheme: word.to_ascii_lowercase(), ..Challenge::default() });
                text = rest;
            }
        }
    }
}

fn parse_value<'a>(text: &'a str, token_end: &dyn Fn(&str) -> usize) -> (String, &'a str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = token_end(text);
        return (text[..end].to_string(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The `Authorization` header that answers a challenge, or `None` if there is nothing to answer with.
pub fn answer(
    client: &mut Client,
    challenges: &[Challenge],
    auth: Option<&Auth>,
    scope: &str,
) -> Result<Option<String>, Failure> {
    if let Some(token) = auth.map(|a| &a.registry_token).filter(|t| !t.is_empty()) {
        if token.bytes().any(|b| b <= b' ') {
            return Err(Failure::lasting(Error::invalid("the registry token has blanks or line ends in it")));
        }
        return Ok(Some(format!("Bearer {token}")));
    }
    if let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer") {
        return fetch_token(client, bearer, auth, scope).map(|token| Some(format!("Bearer {token}")));
    }
    let basic = challenges.iter().any(|c| c.scheme == "basic");
    Ok(auth.filter(|a| basic && !a.username.is_empty()).map(basic_header))
}

fn basic_header(auth: &Auth) -> String {
    format!("Basic {}", base64::encode(format!("{}:{}", auth.username, auth.password).as_bytes()))
}

fn fetch_token(client: &mut Client, challenge: &Challenge, auth: Option<&Auth>, scope: &str) -> Result<String, Failure> {
    let realm = challenge.parameters.get("realm").map(String::as_str).unwrap_or("");
    let realm = Url::parse(realm).map_err(|e| Failure::lasting(e.context("the registry's token server")))?;
    let service = challenge.parameters.get("service").map(String::as_str).unwrap_or("");
    let secret = auth.is_some_and(|a| !a.password.is_empty() || !a.identity_token.is_empty());
    if secret && !realm.tls && !is_insecure(&realm.authority(), &client.settings) {
        let error = Error::new(Kind::Unauthorized, format!("credentials are not sent to {realm}, which is not encrypted"));
        return Err(Failure::lasting(error));
    }
    let mut request = Request::get(realm.clone());
    match auth.filter(|a| !a.identity_token.is_empty()) {
        Some(auth) => {
            request.method = "POST";
            request.body = Some(Body::form(&format!(
                "grant_type=refresh_token&service={}&scope={}&client_id=prtiql&refresh_token={}",
                encode(service),
                encode(scope),
                encode(&auth.identity_token)
            )));
        }
        None => {
            let separator = if realm.target.contains('?') { '&' } else { '?' };
            let mut target = format!("{}{separator}service={}", realm.target, encode(service));
            if !scope.is_empty() {
                target.push_str(&format!("&scope={}", encode(scope)));
            }
            if let Some(auth) = auth.filter(|a| !a.username.is_empty()) {
                target.push_str(&format!("&account={}", encode(&auth.username)));
                request.authorization = Some(basic_header(auth));
            }
            request.url = realm.with_target(&target);
        }
    }
    let mut response = client.send(request)?;
    let status = response.head.status;
    let text = response.read_all(LARGEST_TOKEN)?;
    client.keep(response);
    if status != 200 {
        return Err(crate::registry::errors::of_answer(status, None, &text).context(format!("Get \"{realm}\"")));
    }
    let bad = |why: String| Failure::lasting(Error::new(Kind::Unauthorized, format!("the token server {realm} {why}")));
    let answer: TokenAnswer = serde_json::from_slice(&text).map_err(|_| bad("answered with something else than JSON".into()))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    match token.is_empty() || token.bytes().any(|b| b < b' ') {
        true => Err(bad("gave no token".into())),
        false => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_parse() {
        let c = parse_challenges(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push", Basic realm=x"#,
        );
        assert_eq!((c.len(), c[0].scheme.as_str(), c[1].scheme.as_str()), (2, "bearer", "basic"));
        assert_eq!(c[0].parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(c[1].parameters["realm"], "x");
        assert_eq!(parse_challenges(r#"Basic realm="a \"b\""#)[0].parameters["realm"], "a \"b\"");
        for text in ["", ",", "=", "Bearer", "Bearer realm", "Bearer realm=\"x", "\u{1F600}", "a=b"] {
            parse_challenges(text);
        }
    }
}
