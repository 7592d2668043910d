//! Content digests: SHA-256 only, which is what registries use.

use crate::base::{Error, Result, id};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use std::fmt;

/// A SHA-256 digest. Its text is `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// What a finished hasher has seen.
    pub fn finish(hasher: sha2::Sha256) -> Digest {
        Digest(hasher.finalize().into())
    }

    /// Parses `sha256:<64 lower-case hex digits>`.
    pub fn parse(text: &str) -> Result<Digest> {
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| Error::invalid(format!("invalid checksum digest format: '{text}'")))?;
        if algorithm != "sha256" {
            return Err(Error::invalid(format!("unsupported digest algorithm: '{text}'")));
        }
        Digest::from_hex(hex)
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Digest> {
        let bad = || Error::invalid(format!("invalid checksum digest: '{hex}'"));
        if hex.len() != 64 {
            return Err(Error::invalid(format!("invalid checksum digest length: '{hex}'")));
        }
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(bad()),
        };
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(out))
    }

    /// The 64 digits without the algorithm.
    pub fn hex(&self) -> String {
        id::hex(&self.0)
    }

    /// The first twelve digits, as progress and tables show them.
    pub fn short(&self) -> String {
        id::hex(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Digest> {
        Digest::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Digest::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_parse_and_print() {
        let empty = Digest::of(b"");
        assert_eq!(empty.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(&empty.to_string()).unwrap(), empty);
        assert_eq!(empty.short(), "e3b0c44298fc");
        for bad in ["", "sha256", "sha256:", "sha512:00", "sha256:E3b0", &"0".repeat(64), &format!("sha256:{}", "g".repeat(64))] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
        let json = serde_json::to_string(&empty).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), empty);
    }
}
