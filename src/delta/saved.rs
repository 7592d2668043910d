//! A delta as a whole: its manifest, its layers, and the target's manifest and config. It can be saved in a file and pushed to a registry.

use crate::base::{Error, Result};
use crate::delta::artifact::{Artifact, EMPTY, TYPE};
use crate::delta::layout::Layout;
use crate::delta::place::Place;
use crate::image::Digest;
use crate::image::archive::blob_name;
use crate::image::config::ImageConfig;
use crate::image::manifest::{Document, OCI_INDEX, OCI_MANIFEST};
use crate::registry::{Content, Failure, Repository, Told};
use sha2::Digest as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A delta with all that belongs to it.
pub struct Delta {
    /// What its manifest says.
    pub artifact: Artifact,
    /// Its manifest.
    pub text: Vec<u8>,
    /// The layers' deltas; none where only the manifest is at hand.
    pub blobs: Vec<Content>,
    /// The target's platform manifest.
    pub target: Vec<u8>,
    /// The target's config.
    pub config: Vec<u8>,
    /// The target's layers.
    pub layers: Vec<TargetLayer>,
}

/// A layer of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetLayer {
    /// Digest of its tar.
    pub diff_id: Digest,
    /// Length of its blob: what a plain pull fetches.
    pub plain: u64,
}

impl Delta {
    /// Of these texts, which must fit together.
    pub fn new(text: Vec<u8>, blobs: Vec<Content>, target: Vec<u8>, config: Vec<u8>) -> Result<Delta> {
        let bad = |why: &str| Error::invalid(format!("the delta does not fit together: {why}"));
        let artifact = Artifact::parse(&text)?;
        if artifact.subject.digest != Digest::of(&target) || artifact.subject.size != target.len() as u64 {
            return Err(bad("its target's manifest is another one"));
        }
        let Document::Manifest(manifest) = Document::parse(&target, &artifact.subject.media_type)? else {
            return Err(bad("its target is no image"));
        };
        if manifest.config.digest != Digest::of(&config) || artifact.offer.target != manifest.config.digest {
            return Err(bad("its target's config is another one"));
        }
        let diff_ids = ImageConfig::parse(&config)?.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(bad("its target's manifest and config have different numbers of layers"));
        }
        let made = |diff_id: &Digest| artifact.parts.iter().any(|part| part.diff_id == *diff_id);
        if let Some(lost) = diff_ids.iter().find(|d| !made(d) && !artifact.offer.base_layers.contains(d)) {
            return Err(bad(&format!("nothing makes the target's layer {lost}")));
        }
        if let Some(part) = artifact.parts.iter().find(|part| !diff_ids.contains(&part.diff_id)) {
            return Err(bad(&format!("the target has no layer {}", part.diff_id)));
        }
        let layers =
            diff_ids.into_iter().zip(&manifest.layers).map(|(diff_id, blob)| TargetLayer { diff_id, plain: blob.size }).collect();
        Ok(Delta { artifact, text, blobs, target, config, layers })
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.text)
    }

    /// What a plain pull fetches of a layer that the delta makes.
    pub fn plain_of(&self, diff_id: &Digest) -> u64 {
        self.layers.iter().find(|l| l.diff_id == *diff_id).map_or(0, |l| l.plain)
    }

    /// What a plain pull fetches of all layers that the delta makes.
    pub fn plain(&self) -> u64 {
        self.artifact.parts.iter().map(|part| self.plain_of(&part.diff_id)).fold(0, u64::saturating_add)
    }

    /// What of it a device fetches: its manifest and its layers.
    pub fn size(&self) -> u64 {
        self.artifact.offer.size.saturating_add(self.text.len() as u64)
    }

    /// Sends it to a repository, which must have the target. `told` hears what is sent.
    pub fn push(&self, repository: &mut Repository<'_>, told: Option<&Told>) -> Result<(), Failure> {
        let subject = &self.artifact.subject.digest;
        if !repository.has_manifest(&subject.to_string())? {
            let text = format!("{} has no manifest {subject}: push the image first", repository.path());
            return Err(Failure::lasting(Error::not_found(text)));
        }
        repository.upload(&Digest::of(EMPTY), &Content::Bytes(EMPTY.into()), None)?;
        for (part, content) in self.artifact.parts.iter().zip(&self.blobs) {
            repository.upload(&part.blob, content, told.cloned())?;
        }
        repository.put_referrer(&self.text, subject, &self.artifact.entry(&self.text))
    }
}

/// Writes deltas as one OCI layout.
pub fn write(deltas: &[Delta], file: File) -> Result<()> {
    let mut layout = Layout::new(file)?;
    let entries = deltas.iter().map(|d| Ok(serde_json::to_string(&d.artifact.entry(&d.text))?)).collect::<Result<Vec<_>>>()?;
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
    layout.file("index.json", index.as_bytes())?;
    for delta in deltas {
        for text in [&delta.text[..], EMPTY, &delta.target, &delta.config] {
            layout.blob(&Digest::of(text), text.len() as u64, &mut &text[..])?;
        }
        for (part, content) in delta.artifact.parts.iter().zip(&delta.blobs) {
            layout.blob(&part.blob, part.size, &mut *content.reader())?;
        }
    }
    layout.finish()
}

/// Reads the deltas of an OCI layout. Every digest is compared.
pub fn read(path: &Path) -> Result<Vec<Delta>> {
    let place = Place::open(path)?;
    let Document::Index(entries) = Document::parse(&place.document("index.json")?, OCI_INDEX)? else {
        return Err(Error::invalid("its index.json is no index"));
    };
    let mut found = Vec::new();
    let is_delta = |kind: &Option<String>| matches!(kind.as_deref(), None | Some(TYPE));
    for entry in entries.iter().filter(|e| is_delta(&e.artifact_type) && matches!(e.media_type.as_str(), OCI_MANIFEST | "")) {
        let text = place.blob_text(&entry.digest)?;
        if entry.artifact_type.is_none() && !Artifact::is_one(&text) {
            continue;
        }
        let artifact = Artifact::parse(&text)?;
        let mut blobs = Vec::new();
        for part in &artifact.parts {
            let content = place.get(&blob_name(&part.blob))?;
            if content.len() != part.size || digest(&mut *content.reader())? != part.blob {
                return Err(Error::invalid(format!("{} does not match its digest", blob_name(&part.blob))));
            }
            blobs.push(content);
        }
        let target = place.blob_text(&artifact.subject.digest)?;
        let config = place.blob_text(&artifact.offer.target)?;
        found.push(Delta::new(text, blobs, target, config)?);
    }
    match found.is_empty() {
        true => Err(Error::invalid("there is no delta in it")),
        false => Ok(found),
    }
}

fn digest(from: &mut dyn Read) -> Result<Digest> {
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(Digest::finish(hash)),
            n => hash.update(&buffer[..n]),
        }
    }
}
