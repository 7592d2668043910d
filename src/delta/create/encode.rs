//! The sections of a delta, as they are filled and packed.

use crate::base::{Context, Result};
use crate::delta::format::{LARGEST_JOINED, Packing, SECTIONS, Section};
use crate::delta::numbers::put;
use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};
use std::io::Write;

/// The sections being filled.
#[derive(Default)]
pub struct Sections {
    bytes: [Vec<u8>; SECTIONS],
    /// Copied bytes as foretold, then others, since the last pair was written.
    runs: (u64, u64),
}

impl Sections {
    /// Appends a number to a section.
    pub fn number(&mut self, section: Section, number: u64) {
        put(&mut self.bytes[section as usize], number);
    }

    /// Appends bytes to a section.
    pub fn bytes(&mut self, section: Section, bytes: &[u8]) {
        self.bytes[section as usize].extend_from_slice(bytes);
    }

    /// A copied byte, and what it was foretold to be.
    pub fn copied(&mut self, new: u8, foretold: u8) {
        if new == foretold {
            if self.runs.1 > 0 {
                self.flush_runs();
            }
            self.runs.0 += 1;
        } else {
            self.runs.1 += 1;
            self.bytes[Section::Changes as usize].push(new.wrapping_sub(foretold));
        }
    }

    fn flush_runs(&mut self) {
        let (equal, other) = std::mem::take(&mut self.runs);
        if equal + other > 0 {
            self.number(Section::Runs, equal);
            self.number(Section::Runs, other);
        }
    }

    /// How many bytes each section has, for those who look at what costs what.
    pub fn sizes(&self) -> [usize; SECTIONS] {
        std::array::from_fn(|n| self.bytes[n].len())
    }

    /// All sections packed: how, and their bytes.
    pub fn pack(mut self, level: u32) -> Result<(Option<Packing>, [Packing; SECTIONS], Vec<u8>)> {
        self.flush_runs();
        let (mut packings, mut all) = ([Packing::default(); SECTIONS], Vec::new());
        for (nth, bytes) in self.bytes.iter().enumerate() {
            let (packing, packed) = pack(bytes, nth, level)?;
            packings[nth] = packing;
            all.extend_from_slice(&packed);
        }
        let together = self.bytes.concat();
        if together.len() <= LARGEST_JOINED && !together.is_empty() {
            let (packing, packed) = pack(&together, Section::Text as usize, level)?;
            // Each section apart costs about six bytes more in the head.
            if packed.len() < all.len() + packings.iter().filter(|p| p.plain > 0).count() * 4 {
                let plain = self.bytes.each_ref().map(|b| Packing { plain: b.len() as u64, ..Packing::default() });
                return Ok((Some(packing), plain, packed));
            }
        }
        Ok((None, packings, all))
    }
}

/// The largest dictionary of a section, as a logarithm.
fn dictionary(section: usize) -> u8 {
    match section {
        s if s == Section::Literals as usize || s == Section::Changes as usize => 20,
        s if s == Section::Text as usize => 19,
        _ => 18,
    }
}

/// lc, lp and pb to try.
fn properties(level: u32) -> &'static [(u32, u32, u32)] {
    match level {
        0..=3 => &[(3, 0, 0)],
        _ => &[(3, 0, 0), (0, 0, 0), (3, 0, 2), (0, 2, 2), (2, 0, 0), (4, 0, 0), (1, 1, 1)],
    }
}

fn pack(bytes: &[u8], section: usize, level: u32) -> Result<(Packing, Vec<u8>)> {
    let plain = bytes.len() as u64;
    let mut best = (Packing { plain, packed: plain, lzma: None }, bytes.to_vec());
    if bytes.is_empty() {
        return Ok(best);
    }
    let needed = usize::BITS - (bytes.len() - 1).leading_zeros();
    let dictionary = (needed.max(12) as u8).min(dictionary(section));
    for (lc, lp, pb) in properties(level) {
        let options = LzmaOptions {
            dict_size: 1 << dictionary,
            lc: *lc,
            lp: *lp,
            pb: *pb,
            mode: EncodeMode::Normal,
            nice_len: 273,
            mf: MfType::Bt4,
            depth_limit: 0,
            preset_dict: None,
        };
        let what = || "pack a section";
        let mut writer = LzmaWriter::new(Vec::new(), &options, false, false, Some(plain)).context(what)?;
        writer.write_all(bytes).context(what)?;
        let packed = writer.finish().context(what)?;
        if packed.len() < best.1.len() {
            let lzma = Some((options.get_props(), dictionary));
            best = (Packing { plain, packed: packed.len() as u64, lzma }, packed);
        }
    }
    Ok(best)
}
