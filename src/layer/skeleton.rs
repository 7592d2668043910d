//! The skeleton of a layer: with the layer's files it gives back the exact tar. This half writes it; `rebuild.rs` reads it.
//! `docs/DISK-FORMAT.md` has the format byte by byte.

use crate::base::{Context, Error, Result};
use crate::layer::checkpoint::check_counters;
use crate::layer::path;
use crate::layer::tar::{BLOCK, Role, sum};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// First bytes of the file.
pub const MAGIC: &[u8; 8] = b"PRTQSKEL";
/// Last bytes of the file.
pub const END_MAGIC: &[u8; 8] = b"LEKSQTRP";
/// Version of the format.
pub const VERSION: u32 = 2;
/// Length of the head: magic, version, flags.
pub const HEAD: u64 = 16;
/// Length of the trailer.
pub const TRAILER: usize = 72;
/// Length of an index entry, and of an entry of the table of replaced files.
pub const POINT: usize = 24;
/// See [`POINT`].
pub const MOVED: usize = 16;

/// Operations: the low three bits of their first byte.
pub mod op {
    /// The end of the operations.
    pub const END: u8 = 0;
    /// A header block, as changes to a template.
    pub const BLOCK: u8 = 1;
    /// Content that is in a file of the layer.
    pub const FILE: u8 = 2;
    /// Bytes as they are.
    pub const LITERAL: u8 = 3;
    /// Zero bytes.
    pub const ZEROS: u8 = 4;
    /// An entry begins, and nothing before it is needed to read on.
    pub const RESET: u8 = 5;

    /// BLOCK: the checksum field is computed.
    pub const SUMMED: u8 = 1 << 5;
    /// FILE: the path follows; else it is the name in the last main header.
    pub const NAMED: u8 = 1 << 3;
    /// FILE: zeros follow up to the next block.
    pub const PADDED: u8 = 1 << 4;
    /// FILE: the offset in the file follows; else it is 0.
    pub const OFFSET: u8 = 1 << 5;
    /// FILE: the CRC-32 of the content follows, four bytes little-endian.
    pub const SUM: u8 = 1 << 6;
}

/// Entries between two resets.
const STRIDE: u32 = 64;
/// Index entries kept in memory; when they are more, every other one is dropped.
pub const MOST_POINTS: usize = 2048;
/// Files of one layer that later entries of the same layer replace.
const MOST_REPLACED: usize = 16 * 1024;
/// Changed bytes with no more than so many equal ones between them are one run.
const NEAR: usize = 2;
const BUFFER: usize = 32 * 1024;

/// Where reading can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Offset in the tar.
    pub tar: u64,
    /// Offset in the skeleton, of a RESET.
    pub at: u64,
    /// FILE operations before it.
    pub files: u64,
}

/// A file or folder that a later entry of the same layer replaced: it lies in extra/.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Replaced {
    files_before: u64,
    path: Vec<u8>,
}

/// A layer that has replaced more of its own files is not stopped in: the list would make each checkpoint large.
const MOST_SAVED_REPLACED: usize = 64;

/// What a writer needs to go on where it stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Bytes of the skeleton so far, those in the buffer included.
    at: u64,
    /// Bytes of the tar so far.
    tar: u64,
    /// The block that each slot had last.
    templates: [Vec<u8>; 4],
    last_path: Vec<u8>,
    zeros: u64,
    entries: u64,
    files: u64,
    since_reset: u32,
    between: bool,
    index: Vec<Point>,
    /// Every so many-th reset goes into the index.
    index_step: u32,
    index_skip: u32,
    replaced: Vec<Replaced>,
    replaced_bytes: u64,
}

impl State {
    /// At the start.
    fn new() -> State {
        State {
            at: HEAD,
            tar: 0,
            templates: blank(),
            last_path: Vec::new(),
            zeros: 0,
            entries: 0,
            files: 0,
            since_reset: STRIDE,
            between: true,
            index: Vec::new(),
            index_step: 1,
            index_skip: 0,
            replaced: Vec::new(),
            replaced_bytes: 0,
        }
    }

    /// How many names extra/ has.
    pub fn replaced(&self) -> u32 {
        self.replaced.len() as u32
    }
}

fn blank() -> [Vec<u8>; 4] {
    std::array::from_fn(|_| vec![0; BLOCK])
}

/// Writes a skeleton while its layer is extracted.
pub struct Writer {
    file: File,
    buffer: Vec<u8>,
    state: State,
}

/// The name by which `extra/` holds what was replaced as the n-th.
pub fn extra_name(sequence: u32) -> String {
    format!("{sequence}")
}

impl Writer {
    /// Starts a skeleton in an empty file open for reading and writing.
    pub fn new(file: File) -> Writer {
        let mut buffer = Vec::with_capacity(BUFFER + 1024);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.extend_from_slice(&0u32.to_le_bytes());
        Writer { file, buffer, state: State::new() }
    }

    /// The state, after all has been written to the file; `None` if it is too large.
    pub fn save(&mut self) -> Result<Option<State>> {
        if self.state.replaced.len() > MOST_SAVED_REPLACED {
            return Ok(None);
        }
        self.write_out()?;
        Ok(Some(self.state.clone()))
    }

    /// Goes on with a file from a saved state. What the file has beyond it is cut off.
    pub fn resume(file: File, state: State) -> Result<Writer> {
        let what = || "resume the layer's skeleton";
        let counters = [state.at, state.tar, state.zeros, state.entries, state.files, u64::from(state.since_reset) << 32];
        check_counters(&counters).context(what)?;
        if state.templates.iter().any(|template| template.len() != BLOCK) || state.index_step == 0 {
            return Err(Error::internal("a state that cannot be").context(what()));
        }
        if file.metadata().context(what)?.len() < state.at {
            return Err(Error::internal("it is shorter than it was").context(what()));
        }
        file.set_len(state.at).context(what)?;
        Ok(Writer { file, buffer: Vec::with_capacity(BUFFER + 1024), state })
    }

    /// Bytes of the tar so far.
    pub fn tar_size(&self) -> u64 {
        self.state.tar
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.state.entries
    }

    /// A header block. The first after [`Writer::end_entry`] begins an entry.
    pub fn block(&mut self, role: Role, block: &[u8; BLOCK]) -> Result<()> {
        if std::mem::take(&mut self.state.between) {
            self.begin_entry()?;
        }
        self.flush_zeros();
        let slot = role as usize;
        let summed = block[148..156] == canonical_sum(block);
        let mut runs: heapless::Vec<(usize, usize), { BLOCK / 2 }> = heapless::Vec::new();
        let template = &self.state.templates[slot];
        let mut at = 0;
        while at < BLOCK {
            if summed && at == 148 {
                at = 156;
                continue;
            }
            if block[at] == template[at] {
                let word = |block: &[u8]| block[at..].first_chunk::<8>().copied();
                let all = at % 8 == 0 && !(144..156).contains(&at) && word(block) == word(template);
                at += if all { 8 } else { 1 };
                continue;
            }
            match runs.last_mut() {
                Some((_, end)) if at - *end <= NEAR && !(summed && *end <= 148 && at >= 156) => *end = at + 1,
                _ => {
                    // There is room: two runs are at least NEAR + 1 bytes apart.
                    let _ = runs.push((at, at + 1));
                }
            }
            at += 1;
        }
        self.put(&[op::BLOCK | (slot as u8) << 3 | if summed { op::SUMMED } else { 0 }]);
        self.put_number(runs.len() as u64);
        let mut from = 0;
        for (start, end) in &runs {
            self.put_number((start - from) as u64);
            self.put_number((end - start) as u64);
            self.put(&block[*start..*end]);
            from = *end;
        }
        self.state.templates[slot].copy_from_slice(block);
        self.state.tar += BLOCK as u64;
        self.drain()
    }

    /// Content of a file of the layer: `path` is clean and has no symbolic link in it; `sum` is the content's CRC-32.
    pub fn file(&mut self, path: &[u8], offset: u64, length: u64, padded: bool, sum: u32) -> Result<()> {
        self.flush_zeros();
        let named = plain_path(&self.state.templates[0]).is_none_or(|plain| plain != path);
        let flags =
            if named { op::NAMED } else { 0 } | if padded { op::PADDED } else { 0 } | if offset != 0 { op::OFFSET } else { 0 };
        self.put(&[op::FILE | op::SUM | flags]);
        self.put(&sum.to_le_bytes());
        self.put_number(length);
        if offset != 0 {
            self.put_number(offset);
        }
        if named {
            let shared = path.iter().zip(&self.state.last_path).take_while(|(a, b)| a == b).count();
            self.put_number(shared as u64);
            self.put_number((path.len() - shared) as u64);
            self.put(&path[shared..]);
            self.state.last_path.clear();
            self.state.last_path.extend_from_slice(path);
        }
        self.state.files += 1;
        self.state.tar += length;
        if padded {
            self.state.tar = self.state.tar.next_multiple_of(BLOCK as u64);
        }
        self.drain()
    }

    /// Bytes that are nowhere else. Whole runs of zeros are counted only.
    pub fn literal(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(BLOCK) {
            if part.iter().all(|b| *b == 0) {
                self.state.zeros += part.len() as u64;
                self.state.tar += part.len() as u64;
                continue;
            }
            self.flush_zeros();
            self.put(&[op::LITERAL]);
            self.put_number(part.len() as u64);
            self.put(part);
            self.state.tar += part.len() as u64;
            self.drain()?;
        }
        Ok(())
    }

    /// The entry is complete.
    pub fn end_entry(&mut self) {
        self.state.between = true;
    }

    /// What was at `path` is about to be replaced: its name in extra/.
    pub fn replace(&mut self, path: &[u8]) -> Result<u32> {
        self.state.replaced_bytes = self.state.replaced_bytes.saturating_add(path.len() as u64);
        if self.state.replaced.len() >= MOST_REPLACED || self.state.replaced_bytes > 1 << 20 {
            return Err(Error::unsupported("the layer replaces too many of its own files"));
        }
        self.state.replaced.push(Replaced { files_before: self.state.files, path: path.to_vec() });
        Ok(self.state.replaced.len() as u32 - 1)
    }

    /// Ends the skeleton. It is not synced.
    pub fn finish(mut self) -> Result<File> {
        self.flush_zeros();
        let ops_end = self.state.at;
        self.put(&[op::END]);
        self.write_out()?;
        let moved = match self.state.replaced.is_empty() {
            true => Vec::new(),
            false => self.find_moved(ops_end)?,
        };
        let table_at = self.state.at;
        for (ordinal, sequence, strip) in &moved {
            self.put(&ordinal.to_le_bytes());
            self.put(&sequence.to_le_bytes());
            self.put(&strip.to_le_bytes());
            self.drain()?;
        }
        let index_at = self.state.at;
        for point in std::mem::take(&mut self.state.index) {
            for number in [point.tar, point.at, point.files] {
                self.put(&number.to_le_bytes());
            }
            self.drain()?;
        }
        let index_count = (self.state.at - index_at) / POINT as u64;
        for number in
            [self.state.tar, self.state.entries, self.state.files, ops_end, table_at, moved.len() as u64, index_at, index_count]
        {
            self.put(&number.to_le_bytes());
        }
        self.put(END_MAGIC);
        self.write_out()?;
        Ok(self.file)
    }

    fn begin_entry(&mut self) -> Result<()> {
        self.state.entries += 1;
        self.state.since_reset += 1;
        if self.state.since_reset < STRIDE {
            return Ok(());
        }
        self.flush_zeros();
        self.state.since_reset = 0;
        if self.state.index_skip == 0 {
            self.state.index.push(Point { tar: self.state.tar, at: self.state.at, files: self.state.files });
            self.state.index_skip = self.state.index_step;
            if self.state.index.len() >= MOST_POINTS {
                let mut nth = 0;
                self.state.index.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
                self.state.index_step *= 2;
                self.state.index_skip = self.state.index_step;
            }
        }
        self.state.index_skip -= 1;
        self.put(&[op::RESET]);
        self.state.templates = blank();
        self.state.last_path.clear();
        Ok(())
    }

    /// For each FILE operation whose file was replaced later: its number, the name in extra/, and how many bytes of its path
    /// that name stands for. One pass over what is written.
    fn find_moved(&mut self, ops_end: u64) -> Result<Vec<(u64, u32, u32)>> {
        let mut by_path: HashMap<&[u8], Vec<(u64, u32)>> = HashMap::new();
        for (sequence, replaced) in self.state.replaced.iter().enumerate() {
            by_path.entry(&replaced.path).or_default().push((replaced.files_before, sequence as u32));
        }
        let mut moved = Vec::new();
        let mut ops = crate::layer::ops::Ops::new(&self.file, ops_end);
        while let Some(next) = ops.next()? {
            let crate::layer::ops::Op::File { ordinal, .. } = next else { continue };
            let path = ops.path();
            let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
            // The first event after the file was written, of itself or of a folder above it.
            let first = ends
                .filter_map(|end| Some((end, by_path.get(&path[..end])?)))
                .flat_map(|(end, events)| events.iter().map(move |e| (e.0, e.1, end)))
                .filter(|(before, _, _)| *before > ordinal)
                .min_by_key(|(before, sequence, _)| (*before, *sequence));
            if let Some((_, sequence, end)) = first {
                moved.push((ordinal, sequence, end as u32));
                if moved.len() > 8 * MOST_REPLACED {
                    return Err(Error::unsupported("the layer replaces too many of its own files"));
                }
            }
        }
        Ok(moved)
    }

    fn flush_zeros(&mut self) {
        let zeros = std::mem::take(&mut self.state.zeros);
        if zeros > 0 {
            self.put(&[op::ZEROS]);
            self.put_number(zeros);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.state.at += bytes.len() as u64;
    }

    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.put(&[number as u8]);
    }

    fn drain(&mut self) -> Result<()> {
        if self.buffer.len() >= BUFFER { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<()> {
        let at = self.state.at - self.buffer.len() as u64;
        self.file.write_all_at(&self.buffer, at).context(|| "write the layer's skeleton")?;
        self.buffer.clear();
        self.file.seek(SeekFrom::Start(self.state.at)).and_then(|_| self.file.flush()).context(|| "write the layer's skeleton")
    }
}

/// The checksum field as nearly all tars write it: six octal digits, zero, blank.
pub fn canonical_sum(block: &[u8; BLOCK]) -> [u8; 8] {
    let mut field = *b"000000\0 ";
    let mut rest = sum(block);
    for digit in field[..6].iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field
}

/// The clean path that a main header names by itself.
pub fn plain_path(block: &[u8]) -> Option<Vec<u8>> {
    path::clean(&::tar::Header::from_byte_slice(block).path_bytes()).ok()
}
