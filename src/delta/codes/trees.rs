//! Codes' lengths for counted symbols, and the codes.

use crate::{LONGEST_CODE, ONLY};

/// How often each symbol is.
pub type Counts = [u32; 256];
/// How many bits each symbol's code has; 0: none, [`ONLY`]: it is the only one.
pub type Lengths = [u8; 256];

/// Of a round of [`lengths`]: its weight, and what it is.
type Item = (u64, Of);

#[derive(Clone, Copy)]
enum Of {
    Symbol(u8),
    /// The two from this one on of the round before.
    Package(usize),
}

/// The best lengths of at most [`LONGEST_CODE`] bits, by package-merge: in each of so many rounds, pairs of the round before become
/// packages, beside the symbols; a symbol's length is in how many of the packages that are taken it is.
pub fn lengths(counts: &Counts) -> Lengths {
    let mut lengths = [0; 256];
    let mut leaves: Vec<u64> =
        (0..256).filter(|symbol| counts[*symbol] > 0).map(|symbol| u64::from(counts[symbol]) << 8 | symbol as u64).collect();
    if let [only] = leaves[..] {
        lengths[usize::from(only as u8)] = ONLY;
    }
    if leaves.len() < 2 {
        return lengths;
    }
    leaves.sort_unstable();
    let mut rounds: Vec<Vec<Item>> = Vec::new();
    for _ in 0..LONGEST_CODE {
        let before = rounds.last().map_or(&[][..], |round| round);
        let mut packages =
            before.chunks_exact(2).enumerate().map(|(n, pair)| (pair[0].0 + pair[1].0, Of::Package(2 * n))).peekable();
        let mut round = Vec::with_capacity(2 * leaves.len());
        for leaf in &leaves {
            let weight = leaf >> 8;
            while let Some(package) = packages.next_if(|package| package.0 < weight) {
                round.push(package);
            }
            round.push((weight, Of::Symbol(*leaf as u8)));
        }
        round.extend(packages);
        rounds.push(round);
    }
    // The first 2n - 2 of the last round, and what is in them.
    let mut taken = 2 * leaves.len() - 2;
    for round in rounds.iter().rev() {
        let mut below = 0;
        for (_, of) in &round[..taken] {
            match of {
                Of::Package(first) => below = first + 2,
                Of::Symbol(symbol) => lengths[usize::from(*symbol)] += 1,
            }
        }
        taken = below;
    }
    lengths
}

/// Bits of all these symbols with these lengths, which must have them.
pub fn bits(counts: &Counts, lengths: &Lengths) -> u64 {
    counts
        .iter()
        .zip(lengths)
        .filter(|(_, length)| **length != ONLY)
        .map(|(count, length)| u64::from(*count) * u64::from(*length))
        .sum()
}

/// A code of each symbol, its first bit the lowest, and its length.
pub type Codes = [(u16, u8); 256];

/// As [`crate::Decoder`] reads them.
pub fn codes(lengths: &Lengths) -> Codes {
    let (mut codes, mut code) = ([(0, 0); 256], 0u32);
    for length in 1..=LONGEST_CODE {
        for symbol in (0..256).filter(|symbol| u32::from(lengths[*symbol]) == length) {
            codes[symbol] = ((code.reverse_bits() >> (32 - length)) as u16, length as u8);
            code += 1;
        }
        code <<= 1;
    }
    codes
}
