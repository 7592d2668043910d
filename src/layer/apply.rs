//! One layer from its bytes to its folder: decompress, hash, parse, extract, and write the skeleton, all as the bytes come.

use crate::base::{Context, Error, Result};
use crate::image::Digest;
use crate::layer::decode::Decoder;
use crate::layer::extract::{Body, Extractor};
use crate::layer::skeleton::Writer;
use crate::layer::tar::{Event, Parser};
use sha2::Digest as _;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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
}

/// A layer being applied.
pub struct Apply {
    hash: sha2::Sha256,
    compressed: u64,
    decoder: Decoder,
    unpack: Unpack,
}

/// The part behind the decoder.
struct Unpack {
    hash: sha2::Sha256,
    parser: Parser,
    extractor: Extractor,
    skeleton: Writer,
    body: Body,
    pad: heapless::Vec<u8, 512>,
}

impl Apply {
    /// Into the folder `staged`, which must exist and be empty.
    pub fn new(staged: &Path) -> Result<Apply> {
        let path = staged.join("skeleton");
        let file = OpenOptions::new().mode(0o644).read(true).write(true).create_new(true).open(&path);
        let skeleton = Writer::new(file.context(|| format!("create {}", path.display()))?);
        Ok(Apply {
            hash: sha2::Sha256::new(),
            compressed: 0,
            decoder: Decoder::default(),
            unpack: Unpack {
                hash: sha2::Sha256::new(),
                parser: Parser::new(),
                extractor: Extractor::new(staged)?,
                skeleton,
                body: Body::Lost,
                pad: heapless::Vec::new(),
            },
        })
    }

    /// Bytes taken so far.
    pub fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Takes the next bytes of the layer as it is stored or sent: gzip, zstd or plain.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.compressed += bytes.len() as u64;
        let unpack = &mut self.unpack;
        self.decoder.push(bytes, &mut |data| unpack.push(data))
    }

    /// The layer has ended. Nothing is synced yet.
    pub fn finish(mut self) -> Result<Applied> {
        let unpack = &mut self.unpack;
        self.decoder.finish(&mut |data| unpack.push(data))?;
        let mut unpack = self.unpack;
        let rest = unpack.parser.finish()?.to_vec();
        unpack.skeleton.literal(&rest)?;
        let (tar_size, entries) = (unpack.skeleton.tar_size(), unpack.skeleton.entries());
        let size = unpack.extractor.size();
        unpack.extractor.finish()?;
        unpack.skeleton.finish()?;
        Ok(Applied {
            diff_id: Digest::finish(unpack.hash),
            digest: Digest::finish(self.hash),
            compressed: self.compressed,
            tar_size,
            size,
            entries,
        })
    }
}

impl Unpack {
    fn push(&mut self, mut data: &[u8]) -> Result<()> {
        self.hash.update(data);
        loop {
            match self.parser.next(&mut data)? {
                Event::More => return Ok(()),
                Event::Block(role) => self.skeleton.block(role, self.parser.block())?,
                Event::Entry => self.body = self.extractor.begin(self.parser.entry(), &mut self.skeleton)?,
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
