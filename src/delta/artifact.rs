//! A delta between two images as a registry keeps it: an OCI image manifest that refers to the target's, with one layer for each of the
//! target's layers that the base lacks. `docs/DELTAS.md` has every field.

use crate::base::{Error, Result};
use crate::image::Digest;
use crate::image::config::MOST_LAYERS;
use crate::image::manifest::{DOCKER_MANIFEST, LARGEST_MANIFEST, OCI_MANIFEST};
use crate::registry::Referrer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The type of the artifact.
pub const TYPE: &str = "application/vnd.prtiql.delta.v1";
/// The type of its layers.
pub const LAYER_TYPE: &str = "application/vnd.prtiql.delta.layer.v1";
/// The type of its config, which says nothing.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// That config.
pub const EMPTY: &[u8] = b"{}";

/// Annotation: image ID of the base.
const BASE: &str = "io.prtiql.delta.base";
/// Annotation: the base's platform manifest.
const BASE_MANIFEST: &str = "io.prtiql.delta.base.manifest";
/// Annotation: diff IDs of the base's layers, bottom first.
const BASE_LAYERS: &str = "io.prtiql.delta.base.layers";
/// Annotation: image ID of the target.
const TARGET: &str = "io.prtiql.delta.target";
/// Annotation: bytes of all layers of the artifact.
const SIZE: &str = "io.prtiql.delta.size";
/// Annotation, of the artifact and of each layer: bytes that will be written beyond whole copies of the base's files.
const WRITTEN: &str = "io.prtiql.delta.written";
/// Annotation of a layer: diff ID of the target's layer.
const DIFF_ID: &str = "io.prtiql.delta.diff-id";

/// No size in an artifact is larger.
const LARGEST: u64 = 1 << 42;

/// What the manifest's annotations say, and with them lists of referrers: enough to tell whether the delta can be used, and whether it
/// pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Image ID of the base.
    pub base: Digest,
    /// Its platform manifest, if it has one in a registry.
    pub base_manifest: Option<Digest>,
    /// Diff IDs of its layers, bottom first.
    pub base_layers: Vec<Digest>,
    /// Image ID of the target.
    pub target: Digest,
    /// Bytes of all layers of the artifact.
    pub size: u64,
    /// Bytes that will be written beyond whole copies.
    pub written: u64,
}

/// The delta of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Digest of the delta.
    pub blob: Digest,
    /// Its length.
    pub size: u64,
    /// The layer that it makes.
    pub diff_id: Digest,
    /// Bytes that will be written beyond whole copies.
    pub written: u64,
}

/// The target's platform manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

/// A delta between two images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What it leads to.
    pub subject: Subject,
    /// What it says of itself.
    pub offer: Offer,
    /// In the order of the target's layers.
    pub parts: Vec<Part>,
}

type Annotations = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
    #[serde(default)]
    subject: Option<RawDescriptor>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

impl Offer {
    /// Reads annotations, which may say anything.
    pub fn read(annotations: &Annotations) -> Result<Offer> {
        let text = |name: &str| {
            annotations
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| Error::invalid(format!("the delta lacks the annotation {name}")))
        };
        let digest = |name: &str| Digest::parse(text(name)?).map_err(|e| e.context(format!("the delta's annotation {name}")));
        let layers = text(BASE_LAYERS)?;
        if layers.len() > MOST_LAYERS * 72 {
            return Err(Error::invalid(format!("the delta's base has more than {MOST_LAYERS} layers")));
        }
        let listed = layers.split(',').filter(|l| !l.is_empty()).map(Digest::parse).collect::<Result<Vec<_>>>();
        Ok(Offer {
            base: digest(BASE)?,
            base_manifest: annotations.contains_key(BASE_MANIFEST).then(|| digest(BASE_MANIFEST)).transpose()?,
            base_layers: listed.map_err(|e| e.context(format!("the delta's annotation {BASE_LAYERS}")))?,
            target: digest(TARGET)?,
            size: number(annotations, SIZE)?,
            written: number(annotations, WRITTEN)?,
        })
    }

    /// The annotations that say so.
    pub fn annotations(&self) -> Annotations {
        let layers: Vec<String> = self.base_layers.iter().map(Digest::to_string).collect();
        let mut all = Annotations::from([
            (BASE.into(), self.base.to_string()),
            (BASE_LAYERS.into(), layers.join(",")),
            (TARGET.into(), self.target.to_string()),
            (SIZE.into(), self.size.to_string()),
            (WRITTEN.into(), self.written.to_string()),
        ]);
        if let Some(manifest) = &self.base_manifest {
            all.insert(BASE_MANIFEST.into(), manifest.to_string());
        }
        all
    }
}

/// A number as it is written in one way only.
fn number(annotations: &Annotations, name: &str) -> Result<u64> {
    let text = annotations.get(name).map_or("", String::as_str);
    let value = text.parse().ok().filter(|n: &u64| *n <= LARGEST && n.to_string() == text);
    value.ok_or_else(|| Error::invalid(format!("the delta's annotation {name} is {text:?}, which is no size")))
}

impl Artifact {
    /// The manifest: the same bytes for the same delta.
    pub fn manifest(&self) -> Result<Vec<u8>> {
        let part = |part: &Part| RawDescriptor {
            media_type: LAYER_TYPE.into(),
            digest: part.blob,
            size: part.size,
            annotations: Some(Annotations::from([
                (DIFF_ID.into(), part.diff_id.to_string()),
                (WRITTEN.into(), part.written.to_string()),
            ])),
        };
        let plain = |media_type: &str, digest: Digest, size: u64| RawDescriptor {
            media_type: media_type.into(),
            digest,
            size,
            annotations: None,
        };
        Ok(serde_json::to_vec(&Raw {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.into()),
            artifact_type: Some(TYPE.into()),
            config: plain(EMPTY_TYPE, Digest::of(EMPTY), EMPTY.len() as u64),
            layers: self.parts.iter().map(part).collect(),
            subject: Some(plain(&self.subject.media_type, self.subject.digest, self.subject.size)),
            annotations: Some(self.offer.annotations()),
        })?)
    }

    /// Is it the manifest of a delta at all, good or bad?
    pub fn is_one(text: &[u8]) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            artifact_type: Option<String>,
        }
        serde_json::from_slice::<Typed>(text).is_ok_and(|t| t.artifact_type.as_deref() == Some(TYPE))
    }

    /// Reads a manifest, which may say anything. That its subject, its base and what its layers make fit together is seen when it is
    /// applied.
    pub fn parse(text: &[u8]) -> Result<Artifact> {
        let bad = |why: String| Error::invalid(format!("the delta's manifest is not understood: {why}"));
        if text.len() as u64 > LARGEST_MANIFEST || text.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("it is no JSON object".into()));
        }
        let raw: Raw = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        let artifact_type = raw.artifact_type.as_deref().unwrap_or("");
        if raw.schema_version != 2 || !matches!(raw.media_type.as_deref(), None | Some(OCI_MANIFEST)) {
            return Err(bad("it is no OCI image manifest".into()));
        }
        if artifact_type != TYPE {
            return Err(Error::unsupported(format!("this is no delta, but an artifact of type {artifact_type:?}")));
        }
        if raw.config.media_type != EMPTY_TYPE || raw.config.digest != Digest::of(EMPTY) || raw.config.size != EMPTY.len() as u64
        {
            return Err(bad("its config is not the empty one".into()));
        }
        let subject = raw.subject.ok_or_else(|| bad("it has no subject".into()))?;
        if !matches!(subject.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST)
            || !(1..=LARGEST_MANIFEST).contains(&subject.size)
        {
            return Err(bad("its subject is no image's manifest".into()));
        }
        let offer = Offer::read(&raw.annotations.unwrap_or_default())?;
        if raw.layers.is_empty() || raw.layers.len() > MOST_LAYERS {
            return Err(bad(format!("it has {} layers", raw.layers.len())));
        }
        let parts = raw.layers.into_iter().map(part).collect::<Result<Vec<_>>>()?;
        for (nth, part) in parts.iter().enumerate() {
            let twice = parts[..nth].iter().any(|p| p.diff_id == part.diff_id);
            if twice || offer.base_layers.contains(&part.diff_id) {
                return Err(bad(format!("layer {} is there already when it is to be made", part.diff_id)));
            }
        }
        let sum = |of: fn(&Part) -> u64| parts.iter().map(of).sum::<u64>();
        if (sum(|p| p.size), sum(|p| p.written)) != (offer.size, offer.written) {
            return Err(bad("its layers have other sizes than it announces".into()));
        }
        let subject = Subject { media_type: subject.media_type, digest: subject.digest, size: subject.size };
        Ok(Artifact { subject, offer, parts })
    }

    /// Its entry in lists of referrers, given its manifest.
    pub fn entry(&self, manifest: &[u8]) -> Referrer {
        Referrer {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(manifest),
            size: manifest.len() as u64,
            artifact_type: TYPE.into(),
            annotations: self.offer.annotations(),
        }
    }
}

fn part(raw: RawDescriptor) -> Result<Part> {
    let annotations = raw.annotations.unwrap_or_default();
    if raw.media_type != LAYER_TYPE {
        return Err(Error::unsupported(format!("the delta has a layer of type {:?}", raw.media_type)));
    }
    if !(1..=LARGEST).contains(&raw.size) {
        return Err(Error::invalid(format!("the delta has a layer of {} bytes", raw.size)));
    }
    let diff_id = annotations.get(DIFF_ID).map_or("", String::as_str);
    let diff_id = Digest::parse(diff_id).map_err(|e| e.context(format!("the annotation {DIFF_ID} of a delta's layer")))?;
    Ok(Part { blob: raw.digest, size: raw.size, diff_id, written: number(&annotations, WRITTEN)? })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn made(base: &str, target: &str, size: u64) -> Artifact {
        let of = |text: &str| Digest::of(text.as_bytes());
        let part = |n: u64| Part {
            blob: of(&format!("{base}{target}{n}")),
            size: size / 2 + n,
            diff_id: of(&format!("{target}{n}")),
            written: 7,
        };
        Artifact {
            subject: Subject { media_type: OCI_MANIFEST.into(), digest: of(&format!("{target}-manifest")), size: 500 },
            offer: Offer {
                base: of(base),
                base_manifest: Some(of(&format!("{base}-manifest"))),
                base_layers: vec![of(&format!("{base}0")), of(&format!("{base}1"))],
                target: of(target),
                size: size / 2 * 2 + 1,
                written: 14,
            },
            parts: vec![part(0), part(1)],
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let artifact = made("a", "b", 1000);
        let text = artifact.manifest().unwrap();
        assert_eq!(text, artifact.manifest().unwrap());
        assert_eq!(Artifact::parse(&text).unwrap(), artifact);
        assert!(Artifact::is_one(&text) && !Artifact::is_one(b"{}"));
        let entry = artifact.entry(&text);
        assert_eq!((Offer::read(&entry.annotations).unwrap(), entry.size), (artifact.offer.clone(), text.len() as u64));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r#""artifactType":"application/vnd.prtiql.delta.v1""#), "{text}");
        assert!(!text.contains("null"), "{text}");
    }

    #[test]
    fn nothing_is_believed() {
        let artifact = made("a", "b", 1000);
        let text = String::from_utf8(artifact.manifest().unwrap()).unwrap();
        let layer = artifact.offer.base_layers[0].to_string();
        for (from, to, what) in [
            ("\"schemaVersion\":2", "\"schemaVersion\":1", "no OCI image manifest"),
            (TYPE, "x/y", "no delta"),
            (EMPTY_TYPE, "x/y", "config"),
            (LAYER_TYPE, "x/y", "layer of type"),
            ("\"size\":500", "\"size\":0", "subject"),
            ("\"size\":501", "\"size\":0", "layer of 0 bytes"),
            ("delta.size\":\"1001\"", "delta.size\":\"1002\"", "other sizes"),
            ("delta.size\":\"1001\"", "delta.size\":\"+1001\"", "no size"),
            ("delta.size\":\"1001\"", "delta.size\":\"99999999999999999999\"", "no size"),
            ("delta.written\":\"14\"", "delta.written\":\"13\"", "other sizes"),
            (BASE, "x", "lacks the annotation"),
            (artifact.parts[1].diff_id.to_string().as_str(), artifact.parts[0].diff_id.to_string().as_str(), "already"),
            (artifact.parts[1].diff_id.to_string().as_str(), layer.as_str(), "already"),
            ("\"subject\"", "\"object\"", "no subject"),
            ("\"layers\":[", "\"layers\":[],\"old\":[", "0 layers"),
            (layer.as_str(), &vec![layer.clone(); 200].join(","), "more than 127"),
        ] {
            assert!(text.contains(from), "{from}");
            let e = Artifact::parse(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(e.contains(what), "{from} {to}: {e}");
        }
        for at in 0..text.len() {
            let _ = Artifact::parse(&text.as_bytes()[..at]);
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << (at % 7);
            let _ = Artifact::parse(&bytes);
        }
    }
}
