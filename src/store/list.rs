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
}

/// A reference that is set: `name:tag` or `name@digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTag {
    /// The reference.
    pub reference: Reference,
    /// The image.
    pub image: Digest,
}

/// Something that cannot be used.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Its file or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// All images, and what could not be read. Looks at no layer but for its name.
pub fn images(root: &Root) -> Result<(Vec<StoredImage>, Vec<SetAside>)> {
    let folder = root.path().join("images/sha256");
    let (mut found, mut aside) = (Vec::new(), Vec::new());
    for path in names(&folder)? {
        match read_image(root, &path) {
            Ok(image) => found.push(image),
            Err(e) => aside.push(SetAside { path, reason: e.to_string() }),
        }
    }
    Ok((found, aside))
}

/// All tags, and what could not be read. That their images exist is for the caller to see.
pub fn tags(root: &Root) -> Result<(Vec<StoredTag>, Vec<SetAside>)> {
    let (mut found, mut aside) = (Vec::new(), Vec::new());
    for path in names(&root.path().join("tags"))? {
        match read_tag(&path) {
            Ok(tag) => found.push(tag),
            Err(e) => aside.push(SetAside { path, reason: e.to_string() }),
        }
    }
    Ok((found, aside))
}

/// The diff IDs of all layers; what has no such name is passed over.
pub fn layers(root: &Root) -> Result<Vec<Digest>> {
    let all = names(&root.path().join("layers/sha256"))?;
    Ok(all.iter().filter_map(|path| Digest::from_hex(path.file_name()?.to_str()?).ok()).collect())
}

/// Entries of a folder in a steady order.
fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect() };
    let mut all = read().context(|| format!("list {}", folder.display()))?;
    all.sort();
    Ok(all)
}

fn read_image(root: &Root, path: &Path) -> Result<StoredImage> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let id = Digest::from_hex(name)?;
    let config = String::from_utf8(read_small(&path.join("config.json"))?)
        .map_err(|_| Error::internal("config.json is damaged: it is not text"))?;
    if Digest::of(config.as_bytes()) != id {
        return Err(Error::internal("config.json is damaged: its digest is not the image's ID"));
    }
    let layers = ImageConfig::parse(config.as_bytes())?.rootfs.diff_ids;
    if let Some(missing) = layers.iter().find(|d| !root.has_layer(d)) {
        return Err(Error::internal(format!("layer {missing} is missing")));
    }
    let info: ImageInfo = serde_json::from_slice(&read_small(&path.join("image.json"))?)
        .map_err(|e| Error::internal(format!("image.json is damaged: {e}")))?;
    Ok(StoredImage { id, config, layers, info })
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
    Ok(StoredTag { reference, image })
}

pub(super) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let file = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
    file.take(LARGEST).read_to_end(&mut out).context(|| format!("read {}", path.display()))?;
    Ok(out)
}
