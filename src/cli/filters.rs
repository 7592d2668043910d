//! `--filter key=value` as the API takes it: `{"key":["value"]}`.

use crate::base::{Error, Result};
use std::collections::BTreeMap;

/// Parses filters, each `key=value`.
pub fn parse(filters: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for filter in filters {
        let (key, value) = filter.split_once('=').ok_or_else(|| Error::invalid("bad format of filter (expected name=value)"))?;
        let values = map.entry(key.trim().to_ascii_lowercase()).or_default();
        values.push(value.trim().to_string());
    }
    Ok(map)
}

/// The JSON text; empty if there is no filter.
pub fn text(filters: &[String]) -> Result<String> {
    json(&parse(filters)?)
}

/// The JSON text of parsed filters.
pub fn json(map: &BTreeMap<String, Vec<String>>) -> Result<String> {
    if map.is_empty() { Ok(String::new()) } else { Ok(serde_json::to_string(map)?) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn filters() {
        let given = ["label=a=b", "Status=running", "label=c"].map(String::from);
        assert_eq!(super::text(&given).unwrap(), r#"{"label":["a=b","c"],"status":["running"]}"#);
        assert_eq!(super::text(&[]).unwrap(), "");
        assert!(super::text(&["x".into()]).is_err());
    }
}
