//! Images in registries.

use super::{Check, Image, ImageLayer, ManifestText, Opener, Progress, Source, Tar, assemble, kind_of, named, pick};
use crate::base::{Error, Result};
use crate::delta::place::Spool;
use crate::image::manifest::{Document, Manifest};
use crate::image::{Digest, Platform, Reference};
use crate::layer::decode::Decoder;
use crate::registry::{self, Piece, Repository};
use sha2::Digest as _;

/// Opens one: its manifest and its config.
pub fn open(opener: &mut Opener<'_>, reference: &Reference) -> Result<Image> {
    let translate = |e: Error| registry::of_pull(e, &reference.familiar(), &reference.familiar_name());
    let auth = (opener.auth)(reference)?;
    let name = name_of(reference);
    let (mut repository, top) = registry::first_with(&mut opener.client, reference, &name, auth.as_ref()).map_err(translate)?;
    let (text, manifest) = platform_manifest(&mut repository, top, opener.platform.as_ref()).map_err(translate)?;
    let config =
        repository.small_blob(&manifest.config.digest, manifest.config.size).map_err(|f| f.error.context("image config"))?;
    assemble(config, Some(text), None, Source::Registry(reference.clone()))
}

/// The tag or digest of a reference.
pub fn name_of(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_string(),
    }
}

/// From what a name gives down to one platform's manifest.
pub fn platform_manifest(
    repository: &mut Repository<'_>,
    top: registry::ManifestText,
    platform: Option<&Platform>,
) -> Result<(ManifestText, Manifest)> {
    let (mut text, mut digest, mut content_type) = top;
    let mut document = Document::parse(&text, &content_type)?;
    if let Document::Index(entries) = &document {
        let entry = pick(entries, platform)?.clone();
        (text, digest, content_type) = repository.manifest(&entry.digest.to_string()).map_err(|f| f.error)?;
        document = Document::parse(&text, &content_type)?;
    }
    match document {
        Document::Manifest(manifest) => Ok((ManifestText { kind: kind_of(&text, &content_type), digest, text }, manifest)),
        Document::Index(_) => Err(Error::invalid("an index points at another index, which is refused")),
    }
}

/// Fetches layers and unpacks them into temporary files.
pub fn tars(
    opener: &mut Opener<'_>,
    image: &Image,
    reference: &Reference,
    wanted: &[&ImageLayer],
    progress: Progress<'_>,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let auth = (opener.auth)(reference)?;
    let mut repository = Repository::new(&mut opener.client, reference, auth.as_ref());
    let mut found: Vec<(Digest, Tar)> = Vec::new();
    for layer in wanted {
        let tar = tar(&mut repository, layer, progress).map_err(|e| named(image, layer, e))?;
        found.push((layer.diff_id, tar));
    }
    opener.tars.extend(found);
    Ok(())
}

fn tar(repository: &mut Repository<'_>, layer: &ImageLayer, progress: Progress<'_>) -> Result<Tar> {
    let (blob, size) = layer.blob.ok_or_else(|| Error::internal("a layer without a blob"))?;
    let stage = format!("fetch {}", layer.diff_id.short());
    let mut again = true;
    loop {
        let (mut packed, mut decoder, mut done) = (sha2::Sha256::new(), Decoder::default(), 0);
        let (mut check, mut spool) = (Check::new(&layer.diff_id), Spool::new()?);
        let mut take = |data: &[u8]| {
            check.see(data);
            spool.push(data)
        };
        // What was damaged on the way may not be decodable: its digest is compared first.
        let mut broken = None;
        let fetched = repository.blob(&blob, size, 0, |piece| {
            if let Piece::Data(bytes) = piece {
                packed.update(bytes);
                done += bytes.len() as u64;
                progress(&stage, done, size);
                if broken.is_none() {
                    broken = decoder.push(&mut &bytes[..], false, &mut take).err();
                }
            }
            match &broken {
                Some(e) if e.is_of_machine() => Err(Error::internal(e.to_string())),
                _ => Ok(()),
            }
        });
        fetched.map_err(|f| f.error)?;
        if Digest::finish(packed) == blob {
            broken.map_or(Ok(()), Err)?;
            decoder.finish(&mut take)?;
            let length = check.finish()?;
            return Ok(Tar::File(spool.finish()?, length));
        }
        if !repository.distrust(&blob) && !std::mem::replace(&mut again, false) {
            return Err(Error::internal(format!("content of blob {blob} does not match its digest")));
        }
    }
}
