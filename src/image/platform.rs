//! Platforms: the host's, what an index offers, and which of its entries is best, by containerd's rules.

use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Operating system, architecture and variant in Go's names, normalised: `linux/arm/v7`, `linux/arm64` (v8 implied).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `riscv64`, …
    pub architecture: String,
    /// `v7` and so on; empty where the architecture implies it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// Takes names as they are found in the wild (`aarch64`, `x86_64`, `armhf`) and makes them Go's.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let (architecture, variant) = normalise(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Platform { os: os.to_ascii_lowercase(), architecture, variant }
    }

    /// The platform of this machine. A 64-bit ARM is named in full, as Docker names it in what it says about a host.
    pub fn host() -> Platform {
        Platform::of(std::env::consts::ARCH, &rustix::system::uname().machine().to_string_lossy())
    }

    /// The platform of a program built for `architecture` (Rust's name) under a kernel that calls its machine `machine`. What the
    /// program was built for decides: a 64-bit kernel may lack all 64-bit libraries.
    fn of(architecture: &str, machine: &str) -> Platform {
        let host = Platform::new("linux", architecture, if architecture == "arm" { arm_variant(machine) } else { "" });
        if host.architecture == "arm64" { Platform { variant: "v8".into(), ..host } } else { host }
    }

    /// Parses `os[/architecture[/variant]]`, or an architecture alone; missing parts are those of `host`.
    pub fn parse(text: &str, host: &Platform) -> Result<Platform> {
        let bad = || Error::invalid(format!("\"{text}\": unknown operating system or architecture: invalid argument"));
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')))
        {
            return Err(bad());
        }
        const SYSTEMS: &[&str] = &["linux", "windows", "darwin", "freebsd"];
        match parts[..] {
            [os] if SYSTEMS.contains(&os.to_ascii_lowercase().as_str()) => {
                Ok(Platform { os: os.to_ascii_lowercase(), ..host.clone() })
            }
            [architecture] if is_architecture(architecture) => Ok(Platform::new(&host.os, architecture, "")),
            [os, architecture] => Ok(Platform::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, variant)),
            _ => Err(bad()),
        }
    }

    /// How well an image for `offer` suits this platform: `None` not at all, else smaller is better.
    pub fn rank(&self, offer: &Platform) -> Option<u32> {
        let offer = Platform::new(&offer.os, &offer.architecture, &offer.variant);
        if offer.os != self.os {
            return None;
        }
        match (self.architecture.as_str(), offer.architecture.as_str()) {
            ("arm", "arm") => older(version(&self.variant, 7), version(&offer.variant, 7)),
            ("arm64", "arm64") => match (version(&self.variant, 8), version(&offer.variant, 8)) {
                (mine, theirs) if mine >= theirs => Some(mine - theirs),
                _ => None,
            },
            // A 64-bit ARM runs 32-bit programs too (nearly all cores do), but only if there is nothing better.
            ("arm64", "arm") => older(8, version(&offer.variant, 7)).map(|r| r + 100),
            ("amd64", "amd64") => older(version(&self.variant, 1), version(&offer.variant, 1)),
            ("amd64", "386") => Some(100),
            (mine, theirs) if mine == theirs && self.variant == offer.variant => Some(0),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// A version that is not newer than the machine's runs; the newest of them is best.
fn older(mine: u32, theirs: u32) -> Option<u32> {
    mine.checked_sub(theirs)
}

fn version(variant: &str, implied: u32) -> u32 {
    variant.strip_prefix('v').and_then(|v| v.split('.').next()).and_then(|v| v.parse().ok()).unwrap_or(implied)
}

fn is_architecture(name: &str) -> bool {
    matches!(
        normalise(&name.to_ascii_lowercase(), "").0.as_str(),
        "386" | "amd64" | "arm" | "arm64" | "riscv64" | "ppc64le" | "s390x" | "mips64le" | "mipsle" | "loong64"
    )
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86", v) => ("386", v),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", if v == "v1" { "" } else { v }),
        ("aarch64" | "arm64", v) => ("arm64", if v == "8" || v == "v8" { "" } else { v }),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_string(), variant.to_string())
}

/// `armv7l` and so on; a 64-bit kernel says `aarch64` and runs v8 code in 32-bit mode.
fn arm_variant(machine: &str) -> &'static str {
    match machine {
        m if m.starts_with("armv5") => "v5",
        m if m.starts_with("armv6") => "v6",
        m if m.starts_with("armv8") || m.starts_with("aarch64") => "v8",
        _ => "v7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(host: &str, offers: &[&str]) -> Option<String> {
        let host = Platform::parse(host, &Platform::default()).unwrap();
        let parse = |o: &&str| Platform::parse(o, &Platform::default()).unwrap();
        offers.iter().map(parse).filter_map(|o| Some((host.rank(&o)?, o))).min_by_key(|(r, _)| *r).map(|(_, o)| o.to_string())
    }

    #[test]
    fn the_best_offer_is_the_newest_that_runs() {
        let arms = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/amd64"];
        assert_eq!(best("linux/arm/v7", &arms).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/arm/v6", &arms).unwrap(), "linux/arm/v6");
        assert_eq!(best("linux/arm/v5", &arms).unwrap(), "linux/arm/v5");
        assert_eq!(best("linux/arm64", &arms).unwrap(), "linux/arm64");
        assert_eq!(best("linux/arm64", &arms[..3]).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7", "linux/amd64"]), None);
        assert_eq!(best("linux/amd64", &["linux/386", "linux/amd64"]).unwrap(), "linux/amd64");
        assert_eq!(best("linux/riscv64", &["linux/riscv64"]).unwrap(), "linux/riscv64");
        assert_eq!(best("linux/amd64", &["windows/amd64", "unknown/unknown"]), None);
    }

    #[test]
    fn each_of_the_five_machines_has_its_platform() {
        for (architecture, machine, platform) in [
            ("arm", "armv6l", "linux/arm/v6"),
            ("arm", "armv7l", "linux/arm/v7"),
            ("arm", "aarch64", "linux/arm/v8"),
            ("aarch64", "aarch64", "linux/arm64/v8"),
            ("riscv64", "riscv64", "linux/riscv64"),
            ("x86_64", "x86_64", "linux/amd64"),
        ] {
            assert_eq!(Platform::of(architecture, machine).to_string(), platform);
        }
    }

    #[test]
    fn platforms_parse() {
        let host = Platform::new("linux", "x86_64", "");
        assert_eq!(host.to_string(), "linux/amd64");
        assert_eq!(Platform::parse("armhf", &host).unwrap().to_string(), "linux/arm/v7");
        assert_eq!(Platform::parse("linux", &host).unwrap(), host);
        for bad in ["", "linux/", "nonsense", "a/b/c/d", "linux/arm/v7/"] {
            assert!(Platform::parse(bad, &host).is_err(), "{bad}");
        }
    }
}
