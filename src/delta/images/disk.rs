//! Images on disk: OCI layouts and docker-archives.

use super::{Check, Image, ImageLayer, ManifestText, Progress, Source, Tar, assemble, kind_of, pick};
use crate::base::{Error, Result};
use crate::delta::place::{Place, Spool, unpack};
use crate::image::archive::{Index, IndexEntry, Item, blob_name};
use crate::image::manifest::{Descriptor, Document, OCI_INDEX};
use crate::image::{Digest, Platform, Reference};
use std::path::Path;

/// Opens one; `name` says which of several images.
pub fn open(path: &Path, name: &str, platform: Option<&Platform>) -> Result<Image> {
    let place = Place::open(path)?;
    // Newer docker-archives are OCI layouts as well.
    if place.find("oci-layout")?.is_some() || place.find("manifest.json")?.is_none() {
        if place.find("index.json")?.is_none() {
            return Err(Error::invalid("this is no image: it has neither an index.json nor a manifest.json"));
        }
        return layout(place, name, platform);
    }
    archive(place, name)
}

fn archive(place: Place, name: &str) -> Result<Image> {
    let items: Vec<Item> = serde_json::from_slice(&place.document("manifest.json")?)
        .map_err(|e| Error::invalid(format!("its manifest.json is not understood: {e}")))?;
    let names = |item: &Item| item.repo_tags.clone().unwrap_or_default();
    let mut wanted = items.iter().filter(|item| name.is_empty() || names(item).iter().any(|tag| same(tag, name)));
    let item = match (wanted.next(), wanted.next()) {
        (Some(item), None) => item,
        _ => return Err(several(name, items.iter().flat_map(names).collect())),
    };
    let (config, layers) = (place.document(&item.config)?, item.layers.clone().unwrap_or_default());
    assemble(config, None, Some(layers), Source::Place(place))
}

fn layout(place: Place, name: &str, platform: Option<&Platform>) -> Result<Image> {
    let text = place.document("index.json")?;
    let Document::Index(entries) = Document::parse(&text, OCI_INDEX).map_err(|e| e.context("its index.json"))? else {
        return Err(Error::invalid("its index.json is no index"));
    };
    let names: Index =
        serde_json::from_slice(&text).map_err(|e| Error::invalid(format!("its index.json is not understood: {e}")))?;
    let called = |digest: &Digest| -> Vec<String> {
        let of = |entry: &IndexEntry| [entry.containerd_name().cloned(), entry.ref_name().cloned()];
        names.manifests.iter().filter(|e| e.digest == *digest).flat_map(of).flatten().collect()
    };
    let is_named =
        |e: &&Descriptor| name.is_empty() || e.digest.to_string() == name || called(&e.digest).iter().any(|n| same(n, name));
    let mut images: Vec<Descriptor> = Vec::new();
    for entry in entries.iter().filter(is_named).filter(|e| e.artifact_type.is_none()) {
        let text = place.blob_text(&entry.digest)?;
        match Document::parse(&text, &entry.media_type)? {
            Document::Manifest(_) => images.push(entry.clone()),
            Document::Index(inner) => images.extend(inner),
        }
    }
    images.dedup_by(|a, b| a.digest == b.digest);
    if images.is_empty() || (images.len() > 1 && images.iter().all(|i| i.platform.is_none())) {
        return Err(several(name, entries.iter().flat_map(|e| called(&e.digest)).collect()));
    }
    let entry = pick(&images, platform)?;
    let text = place.blob_text(&entry.digest)?;
    let Document::Manifest(manifest) = Document::parse(&text, &entry.media_type)? else {
        return Err(Error::invalid("an index in it points at another index in an index, which is refused"));
    };
    let config = place.blob_text(&manifest.config.digest)?;
    let members = manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
    let manifest = ManifestText { kind: kind_of(&text, &entry.media_type), digest: entry.digest, text };
    assemble(config, Some(manifest), Some(members), Source::Place(place))
}

/// Is a name in an archive the one that is wanted, written in whatever way?
fn same(name: &str, wanted: &str) -> bool {
    let full = |text: &str| Reference::parse_tagged(text).ok();
    name == wanted || name.rsplit(':').next() == Some(wanted) || full(name).is_some_and(|n| Some(n) == full(wanted))
}

fn several(name: &str, mut names: Vec<String>) -> Error {
    names.sort();
    names.dedup();
    let listed = if names.is_empty() { "none has a name".to_string() } else { format!("it has {}", names.join(", ")) };
    match name {
        "" => Error::invalid(format!("it is not clear which image is meant: name it as FILE#NAME ({listed})")),
        name => Error::not_found(format!("it has not one image {name:?} ({listed})")),
    }
}

/// The exact tar of a layer.
pub fn tar(place: &Place, layer: &ImageLayer, progress: Progress<'_>) -> Result<Tar> {
    let content = place.get(&layer.member)?;
    let (mut check, mut spool) = (Check::new(&layer.diff_id), Spool::new()?);
    let stage = format!("read {}", layer.diff_id.short());
    unpack(&mut *content.reader(), &mut |data| {
        check.see(data);
        progress(&stage, check.length, 0);
        spool.push(data)
    })?;
    let length = check.finish()?;
    Ok(Tar::File(spool.finish()?, length))
}
