//! What the daemon reads at start: images and tags. A damaged object is set aside with a reason and costs only itself.

use crate::base::{Context, Error, Result};
use crate::image::config::ImageConfig;
use crate::image::{Digest, Reference};
use crate::store::{Root, unescape};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest config or manifest that is read, in bytes.
const LARGEST: u64 = 8 << 20;

/// `image.json`: what the engine knows of an image beside its config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageInfo {
    /// Digest of manifest.json, the platform's manifest; absent for loaded images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Bytes of files of each layer, bottom first.
    pub sizes: Vec<u64>,
    /// When it came here, nanoseconds since 1970.
    pub pulled: i64,
}

/// An image on disk.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Digest of the config.
    pub id: Digest,
    /// The config's exact text.
    pub config: String,
    /// Diff IDs, bottom first.
    pub layers: Vec<Digest>,
    /// `image.json`.
    pub info: ImageInfo,
    /// It is in an additional store, not in the data root.
    pub in_store: bool,
}

/// A reference that is set: `name:tag` or `name@digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTag {
    /// The reference.
    pub reference: Reference,
    /// The image.
    pub image: Digest,
    /// It is set by an additional store.
    pub in_store: bool,
}

/// Something that cannot be used.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Its file or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// All images, and what cannot be used: also images that lack a layer. Looks at no layer but for its name.
pub fn images(root: &Root) -> Result<(Vec<StoredImage>, Vec<SetAside>)> {
    let (all, mut aside) = all_images(root)?;
    let (found, lacking): (Vec<_>, Vec<_>) = all.into_iter().partition(|image| image.layers.iter().all(|d| root.has_layer(d)));
    for image in lacking {
        let missing = image.layers.iter().find(|d| !root.has_layer(d)).map(Digest::to_string).unwrap_or_default();
        aside.push(SetAside { path: root.image(&image.id), reason: format!("layer {missing} is missing") });
    }
    Ok((found, aside))
}

/// All images, with or without their layers, and what could not be read. One that is in the data root and in a store is that of the
/// data root.
pub fn all_images(root: &Root) -> Result<(Vec<StoredImage>, Vec<SetAside>)> {
    let (mut found, mut aside): (Vec<StoredImage>, Vec<SetAside>) = (Vec::new(), Vec::new());
    for (path, in_store) in everywhere(root, "images/sha256")? {
        match read_image(&path) {
            Ok(image) if found.iter().any(|f| f.id == image.id) => {}
            Ok(image) => found.push(StoredImage { in_store, ..image }),
            Err(e) => aside.push(SetAside { path, reason: e.to_string() }),
        }
    }
    Ok((found, aside))
}

/// All tags, and what could not be read: first those of the data root, then those that additional stores set. That their images
/// exist is for the caller to see.
pub fn tags(root: &Root) -> Result<(Vec<StoredTag>, Vec<SetAside>)> {
    let (mut found, mut aside) = (Vec::new(), Vec::new());
    for (path, in_store) in everywhere(root, "tags")? {
        match read_tag(&path) {
            Ok(tag) => found.push(StoredTag { in_store, ..tag }),
            Err(e) => aside.push(SetAside { path, reason: e.to_string() }),
        }
    }
    Ok((found, aside))
}

/// The entries of a folder of the data root, and of the same of each store. A store may lack it.
fn everywhere(root: &Root, folder: &str) -> Result<Vec<(PathBuf, bool)>> {
    let mut all: Vec<(PathBuf, bool)> = names(&root.path().join(folder))?.into_iter().map(|path| (path, false)).collect();
    for store in root.stores().paths() {
        all.extend(names(&store.join(folder)).unwrap_or_default().into_iter().map(|path| (path, true)));
    }
    Ok(all)
}

/// The diff IDs of all layers of the data root.
pub fn layers(root: &Root) -> Result<Vec<Digest>> {
    layers_in(root.path())
}

/// The diff IDs of all layers of the data root and of additional stores.
pub fn all_layers(root: &Root) -> Result<Vec<Digest>> {
    let mut all = layers(root)?;
    for store in root.stores().paths() {
        all.extend(layers_in(store)?);
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// The diff IDs of all layers below a folder; what has no such name is passed over.
pub(super) fn layers_in(root: &Path) -> Result<Vec<Digest>> {
    let all = names(&root.join("layers/sha256"))?;
    Ok(all.iter().filter_map(|path| Digest::from_hex(path.file_name()?.to_str()?).ok()).collect())
}

/// Entries of a folder in a steady order.
fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect() };
    let mut all = read().context(|| format!("list {}", folder.display()))?;
    all.sort();
    Ok(all)
}

fn read_image(path: &Path) -> Result<StoredImage> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let id = Digest::from_hex(name)?;
    let config = String::from_utf8(read_small(&path.join("config.json"))?)
        .map_err(|_| Error::internal("config.json is damaged: it is not text"))?;
    if Digest::of(config.as_bytes()) != id {
        return Err(Error::internal("config.json is damaged: its digest is not the image's ID"));
    }
    let layers = ImageConfig::parse(config.as_bytes())?.rootfs.diff_ids;
    let info: ImageInfo = serde_json::from_slice(&read_small(&path.join("image.json"))?)
        .map_err(|e| Error::internal(format!("image.json is damaged: {e}")))?;
    Ok(StoredImage { id, config, layers, info, in_store: false })
}

/// The exact text of the manifest that an image was pulled by.
pub fn read_manifest(root: &Root, id: &Digest) -> Result<Vec<u8>> {
    read_small(&root.image(id).join("manifest.json"))
}

/// The image that a reference names, in the data root or else in an additional store.
pub fn tagged(root: &Root, reference: &Reference) -> Option<Digest> {
    let name = crate::store::escape(reference);
    let stores = root.stores().paths().iter().map(|store| store.join("tags").join(&name));
    std::iter::once(root.tag(reference)).chain(stores).find_map(|path| read_tag(&path).ok()).map(|tag| tag.image)
}

/// Reads one file of tags/.
pub fn read_tag(path: &Path) -> Result<StoredTag> {
    let text = String::from_utf8(read_small(path)?).map_err(|_| Error::internal("it is not text"))?;
    let mut lines = text.lines();
    let image = Digest::parse(lines.next().unwrap_or(""))?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let reference = match unescape(name) {
        Some(reference) => reference,
        None => Reference::parse(lines.next().unwrap_or(""))?,
    };
    if crate::store::escape(&reference) != name {
        return Err(Error::internal("its name does not fit its content"));
    }
    Ok(StoredTag { reference, image, in_store: false })
}

pub(super) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let file = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
    file.take(LARGEST).read_to_end(&mut out).context(|| format!("read {}", path.display()))?;
    Ok(out)
}
