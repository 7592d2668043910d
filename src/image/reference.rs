//! Image references by Docker's grammar: `[domain/]path[:tag][@digest]`, and its normalisation of short names.

use crate::base::{Error, Result};
use crate::image::Digest;
use std::fmt;

/// The registry that short names mean.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const LONGEST_NAME: usize = 255;

/// A normalised reference. Its text is the canonical form, `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a person writes: `busybox`, `me/app:1`, `host:5000/a/b@sha256:…`. Adds no tag.
    pub fn parse(text: &str) -> Result<Reference> {
        if is_id(text) {
            return Err(Error::invalid(format!("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")));
        }
        let (domain, rest) = split_domain(text);
        let name_end = rest.find([':', '@']).unwrap_or(rest.len());
        if rest[..name_end].chars().any(char::is_uppercase) {
            return Err(Error::invalid("invalid reference format: repository name must be lowercase"));
        }
        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(parse_digest(digest)?)),
            None => (rest, None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_string())),
            Some(_) => return Err(bad_format()),
            None => (named, None),
        };
        let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
            true => format!("{OFFICIAL}{path}"),
            false => path.to_string(),
        };
        if !is_domain(domain) || !path.split('/').all(is_path_component) {
            return Err(bad_format());
        }
        if path.len() > LONGEST_NAME || domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(Error::invalid(format!("repository name must not be more than {LONGEST_NAME} characters")));
        }
        Ok(Reference { domain: domain.to_string(), path, tag, digest })
    }

    /// Parses, and adds `:latest` where neither tag nor digest is given.
    pub fn parse_tagged(text: &str) -> Result<Reference> {
        Ok(Reference::parse(text)?.with_default_tag())
    }

    /// The registry: `docker.io`, `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one is given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one is given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people write it: `busybox`, `me/app`, `host:5000/a`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') && !is_id(short) => short.to_string(),
            // What would be read as another registry, or as this one's name once more, keeps its own's name.
            _ if split_domain(&self.path) != (DEFAULT_DOMAIN, &self.path) => self.name(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as people write it: `busybox:latest`, `busybox@sha256:…`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_rest(&mut text);
        text
    }

    /// The same without tag and digest.
    pub fn repository(&self) -> Reference {
        Reference { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: None }
    }

    /// The same with `:latest` where neither tag nor digest is given.
    pub fn with_default_tag(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// `name:tag`. Fails on a bad tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            return Err(Error::invalid("invalid tag format"));
        }
        Ok(Reference { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// `name@digest`, without a tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn push_rest(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_rest(&mut text);
        f.write_str(&text)
    }
}

fn bad_format() -> Error {
    Error::invalid("invalid reference format")
}

/// What would be read as an image ID.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What Docker takes for a domain: the part before the first slash, if it has a dot or colon, is `localhost`, or could be no path.
fn split_domain(text: &str) -> (&str, &str) {
    let (domain, rest) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase) => {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    (if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain }, rest)
}

fn parse_digest(text: &str) -> Result<Digest> {
    let (algorithm, hex) = text.split_once(':').ok_or_else(bad_format)?;
    let algorithm_ok = algorithm.split(['+', '.', '-', '_']).all(|part| {
        part.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    if !algorithm_ok || hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad_format());
    }
    Digest::parse(text)
}

/// `[\w][\w.-]{0,127}`.
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

/// `alnum+ (separator alnum+)*`, the separators being `.`, `_`, `__` and any number of `-`.
fn is_path_component(part: &str) -> bool {
    let mut rest = part.as_bytes();
    loop {
        let run = rest.iter().take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).count();
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|b| !(b.is_ascii_lowercase() || b.is_ascii_digit())).count();
        match &rest[..separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|b| *b == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

/// A host name, an IPv4 or a bracketed IPv6 address, and perhaps a port.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (Err(address), None),
            Some((address, after)) => (Err(address), Some(after.strip_prefix(':').unwrap_or(""))),
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (Ok(host), Some(port)),
            None => (Ok(domain), None),
        },
    };
    let host_ok = match host {
        Err(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        Ok(name) => name.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    host_ok && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_are_normalised_and_shown_short() {
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x"),
            ("[fd00::1]:5000/a", "[fd00::1]:5000/a:latest", "[fd00::1]:5000/a:latest"),
            ("quay.io/x/y.z__w--v", "quay.io/x/y.z__w--v:latest", "quay.io/x/y.z__w--v:latest"),
            ("UPPER/a", "UPPER/a:latest", "UPPER/a:latest"),
        ] {
            let r = Reference::parse_tagged(text).unwrap();
            assert_eq!((r.to_string().as_str(), r.familiar().as_str()), (full, familiar), "{text}");
            assert_eq!(Reference::parse(full).unwrap(), r);
        }
        let r = Reference::parse_tagged(&format!("busybox@{D}")).unwrap();
        assert_eq!((r.tag(), r.familiar()), (None, format!("busybox@{D}")));
        assert!(Reference::parse(&format!("a:1@{D}")).unwrap().digest().is_some());
    }

    #[test]
    fn bad_references_are_refused_in_dockers_words() {
        for text in [
            "",
            ":",
            "a:",
            "-a",
            "a//b",
            "a_",
            "a/_b",
            "a..b",
            "a___b",
            "host:x/a",
            "a@sha256:12",
            "a:b:c",
            "a b",
            "/a",
            "a/",
            "ä",
            &format!("a:{}", "x".repeat(129)),
        ] {
            let e = Reference::parse(text).unwrap_err();
            assert!(e.to_string().starts_with("invalid reference format"), "{text}: {e}");
        }
        assert_eq!(
            Reference::parse("Busybox").unwrap_err().to_string(),
            "invalid reference format: repository name must be lowercase"
        );
        assert!(Reference::parse(&"a".repeat(64)).unwrap_err().to_string().contains("64-byte hexadecimal"));
        assert!(Reference::parse(&"x".repeat(256)).unwrap_err().to_string().contains("255 characters"));
    }
}
