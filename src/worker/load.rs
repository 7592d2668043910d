//! Load: docker-archives (`docker save`, old and new) and OCI layouts, plain or compressed, from a stream.

use crate::base::{Error, Result, time::Time};
use crate::delta::balena::DeltaImage;
use crate::image::archive::{Index, Item, blob_name};
use crate::image::config::ImageConfig;
use crate::image::manifest::{Document, choose};
use crate::image::{Digest, Platform, Reference};
use crate::layer::decode::Decoder;
use crate::store::{self, ImageInfo, Root};
use crate::wire::worker::{NewImage, Report};
use crate::worker::archive::{Archive, Member, Members};
use crate::worker::body::Body;
use crate::worker::delta_image;
use crate::worker::session::Session;
use std::path::PathBuf;

const CHUNK: usize = 64 * 1024;

/// One image of the archive.
struct Image {
    config: Vec<u8>,
    manifest: Option<Vec<u8>>,
    tags: Vec<Reference>,
    /// Names of members, bottom first.
    layers: Vec<String>,
}

/// Runs the job.
pub fn run(session: &mut Session, root: &Root, job: &str, prefix: Vec<u8>, length: Option<u64>, chunked: bool) -> Result<()> {
    let fd = session.fds.pop().ok_or_else(|| Error::internal("no archive"))?;
    let body = Body::new(session, fd, prefix, length, chunked);
    let result = load(session, root, job, body);
    let staging = root.staging(job);
    if staging.exists() {
        store::discard(root, &staging)?;
    }
    result
}

fn load(session: &mut Session, root: &Root, job: &str, mut body: Body) -> Result<()> {
    let mut archive = Archive::new(root, root.staging(job))?;
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = body.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        decoder.push(&mut &buffer[..n], false, &mut |data| archive.push(data))?;
    }
    decoder.finish(&mut |data| archive.push(data))?;
    let members = archive.finish()?;
    let images = match (members.get("manifest.json"), members.get("index.json")) {
        (Some(_), _) => docker_images(&members)?,
        (None, Some(_)) => oci_images(&members)?,
        (None, None) => {
            return Err(Error::invalid("this is no image archive: it has neither a manifest.json nor an index.json"));
        }
    };
    for image in &images {
        one(session, root, job, &members, image)?;
    }
    Ok(())
}

fn docker_images(members: &Members) -> Result<Vec<Image>> {
    let items: Vec<Item> = serde_json::from_slice(&members.document("manifest.json")?)
        .map_err(|e| Error::invalid(format!("manifest.json in the image archive is not understood: {e}")))?;
    let image = |item: Item| {
        let tags = item.repo_tags.unwrap_or_default().iter().map(|t| Reference::parse_tagged(t)).collect::<Result<_>>()?;
        Ok(Image { config: members.document(&item.config)?, manifest: None, tags, layers: item.layers.unwrap_or_default() })
    };
    items.into_iter().map(image).collect()
}

fn oci_images(members: &Members) -> Result<Vec<Image>> {
    let index: Index = serde_json::from_slice(&members.document("index.json")?)
        .map_err(|e| Error::invalid(format!("index.json in the image archive is not understood: {e}")))?;
    let checked = |digest: &Digest| -> Result<Vec<u8>> {
        let text = members.document(&blob_name(digest))?;
        if Digest::of(&text) != *digest {
            return Err(Error::invalid(format!("{} in the image archive does not match its digest", blob_name(digest))));
        }
        Ok(text)
    };
    let mut images = Vec::new();
    for entry in index.manifests {
        let mut text = checked(&entry.digest)?;
        let mut document = Document::parse(&text, &entry.media_type)?;
        if let Document::Index(entries) = &document {
            let best = choose(entries, &Platform::host())?;
            text = checked(&best.digest)?;
            document = Document::parse(&text, &best.media_type)?;
        }
        let Document::Manifest(manifest) = document else {
            return Err(Error::invalid("an index in the image archive points at another index, which is refused"));
        };
        // containerd names the whole reference; the specification's own annotation may be just a tag.
        let name = entry.containerd_name().or_else(|| {
            let name = entry.ref_name()?;
            name.contains(['/', ':']).then_some(name)
        });
        images.push(Image {
            config: checked(&manifest.config.digest)?,
            manifest: Some(text),
            tags: name.map(|n| Reference::parse_tagged(n)).transpose()?.into_iter().collect(),
            layers: manifest.layers.iter().map(|l| blob_name(&l.digest)).collect(),
        });
    }
    Ok(images)
}

fn one(session: &mut Session, root: &Root, job: &str, members: &Members, image: &Image) -> Result<()> {
    let own = ImageConfig::parse(&image.config)?;
    let delta = DeltaImage::of(&own)?;
    let (config, text, manifest) = match &delta {
        Some(delta) => (&delta.target, delta.config.as_bytes(), None),
        None => (&own, &image.config[..], image.manifest.as_deref()),
    };
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        return Err(Error::invalid(format!(
            "invalid image archive: its manifest has {} layers, the image's config {}",
            image.layers.len(),
            diff_ids.len()
        )));
    }
    if config.platform().os != "linux" {
        return Err(Error::unsupported(format!("cannot load {} image on linux", config.platform().os)));
    }
    match &delta {
        Some(delta) => {
            if root.image(&delta.id()).exists() && diff_ids.iter().all(|layer| root.has_layer(layer)) {
                let there = "Target image already exists locally, no need to load it.\n";
                session.report(&Report::Stream(there.into()))?;
            }
            let source = |nth: usize| delta_layer(root, members, &delta.deltas[nth], &image.layers[nth]);
            delta_image::load(session, root, &root.staging(job), delta, &source)?;
        }
        None => {
            session.ask(&Report::Plan { layers: diff_ids.iter().map(Digest::to_string).collect() })?;
            for (diff_id, name) in diff_ids.iter().zip(&image.layers) {
                layer(session, root, members, diff_id, name)
                    .map_err(|e| e.context(format!("layer {name} of the image archive")))?;
            }
        }
    }
    let sizes = diff_ids.iter().map(|diff_id| Ok(store::layer_info(root, diff_id)?.size)).collect::<Result<Vec<_>>>()?;
    let info = ImageInfo { manifest: manifest.map(Digest::of), sizes: sizes.clone(), pulled: Time::now().0 };
    let staged = root.staging(job).join("image");
    let id = store::add_image(root, &staged, text, manifest, &info)?;
    for tag in &image.tags {
        if let Some(old) = store::tagged(root, tag).filter(|old| *old != id) {
            let name = tag.familiar();
            session.report(&Report::Stream(format!(
                "The image {name} already exists, renaming the old one with ID {} to empty string\n",
                old
            )))?;
        }
    }
    session.ask(&Report::Image(NewImage {
        id: id.to_string(),
        config: String::from_utf8(text.to_vec()).map_err(|_| Error::invalid("the image's config is not text"))?,
        manifest: info.manifest.map(|d| d.to_string()).unwrap_or_default(),
        layers: diff_ids.iter().map(Digest::to_string).collect(),
        sizes,
        references: image.tags.iter().map(Reference::to_string).collect(),
        base: String::new(),
    }))?;
    if image.tags.is_empty() {
        return session.report(&Report::Stream(format!("Loaded image ID: {id}\n")));
    }
    image.tags.iter().try_for_each(|tag| session.report(&Report::Stream(format!("Loaded image: {}\n", tag.familiar()))))
}

/// Where a delta layer has been extracted, or is in the store. What it is made of is compared when it is applied.
fn delta_layer(root: &Root, members: &Members, of: &Digest, name: &str) -> Result<PathBuf> {
    match members.get(name) {
        Some(Member::Layer(_, staged)) => Ok(staged.join("layer")),
        Some(Member::Known(diff_id)) => Ok(root.layer(diff_id)),
        Some(Member::Other(Some(e))) => Err(Error::new(e.kind(), e.to_string())),
        Some(_) => Err(Error::invalid("it is no layer")),
        None if root.has_layer(of) => Ok(root.layer(of)),
        None => Err(Error::invalid("it is missing")),
    }
}

fn layer(session: &mut Session, root: &Root, members: &Members, diff_id: &Digest, name: &str) -> Result<()> {
    let found = match members.get(name) {
        Some(Member::Layer(applied, staged)) => {
            if applied.diff_id == *diff_id && !root.has_layer(diff_id) {
                session.status(&diff_id.short(), "Loading layer")?;
                store::commit_layer(root, &staged.join("layer"), diff_id)?;
            }
            applied.diff_id
        }
        Some(Member::Known(diff_id)) => *diff_id,
        Some(Member::Other(Some(e))) => return Err(Error::new(e.kind(), e.to_string())),
        Some(_) => return Err(Error::invalid("it is no layer")),
        // An archive may leave out what the store has.
        None if root.has_layer(diff_id) => *diff_id,
        None => return Err(Error::invalid("it is missing")),
    };
    if found != *diff_id {
        return Err(Error::invalid(format!("its content is {found}, the image's config says {diff_id}")));
    }
    Ok(())
}
