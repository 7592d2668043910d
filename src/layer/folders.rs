//! Owners, modes, attributes and times of folders. They are set when all else is done: making a file in a folder changes its
//! times; and a layer that is cut short and resumed has changed no folder that an earlier checkpoint knows. What is to be set
//! waits in a work file, so that memory does not grow with the number of folders.

use crate::base::{Context, Error, Result};
use crate::layer::entry::Entry;
use crate::layer::place::Tree;
use crate::layer::spool::Spool;
use crate::layer::xattr;
use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::fd::AsFd;

/// The largest record: a path and the attributes of one pax header.
const LARGEST: usize = 4 << 20;

/// What becomes of a folder.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Its name without symbolic links.
    real: Vec<u8>,
    /// It replaced another: what earlier records of the name gave it is taken back first.
    fresh: bool,
    /// What lies in lower layers is hidden.
    opaque: bool,
    /// What its own entry says, if it has one.
    entry: Option<Metadata>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanos: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The folders of a layer in the order in which they came; the last word on each counts.
pub struct Folders(Spool);

impl Folders {
    /// On a spool, empty or resumed.
    pub fn new(spool: Spool) -> Folders {
        Folders(spool)
    }

    /// Bytes in the work file, after all has been written there.
    pub fn spill(&mut self) -> Result<u64> {
        self.0.spill()?;
        Ok(self.0.length())
    }

    /// A folder's own entry.
    pub fn set(&mut self, real: &[u8], entry: &Entry, fresh: bool, opaque: bool) -> Result<()> {
        let entry = Metadata {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            seconds: entry.seconds,
            nanos: entry.nanos,
            xattrs: xattr::kept(entry).map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        };
        self.add(&Record { real: real.to_vec(), fresh, opaque, entry: Some(entry) })
    }

    /// A whiteout of all that lower layers have in a folder.
    pub fn set_opaque(&mut self, real: &[u8]) -> Result<()> {
        self.add(&Record { real: real.to_vec(), fresh: false, opaque: true, entry: None })
    }

    fn add(&mut self, record: &Record) -> Result<()> {
        let bytes = postcard::to_allocvec(record).map_err(|e| Error::internal(format!("folder record: {e}")))?;
        self.0.push(&(bytes.len() as u32).to_le_bytes())?;
        self.0.push(&bytes)
    }

    /// Sets everything.
    pub fn apply(&self, tree: &Tree) -> Result<()> {
        let mut from = self.0.read()?;
        let mut bytes = Vec::new();
        let damaged = || Error::internal("the work file of the layer's folders is damaged");
        loop {
            let mut length = [0; 4];
            match from.read_exact(&mut length) {
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other.context(|| "read the layer's folders")?,
            }
            let length = u32::from_le_bytes(length) as usize;
            if length > LARGEST {
                return Err(damaged());
            }
            bytes.resize(length, 0);
            from.read_exact(&mut bytes).context(|| "read the layer's folders")?;
            let record: Record = postcard::from_bytes(&bytes).map_err(|_| damaged())?;
            settle(tree, &record).context(|| format!("folder {:?} of the layer", String::from_utf8_lossy(&record.real)))?;
        }
    }
}

fn settle(tree: &Tree, record: &Record) -> Result<()> {
    let folder = match tree.open_folder(&record.real) {
        Ok(folder) => folder,
        // It was replaced by something else later.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    if record.fresh {
        xattr::remove_all(folder.as_fd())?;
    }
    if record.opaque {
        rustix::fs::fsetxattr(&folder, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
            .context(|| "the data root's file system cannot mark a folder as opaque for overlayfs")?;
    }
    let Some(entry) = &record.entry else { return Ok(()) };
    rustix::fs::fchown(&folder, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        xattr::result(name, rustix::fs::fsetxattr(&folder, &name[..], value, XattrFlags::empty()))?;
    }
    let time = Timespec { tv_sec: entry.seconds, tv_nsec: entry.nanos as _ };
    Ok(rustix::fs::futimens(&folder, &Timestamps { last_access: time, last_modification: time })?)
}
