//! Checkpoints: all that is needed to go on with a layer in its middle. First one sync of the file system makes durable what it
//! speaks of; then it is written over the last but one, in place, so that no metadata change and nothing is journalled again. One of
//! the two is whole at any moment. `docs/DISK-FORMAT.md` describes the file.

use crate::base::{Context, Error, Result};
use crate::image::Digest;
use crate::layer::decode;
use crate::layer::extract;
use crate::layer::made::Key;
use crate::layer::skeleton;
use crate::layer::tar;
use crate::sys::io;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// First bytes of the file; the last one is the format's number.
const MAGIC: &[u8; 8] = b"PRTQCKP\x03";
/// The largest file that is read.
const LARGEST: u64 = 4 << 20;
/// How hard it is compressed: what is not written spares the flash more than the time is worth.
const LEVEL: u8 = 6;
/// The two places.
const NAMES: [&str; 2] = ["checkpoint.0", "checkpoint.1"];
/// A place is made with a multiple of so many bytes, so that later ones fit in.
const ROOM: usize = 24 << 10;

/// The state of a layer in its middle.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Digest of the blob, as it is stored at the registry.
    pub blob: [u8; 32],
    /// Bytes of the blob that have been taken in.
    pub compressed: u64,
    /// State of the hash over these.
    pub hash: Vec<u8>,
    /// The decompressor.
    pub decoder: decode::State,
    /// State of the hash over the tar.
    pub tar_hash: Vec<u8>,
    /// The tar parser.
    pub parser: tar::Saved,
    /// What has been extracted.
    pub extractor: extract::Saved,
    /// The skeleton's writer.
    pub skeleton: skeleton::State,
    /// Padding seen of the current entry.
    pub pad: Vec<u8>,
    /// The current entry's content goes into a file.
    pub in_file: bool,
    /// Of the hashes of names.
    pub key: Key,
    /// Length of the list of names made.
    pub made: u64,
}

/// Bytes that the state of a hash has.
pub fn save_hash(hash: &sha2::Sha256) -> Vec<u8> {
    hash.serialize().to_vec()
}

/// The hash again.
pub fn load_hash(bytes: &[u8]) -> Result<sha2::Sha256> {
    // Behind the eight words is the number of blocks; the hash's end multiplies it.
    let blocks = bytes.get(32..40).and_then(|n| n.try_into().ok()).map_or(u64::MAX, u64::from_le_bytes);
    if blocks > u64::MAX >> 16 {
        return Err(damaged("a hash"));
    }
    let state = bytes.try_into().map_err(|_| damaged("a hash"))?;
    sha2::Sha256::deserialize(state).map_err(|_| damaged("a hash"))
}

/// Refuses counters so large that going on would overflow them.
pub fn check_counters(counters: &[u64]) -> Result<()> {
    if counters.iter().any(|n| *n > u64::MAX >> 8) {
        return Err(damaged("a counter"));
    }
    Ok(())
}

/// A checkpoint that is not what it was.
pub fn damaged(what: &str) -> Error {
    Error::internal(format!("checkpoint is damaged: {what}"))
}

/// The bytes of a checkpoint's file. Most of a state is the decompressor's window.
pub fn seal(state: &[u8]) -> Vec<u8> {
    let body = compress_to_vec(state, LEVEL);
    [&MAGIC[..], &(body.len() as u32).to_le_bytes(), &body, &Digest::of(&body).0].concat()
}

/// Makes everything in the work folder's file system durable, and then the checkpoint, in the place of that number.
pub fn save(work: &Path, place: usize, checkpoint: &Checkpoint) -> Result<()> {
    let path = work.join(NAMES[place % 2]);
    let what = || format!("write {}", path.display());
    let body = postcard::to_allocvec(checkpoint).map_err(|e| Error::internal(format!("checkpoint: {e}")))?;
    let mut bytes = seal(&body);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).context(what)?;
    let new = file.metadata().context(what)?.len() == 0;
    if new {
        bytes.resize(bytes.len().next_multiple_of(ROOM), 0);
    }
    io::sync_file_system(file.as_fd()).context(what)?;
    file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()).context(what)?;
    if new { sync_folder(work).context(what) } else { Ok(()) }
}

/// The last checkpoint of the blob, and its place; `None` if there is none. An error if there are only damaged ones.
pub fn load(work: &Path, blob: &Digest) -> Result<Option<(Checkpoint, usize)>> {
    let mut found = Vec::new();
    for (place, name) in NAMES.iter().enumerate() {
        found.extend(load_from(&work.join(name)).map(|read| read.map(|checkpoint| (checkpoint, place))).transpose());
    }
    // One that was being written when the power went is damaged: that is what the other one is for.
    if let Some(nth) = (0..found.len()).filter(|nth| found[*nth].is_ok()).max_by_key(|nth| offset(&found[*nth])) {
        return found.swap_remove(nth).map(|last| Some(last).filter(|(checkpoint, _)| checkpoint.blob == blob.0));
    }
    found.pop().transpose()
}

fn offset(found: &Result<(Checkpoint, usize)>) -> u64 {
    found.as_ref().map_or(0, |(checkpoint, _)| checkpoint.compressed)
}

fn load_from(path: &Path) -> Result<Option<Checkpoint>> {
    let what = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut bytes).context(what)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::from(e).context(what())),
    };
    parse(&bytes).map(Some).map_err(|e| e.context(what()))
}

/// Is there one?
pub fn exists(work: &Path) -> bool {
    NAMES.iter().any(|name| work.join(name).is_file())
}

/// When the last one was made, in seconds since 1970; not by std, whose times end in 2038 on 32-bit machines.
pub fn made_at(work: &Path) -> Option<i64> {
    NAMES.iter().filter_map(|name| Some(rustix::fs::stat(work.join(name)).ok()?.st_mtime)).max()
}

/// A checkpoint from the bytes of its file.
pub fn parse(bytes: &[u8]) -> Result<Checkpoint> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("another format"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("too short"))?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(|| damaged("too short"))?;
    if !rest.starts_with(&Digest::of(body).0) {
        return Err(damaged("wrong checksum"));
    }
    let body = decompress_to_vec_with_limit(body, LARGEST as usize).map_err(|e| damaged(&e.to_string()))?;
    postcard::from_bytes(&body).map_err(|e| damaged(&e.to_string()))
}

/// Removes the checkpoints, durably: after a crash the layer starts anew.
pub fn forget(work: &Path) -> Result<()> {
    let what = || format!("remove the checkpoints in {}", work.display());
    for name in NAMES {
        match std::fs::remove_file(work.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::from(e).context(what())),
            _ => {}
        }
    }
    sync_folder(work).context(what)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    Ok(rustix::fs::fsync(folder.as_fd())?)
}
