//! The `filters` parameter: `{"name":["value"]}`, or the older `{"name":{"value":true}}`.

use crate::base::{Error, Result};
use crate::wire::container::Labels;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Filters by name.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Parses and checks the names against those that the route knows.
pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Filters> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Values {
        List(Vec<String>),
        Map(BTreeMap<String, bool>),
    }
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Ok(Filters::new());
    }
    let raw: BTreeMap<String, Values> = serde_json::from_str(text).map_err(|e| Error::invalid(format!("invalid filter: {e}")))?;
    let mut filters = Filters::new();
    for (name, values) in raw {
        if !known.contains(&name.as_str()) {
            return Err(Error::invalid(format!("invalid filter '{name}'")));
        }
        let values = match values {
            Values::List(list) => list,
            Values::Map(map) => map.into_iter().filter(|(_, on)| *on).map(|(k, _)| k).collect(),
        };
        filters.insert(name, values);
    }
    Ok(filters)
}

/// Any value of the filter satisfies; no such filter satisfies.
pub fn any(filters: &Filters, name: &str, test: impl Fn(&str) -> bool) -> bool {
    filters.get(name).is_none_or(|values| values.iter().any(|v| test(v)))
}

/// The labels match all of `label` and none of `label!`.
pub fn labels(filters: &Filters, labels: &Labels) -> bool {
    let has = |wanted: &str| match wanted.split_once('=') {
        Some((k, v)) => labels.get(k).is_some_and(|have| have == v),
        None => labels.contains_key(wanted),
    };
    filters.get("label").is_none_or(|all| all.iter().all(|l| has(l)))
        && filters.get("label!").is_none_or(|none| !none.iter().any(|l| has(l)))
}

/// Docker matches names by regular expression; here `^` and `$` anchor, `.*` and `*` stand for anything, the rest is itself.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (end, pattern) = match pattern.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let pattern = pattern.replace(".*", "*").replace("\\.", ".");
    let parts: Vec<&str> = pattern.split('*').collect();
    let mut rest = name;
    for (i, part) in parts.iter().enumerate() {
        let at = match (i == 0 && start, i + 1 == parts.len() && end) {
            (true, true) => return rest == *part || parts.len() > 1 && rest.starts_with(part) && rest.ends_with(part),
            (true, false) => rest.starts_with(part).then_some(0),
            (false, true) => rest.ends_with(part).then(|| rest.len() - part.len()),
            (false, false) => rest.find(part),
        };
        match at {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// A shell pattern for references: `*` stands for anything but a slash, `?` for one character. Takes linear time times stars.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        match p.get(i) {
            Some(b'*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(b'?') if t[j] != b'/' => (i, j) = (i + 1, j + 1),
            Some(c) if *c == t[j] => (i, j) = (i + 1, j + 1),
            _ => match star {
                // The last star takes one more character, unless that is a slash.
                Some((at, from)) if t[from] != b'/' => {
                    star = Some((at, from + 1));
                    (i, j) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_unknown_names() {
        let known = ["name", "label"];
        assert_eq!(parse(Some(r#"{"name":["a"]}"#), &known).unwrap()["name"], ["a"]);
        assert_eq!(parse(Some(r#"{"name":{"a":true,"b":false}}"#), &known).unwrap()["name"], ["a"]);
        assert!(parse(Some("nonsense"), &known).is_err() && parse(Some(r#"{"nosuch":["1"]}"#), &known).is_err());
        assert!(parse(None, &known).unwrap().is_empty());
    }

    #[test]
    fn names_and_references() {
        for (pattern, name, want) in [
            ("^/web$", "/web", true),
            ("^/web$", "/web2", false),
            ("eb", "/web", true),
            ("^/w.*b$", "/web", true),
            ("x", "/web", false),
        ] {
            assert_eq!(name_matches(pattern, name), want, "{pattern} {name}");
        }
        for (pattern, text, want) in
            [("busy*", "busybox", true), ("a/*", "a/b/c", false), ("*:1", "x:1", true), ("b?x", "box", true), ("", "x", false)]
        {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }
}
