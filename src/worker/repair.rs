//! Repair: fetches one damaged layer again, from a registry that an image with that layer came from, and puts it in its place.

use crate::base::{Error, Result};
use crate::image::manifest::{Descriptor, Document};
use crate::image::{Digest, Reference};
use crate::registry::{self, Client};
use crate::store::{self, Root, StoredImage};
use crate::wire::worker::Repair;
use crate::worker::fetch::{self, Wanted};
use crate::worker::session::Session;

/// Where a layer can be had: a repository that has the image, and the blob.
struct Source {
    image: Reference,
    blob: Descriptor,
}

/// Replaces the layer, or says why that cannot be.
pub fn run(session: &mut Session, root: &Root, diff_id: &Digest, how: &Repair) -> Result<()> {
    if let Some(store) = root.store_of(diff_id) {
        return Err(Error::unsupported(format!("it is in the read-only image store {}: replace the store", store.display())));
    }
    let mut last =
        Error::not_found("no image with it was pulled from a registry: remove and load it again, or pull an image that has it");
    for source in sources(root, diff_id)? {
        match fetch(session, root, diff_id, &source, how) {
            Ok(()) => return Ok(()),
            Err(e) => last = e.context(format!("from {}", source.image.familiar_name())),
        }
        session.check()?;
    }
    Err(last)
}

fn fetch(session: &mut Session, root: &Root, diff_id: &Digest, source: &Source, how: &Repair) -> Result<()> {
    let manifest = source.image.digest().map(|d| d.to_string()).unwrap_or_default();
    let mut client = Client::new(how.registries.clone(), Some(session.watch()));
    let auth = how.auths.get(source.image.domain());
    let (mut repository, _) = registry::first_with(&mut client, &source.image, &manifest, auth)?;
    let wanted = Wanted::new(&source.blob, diff_id, true);
    fetch::layer(session, root, &mut repository, &wanted, None)
}

/// Every repository that one of the images with the layer was pulled from.
fn sources(root: &Root, diff_id: &Digest) -> Result<Vec<Source>> {
    let (images, _) = store::all_images(root)?;
    let (tags, _) = store::tags(root)?;
    let mut found: Vec<Source> = Vec::new();
    for image in images.iter().filter(|i| i.layers.contains(diff_id)) {
        let Some((manifest, blob)) = blob_of(root, image, diff_id) else { continue };
        for tag in tags.iter().filter(|t| t.image == image.id) {
            let image = tag.reference.repository().with_digest(manifest);
            if found.iter().all(|f| f.image != image) {
                found.push(Source { image, blob: blob.clone() });
            }
        }
    }
    Ok(found)
}

/// The blob of a layer in the manifest that the image was pulled by; none if it was loaded.
fn blob_of(root: &Root, image: &StoredImage, diff_id: &Digest) -> Option<(Digest, Descriptor)> {
    let manifest = image.info.manifest?;
    let text = store::read_manifest(root, &image.id).ok()?;
    let Ok(Document::Manifest(parsed)) = Document::parse(&text, "") else { return None };
    let nth = image.layers.iter().position(|l| l == diff_id)?;
    (Digest::of(&text) == manifest).then(|| Some((manifest, parsed.layers.get(nth)?.clone())))?
}
