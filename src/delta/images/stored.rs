//! Images in the store of an engine, which may be running meanwhile: nothing is written there.

use super::{Check, Image, ManifestText, Progress, Source, Tar, assemble, kind_of};
use crate::base::{Error, Result};
use crate::image::{Digest, Reference};
use crate::layer::Skeleton;
use crate::store::{self, Root, StoredImage};

/// The image of that name or ID; none if the store has none.
pub fn open(root: &Root, name: &str) -> Result<Option<Image>> {
    let (images, _) = store::images(root)?;
    let tagged = Reference::parse_tagged(name).ok().and_then(|reference| store::tagged(root, &reference));
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = hex.len() >= 4 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut found = images.iter().filter(|image| match tagged {
        Some(id) => image.id == id,
        None => is_id && image.id.hex().starts_with(hex),
    });
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Error::invalid("more than one image of the store has an ID that begins so")),
        (Some(image), None) => one(root, image).map(Some),
        _ => Ok(None),
    }
}

fn one(root: &Root, image: &StoredImage) -> Result<Image> {
    let manifest = image.info.manifest.map(|digest| -> Result<ManifestText> {
        let text = store::read_manifest(root, &image.id)?;
        match Digest::of(&text) == digest {
            true => Ok(ManifestText { kind: kind_of(&text, ""), digest, text }),
            false => Err(Error::internal("its manifest.json is damaged")),
        }
    });
    assemble(image.config.clone().into_bytes(), manifest.transpose()?, None, Source::Store)
}

/// The tar of a layer, read once to see that it is whole.
pub fn tar(root: &Root, diff_id: &Digest, progress: Progress<'_>) -> Result<Tar> {
    let skeleton = Skeleton::open(&root.layer(diff_id))?;
    let (mut check, mut reader, mut buffer) = (Check::new(diff_id), skeleton.tar().forgetful(), vec![0; 128 * 1024]);
    let stage = format!("read {}", diff_id.short());
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => check.see(&buffer[..n]),
        }
        progress(&stage, check.length, skeleton.tar_size());
    }
    drop(reader);
    check.finish().map_err(|e| e.context("the store's copy is damaged"))?;
    Ok(Tar::Stored(skeleton))
}
