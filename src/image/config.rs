//! The image config, as far as this engine looks into it; its exact bytes are kept beside it, because their digest is the ID.

use crate::base::{Error, Result};
use crate::image::{Digest, Platform};
use crate::wire::container::Config;
use serde::Deserialize;

/// The most layers an image may have: what Docker allows.
pub const MOST_LAYERS: usize = 127;

/// An image config (Docker's and OCI's agree on these fields).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Go's name of the architecture.
    pub architecture: String,
    /// Go's name of the system.
    pub os: String,
    /// `v7` and the like.
    pub variant: String,
    /// RFC 3339; absent in reproducible builds.
    pub created: Option<String>,
    /// Who made it.
    pub author: String,
    /// What containers of it get.
    pub config: Option<Config>,
    /// The layers.
    pub rootfs: RootFs,
    /// How it was made.
    pub history: Option<Vec<History>>,
}

/// The layers of an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed tars, bottom first.
    #[serde(deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

/// A step of an image's making.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    pub created: Option<String>,
    /// The command.
    pub created_by: String,
    /// Who.
    pub author: String,
    /// Remarks.
    pub comment: String,
    /// The step made no layer.
    pub empty_layer: bool,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

impl ImageConfig {
    /// Parses and checks a config.
    pub fn parse(text: &[u8]) -> Result<ImageConfig> {
        // serde would take an array for a structure.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(Error::invalid("the image's config is not understood: it is no JSON object"));
        }
        let config: ImageConfig =
            serde_json::from_slice(text).map_err(|e| Error::invalid(format!("the image's config is not understood: {e}")))?;
        if !matches!(config.rootfs.kind.as_str(), "layers" | "") {
            return Err(Error::unsupported(format!(
                "the image's config has a root file system of type {:?}",
                config.rootfs.kind
            )));
        }
        if config.rootfs.diff_ids.len() > MOST_LAYERS {
            return Err(Error::invalid(format!("the image has {} layers: max depth exceeded", config.rootfs.diff_ids.len())));
        }
        Ok(config)
    }

    /// What it runs on.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_parse_with_nulls_and_unknown_fields() {
        let text = br#"{"architecture":"arm","variant":"v6","os":"linux","config":{"Env":null,"Cmd":["sh"],"X":1},
            "rootfs":{"type":"layers","diff_ids":null},"history":null,"moby.buildkit":{}}"#;
        let config = ImageConfig::parse(text).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm/v6");
        assert_eq!(config.config.unwrap().cmd.unwrap(), ["sh"]);
        for bad in ["", "[]", "null", r#"{"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#, r#"{"rootfs":{"type":"x"}}"#] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
