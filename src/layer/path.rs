//! Names of entries, made safe by their text alone. What symbolic links do to them is `place.rs`'s business.

use crate::base::{Error, Result};

/// `./usr//lib/../bin/x/` becomes `usr/bin/x`; the root itself is empty. A name that climbs out is refused.
pub fn clean(name: &[u8]) -> Result<Vec<u8>> {
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if out.is_empty() {
                    let name = String::from_utf8_lossy(name).into_owned();
                    return Err(Error::invalid(format!("layer entry {name:?} lies outside of the root file system")));
                }
                out.truncate(split(&out).0.len());
            }
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(out)
}

/// Folder and last name of a clean path; the folder of a single name is empty.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Is `path` the folder `folder`, or below it? Both clean.
pub fn is_within(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || folder.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        for (name, want) in
            [("./", ""), ("", ""), ("/etc/x", "etc/x"), ("./usr//lib/../bin/x/", "usr/bin/x"), ("a/..", ""), ("...", "...")]
        {
            assert_eq!(clean(name.as_bytes()).unwrap(), want.as_bytes(), "{name}");
        }
        for name in ["..", "../x", "a/../../x", "/.."] {
            assert!(clean(name.as_bytes()).is_err(), "{name}");
        }
        assert!(is_within(b"a/b", b"a") && is_within(b"a", b"a") && is_within(b"a", b"") && !is_within(b"ab", b"a"));
    }
}
