//! From two images to a delta, and from an image and a delta to the other image: on any machine, without an engine.

use crate::base::{Error, Result};
use crate::delta::artifact::{Artifact, Offer, Part, Subject};
use crate::delta::base::{Base, Origin};
use crate::delta::images::{Image, Opener, Progress, plain_manifest};
use crate::delta::layout::Layout;
use crate::delta::place::Spool;
use crate::delta::saved::Delta;
use crate::delta::{Head, apply, create, format};
use crate::image::Digest;
use crate::image::archive::blob_name;
use crate::image::manifest::OCI_INDEX;
use crate::registry::Content;
use sha2::Digest as _;
use std::fs::File;

/// Each once, in order.
fn distinct(ids: impl Iterator<Item = Digest>) -> Vec<Digest> {
    let mut all: Vec<Digest> = Vec::new();
    ids.for_each(|id| {
        if !all.contains(&id) {
            all.push(id);
        }
    });
    all
}

/// The tars of a base, one after the other.
struct Text {
    bytes: Vec<u8>,
    /// Where each ends, and which layer it is.
    parts: Vec<(usize, Digest)>,
}

impl Text {
    fn new(opener: &Opener<'_>, layers: &[Digest], options: &create::Options) -> Result<Text> {
        let mut text = Text { bytes: Vec::new(), parts: Vec::new() };
        layers.iter().try_for_each(|layer| text.push(opener, layer, options))?;
        Ok(text)
    }

    fn push(&mut self, opener: &Opener<'_>, layer: &Digest, options: &create::Options) -> Result<()> {
        let tar = opener.tar(layer)?;
        let start = self.bytes.len();
        let end = (start as u64).saturating_add(tar.size());
        let end = usize::try_from(end).ok().filter(|end| *end as u64 <= options.memory).ok_or_else(|| {
            Error::unsupported(format!(
                "the images are larger than the {} MB of memory that are allowed (--memory)",
                options.memory >> 20
            ))
        })?;
        self.bytes.resize(end, 0);
        Base::new(&[tar.origin()])?.read_exact_at(0, &mut self.bytes[start..])?;
        self.parts.push((end, *layer));
        Ok(())
    }
}

/// The delta from one image to another; none if the other has no layer of its own.
pub fn make(
    opener: &mut Opener<'_>,
    old: &Image,
    new: &Image,
    options: &create::Options,
    progress: Progress<'_>,
) -> Result<Option<Delta>> {
    let base_layers = distinct(old.layers.iter().map(|l| l.diff_id));
    let wanted = distinct(new.layers.iter().map(|l| l.diff_id).filter(|d| !base_layers.contains(d)));
    if wanted.is_empty() {
        return Ok(None);
    }
    opener.fetch(old, &base_layers, progress)?;
    // What was never in a registry gets its manifest from the sizes of all layers.
    let all = distinct(new.layers.iter().map(|l| l.diff_id));
    opener.fetch(new, if new.manifest.is_some() { &wanted } else { &all }, progress)?;
    let (target, new_image) = (opener.manifest(new)?, &new.name);
    let (mut parts, mut blobs) = (Vec::new(), Vec::new());
    let mut text = Text::new(opener, &base_layers, options)?;
    for (nth, diff_id) in wanted.iter().enumerate() {
        let place = format!("layer {} of {}", nth + 1, wanted.len());
        let mut told = |stage: &str, now: u64, all: u64| progress(&format!("{place}: {stage}"), now, all);
        let (start, base_parts) = (text.bytes.len(), text.parts.clone());
        // The layer stands behind its base: what follows may copy from it.
        text.push(opener, diff_id, options)?;
        let (base, new) = text.bytes.split_at(start);
        let layer = create::Layer { base, parts: &base_parts, new, target: *diff_id };
        let bytes =
            create::layer(&layer, options, &mut told).map_err(|e| e.context(format!("layer {diff_id} of {}", new_image)))?;
        let written = Head::read(&mut &bytes[..])?.fresh;
        parts.push(Part { blob: Digest::of(&bytes), size: bytes.len() as u64, diff_id: *diff_id, written });
        blobs.push(Content::Bytes(bytes.into()));
    }
    let sum = |of: fn(&Part) -> u64| parts.iter().map(of).fold(0, u64::saturating_add);
    let offer = Offer {
        base: old.id,
        base_manifest: old.manifest.as_ref().map(|m| m.digest),
        base_layers,
        target: new.id,
        size: sum(|p| p.size),
        written: sum(|p| p.written),
    };
    let subject = Subject { media_type: target.kind, digest: target.digest, size: target.text.len() as u64 };
    let text = Artifact { subject, offer, parts }.manifest()?;
    Delta::new(text, blobs, target.text, new.config.clone()).map(Some)
}

/// Makes the target of a delta from its base, as an archive that is an OCI layout and a docker-archive at once. Its layers are not
/// compressed, so its manifest is not the one of a registry; its ID is.
pub fn rebuild(
    opener: &mut Opener<'_>,
    old: &Image,
    delta: &Delta,
    name: Option<&str>,
    out: File,
    progress: Progress<'_>,
) -> Result<()> {
    let offer = &delta.artifact.offer;
    let has = distinct(old.layers.iter().map(|l| l.diff_id));
    if let Some(lost) = offer.base_layers.iter().find(|layer| !has.contains(layer)) {
        return Err(Error::invalid(format!(
            "{} is not what the delta is from: it lacks layer {lost} of image {}",
            old.name, offer.base
        )));
    }
    opener.fetch(old, &has, progress)?;
    let mut ids = offer.base_layers.clone();
    for (nth, (part, content)) in delta.artifact.parts.iter().zip(&delta.blobs).enumerate() {
        let place = format!("layer {} of {}", nth + 1, delta.artifact.parts.len());
        let made = layer(opener, &ids, part, content, &mut |now, all| progress(&place, now, all));
        let (file, size) = made.map_err(|e| e.context(format!("layer {}", part.diff_id)))?;
        opener.keep(part.diff_id, file, size);
        ids.push(part.diff_id);
    }
    let all = delta.layers.iter().map(|l| Ok((l.diff_id, opener.tar(&l.diff_id)?.size()))).collect::<Result<Vec<_>>>()?;
    let manifest = plain_manifest(&delta.config, &all);
    let mut layout = Layout::new(out)?;
    let layers: Vec<String> = all.iter().map(|(diff_id, _)| blob_name(diff_id)).collect();
    let item = serde_json::json!([{
        "Config": blob_name(&offer.target),
        "RepoTags": name.map(|name| vec![name]).unwrap_or_default(),
        "Layers": layers,
    }]);
    layout.file("manifest.json", item.to_string().as_bytes())?;
    let mut entry = serde_json::json!({ "mediaType": manifest.kind, "digest": manifest.digest, "size": manifest.text.len() });
    if let Some(name) = name {
        entry["annotations"] = serde_json::json!({ "io.containerd.image.name": name });
    }
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
    layout.file("index.json", index.to_string().as_bytes())?;
    layout.blob(&offer.target, delta.config.len() as u64, &mut &delta.config[..])?;
    layout.blob(&manifest.digest, manifest.text.len() as u64, &mut &manifest.text[..])?;
    for (diff_id, size) in &all {
        let mut tar = Base::new(&[opener.tar(diff_id)?.origin()])?;
        layout.blob(diff_id, *size, &mut Whole { base: &mut tar, at: 0, size: *size })?;
    }
    layout.finish()
}

/// The tar of one layer, which must be what the delta says.
fn layer(
    opener: &Opener<'_>,
    known: &[Digest],
    part: &Part,
    content: &Content,
    told: &mut dyn FnMut(u64, u64),
) -> Result<(File, u64)> {
    let mut file = Spool::new()?;
    std::io::copy(&mut content.reader(), &mut file)?;
    let file = file.finish()?;
    let head = format::read_head(&file)?;
    if head.target != part.diff_id {
        return Err(Error::invalid(format!("its delta says that it makes {}", head.target)));
    }
    if let Some(lost) = head.base.iter().find(|layer| !known.contains(layer)) {
        return Err(Error::invalid(format!("its delta wants layer {lost}, which is not of its base")));
    }
    let origins = head.base.iter().map(|id| Ok(opener.tar(id)?.origin())).collect::<Result<Vec<Origin<'_>>>>()?;
    let (mut base, mut spool, mut hash, mut length) = (Base::new(&origins)?, Spool::new()?, sha2::Sha256::new(), 0);
    apply::apply(&file, &mut base, &mut |out| {
        let apply::Out::Bytes(bytes) = out else { return Ok(()) };
        length += bytes.len() as u64;
        if length > head.tar_size {
            return Err(Error::invalid("it makes more than it announces"));
        }
        hash.update(bytes);
        told(length, head.tar_size);
        spool.push(bytes)
    })?;
    let found = Digest::finish(hash);
    match found == part.diff_id {
        true => Ok((spool.finish()?, length)),
        false => Err(Error::invalid(format!("its content is {found}: the base or the delta is damaged"))),
    }
}

/// A base from its start to its end.
struct Whole<'b, 'a> {
    base: &'b mut Base<'a>,
    at: u64,
    size: u64,
}

impl std::io::Read for Whole<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(buf.len());
        self.base.read_exact_at(self.at, &mut buf[..n]).map_err(|e| std::io::Error::other(e.to_string()))?;
        self.at += n as u64;
        Ok(n)
    }
}
