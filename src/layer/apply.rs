//! One layer from its bytes to its folder: decompress, hash, parse, extract, and write the skeleton, all as the bytes come.
//!
//! All work is in one folder: `layer/` becomes the layer, the rest is work files. If the layer is resumable, every few megabytes
//! a [`Checkpoint`] makes all of it durable, and another process can go on from there.

use crate::base::{Context, Error, Result, id};
use crate::image::Digest;
use crate::layer::checkpoint::{self, Checkpoint, load_hash, save_hash};
use crate::layer::decode::Decoder;
use crate::layer::extract::{Body, Extractor};
use crate::layer::made::{Key, Made};
use crate::layer::restore::restore;
use crate::layer::skeleton::Writer;
use crate::layer::spool::Spool;
use crate::layer::tar::{Event, Parser};
use sha2::Digest as _;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A sync that many small files make necessary is a checkpoint too, if this part of an interval has passed.
const SOONEST: u64 = 4;

/// What came out of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the bytes as they came.
    pub digest: Digest,
    /// How many these were.
    pub compressed: u64,
    /// Length of the tar.
    pub tar_size: u64,
    /// Bytes of regular files.
    pub size: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// Some of them replaced others.
    pub replaced: bool,
    /// Bytes of files that are another layer's, too.
    pub linked: u64,
    /// Bytes of files that share their blocks with another layer's.
    pub cloned: u64,
}

/// A layer being applied.
pub struct Apply {
    hash: sha2::Sha256,
    compressed: u64,
    decoder: Decoder,
    unpack: Unpack,
    resume: Option<Resume>,
}

/// What makes a layer resumable.
struct Resume {
    work: PathBuf,
    blob: Digest,
    key: Key,
    /// Compressed bytes that are durable.
    durable: u64,
    /// Compressed bytes between two checkpoints: what a power cut can cost.
    interval: u64,
    /// Where the next checkpoint goes: over the last but one.
    next_place: usize,
}

/// The part behind the decoder.
struct Unpack {
    hash: sha2::Sha256,
    parser: Parser,
    extractor: Extractor,
    skeleton: Writer,
    body: Body,
    pad: heapless::Vec<u8, 512>,
    /// Another layer's file that has the content of the next entry.
    twin: Option<Rc<OwnedFd>>,
    /// The most bytes that the tar may still have.
    room: u64,
}

impl Apply {
    /// Into `work`/layer: `work` must exist and be empty.
    pub fn new(work: &Path) -> Result<Apply> {
        Apply::start(work, None)
    }

    /// The same, with a checkpoint every `interval` bytes, from which [`Apply::resume`] can go on. `blob` is what the bytes are
    /// said to be.
    pub fn resumable(work: &Path, blob: &Digest, interval: u64) -> Result<Apply> {
        let mut key = Key::default();
        id::fill(&mut key);
        Apply::start(work, Some(Resume { work: work.to_path_buf(), blob: *blob, key, durable: 0, interval, next_place: 0 }))
    }

    fn start(work: &Path, resume: Option<Resume>) -> Result<Apply> {
        let layer = work.join("layer");
        std::fs::create_dir(&layer).context(|| format!("create {}", layer.display()))?;
        let path = layer.join("skeleton");
        let file = OpenOptions::new().mode(0o644).read(true).write(true).create_new(true).open(&path);
        let skeleton = Writer::new(file.context(|| format!("create {}", path.display()))?);
        let made = resume.as_ref().map(|resume| Made::new(resume.key, Spool::new(work.join("made"))));
        Ok(Apply {
            hash: sha2::Sha256::new(),
            compressed: 0,
            decoder: Decoder::default(),
            unpack: Unpack {
                hash: sha2::Sha256::new(),
                parser: Parser::new(),
                extractor: Extractor::new(work, made)?,
                skeleton,
                body: Body::Lost,
                pad: heapless::Vec::new(),
                twin: None,
                room: u64::MAX,
            },
            resume,
        })
    }

    /// Goes on from the last checkpoint in `work`, if there is one of that blob: [`Apply::compressed`] says where.
    pub fn resume(work: &Path, blob: &Digest, interval: u64) -> Result<Option<Apply>> {
        let Some((saved, place)) = checkpoint::load(work, blob)? else { return Ok(None) };
        checkpoint::check_counters(&[saved.compressed])?;
        restore(work, &saved)?;
        let path = work.join("layer/skeleton");
        let file = OpenOptions::new().read(true).write(true).open(&path).context(|| format!("open {}", path.display()))?;
        let made = Made::new(saved.key, Spool::resume(work.join("made"), saved.made)?);
        let parser = Parser::resume(saved.parser)?;
        let pad = heapless::Vec::from_slice(&saved.pad).map_err(|_| checkpoint::damaged("padding"))?;
        Ok(Some(Apply {
            hash: load_hash(&saved.hash)?,
            compressed: saved.compressed,
            decoder: Decoder::resume(saved.decoder)?,
            unpack: Unpack {
                hash: load_hash(&saved.tar_hash)?,
                extractor: Extractor::resume(work, made, saved.extractor, parser.entry())?,
                parser,
                skeleton: Writer::resume(file, saved.skeleton)?,
                body: if saved.in_file { Body::File } else { Body::Lost },
                pad,
                twin: None,
                room: u64::MAX,
            },
            resume: Some(Resume {
                work: work.to_path_buf(),
                blob: *blob,
                key: saved.key,
                durable: saved.compressed,
                interval,
                next_place: place + 1,
            }),
        }))
    }

    /// What comes is the tar itself, not compressed, whatever it begins with.
    pub fn plain(mut self) -> Apply {
        self.decoder = Decoder::Plain;
        self
    }

    /// The next entry's content is that of this file of another layer, which may be linked to if all else is equal. Its bytes follow
    /// nevertheless: they are hashed.
    pub fn twin(&mut self, file: Rc<OwnedFd>) {
        self.unpack.twin = Some(file);
    }

    /// The tar may not have more than so many further bytes.
    pub fn limit(&mut self, bytes: u64) {
        self.unpack.room = bytes;
    }

    /// Bytes taken so far.
    pub fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Digest of the bytes taken so far.
    pub fn digest_so_far(&self) -> Digest {
        match self.decoder {
            Decoder::Plain => Digest::finish(self.unpack.hash.clone()),
            _ => Digest::finish(self.hash.clone()),
        }
    }

    /// Takes the next bytes of the layer as it is stored or sent: gzip, zstd or plain.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest;
            let due = self.is_due();
            let unpack = &mut self.unpack;
            let paused = self.decoder.push(&mut rest, due, &mut |data| unpack.push(data))?;
            let taken = &before[..before.len() - rest.len()];
            // Without compression both digests are one.
            if !matches!(self.decoder, Decoder::Plain) {
                self.hash.update(taken);
            }
            self.compressed += taken.len() as u64;
            if paused {
                self.save()?;
            }
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let Some(resume) = &self.resume else { return false };
        let since = self.compressed - resume.durable;
        !self.unpack.extractor.undo.given_up
            && (since >= resume.interval || since >= resume.interval / SOONEST && self.unpack.extractor.is_due())
    }

    /// Makes a checkpoint, if this is a place for one.
    fn save(&mut self) -> Result<()> {
        let (Some(resume), unpack) = (&mut self.resume, &mut self.unpack) else { return Ok(()) };
        let (Some(decoder), Some(parser)) = (self.decoder.save(), unpack.parser.save()) else { return Ok(()) };
        let Some(skeleton) = unpack.skeleton.save()? else { return Ok(()) };
        let (extractor, made) = unpack.extractor.save()?;
        let saved = Checkpoint {
            blob: resume.blob.0,
            compressed: self.compressed,
            hash: save_hash(&self.hash),
            decoder,
            tar_hash: save_hash(&unpack.hash),
            parser,
            extractor,
            skeleton,
            pad: unpack.pad.to_vec(),
            in_file: unpack.body == Body::File,
            key: resume.key,
            made,
        };
        checkpoint::save(&resume.work, resume.next_place, &saved)?;
        resume.next_place += 1;
        resume.durable = self.compressed;
        unpack.extractor.undo.arm();
        unpack.extractor.synced();
        Ok(())
    }

    /// The layer has ended. If `check` accepts what came out, its folders are settled, and all that is in its file system, what
    /// `check` has written there too, is durable in the end.
    pub fn finish(mut self, check: impl FnOnce(&Applied) -> Result<()>) -> Result<Applied> {
        let unpack = &mut self.unpack;
        self.decoder.finish(&mut |data| unpack.push(data))?;
        let digest = self.digest_so_far();
        let mut unpack = self.unpack;
        let rest = unpack.parser.finish()?.to_vec();
        unpack.skeleton.literal(&rest)?;
        let applied = Applied {
            diff_id: Digest::finish(unpack.hash),
            digest,
            compressed: self.compressed,
            tar_size: unpack.skeleton.tar_size(),
            size: unpack.extractor.size(),
            entries: unpack.skeleton.entries(),
            replaced: unpack.extractor.has_replaced(),
            linked: unpack.extractor.linked,
            cloned: unpack.extractor.cloned,
        };
        check(&applied)?;
        unpack.skeleton.finish()?;
        unpack.extractor.finish()?;
        Ok(applied)
    }
}

impl Unpack {
    fn push(&mut self, mut data: &[u8]) -> Result<()> {
        self.hash.update(data);
        self.room = self
            .room
            .checked_sub(data.len() as u64)
            .ok_or_else(|| Error::from(rustix::io::Errno::NOSPC).context("it unpacks to more than there is room for"))?;
        loop {
            match self.parser.next(&mut data)? {
                Event::More => return Ok(()),
                Event::Block(role) => self.skeleton.block(role, self.parser.block())?,
                Event::Entry => self.body = self.extractor.begin(self.parser.entry(), &mut self.skeleton, self.twin.take())?,
                Event::Data(part) => match self.body {
                    Body::File => self.extractor.write(self.parser.entry(), part)?,
                    Body::Lost => self.skeleton.literal(part)?,
                },
                Event::Pad(part) => self.pad.extend_from_slice(part).map_err(|_| Error::internal("tar padding too long"))?,
                Event::End => self.end()?,
                Event::Tail(part) => self.skeleton.literal(part)?,
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let zeros = self.pad.iter().all(|b| *b == 0);
        self.extractor.end(self.parser.entry(), zeros, &mut self.skeleton)?;
        if self.body == Body::Lost || !zeros {
            self.skeleton.literal(&self.pad)?;
        }
        self.pad.clear();
        self.body = Body::Lost;
        self.skeleton.end_entry();
        Ok(())
    }
}
