//! Making things real: all work lies in staging/; one sync of the file system and one rename give it its final name. The names become durable
//! together, before those of the references that are set to them.

use crate::base::{Context, Error, Result};
use crate::image::Digest;
use crate::layer::Applied;
use crate::store::{ImageInfo, Root, list, trash};
use crate::sys::io;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsFd;
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
    /// Some of them replaced others: not every name of the tar need be there.
    #[serde(default)]
    pub replaced: bool,
}

impl LayerInfo {
    /// Writes that of a layer just applied beside its fs/. It is durable with the rest of the layer, by [`Apply::finish`].
    ///
    /// [`Apply::finish`]: crate::layer::Apply::finish
    pub fn write(applied: &Applied, staged: &Path) -> Result<()> {
        let info = LayerInfo {
            format: 1,
            diff_id: applied.diff_id,
            tar_size: applied.tar_size,
            size: applied.size,
            entries: applied.entries,
            replaced: applied.replaced,
        };
        let path = staged.join("layer.json");
        std::fs::write(&path, serde_json::to_vec(&info)?).context(|| format!("write {}", path.display()))
    }
}

/// Reads a layer's `layer.json`.
pub fn layer_info(root: &Root, diff_id: &Digest) -> Result<LayerInfo> {
    let path = root.layer(diff_id).join("layer.json");
    serde_json::from_slice(&list::read_small(&path)?).map_err(|e| Error::internal(format!("{} is damaged: {e}", path.display())))
}

/// Gives a layer that is complete and durable in `staged` (fs/, skeleton, layer.json) its final name. If another job was faster,
/// ours goes to the trash. The name itself is durable at the next sync of the file system, with the image that needs the layer at
/// the latest: a cut before takes it back, with whatever was removed after it.
pub fn commit_layer(root: &Root, staged: &Path, diff_id: &Digest) -> Result<()> {
    rename_into(root, staged, &root.own_layer(diff_id)).context(|| format!("commit layer {diff_id}"))
}

/// Puts a good copy of a layer in the place of a damaged one, in one step. The damaged one goes to trash/ under a name that tells
/// which layer it was: containers that run on it keep it until they end.
pub fn replace_layer(root: &Root, staged: &Path, diff_id: &Digest) -> Result<()> {
    let what = || format!("replace layer {diff_id}");
    let target = root.own_layer(diff_id);
    let exchange = rustix::fs::renameat_with(CWD, staged, CWD, &target, RenameFlags::EXCHANGE);
    match exchange {
        Ok(()) => {
            trash::discard_copy(root, staged, &diff_id.hex())?;
            sync_parent(&target).context(what)
        }
        Err(Errno::NOENT) => rename_into(root, staged, &target).and_then(|()| sync_parent(&target)).context(what),
        Err(e) => Err(Error::from(e).context(what())),
    }
}

/// Writes an image's config, manifest and `image.json` into a folder. They are durable at the next sync of the file system.
pub fn stage_image(staged: &Path, config: &[u8], manifest: Option<&[u8]>, info: &ImageInfo) -> Result<()> {
    let what = || format!("write the image's files in {}", staged.display());
    std::fs::create_dir_all(staged).context(what)?;
    std::fs::write(staged.join("config.json"), config).context(what)?;
    if let Some(manifest) = manifest {
        std::fs::write(staged.join("manifest.json"), manifest).context(what)?;
    }
    std::fs::write(staged.join("image.json"), serde_json::to_vec(info)?).context(what)
}

/// Makes durable what is in the file system of a folder, such as a staged image.
pub fn sync(folder: &Path) -> Result<()> {
    let open = File::open(folder).map_err(Error::from);
    open.and_then(|folder| Ok(io::sync_file_system(folder.as_fd())?)).context(|| format!("sync {}", folder.display()))
}

/// Makes an image of a config, a manifest and `image.json` at once. Returns its ID.
pub fn add_image(root: &Root, staged: &Path, config: &[u8], manifest: Option<&[u8]>, info: &ImageInfo) -> Result<Digest> {
    let id = Digest::of(config);
    stage_image(staged, config, manifest, info)?;
    sync(staged)?;
    commit_image(root, staged, &id)?;
    Ok(id)
}

/// Gives an image whose files are durable in `staged` its final name. One that exists already stays as it is. The name, and those of its
/// layers, become durable with its references, which the daemon has written after them.
pub fn commit_image(root: &Root, staged: &Path, id: &Digest) -> Result<()> {
    if rustix::fs::stat(root.image(id)).is_ok() {
        return Ok(());
    }
    rename_into(root, staged, &root.image(id)).context(|| format!("commit image {id}"))
}

/// Folders of the data root in which layers and images have their names.
pub const NAMED: [&str; 2] = ["layers/sha256", "images/sha256"];

/// Makes the names of layers and images durable.
pub(super) fn sync_names(root: &Root) -> Result<()> {
    for folder in NAMED.map(|folder| root.path().join(folder)) {
        File::open(&folder).and_then(|folder| folder.sync_all()).context(|| format!("sync {}", folder.display()))?;
    }
    Ok(())
}

fn rename_into(root: &Root, staged: &Path, target: &Path) -> Result<()> {
    match std::fs::rename(staged, target) {
        Ok(()) => Ok(()),
        // Content is named by its digest: what is there is the same.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::DirectoryNotEmpty) => {
            trash::discard(root, staged)
        }
        Err(e) => Err(e.into()),
    }
}

fn sync_parent(target: &Path) -> Result<()> {
    Ok(File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()?)
}
