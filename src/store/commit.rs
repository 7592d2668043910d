//! Making things real: all work lies in staging/; one syncfs, one rename and one fsync of the folder give it its final name.

use crate::base::{Context, Error, Result};
use crate::image::Digest;
use crate::layer::Applied;
use crate::store::{ImageInfo, Root, list, trash};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// `layer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Format of the folder; 1.
    pub format: u32,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Length of the uncompressed tar.
    pub tar_size: u64,
    /// Bytes of regular files, hard links counted once: the layer's size as Docker shows it.
    pub size: u64,
    /// Entries of the tar.
    pub entries: u64,
}

impl LayerInfo {
    /// Of a layer just applied.
    pub fn of(applied: &Applied) -> LayerInfo {
        LayerInfo {
            format: 1,
            diff_id: applied.diff_id,
            tar_size: applied.tar_size,
            size: applied.size,
            entries: applied.entries,
        }
    }
}

/// Reads a layer's `layer.json`.
pub fn layer_info(root: &Root, diff_id: &Digest) -> Result<LayerInfo> {
    let path = root.layer(diff_id).join("layer.json");
    serde_json::from_slice(&list::read_small(&path)?).map_err(|e| Error::internal(format!("{} is damaged: {e}", path.display())))
}

/// Gives a finished layer in `staged` (fs/, skeleton) its final name. If another job was faster, ours goes to the trash.
pub fn commit_layer(root: &Root, staged: &Path, info: &LayerInfo) -> Result<()> {
    let what = || format!("commit layer {}", info.diff_id);
    std::fs::write(staged.join("layer.json"), serde_json::to_vec(info)?).context(what)?;
    let folder = File::open(staged).context(what)?;
    rustix::fs::syncfs(&folder).context(what)?;
    rename_into(root, staged, &root.layer(&info.diff_id)).context(what)
}

/// Writes an image's config, manifest and `image.json`. An image that exists already stays as it is.
pub fn commit_image(root: &Root, job: &str, config: &[u8], manifest: Option<&[u8]>, info: &ImageInfo) -> Result<Digest> {
    let id = Digest::of(config);
    let what = || format!("commit image {id}");
    if rustix::fs::stat(root.image(&id)).is_ok() {
        return Ok(id);
    }
    let staged = root.staging(job).join(format!("image-{}", id.short()));
    std::fs::create_dir_all(&staged).context(what)?;
    write_synced(&staged.join("config.json"), config).context(what)?;
    if let Some(manifest) = manifest {
        write_synced(&staged.join("manifest.json"), manifest).context(what)?;
    }
    write_synced(&staged.join("image.json"), &serde_json::to_vec(info)?).context(what)?;
    File::open(&staged).and_then(|f| f.sync_all()).context(what)?;
    rename_into(root, &staged, &root.image(&id)).context(what)?;
    Ok(id)
}

fn write_synced(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(data)?;
    file.sync_all()
}

fn rename_into(root: &Root, staged: &Path, target: &Path) -> Result<()> {
    match std::fs::rename(staged, target) {
        Ok(()) => {}
        // Content is named by its digest: what is there is the same.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::DirectoryNotEmpty) => {
            return trash::discard(root, staged);
        }
        Err(e) => return Err(e.into()),
    }
    let parent = target.parent().unwrap_or(Path::new("/"));
    Ok(File::open(parent)?.sync_all()?)
}
