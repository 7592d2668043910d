//! Manifests and indexes, Docker's and OCI's: what is accepted, and what is refused with a reason.

use crate::base::{Error, Result};
use crate::image::{Digest, Platform};
use serde::Deserialize;

/// Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What a manifest request accepts.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// The largest manifest or index, in bytes: what registries allow.
pub const LARGEST_MANIFEST: u64 = 4 << 20;
/// The largest image config, in bytes.
pub const LARGEST_CONFIG: u64 = 4 << 20;

/// Content in a registry: its digest, size and type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// What it is for: in an index.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Kind of artifact, if it is no image.
    #[serde(default)]
    pub artifact_type: Option<String>,
}

/// What a manifest request gave.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One image per platform.
    Index(Vec<Descriptor>),
}

/// The manifest of one image.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The image config.
    pub config: Descriptor,
    /// Layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// Both kinds at once, so that a text that is both can be told (CVE-2021-41190).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Parses the text that came with the given `Content-Type` (empty if unknown: then it is told by its own words).
    pub fn parse(text: &[u8], content_type: &str) -> Result<Document> {
        let content_type = content_type.split(';').next().unwrap_or("").trim();
        let start = text.trim_ascii_start();
        if start.first() == Some(&b'<') {
            return Err(Error::invalid(
                "the registry answered with HTML instead of a manifest: is a proxy or a login page in between?",
            ));
        }
        if start.first() != Some(&b'{') {
            return Err(Error::invalid("the manifest is not understood: it is no JSON object"));
        }
        let raw: Raw =
            serde_json::from_slice(text).map_err(|e| Error::invalid(format!("the manifest is not understood: {e}")))?;
        if raw.schema_version == 1
            || raw.fs_layers.is_some()
            || content_type.contains("manifest.v1+") && content_type.contains("docker")
        {
            return Err(Error::unsupported(
                "the image has a manifest of Docker's schema version 1, which is no longer supported: push it again",
            ));
        }
        if raw.schema_version != 2 {
            return Err(Error::invalid(format!("manifest of unknown schema version {}", raw.schema_version)));
        }
        let own = raw.media_type.as_deref().unwrap_or("");
        let known = |t: &str| matches!(t, DOCKER_MANIFEST | DOCKER_LIST | OCI_MANIFEST | OCI_INDEX);
        if known(content_type) && !own.is_empty() && own != content_type {
            return Err(Error::invalid(format!("the manifest calls itself {own:?}, the registry calls it {content_type:?}")));
        }
        let named = if known(content_type) { content_type } else { own };
        if !own.is_empty() && !known(own) {
            return Err(Error::unsupported(format!("unsupported manifest media type {own:?}")));
        }
        match raw {
            Raw { manifests: Some(_), layers: Some(_), .. } | Raw { manifests: Some(_), config: Some(_), .. } => {
                Err(Error::invalid("the manifest has both layers and manifests: it is ambiguous and refused"))
            }
            Raw { manifests: Some(entries), .. } if !matches!(named, DOCKER_MANIFEST | OCI_MANIFEST) => {
                Ok(Document::Index(entries))
            }
            Raw { config: Some(config), layers: Some(layers), .. } if !matches!(named, DOCKER_LIST | OCI_INDEX) => {
                Manifest::checked(config, layers).map(Document::Manifest)
            }
            _ => Err(Error::invalid(format!("the manifest does not have what its type {named:?} asks for"))),
        }
    }
}

impl Manifest {
    fn checked(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest> {
        match config.media_type.as_str() {
            "application/vnd.docker.container.image.v1+json" | "application/vnd.oci.image.config.v1+json" | "" => {}
            other => return Err(Error::unsupported(format!("this is no image: its config is of type {other:?}"))),
        }
        if config.size > LARGEST_CONFIG {
            return Err(Error::invalid(format!("the image's config has {} bytes", config.size)));
        }
        if layers.len() > super::config::MOST_LAYERS {
            return Err(Error::invalid(format!("the image has {} layers: max depth exceeded", layers.len())));
        }
        if let Some(strange) = layers.iter().find(|l| !is_layer(&l.media_type)) {
            return Err(Error::unsupported(format!("unsupported layer media type {:?}", strange.media_type)));
        }
        if let Some(empty) = layers.iter().find(|l| l.size == 0 || l.size > i64::MAX as u64) {
            return Err(Error::invalid(format!("layer {} has an impossible size", empty.digest)));
        }
        Ok(Manifest { config, layers })
    }
}

fn is_layer(media_type: &str) -> bool {
    use oci_spec::image::MediaType;
    match MediaType::from(media_type) {
        MediaType::ImageLayer
        | MediaType::ImageLayerGzip
        | MediaType::ImageLayerZstd
        | MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => true,
        MediaType::Other(docker) => docker.strip_prefix("application/vnd.docker.image.rootfs.").is_some_and(|rest| {
            matches!(rest, "diff.tar" | "diff.tar.gzip" | "diff.tar.zstd" | "foreign.diff.tar" | "foreign.diff.tar.gzip")
        }),
        _ => false,
    }
}

/// The entry of an index that suits `wanted` best. Attestations and other artifacts are no images.
pub fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor> {
    let rank = |entry: &&Descriptor| -> Option<u32> {
        if entry.artifact_type.is_some() || !matches!(entry.media_type.as_str(), DOCKER_MANIFEST | OCI_MANIFEST | "") {
            return None;
        }
        match &entry.platform {
            Some(platform) => wanted.rank(platform),
            None => (entries.len() == 1).then_some(1000),
        }
    };
    entries
        .iter()
        .filter_map(|e| Some((rank(&e)?, e)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, e)| e)
        .ok_or_else(|| Error::not_found(format!("no matching manifest for {wanted} in the manifest list entries")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(layer: &str, more: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{more}"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{D}","size":2}},
            "layers":[{{"mediaType":"{layer}","digest":"{D}","size":3}}]}}"#
        )
    }

    #[test]
    fn images_and_indexes_are_told_apart() {
        let text = manifest("application/vnd.oci.image.layer.v1.tar+zstd", "");
        assert!(matches!(Document::parse(text.as_bytes(), OCI_MANIFEST).unwrap(), Document::Manifest(m) if m.layers.len() == 1));
        assert!(matches!(Document::parse(text.as_bytes(), "text/plain").unwrap(), Document::Manifest(_)));
        assert!(Document::parse(text.as_bytes(), OCI_INDEX).is_err());
        let entry = |arch: &str| {
            format!(
                r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{D}","size":1,"platform":{{"os":"linux","architecture":"{arch}"}}}}"#
            )
        };
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{},{}]}}"#, entry("unknown"), entry("amd64"));
        let Document::Index(entries) = Document::parse(index.as_bytes(), OCI_INDEX).unwrap() else { panic!() };
        assert_eq!(choose(&entries, &Platform::new("linux", "amd64", "")).unwrap(), &entries[1]);
        let e = choose(&entries, &Platform::new("linux", "arm", "v6")).unwrap_err();
        assert_eq!(e.to_string(), "no matching manifest for linux/arm/v6 in the manifest list entries");
    }

    #[test]
    fn what_is_ambiguous_or_strange_is_refused() {
        let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let ok = manifest(layer, "");
        let mixed = ok.replacen("\"layers\"", "\"manifests\":[],\"layers\"", 1);
        for (text, kind, what) in [
            (mixed, "", "both layers and manifests"),
            (manifest("application/vnd.wasm", ""), "", "layer media type"),
            (manifest(layer, &format!("\"mediaType\":\"{OCI_INDEX}\",")), OCI_MANIFEST, "calls itself"),
            (ok.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), "", "schema version 1"),
            (ok.replace("\"size\":3", "\"size\":-3"), "", "not understood"),
            (ok.replace("\"size\":3", "\"size\":0"), "", "impossible size"),
            (ok.replace("image.config.v1", "helm"), "", "no image"),
            ("<!DOCTYPE html><html>".into(), "text/html", "HTML"),
            ("{".into(), "", "not understood"),
            ("[]".into(), "", "no JSON object"),
            ("{\"schemaVersion\":2}".into(), "", "does not have"),
        ] {
            let e = Document::parse(text.as_bytes(), kind).unwrap_err().to_string();
            assert!(e.contains(what), "{text}: {e}");
        }
    }
}
