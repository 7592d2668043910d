//! Which literals share a tree: those whose contexts have alike symbols.

use crate::MOST_LITERAL_TREES;
use crate::trees::{Counts, Lengths, bits, lengths};

/// Rounds of moving contexts to where they cost least.
const ROUNDS: usize = 6;
/// What one more symbol in a tree costs in the head, in bits, and what one more tree does.
const SYMBOL_BITS: u64 = 4;
const TREE_BITS: u64 = 40;

/// Contexts' trees.
pub struct Clusters {
    /// Of each context.
    pub choice: Vec<u8>,
    pub lengths: Vec<Lengths>,
    /// Of all symbols, and of the trees.
    pub bits: u64,
}

/// A tree and what it costs, itself included.
pub fn tree(counts: &Counts) -> (Lengths, u64) {
    let lengths = lengths(counts);
    let used = counts.iter().filter(|count| **count > 0).count() as u64;
    let all = bits(counts, &lengths) + used * SYMBOL_BITS + TREE_BITS * u64::from(used > 0);
    (lengths, all)
}

/// Shares trees among these contexts.
pub fn clusters(contexts: &[Counts]) -> Clusters {
    let sparse: Vec<Vec<(u8, u32)>> = contexts.iter().map(sparse).collect();
    let total = |n: usize| sparse[n].iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
    // The most frequent ones first: the others join them.
    let mut used: Vec<u64> = (0..contexts.len())
        .filter(|n| !sparse[*n].is_empty())
        .map(|n| ((u64::from(u32::MAX) - total(n)) << 16) | n as u64)
        .collect();
    used.sort_unstable();
    let used: Vec<usize> = used.into_iter().map(|key| usize::from(key as u16)).collect();
    let mut sums: Vec<Counts> = used.iter().take(MOST_LITERAL_TREES).map(|n| contexts[*n]).collect();
    sums.resize(sums.len().max(1), [0; 256]);
    let mut choice = vec![0; contexts.len()];
    for round in 0..ROUNDS {
        let costs: Vec<[u32; 256]> = sums.iter().map(costs).collect();
        for n in &used {
            let cost = |costs: &[u32; 256]| {
                sparse[*n].iter().map(|(symbol, count)| u64::from(costs[*symbol as usize]) * u64::from(*count)).sum::<u64>()
            };
            choice[*n] = (0..costs.len()).min_by_key(|tree| cost(&costs[*tree])).unwrap_or(0) as u8;
        }
        sums.iter_mut().for_each(|sum| sum.fill(0));
        for n in &used {
            let sum = &mut sums[choice[*n] as usize];
            sparse[*n].iter().for_each(|(symbol, count)| sum[*symbol as usize] += count);
        }
        // Then those are joined that were not worth it.
        if round == ROUNDS / 2 {
            merge(&mut sums);
        }
    }
    // Trees that nothing has chosen go, but for one.
    let is_used = |sum: &Counts| sum.iter().any(|count| *count > 0);
    let numbers: Vec<u8> = (0..sums.len()).map(|n| sums[..n].iter().filter(|sum| is_used(sum)).count() as u8).collect();
    choice.iter_mut().for_each(|tree| *tree = numbers[usize::from(*tree)]);
    sums.retain(is_used);
    sums.resize(sums.len().max(1), [0; 256]);
    // What a context that is not there says is free: what the one before says is shortest.
    for n in 1..choice.len() {
        if sparse[n].is_empty() {
            choice[n] = choice[n - 1];
        }
    }
    let changes = choice.windows(2).filter(|two| two[0] != two[1]).count() as u64;
    let (lengths, bits): (Vec<_>, Vec<_>) = sums.iter().map(tree).unzip();
    let per_change = 4 + u64::from((sums.len() as u32).ilog2());
    Clusters { choice, lengths, bits: bits.iter().sum::<u64>() + changes * per_change }
}

/// Joins two trees as long as that saves more than it costs.
fn merge(sums: &mut Vec<Counts>) {
    let mut each: Vec<u64> = sums.iter().map(estimate).collect();
    let joined = |a: &Counts, b: &Counts| -> Counts { std::array::from_fn(|n| a[n] + b[n]) };
    let gain = |sums: &[Counts], each: &[u64], a: usize, b: usize| {
        let (a, b) = (a.min(b), a.max(b));
        ((each[a] + each[b]).saturating_sub(estimate(&joined(&sums[a], &sums[b]))), a, b)
    };
    let mut gains: Vec<(u64, usize, usize)> = Vec::new();
    for b in 0..sums.len() {
        gains.extend((0..b).map(|a| gain(sums, &each, a, b)));
    }
    while let Some((best, a, b)) = gains.iter().copied().max()
        && best > 0
    {
        sums[a] = joined(&sums[a], &sums[b]);
        each[a] = estimate(&sums[a]);
        // The last takes the place of the one that went.
        sums.swap_remove(b);
        each.swap_remove(b);
        let moved = sums.len();
        gains.retain(|(_, x, y)| ![a, b].contains(x) && ![a, b].contains(y));
        let now = |n: usize| if n == moved { b } else { n };
        gains.iter_mut().for_each(|(_, x, y)| (*x, *y) = (now(*x).min(now(*y)), now(*x).max(now(*y))));
        gains.extend((0..sums.len()).filter(|n| *n != a).map(|n| gain(sums, &each, a, n)));
    }
}

fn sparse(counts: &Counts) -> Vec<(u8, u32)> {
    (0..=255).map(|symbol| (symbol, counts[usize::from(symbol)])).filter(|(_, count)| *count > 0).collect()
}

/// A bit, in what estimates count.
const BIT: u64 = 256;

/// The logarithm in 256ths. Without floating point, so that all hosts make the same delta.
fn log2(number: u64) -> u32 {
    let whole = number.max(1).ilog2();
    // Squared, the rest's logarithm doubles: a bit more of it each time.
    let mut rest = number.max(1) << 31 >> whole;
    (0..8).fold(whole, |log, _| {
        rest = (rest * rest) >> 31;
        let bit = rest >> 32;
        rest >>= bit;
        log << 1 | bit as u32
    })
}

/// What each symbol costs where these are counted; those that are not there are dear.
fn costs(counts: &Counts) -> [u32; 256] {
    let weight = |count: u32| u64::from(count) * 10 + 1;
    let total = log2(counts.iter().map(|count| weight(*count)).sum());
    counts.map(|count| total - log2(weight(count)))
}

/// About what a tree of these costs.
fn estimate(counts: &Counts) -> u64 {
    let total = log2(counts.iter().map(|count| u64::from(*count)).sum());
    let used = counts.iter().filter(|count| **count > 0).map(|count| u64::from(*count));
    used.map(|count| count * u64::from(total - log2(count)) + SYMBOL_BITS * BIT).sum::<u64>() + TREE_BITS * BIT
}
