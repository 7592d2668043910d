//! The configuration that the kernel was built with, where it can be read: more about what a trial has found, never instead of it.

use crate::layer::decode::Decoder;
use std::collections::BTreeMap;

/// The kernel's options that are set.
#[derive(Debug, Default)]
pub struct Options {
    values: BTreeMap<String, String>,
    /// Where they were read; empty if nowhere.
    pub file: String,
}

impl Options {
    /// Reads them from where kernels and distributions keep them.
    pub fn read() -> Options {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let files = [
            "/proc/config.gz".into(),
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/build/.config"),
        ];
        let found = files.into_iter().find_map(|file| Some((text(&std::fs::read(&file).ok()?)?, file)));
        found.map_or_else(Options::default, |(text, file)| Options { values: parse(&text), file })
    }

    /// What it says of an option: `y`, `m`, a value; `not set`; empty if nothing could be read.
    pub fn of(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None if self.file.is_empty() => "",
            None => "not set",
        }
    }

    /// What it says of several options that a space separates, as a sentence's part: `CONFIG_A=m, CONFIG_B is not set`.
    pub fn describe(&self, names: &str) -> String {
        let one = |name: &str| match self.of(name) {
            "not set" => format!("{name} is not set"),
            value => format!("{name}={value}"),
        };
        if self.file.is_empty() { String::new() } else { names.split_whitespace().map(one).collect::<Vec<_>>().join(", ") }
    }
}

/// The text, which may be compressed.
fn text(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    let mut decoder = Decoder::default();
    let mut sink = |piece: &[u8]| {
        out.extend_from_slice(piece);
        Ok(())
    };
    decoder.push(&mut &bytes[..], false, &mut sink).ok()?;
    decoder.finish(&mut sink).ok()?;
    String::from_utf8(out).ok()
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let set = |line: &str| line.split_once('=').map(|(name, value)| (name.to_string(), value.trim_matches('"').to_string()));
    text.lines().filter(|l| l.starts_with("CONFIG_")).filter_map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_s_configuration() {
        let values = parse("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"x\"\n");
        let options = Options { values, file: "/x".into() };
        assert_eq!(options.describe("CONFIG_A CONFIG_B CONFIG_C"), "CONFIG_A is not set, CONFIG_B=y, CONFIG_C=m");
        assert_eq!((options.of("CONFIG_D"), Options::default().of("CONFIG_D")), ("x", ""));
        assert_eq!(Options::default().describe("CONFIG_B"), "");
    }
}
