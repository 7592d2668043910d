//! Programs and libraries are full of addresses, which all change when code is added somewhere. Where every old place went is known
//! from the copies: so a copied address can be foretold. Both sides do the same with the same numbers; nothing here may depend on
//! what only one of them knows.
//!
//! Beside LZMA this is most of what applying a delta costs: see Cargo.toml.

pub mod a64;
pub mod arm;
mod dwarf;
mod go;
mod map;
pub mod riscv;
pub mod tables;
pub mod x86;

pub use map::{Image, MOST_SEGMENTS, Map, Segment, Span};
pub use tables::{MOST_OTHERS, MOST_PARENTS, MOST_TABLES, Other, Table};

/// Bytes of a new body that share a mode.
pub const MODE_SPAN: usize = 4096;

/// Rules: bits of a mode.
pub mod rule {
    /// Branches of the machine's code: A32 on ARM.
    pub const CODE: u8 = 1;
    /// ARM: Thumb branches. x86: operands relative to the instruction pointer.
    pub const OTHER_CODE: u8 = 2;
    /// Words of the machine's size that are addresses.
    pub const WIDE: u8 = 4;
    /// Words of 32 bits that are addresses.
    pub const WORD: u8 = 8;
    /// Words of 32 bits that are addresses less their own.
    pub const RELATIVE: u8 = 16;
    /// Words of 32 bits that are addresses less the first base's.
    pub const FIRST_BASE: u8 = 32;
    /// The same with the second base.
    pub const SECOND_BASE: u8 = 64;
    /// ARM: the low 31 bits are an address less its own.
    pub const PREL31: u8 = 128;
    /// All that are of words.
    pub const WORDS: u8 = !(CODE | OTHER_CODE);
}

/// What kind of code a body has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// None that is known.
    #[default]
    None,
    /// i386 and x86-64.
    X86,
    /// A32 and Thumb.
    Arm,
    /// AArch64.
    A64,
    /// RISC-V.
    RiscV,
}

impl Machine {
    /// By its number in a delta.
    pub fn of(number: u64) -> Option<Machine> {
        [Machine::None, Machine::X86, Machine::Arm, Machine::A64, Machine::RiscV].get(usize::try_from(number).ok()?).copied()
    }
}

/// Addresses below this are small numbers more often than addresses.
pub const LEAST_ADDRESS: u64 = 4096;

/// Turns copied bytes into what they should be where they go: `old_at` and `new_at` are their offsets in the old and new body.
pub fn foretell(piece: &mut [u8], old_at: u64, new_at: u64, modes: &[u8], map: &Map) {
    let image = map.image();
    let mut at = 0;
    while at < piece.len() {
        let (old, new) = (old_at + at as u64, new_at + at as u64);
        if let Some((table, left)) = image.tables.iter().find_map(|table| Some((table, table.left(old, new)?))) {
            let end = piece.len().min(at.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
            table.foretell(&mut piece[at..end], old, new, map);
            at = end;
            continue;
        }
        let mode = modes.get(new as usize / MODE_SPAN).copied().unwrap_or(0);
        let to_border = MODE_SPAN - new as usize % MODE_SPAN;
        // Both places must be loaded; where they are in which segment changes rarely.
        let (Some((old_address, old_left)), Some((new_address, new_left))) = (image.old_address(old), image.new_address(new))
        else {
            at += image.step_to_segment(old, new).min(image.step_to_table(old, new)).min(to_border as u64).max(1) as usize;
            continue;
        };
        let left = old_left.min(new_left).min(image.step_to_table(old, new));
        let stretch = to_border.min(usize::try_from(left).unwrap_or(usize::MAX)).min(piece.len() - at);
        if mode == 0 {
            at += stretch;
            continue;
        }
        let end = at + stretch;
        let slide = Slide { old: old_address.wrapping_sub(at as u64), new: new_address.wrapping_sub(at as u64) };
        if image.machine == Machine::X86 && mode & !rule::WORDS != 0 {
            at = x86::sweep(piece, at, end, &slide, mode, map);
        }
        while at < end {
            at = pass(piece, at, end, &slide, mode, map);
            if at < end {
                at += step(piece, at, &slide, mode, map);
            }
        }
    }
}

/// Passes over what is no address by any of the rules, as trying them at each place would, only faster. Where it stops they are to be
/// tried; what it stops for is the machine's own.
fn pass(piece: &[u8], at: usize, end: usize, slide: &Slide, mode: u8, map: &Map) -> usize {
    let old = |at| slide.at(at).0;
    let from = old(at);
    let (code, data) = (mode & !rule::WORDS != 0, mode & rule::WORDS != 0);
    match map.image().machine {
        Machine::Arm if mode == rule::CODE => passed_words(piece, at, end, from, arm::is_a32_branch),
        Machine::Arm => {
            let thumb = mode & rule::OTHER_CODE != 0;
            let fits = |at: usize| {
                arm::may_branch(&piece[at..], old(at), mode)
                    || data && old(at).is_multiple_of(4) && may_be_word(&piece[at..], old(at), mode, map)
            };
            let to = passed(at, end, from, if thumb { 2 } else { 4 }, fits);
            if thumb { to.min(end) } else { to }
        }
        Machine::A64 if !data => passed_words(piece, at, end, from, a64::may_aim),
        Machine::RiscV if !data => passed(at, end, from, 2, |at| riscv::may_aim(&piece[at..])).min(end),
        _ if !code => passed(at, end, from, 4, |at| may_be_word(&piece[at..], old(at), mode, map)),
        _ => at,
    }
}

/// One of the rules of [`words`] may fit, or there is too little to tell.
fn may_be_word(rest: &[u8], old: u64, mode: u8, map: &Map) -> bool {
    let Some(word) = rest.first_chunk().map(|word| u32::from_le_bytes(*word)) else { return true };
    let image = map.image();
    let far = i64::from(word as i32) as u64;
    let whole = if image.wide { rule::WORD } else { rule::WORD | rule::WIDE };
    mode & whole != 0 && map.may_hold(word.into())
        || mode & rule::RELATIVE != 0 && map.may_hold(old.wrapping_add(far))
        || mode & rule::WIDE != 0 && rest.first_chunk().is_some_and(|wide| map.may_hold(u64::from_le_bytes(*wide)))
        || mode & rule::PREL31 != 0
            && word >> 31 == 0
            && map.may_hold(old.wrapping_add(i64::from((word << 1) as i32 >> 1) as u64))
        || mode & rule::FIRST_BASE != 0 && map.may_hold(image.bases[0].0.wrapping_add(far))
        || mode & rule::SECOND_BASE != 0 && map.may_hold(image.bases[1].0.wrapping_add(far))
}

/// The next place, of those whose address is a multiple of `align`, that fits.
fn passed(mut at: usize, end: usize, from: u64, align: usize, fits: impl Fn(usize) -> bool) -> usize {
    if !from.is_multiple_of(align as u64) {
        return at; // it is found by single steps
    }
    while at < end && !fits(at) {
        at += align;
    }
    at
}

/// The same for words that need no more than to be looked at. (Most are passed over, so that this is a loop of few instructions.)
fn passed_words(piece: &[u8], at: usize, end: usize, from: u64, fits: impl Fn(u32) -> bool) -> usize {
    if !from.is_multiple_of(4) {
        return at;
    }
    let (words, _) = piece[at..].as_chunks::<4>();
    let words = &words[..words.len().min(end.saturating_sub(at).div_ceil(4))];
    at + 4 * words.iter().position(|word| fits(u32::from_le_bytes(*word))).unwrap_or(words.len())
}

/// All addresses in the code of one side: where they stand in the file, in order, and what they are.
pub fn targets(body: &[u8], image: &Image, new: bool) -> Vec<(usize, u64)> {
    let image = image.one_sided(new);
    let mode = match image.machine {
        Machine::Arm if arm::is_mostly_thumb(body) => rule::OTHER_CODE,
        Machine::Arm | Machine::A64 | Machine::RiscV => rule::CODE,
        Machine::X86 => rule::CODE | rule::OTHER_CODE,
        Machine::None => return Vec::new(),
    };
    let map = Map::listener(image.clone());
    let mut all = Vec::new();
    for (segment, _) in image.segments.iter() {
        let Some(bytes) = usize::try_from(segment.offset).ok().and_then(|from| body.get(from..)) else { continue };
        let mut piece = bytes[..bytes.len().min(usize::try_from(segment.length).unwrap_or(usize::MAX))].to_vec();
        let slide = Slide { old: segment.address, new: segment.address };
        let mut at = 0;
        while at < piece.len() {
            let next = at + step(&mut piece, at, &slide, mode, &map);
            all.extend(map.heard().map(|address| (segment.offset as usize + at, address)));
            at = next;
        }
    }
    all.sort_unstable();
    all
}

/// What is added to a place in a piece to have its address.
struct Slide {
    old: u64,
    new: u64,
}

impl Slide {
    /// Old and new address.
    fn at(&self, place: usize) -> (u64, u64) {
        (self.old.wrapping_add(place as u64), self.new.wrapping_add(place as u64))
    }
}

/// Tries the rules at one place; how far to go on.
fn step(piece: &mut [u8], at: usize, slide: &Slide, mode: u8, map: &Map) -> usize {
    let (old, new) = slide.at(at);
    let rest = &mut piece[at..];
    let done = match map.image().machine {
        Machine::X86 => x86::step(rest, old, new, mode, map),
        Machine::Arm => arm::step(rest, old, new, mode, map),
        Machine::A64 if mode & rule::CODE != 0 && old % 4 == 0 => a64::step(rest, old, new, map),
        Machine::RiscV if mode & rule::CODE != 0 && old % 2 == 0 => riscv::step(rest, old, new, map),
        _ => 0,
    };
    if done > 0 {
        return done;
    }
    if old % 4 != 0 {
        return (4 - old % 4).min(if map.image().is_dense(mode) { 1 } else { 4 }) as usize;
    }
    let next = if map.image().is_dense(mode) { 1 } else { 4 };
    words(rest, old, new, mode, map).max(next)
}

/// Words of data; 0 if none of the rules fits.
fn words(rest: &mut [u8], old: u64, new: u64, mode: u8, map: &Map) -> usize {
    if mode & rule::WORDS == 0 {
        return 0;
    }
    let image = map.image();
    if mode & rule::WIDE != 0
        && image.wide
        && old.is_multiple_of(8)
        && let Some(word) = rest.first_chunk_mut::<8>()
    {
        let value = u64::from_le_bytes(*word);
        if value >= LEAST_ADDRESS
            && let Some(to) = map.aim(value)
        {
            *word = to.to_le_bytes();
            return 8;
        }
    }
    let Some(word) = rest.first_chunk_mut::<4>() else { return 0 };
    let value = u32::from_le_bytes(*word);
    let mut set = |to: u64| {
        *word = (to as u32).to_le_bytes();
        4
    };
    let signed = |value: u32| i64::from(value as i32) as u64;
    if mode & rule::PREL31 != 0 && value >> 31 == 0 {
        let far = i64::from((value << 1) as i32 >> 1) as u64;
        if let Some(to) = map.aim(old.wrapping_add(far)) {
            return set(to.wrapping_sub(new) & 0x7fff_ffff);
        }
    }
    if mode & rule::RELATIVE != 0
        && value != 0
        && let Some(to) = map.aim(old.wrapping_add(signed(value)))
    {
        return set(to.wrapping_sub(new));
    }
    for (bit, nth) in [(rule::FIRST_BASE, 0), (rule::SECOND_BASE, 1)] {
        let (from, into) = image.bases[nth];
        if mode & bit != 0
            && value != 0
            && let Some(to) = map.aim(from.wrapping_add(signed(value)))
        {
            return set(to.wrapping_sub(into));
        }
    }
    if (mode & rule::WORD != 0 || mode & rule::WIDE != 0 && !image.wide)
        && u64::from(value) >= LEAST_ADDRESS
        && let Some(to) = map.aim(value.into())
    {
        return set(to);
    }
    0
}
