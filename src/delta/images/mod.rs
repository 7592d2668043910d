//! Images from anywhere: an OCI layout or a docker-archive on disk, a registry, or the store of an engine. Each gives its exact config and
//! manifest, and the exact tar of each layer, which is held against the image's config.

mod disk;
mod remote;
mod stored;

pub use remote::{name_of, platform_manifest};

use crate::base::{Error, Result};
use crate::delta::base::Origin;
use crate::delta::place::Place;
use crate::image::config::ImageConfig;
use crate::image::manifest::{DOCKER_MANIFEST, Descriptor, Document, OCI_MANIFEST, choose};
use crate::image::{Digest, Platform, Reference};
use crate::layer::Skeleton;
use crate::registry::Client;
use crate::store::Root;
use crate::wire::worker::Auth;
use serde::Deserialize;
use sha2::Digest as _;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// Hears of progress: what is being done, bytes so far, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// The exact text of a manifest.
#[derive(Clone, Debug)]
pub struct ManifestText {
    /// Its bytes.
    pub text: Vec<u8>,
    /// Its media type.
    pub kind: String,
    /// Its digest.
    pub digest: Digest,
}

/// A layer of an image, by where it is.
#[derive(Clone, Debug)]
pub struct ImageLayer {
    /// Digest of its tar.
    pub diff_id: Digest,
    /// Its blob, as the manifest has it.
    pub blob: Option<(Digest, u64)>,
    /// Its name in an archive.
    member: String,
}

/// An image that is open for reading.
pub struct Image {
    /// As it was called.
    pub name: String,
    /// Digest of the config.
    pub id: Digest,
    /// The config's exact text.
    pub config: Vec<u8>,
    /// The platform's manifest; what was never in a registry has none.
    pub manifest: Option<ManifestText>,
    /// Bottom first.
    pub layers: Vec<ImageLayer>,
    source: Source,
}

impl Image {
    /// Is it a file or folder?
    pub fn is_on_disk(&self) -> bool {
        matches!(self.source, Source::Place(_))
    }
}

enum Source {
    Place(Place),
    Registry(Reference),
    Store,
}

/// The tar of a layer.
pub enum Tar {
    /// In a file of that length.
    File(File, u64),
    /// In a store.
    Stored(Skeleton),
}

impl Tar {
    /// As something to copy from.
    pub fn origin(&self) -> Origin<'_> {
        match self {
            Tar::File(file, size) => Origin::Tar(file, *size),
            Tar::Stored(skeleton) => Origin::Layer(skeleton),
        }
    }

    /// Its length.
    pub fn size(&self) -> u64 {
        self.origin().size()
    }
}

/// Credentials for a registry.
pub type Credentials<'a> = &'a dyn Fn(&Reference) -> Result<Option<Auth>>;

/// Opens images, and keeps the tars of their layers while it lives.
pub struct Opener<'a> {
    /// For registries.
    pub client: Client,
    /// For registries.
    pub auth: Credentials<'a>,
    /// The store that names are looked up in first.
    pub store: Option<Root>,
    /// The platform that is wanted; else the only one there is, or this machine's.
    pub platform: Option<Platform>,
    tars: HashMap<Digest, Tar>,
}

impl<'a> Opener<'a> {
    /// With nothing open.
    pub fn new(client: Client, auth: Credentials<'a>, store: Option<Root>, platform: Option<Platform>) -> Opener<'a> {
        Opener { client, auth, store, platform, tars: HashMap::new() }
    }

    /// Opens an image: a file or folder that is there (`#NAME` behind it says which of several images), else an image of the store, else
    /// one of a registry.
    pub fn open(&mut self, name: &str) -> Result<Image> {
        let (path, within) = match name.rsplit_once('#') {
            Some((path, within)) if !Path::new(name).exists() => (path, within),
            _ => (name, ""),
        };
        let mut shown = name.to_string();
        let image = if Path::new(path).exists() {
            disk::open(Path::new(path), within, self.platform.as_ref())
        } else if path.starts_with(['/', '.']) {
            Err(Error::not_found("there is no such file or folder"))
        } else {
            match self.store.as_ref().map(|root| stored::open(root, name)).transpose() {
                Ok(Some(Some(found))) => Ok(found),
                Ok(_) => {
                    let reference = Reference::parse_tagged(name)?;
                    shown = reference.familiar();
                    remote::open(self, &reference)
                }
                Err(e) => Err(e),
            }
        };
        let image = image.map_err(|e| e.context(name))?;
        let config = ImageConfig::parse(&image.config)?;
        match &self.platform {
            Some(wanted) if wanted.rank(&config.platform()).is_none() => {
                Err(Error::not_found(format!("{name} is for {}, not for {wanted}", config.platform())))
            }
            _ => Ok(Image { name: shown, ..image }),
        }
    }

    /// Makes the tars of an image's layers ready for [`Opener::tar`].
    pub fn fetch(&mut self, image: &Image, wanted: &[Digest], progress: Progress<'_>) -> Result<()> {
        let mut missing: Vec<&ImageLayer> = Vec::new();
        for layer in image.layers.iter().filter(|l| wanted.contains(&l.diff_id) && !self.tars.contains_key(&l.diff_id)) {
            if !missing.iter().any(|m| m.diff_id == layer.diff_id) {
                missing.push(layer);
            }
        }
        match &image.source {
            Source::Place(place) => {
                for layer in missing {
                    let tar = disk::tar(place, layer, progress).map_err(|e| named(image, layer, e))?;
                    self.tars.insert(layer.diff_id, tar);
                }
                Ok(())
            }
            Source::Registry(reference) => remote::tars(self, image, reference, &missing, progress),
            Source::Store => {
                for layer in missing {
                    let root = self.store.as_ref().ok_or_else(|| Error::internal("there is no store"))?;
                    let tar = stored::tar(root, &layer.diff_id, progress).map_err(|e| named(image, layer, e))?;
                    self.tars.insert(layer.diff_id, tar);
                }
                Ok(())
            }
        }
    }

    /// Gives up all tars but those of an image.
    pub fn keep_only(&mut self, image: &Image) {
        self.tars.retain(|diff_id, _| image.layers.iter().any(|layer| layer.diff_id == *diff_id));
    }

    /// A tar that was fetched or kept.
    pub fn tar(&self, diff_id: &Digest) -> Result<&Tar> {
        self.tars.get(diff_id).ok_or_else(|| Error::internal(format!("layer {diff_id} was not fetched")))
    }

    /// Keeps a tar that was made.
    pub fn keep(&mut self, diff_id: Digest, file: File, size: u64) {
        self.tars.insert(diff_id, Tar::File(file, size));
    }

    /// The image's manifest. One that was never in a registry gets one for its layers as they are, which must have been fetched.
    pub fn manifest(&self, image: &Image) -> Result<ManifestText> {
        if let Some(manifest) = &image.manifest {
            return Ok(manifest.clone());
        }
        let sizes = image.layers.iter().map(|l| Ok((l.diff_id, self.tar(&l.diff_id)?.size()))).collect::<Result<Vec<_>>>()?;
        Ok(plain_manifest(&image.config, &sizes))
    }
}

fn named(image: &Image, layer: &ImageLayer, e: Error) -> Error {
    e.context(format!("layer {} of {}", layer.diff_id, image.name))
}

/// The manifest of an image whose layers are not compressed.
pub fn plain_manifest(config: &[u8], layers: &[(Digest, u64)]) -> ManifestText {
    let of = |kind: &str, digest: &Digest, size: u64| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#);
    let listed: Vec<String> =
        layers.iter().map(|(diff_id, size)| of("application/vnd.oci.image.layer.v1.tar", diff_id, *size)).collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
        of("application/vnd.oci.image.config.v1+json", &Digest::of(config), config.len() as u64),
        listed.join(",")
    );
    ManifestText { digest: Digest::of(text.as_bytes()), text: text.into_bytes(), kind: OCI_MANIFEST.into() }
}

/// An image of these texts.
fn assemble(config: Vec<u8>, manifest: Option<ManifestText>, members: Option<Vec<String>>, source: Source) -> Result<Image> {
    let parsed = ImageConfig::parse(&config)?;
    let blobs = match &manifest {
        Some(manifest) => match Document::parse(&manifest.text, &manifest.kind)? {
            Document::Manifest(m) => Some(m.layers),
            Document::Index(_) => return Err(Error::invalid("an index where an image's manifest should be")),
        },
        None => None,
    };
    let count = parsed.rootfs.diff_ids.len();
    for length in [blobs.as_ref().map(Vec::len), members.as_ref().map(Vec::len)].into_iter().flatten() {
        if length != count {
            return Err(Error::invalid(format!("its manifest has {length} layers, its config {count}")));
        }
    }
    let layer = |(nth, diff_id): (usize, &Digest)| ImageLayer {
        diff_id: *diff_id,
        blob: blobs.as_ref().map(|blobs| (blobs[nth].digest, blobs[nth].size)),
        member: members.as_ref().map(|members| members[nth].clone()).unwrap_or_default(),
    };
    let layers = parsed.rootfs.diff_ids.iter().enumerate().map(layer).collect();
    Ok(Image { name: String::new(), id: Digest::of(&config), config, manifest, layers, source })
}

/// The entry of an index that is wanted: of the platform, or the only image there is, or this machine's.
fn pick<'e>(entries: &'e [Descriptor], wanted: Option<&Platform>) -> Result<&'e Descriptor> {
    let is_image = |e: &&Descriptor| {
        let unknown = e.platform.as_ref().is_some_and(|p| p.os == "unknown");
        e.artifact_type.is_none() && !unknown && matches!(e.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST | "")
    };
    let mut images = entries.iter().filter(is_image);
    match (images.next(), images.next(), wanted) {
        (Some(only), None, None) => Ok(only),
        (_, _, Some(wanted)) => choose(entries, wanted),
        _ => choose(entries, &Platform::host()).map_err(|e| e.context("name the wanted one by --platform")),
    }
}

/// The media type of a manifest: what it came as, or what it calls itself.
fn kind_of(text: &[u8], came_as: &str) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let came_as = came_as.split(';').next().unwrap_or("").trim();
    if matches!(came_as, OCI_MANIFEST | DOCKER_MANIFEST) {
        return came_as.into();
    }
    serde_json::from_slice::<Typed>(text).ok().and_then(|t| t.media_type).unwrap_or_else(|| OCI_MANIFEST.into())
}

/// Takes the bytes of a tar, and compares what it has seen with the digest that the config names.
struct Check<'d> {
    diff_id: &'d Digest,
    hash: sha2::Sha256,
    length: u64,
}

impl<'d> Check<'d> {
    fn new(diff_id: &'d Digest) -> Check<'d> {
        Check { diff_id, hash: sha2::Sha256::new(), length: 0 }
    }

    fn see(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    fn finish(self) -> Result<u64> {
        let found = Digest::finish(self.hash);
        match found == *self.diff_id {
            true => Ok(self.length),
            false => Err(Error::invalid(format!("its content is {found}, the image's config says {}", self.diff_id))),
        }
    }
}
