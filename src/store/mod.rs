//! Floor 2: what is on disk. `docs/DISK-FORMAT.md` describes every file.
//!
//! The daemon calls only what reads at start ([`Root::open`], [`images`], [`tags`]); workers and the committer change things.

mod commit;
mod device;
mod list;
mod meta;
mod partial;
mod probe;
mod space;
mod stores;
mod trash;

pub use commit::{LayerInfo, NAMED, add_image, commit_image, commit_layer, layer_info, replace_layer, stage_image, sync};
pub use device::{Device, written_by_process};
pub use list::{
    ImageInfo, SetAside, StoredImage, StoredTag, all_images, all_layers, images, layers, read_manifest, read_tag, tagged, tags,
};
pub use meta::{FORMAT, Meta};
pub use partial::{Partial, discard_partials};
pub use probe::{file_system, probe, try_out};
pub use space::{check, check_left, limits, room};
pub use stores::Stores;
pub use trash::{discard, empty_trash, tree_size};

use crate::base::{Context, Error, Kind, Result};
use crate::image::{Digest, Reference};
use crate::wire::worker::Space;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Longest file name that an escaped reference may have; longer ones are named by their hash.
const LONGEST_TAG_NAME: usize = 240;

/// A data root.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    /// Held by the daemon as long as it lives: the kernel frees it whatever way the daemon ends.
    _lock: Option<OwnedFd>,
    /// Features of a newer engine because of which images may not be changed.
    newer: Vec<String>,
    space: Space,
    stores: Stores,
}

impl Root {
    /// Opens the data root for the daemon: makes what is missing, takes the lock, checks the format.
    pub fn open(path: &Path) -> Result<Root> {
        std::fs::create_dir_all(path).context(|| format!("data root {}", path.display()))?;
        let path = &path.canonicalize().context(|| format!("data root {}", path.display()))?;
        let lock = lock(path)?;
        set_mode(path, 0o711)?;
        let newer = meta::check_or_make(path)?;
        for folder in ["layers/sha256", "images/sha256", "tags", "containers", "networks", "volumes", "staging/layers", "trash"] {
            let folder = path.join(folder);
            std::fs::create_dir_all(&folder).context(|| format!("create {}", folder.display()))?;
            // What lies in volumes and layers is for processes of other users inside containers; the listing is not.
            let mode = if folder.ends_with("volumes") { 0o711 } else { 0o710 };
            set_mode(&folder, mode)?;
        }
        let root = Root { path: path.clone(), _lock: Some(lock), newer, space: Space::default(), stores: Stores::default() };
        if root.newer.is_empty() {
            root.clear_staging()?;
        }
        // The last daemon may have ended between a worker's naming of an image and its own sync.
        commit::sync_names(&root)?;
        Ok(root)
    }

    /// Work that was cut short with the last daemon goes to the trash, but for layers that can be gone on with.
    fn clear_staging(&self) -> Result<()> {
        let staging = self.path.join("staging");
        for entry in std::fs::read_dir(&staging).context(|| format!("list {}", staging.display()))? {
            let entry = entry.context(|| format!("list {}", staging.display()))?;
            if entry.path() != self.partials() {
                trash::discard(self, &entry.path())?;
            }
        }
        // Of a tag that was being written: its file never got its name.
        let tags = self.path.join("tags");
        for entry in std::fs::read_dir(&tags).context(|| format!("list {}", tags.display()))? {
            let entry = entry.context(|| format!("list {}", tags.display()))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                trash::discard(self, &entry.path())?;
            }
        }
        partial::clear(self)
    }

    /// The data root of a running daemon, for its workers: neither locks nor checks.
    pub fn attach(path: &Path) -> Root {
        Root { path: path.to_path_buf(), _lock: None, newer: Vec::new(), space: Space::default(), stores: Stores::default() }
    }

    /// With limits to what may be written, and with additional stores.
    pub fn with(self, space: Space, stores: Stores) -> Root {
        Root { space, stores, ..self }
    }

    /// The additional stores.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Limits to what may be written.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if a newer engine wrote it in a way that this one can read but not change: its images stay as they are.
    pub fn check_writable(&self) -> Result<()> {
        if self.newer.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Forbidden,
            format!(
                "images cannot be changed: data root {} has features [{}] of a newer prtiql: install that version again",
                self.path.display(),
                self.newer.join(", ")
            ),
        ))
    }

    /// Where a layer is: in the data root, in an additional store, or where it will be. All look-ups go through this.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        let own = self.own_layer(diff_id);
        self.stores.layer(&own, diff_id).unwrap_or(own)
    }

    /// `layers/sha256/<diff id>` of the data root: where layers are written.
    pub fn own_layer(&self, diff_id: &Digest) -> PathBuf {
        self.path.join("layers/sha256").join(diff_id.hex())
    }

    /// The files of a layer: a lower folder of overlay mounts.
    pub fn layer_fs(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join("fs")
    }

    /// Is the layer there? A thing exists exactly if its final name exists.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        rustix::fs::stat(self.layer(diff_id)).is_ok()
    }

    /// `images/sha256/<id>`, in the data root or in the first additional store that has it; else where it will be.
    pub fn image(&self, id: &Digest) -> PathBuf {
        let within = |root: &Path| root.join("images/sha256").join(id.hex());
        let there = |path: &PathBuf| rustix::fs::stat(path).is_ok();
        let own = within(&self.path);
        if self.stores.paths().is_empty() || there(&own) {
            return own;
        }
        self.stores.paths().iter().map(|store| within(store)).find(there).unwrap_or(own)
    }

    /// `tags/<escaped reference>`.
    pub fn tag(&self, reference: &Reference) -> PathBuf {
        self.path.join("tags").join(escape(reference))
    }

    /// `staging/<job>`.
    pub fn staging(&self, job: &str) -> PathBuf {
        self.path.join("staging").join(job)
    }

    /// `staging/layers`: layers that have come in part, by diff ID.
    pub fn partials(&self) -> PathBuf {
        self.path.join("staging/layers")
    }

    /// `trash`: rename here, delete later.
    pub fn trash(&self) -> PathBuf {
        self.path.join("trash")
    }
}

/// Changes a folder's mode only if it is another: a start writes nothing that is there already.
fn set_mode(folder: &Path, mode: u32) -> Result<()> {
    let what = || format!("set the mode of {}", folder.display());
    let now = rustix::fs::stat(folder).context(what)?;
    if now.st_mode & 0o7777 != mode {
        rustix::fs::chmod(folder, Mode::from_raw_mode(mode)).context(what)?;
    }
    Ok(())
}

/// What the file of a tag holds.
pub fn tag_text(id: &Digest, reference: &Reference) -> String {
    format!("{id}\n{reference}\n")
}

/// The file name for a reference: `/` becomes `+`, `:` becomes `=` (neither is in the grammar); very long ones `#<hash>`.
pub fn escape(reference: &Reference) -> String {
    let text = reference.to_string();
    if text.len() > LONGEST_TAG_NAME {
        return format!("#{}", Digest::of(text.as_bytes()).hex());
    }
    text.replace('/', "+").replace(':', "=")
}

/// The reference of a file name in tags/; `None` if it is a hash (the file's second line has it) or no reference.
pub fn unescape(name: &str) -> Option<Reference> {
    if name.starts_with('#') {
        return None;
    }
    Reference::parse(&name.replace('+', "/").replace('=', ":")).ok()
}

fn lock(path: &Path) -> Result<OwnedFd> {
    let file = path.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&file, flags, Mode::from_raw_mode(0o600)).map_err(|e| match e {
        rustix::io::Errno::ROFS => Error::internal(format!("data root {} is on a read-only file system", path.display())),
        e => Error::from(e).context(format!("lock data root {}", path.display())),
    })?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::conflict(format!("data root {} is in use by another prtiql daemon", path.display())))
        }
        Err(e) => Err(Error::from(e).context(format!("lock data root {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder under the system's temporary one that goes away with the value.
    pub struct Temp(pub PathBuf);

    impl Temp {
        pub fn new() -> Temp {
            let path = std::env::temp_dir().join(format!("prtiql-store-{}", &crate::base::id::random()[..12]));
            std::fs::create_dir_all(&path).unwrap();
            Temp(path)
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn references_survive_as_file_names() {
        for text in ["busybox:latest", "h.x:5000/a/b__c/d:V1.2-x", &format!("a@{}", Digest::of(b""))] {
            let r = Reference::parse(text).unwrap();
            let name = escape(&r);
            assert!(!name.contains('/'));
            assert_eq!(unescape(&name), Some(r));
        }
        let long = Reference::parse(&format!("{}:{}", "a/".repeat(110) + "b", "t".repeat(120))).unwrap();
        assert!(escape(&long).len() < 255 && unescape(&escape(&long)).is_none());
    }

    #[test]
    fn a_second_daemon_is_refused_and_a_root_can_be_opened_again() {
        let temp = Temp::new();
        let root = Root::open(&temp.0).unwrap();
        root.check_writable().unwrap();
        std::fs::create_dir_all(root.staging("job-1").join("half")).unwrap();
        let e = Root::open(&temp.0).unwrap_err();
        assert!(e.to_string().contains("in use by another prtiql daemon"), "{e}");
        drop(root);
        let root = Root::open(&temp.0).unwrap();
        assert!(!root.staging("job-1").exists());
        assert_eq!(std::fs::read_dir(root.trash()).unwrap().count(), 1);
        let layer = Digest::of(b"layer").hex();
        std::fs::create_dir_all(root.trash().join(format!("held-{layer}-0123")).join("fs")).unwrap();
        let hold = [layer];
        assert_eq!(empty_trash(&root, &hold, &mut || true).unwrap(), 1);
        assert_eq!(std::fs::read_dir(root.trash()).unwrap().count(), 1);
        assert_eq!(empty_trash(&root, &[], &mut || true).unwrap(), 0);
        assert_eq!(std::fs::read_dir(root.trash()).unwrap().count(), 0);
    }

    #[test]
    fn newer_formats_are_met_safely() {
        let temp = Temp::new();
        drop(Root::open(&temp.0).unwrap());
        let write = |text: &str| std::fs::write(temp.0.join("meta.json"), text).unwrap();
        write(r#"{"format":1,"compatible":["x"],"read_only_compatible":[],"incompatible":[]}"#);
        Root::open(&temp.0).unwrap().check_writable().unwrap();
        write(r#"{"format":1,"compatible":[],"read_only_compatible":["x"],"incompatible":[]}"#);
        assert!(Root::open(&temp.0).unwrap().check_writable().unwrap_err().to_string().contains("[x]"));
        write(r#"{"format":1,"compatible":[],"read_only_compatible":[],"incompatible":["zap"]}"#);
        assert!(Root::open(&temp.0).unwrap_err().to_string().contains("zap"));
        write(r#"{"format":2,"compatible":[],"read_only_compatible":[],"incompatible":[]}"#);
        assert!(Root::open(&temp.0).is_err());
        write("{");
        assert!(Root::open(&temp.0).unwrap_err().to_string().contains("meta.json"));
    }

    #[test]
    fn corrupt_objects_are_set_aside_and_the_rest_works() {
        let temp = Temp::new();
        let root = Root::open(&temp.0).unwrap();
        let diff = Digest::of(b"layer");
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
        );
        let id = Digest::of(config.as_bytes());
        let info = ImageInfo { sizes: vec![5], ..ImageInfo::default() };
        std::fs::create_dir(root.layer(&diff)).unwrap();
        for _ in 0..2 {
            assert_eq!(add_image(&root, &root.staging("job"), config.as_bytes(), None, &info).unwrap(), id);
        }
        let bad = Digest::of(b"x");
        std::fs::create_dir(root.image(&bad)).unwrap();
        std::fs::write(root.image(&bad).join("config.json"), "{}").unwrap();
        let reference = Reference::parse("a:1").unwrap();
        std::fs::write(root.tag(&reference), tag_text(&id, &reference)).unwrap();
        std::fs::write(temp.0.join("tags/docker.io+library+b=1"), "junk").unwrap();
        let (found, aside) = images(&root).unwrap();
        assert_eq!((found.len(), aside.len()), (1, 1));
        assert_eq!((found[0].id, found[0].layers.clone(), found[0].info.sizes.clone()), (id, vec![diff], vec![5]));
        assert!(aside[0].reason.contains("config.json"), "{}", aside[0].reason);
        let (tags, aside) = tags(&root).unwrap();
        assert_eq!((tags.len(), aside.len()), (1, 1));
        assert_eq!((tags[0].image, tags[0].reference.clone()), (id, reference));
        std::fs::remove_dir(root.layer(&diff)).unwrap();
        let (found, aside) = images(&root).unwrap();
        assert_eq!((found.len(), aside.len()), (0, 2));
    }
}
