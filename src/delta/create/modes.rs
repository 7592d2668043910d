//! Which rules fit which part of a body, and which fields of its tables: tried out, and the best taken.

use crate::delta::create::pieces::Copy;
use crate::delta::predict::tables::Kind;
use crate::delta::predict::{MODE_SPAN, Machine, Map, Table, foretell, rule};

/// Another mode than that of the part before must be better by so many bytes.
const CHANGE: u32 = 3;

/// Modes that are tried: those with code of the machine, and those for data.
fn candidates(machine: Machine) -> impl Iterator<Item = u8> {
    use rule::{CODE, FIRST_BASE, OTHER_CODE, PREL31, RELATIVE, SECOND_BASE, WIDE, WORD};
    const DATA: &[u8] = &[WIDE, WIDE | RELATIVE, RELATIVE, WORD, WIDE | WORD, FIRST_BASE, SECOND_BASE, RELATIVE | SECOND_BASE];
    const ARM_CODE: &[u8] = &[0, CODE, CODE | WORD, CODE | RELATIVE, OTHER_CODE, OTHER_CODE | WORD, OTHER_CODE | RELATIVE];
    const ARM_DATA: &[u8] = &[WORD, RELATIVE, PREL31, FIRST_BASE, WORD | FIRST_BASE, SECOND_BASE];
    let (code, data): (&[u8], _) = match machine {
        Machine::X86 => (&[0, CODE, CODE | OTHER_CODE, CODE | OTHER_CODE | RELATIVE], DATA),
        Machine::Arm => (ARM_CODE, ARM_DATA),
        _ => (&[0, CODE, CODE | RELATIVE, CODE | WIDE], DATA),
    };
    code.iter().chain(data).copied()
}

/// Entries of debugging information are read twice and gone through by the device: they must set right one of so many bytes.
const ENTRIES: u64 = 16;

/// A mode for each part of the new body. `copies` are those of the old body, their places relative to it.
pub fn choose(old: &[u8], new: &[u8], copies: &[Copy], map: &Map) -> Vec<u8> {
    let parts = new.len().div_ceil(MODE_SPAN);
    let mut best: Vec<(u8, u32)> = vec![(0, u32::MAX); parts];
    let mut costs = Vec::new();
    for mode in candidates(map.image().machine) {
        let all = vec![mode; parts];
        let mut wrong = vec![0u32; parts];
        for copy in copies {
            let mut piece = old[copy.from..copy.from + copy.length].to_vec();
            foretell(&mut piece, copy.from as u64, copy.at as u64, &all, map);
            for (by, byte) in piece.iter().enumerate() {
                let at = copy.at + by;
                wrong[at / MODE_SPAN] += u32::from(*byte != new[at]);
            }
        }
        for (best, wrong) in best.iter_mut().zip(&wrong) {
            if *wrong < best.1 {
                *best = (mode, *wrong);
            }
        }
        costs.push((mode, wrong));
    }
    let mut chosen = Vec::with_capacity(parts);
    let mut last = 0;
    for (part, (mode, wrong)) in best.into_iter().enumerate() {
        let stays = costs.iter().find(|(m, _)| *m == last).is_some_and(|(_, costs)| costs[part] <= wrong + CHANGE);
        last = if stays { last } else { mode };
        chosen.push(last);
    }
    chosen
}

/// The tables whose rows are foretold, and which fields of them: those that are then right more often. `copies` are those of the old
/// body, their places relative to it.
pub fn choose_fields(old: &[u8], new: &[u8], copies: &[Copy], map: &Map) -> Vec<Table> {
    let wrong = |table: &Table, copy: &Copy| {
        let skip = (table.offset.0 as usize).saturating_sub(copy.from).max((table.offset.1 as usize).saturating_sub(copy.at));
        let (from, at, length) = (copy.from + skip, copy.at + skip, copy.length.saturating_sub(skip));
        let left = table.left(from as u64, at as u64).map_or(0, |left| length.min(left as usize));
        if left == 0 {
            return 0;
        }
        let mut piece = old[from..from + left].to_vec();
        table.foretell(&mut piece, from as u64, at as u64, map);
        piece.iter().zip(&new[at..]).filter(|(made, new)| made != new).count()
    };
    let with = |table: &Table, fields: u8| Table { fields, ..table.clone() };
    let chosen = |table: &Table| {
        let count = |fields: u8| copies.iter().map(|copy| wrong(&with(table, fields), copy)).sum::<usize>();
        let without = count(0);
        let bits = (0..u8::BITS).map(|nth| 1 << nth).filter(|bit| table.kind.fields() & bit != 0 && count(*bit) < without);
        let bits = bits.fold(0, |all, bit| all | bit);
        let is_cheap = table.kind != Kind::Entries || without.saturating_sub(count(bits)) as u64 >= table.length.0 / ENTRIES;
        with(table, if is_cheap { bits } else { 0 })
    };
    map.image().tables.iter().map(chosen).filter(|table| table.fields != 0).collect()
}
