//! The little of URLs that a registry client needs.

use crate::base::{Error, Result};
use std::fmt;

/// An absolute http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// https.
    pub tls: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query; begins with a slash.
    pub target: String,
    /// `user:password`, if the URL has it.
    pub user: Option<String>,
}

impl Url {
    /// Parses an absolute URL.
    pub fn parse(text: &str) -> Result<Url> {
        let bad = || Error::invalid(format!("invalid URL {text:?}"));
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(bad());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(bad()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or("");
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user.to_string()), authority),
            None => (None, authority),
        };
        let (host, port) = split_port(authority, if tls { 443 } else { 80 }).ok_or_else(bad)?;
        let target = if target.starts_with('/') { target.to_string() } else { format!("/{target}") };
        Ok(Url { tls, host, port, target, user })
    }

    /// What a `Location` header means, seen from this URL.
    pub fn join(&self, location: &str) -> Result<Url> {
        if location.contains("://") {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme()));
        }
        let target = match location {
            absolute if absolute.starts_with('/') => absolute.to_string(),
            query if query.starts_with('?') => format!("{}{query}", self.path()),
            relative => format!("{}/{relative}", self.path().rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Url::parse(&format!("{}://{}{target}", self.scheme(), self.authority()))
    }

    /// The same server with another path.
    pub fn with_target(&self, target: &str) -> Url {
        Url { target: target.into(), ..self.clone() }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Host and port as they stand in a URL and in the Host header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Same scheme, host and port.
    pub fn same_server(&self, other: &Url) -> bool {
        (self.tls, self.port) == (other.tls, other.port) && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// Its text without what follows the question mark, which may be a secret.
    pub fn public(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority(), self.path())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.target) // never the user
    }
}

/// Host and port of `host`, `host:port`, `[address]:port`.
pub fn split_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let host_ok =
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%'));
    let port = match port {
        None | Some("") => default,
        Some(port) => port.parse().ok()?,
    };
    host_ok.then(|| (host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let u = Url::parse("https://user:pw@[fd00::1]:5000/v2/a?x=1#f").unwrap();
        assert_eq!(
            (u.host.as_str(), u.port, u.target.as_str(), u.user.as_deref()),
            ("fd00::1", 5000, "/v2/a?x=1", Some("user:pw"))
        );
        assert_eq!(u.to_string(), "https://[fd00::1]:5000/v2/a?x=1");
        let base = Url::parse("http://h:5000/v2/a/b?q").unwrap();
        for (location, want) in [
            ("https://cdn.x/y", "https://cdn.x/y"),
            ("//cdn.x/y", "http://cdn.x/y"),
            ("/z?k=v", "http://h:5000/z?k=v"),
            ("?k", "http://h:5000/v2/a/b?k"),
            ("c", "http://h:5000/v2/a/c"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), want);
        }
        for bad in ["", "ftp://x/", "http://", "http://a b/", "http://h:99999/", "http://h/\r\nX: y"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
