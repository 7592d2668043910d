//! Which releases came before one, as tags tell.

use crate::base::{Error, Result};
use std::cmp::Ordering;

/// A tag's text between its numbers, and its numbers.
fn split(tag: &str) -> (String, Vec<&str>) {
    let (mut form, mut numbers, mut rest) = (String::new(), Vec::new(), tag);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            form.push('#');
            numbers.push(&rest[..digits]);
            rest = &rest[digits..];
        } else {
            let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            form.push_str(&rest[..text]);
            rest = &rest[text..];
        }
    }
    (form, numbers)
}

fn compare(a: &[&str], b: &[&str]) -> Ordering {
    let plain = |n: &str| n.trim_start_matches('0').to_string();
    let keys = |all: &[&str]| all.iter().map(|n| (plain(n).len(), plain(n))).collect::<Vec<_>>();
    keys(a).cmp(&keys(b))
}

/// The tags of the form of `tag` (the same text around other numbers) whose numbers are lower, the highest first.
pub fn before(tags: &[String], tag: &str) -> Result<Vec<String>> {
    let (form, numbers) = split(tag);
    if numbers.is_empty() {
        return Err(Error::invalid(format!("the tag {tag:?} has no number in it: which releases came before it cannot be told")));
    }
    let mut found: Vec<(Vec<&str>, &String)> = Vec::new();
    for other in tags {
        let (other_form, other_numbers) = split(other);
        if other_form == form && compare(&other_numbers, &numbers) == Ordering::Less {
            found.push((other_numbers, other));
        }
    }
    found.sort_by(|a, b| compare(&b.0, &a.0).then_with(|| a.1.cmp(b.1)));
    Ok(found.into_iter().map(|(_, tag)| tag.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_the_order_of_their_numbers() {
        let tags =
            "1.2.3 1.2.10 1.2.9 1.10.0 1.2.9-alpine 1.2.4-rc1 latest 1.2 v1.2.8 2.0.0 0.9.99 01.2.9 sha256-12 20240115 20240114";
        let tags: Vec<String> = tags.split(' ').map(String::from).collect();
        let of = |tag: &str| before(&tags, tag).unwrap().join(" ");
        assert_eq!(of("1.2.10"), "01.2.9 1.2.9 1.2.3 0.9.99");
        assert_eq!(of("2.0.0"), "1.10.0 1.2.10 01.2.9 1.2.9 1.2.3 0.9.99");
        assert_eq!(of("1.3.0-alpine"), "1.2.9-alpine");
        assert_eq!(of("20240116"), "20240115 20240114");
        assert_eq!(of("v9.9.9"), "v1.2.8");
        assert_eq!(of("99999999999999999999999.0.0-x"), "");
        assert!(before(&tags, "latest").unwrap_err().to_string().contains("no number"));
    }
}
