//! The sections of a delta, as they are filled and packed.

use crate::base::{Context, Result};
use crate::delta::format::{LARGEST_JOINED, Packing, SECTIONS, Section, Way};
use crate::delta::numbers::put;
use crate::delta::unpack::HEADS;
use crate::sys::beside::Beside;
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

    /// All sections packed, for a tar of that length: how, and their bytes. With a second process, each does half of it.
    pub fn pack(
        mut self,
        level: u32,
        processes: usize,
        tar_size: u64,
    ) -> Result<(Option<Packing>, [Packing; SECTIONS], Vec<u8>)> {
        self.flush_runs();
        let together = self.bytes.concat();
        let mut all: Vec<Plain<'_>> = self.bytes.iter().enumerate().map(|(section, bytes)| Plain { bytes, section }).collect();
        if together.len() <= LARGEST_JOINED {
            all.push(Plain { bytes: &together, section: Section::Text as usize });
        }
        let ways = properties(level);
        let half = ways.len().div_ceil(2);
        let other = match processes {
            2.. if half < ways.len() => Beside::start(|| {
                tried(&all, ways, half..ways.len()).ok().and_then(|t| postcard::to_allocvec(&t).ok()).unwrap_or_default()
            }),
            _ => None,
        };
        let mut best = tried(&all, ways, 0..half)?;
        let more = match other.and_then(|other| postcard::from_bytes(&other.result()).ok()) {
            Some(more) => more,
            None => tried(&all, ways, half..ways.len())?,
        };
        for (best, other) in best.iter_mut().zip(more) {
            if other.as_ref().is_some_and(|(_, packed)| best.as_ref().is_none_or(|(_, least)| packed.len() < least.len())) {
                *best = other;
            }
        }
        let mut packed: Vec<_> = all.iter().zip(best).map(|(plain, best)| plain.packed(ways, best)).collect();
        quicken(&all[..SECTIONS], &mut packed, processes, tar_size)?;
        let mut packed = packed.into_iter();
        let (mut packings, mut bytes) = ([Packing::default(); SECTIONS], Vec::new());
        for (packing, packed) in packings.iter_mut().zip(packed.by_ref()) {
            *packing = packed.0;
            bytes.extend_from_slice(&packed.1);
        }
        // Each section apart costs about six bytes more in the head.
        let apart = bytes.len() + packings.iter().filter(|p| p.plain > 0).count() * 4;
        match packed.next() {
            Some((packing, joined)) if joined.len() < apart => {
                let plain = self.bytes.each_ref().map(|b| Packing { plain: b.len() as u64, ..Packing::default() });
                Ok((Some(packing), plain, joined))
            }
            _ => Ok((None, packings, bytes)),
        }
    }
}

/// Bytes to be packed, and as what section.
struct Plain<'a> {
    bytes: &'a [u8],
    section: usize,
}

/// The smallest packed bytes that were found, and which way it was.
type Tried = Option<(usize, Vec<u8>)>;

/// Tries some of the ways on each.
fn tried(all: &[Plain<'_>], ways: &[Properties], some: std::ops::Range<usize>) -> Result<Vec<Tried>> {
    let each = |plain: &Plain<'_>| {
        let mut best: Tried = None;
        for nth in some.clone().filter(|_| !plain.bytes.is_empty()) {
            let packed = plain.pack(&plain.options(ways[nth]))?;
            if best.as_ref().is_none_or(|(_, least)| packed.len() < least.len()) {
                best = Some((nth, packed));
            }
        }
        Ok(best)
    };
    all.iter().map(each).collect()
}

impl Plain<'_> {
    /// How far matches go back, as a logarithm.
    fn dictionary(&self) -> u32 {
        let needed = usize::BITS - self.bytes.len().saturating_sub(1).leading_zeros();
        needed.max(12).min(dictionary(self.section))
    }

    fn options(&self, (lc, lp, pb): Properties) -> LzmaOptions {
        LzmaOptions {
            dict_size: 1 << self.dictionary(),
            lc,
            lp,
            pb,
            mode: EncodeMode::Normal,
            nice_len: 273,
            mf: MfType::Bt4,
            depth_limit: 0,
            preset_dict: None,
        }
    }

    /// By prefix codes, if that is possible.
    fn coded(&self) -> Result<Option<Coded>> {
        let Some((head, parts)) = prtiql_codes::encode(self.bytes, self.dictionary()) else { return Ok(None) };
        let options = LzmaOptions { dict_size: 1 << HEADS.1, ..self.options(HEADS.0) };
        let packed = Plain { bytes: &head, section: self.section }.pack(&options)?;
        Ok(Some((head.len() as u64, packed, parts)))
    }

    fn pack(&self, options: &LzmaOptions) -> Result<Vec<u8>> {
        let what = || "pack a section";
        let mut writer = LzmaWriter::new(Vec::new(), options, false, false, Some(self.bytes.len() as u64)).context(what)?;
        writer.write_all(self.bytes).context(what)?;
        writer.finish().context(what)
    }

    /// How it is packed best, which may be not at all.
    fn packed(&self, ways: &[Properties], best: Tried) -> (Packing, Vec<u8>) {
        let plain = self.bytes.len() as u64;
        match best.filter(|(_, packed)| packed.len() < self.bytes.len()) {
            Some((nth, packed)) => {
                let options = self.options(ways[nth]);
                let way = Way::Lzma { properties: options.get_props(), dictionary: options.dict_size.trailing_zeros() as u8 };
                (Packing { plain, packed: packed.len() as u64, way }, packed)
            }
            None => (Packing { plain, packed: plain, way: Way::Stored }, self.bytes.to_vec()),
        }
    }
}

/// LZMA costs a device some 40 ns for each packed byte. Where the delta is more than this part of the tar, that is more than a plain
/// pull's cost for inflating it…
const QUICK: u64 = 128;
/// …and then sections that are at least so large packed…
const LARGE: u64 = 16 << 10;
/// …have prefix codes instead, if these are larger by no more than this part.
const DEARER: u64 = 16;

/// Bytes by prefix codes: how long their head is, and the head and the parts packed.
type Coded = (u64, Vec<u8>, Vec<u8>);

/// Packs large sections of a large delta in the way that is unpacked quickly.
fn quicken(all: &[Plain<'_>], packed: &mut [(Packing, Vec<u8>)], processes: usize, tar_size: u64) -> Result<()> {
    let sum = packed[..all.len()].iter().map(|(packing, _)| packing.packed).sum::<u64>();
    let is_large = |n: &usize| packed[*n].0.packed >= LARGE && sum > tar_size / QUICK;
    let Some(largest) = (0..all.len()).filter(is_large).max_by_key(|n| all[*n].bytes.len()) else { return Ok(()) };
    let other = match processes {
        2.. => {
            Beside::start(|| all[largest].coded().ok().and_then(|coded| postcard::to_allocvec(&coded).ok()).unwrap_or_default())
        }
        _ => None,
    };
    let others = (0..all.len()).filter(is_large).filter(|n| *n != largest);
    let mut coded = others.map(|n| Ok((n, all[n].coded()?))).collect::<Result<Vec<_>>>()?;
    coded.push((
        largest,
        match other.and_then(|other| postcard::from_bytes(&other.result()).ok()) {
            Some(coded) => coded,
            None => all[largest].coded()?,
        },
    ));
    for (n, coded) in coded {
        let Some((head, packed_head, parts)) = coded else { continue };
        let length = (packed_head.len() + parts.len()) as u64;
        if length <= packed[n].0.packed + packed[n].0.packed / DEARER {
            let way = Way::Codes { dictionary: all[n].dictionary() as u8, head: (head, packed_head.len() as u64) };
            packed[n] = (Packing { plain: packed[n].0.plain, packed: length, way }, [packed_head, parts].concat());
        }
    }
    Ok(())
}

/// The largest dictionary of a section, as a logarithm. All of them are memory of the device: more makes the sections of the corpus no
/// smaller.
fn dictionary(section: usize) -> u32 {
    match section {
        s if s == Section::Literals as usize => 20,
        s if s == Section::Changes as usize || s == Section::Text as usize => 18,
        s if s == Section::Runs as usize => 17,
        _ => 16,
    }
}

/// lc, lp and pb.
type Properties = (u32, u32, u32);

/// What is to be tried.
fn properties(level: u32) -> &'static [Properties] {
    match level {
        0..=3 => &[(3, 0, 0)],
        _ => &[(3, 0, 0), (0, 0, 0), (3, 0, 2), (0, 2, 2), (2, 0, 0), (4, 0, 0), (1, 1, 1)],
    }
}
