//! Packing: chunk by chunk, in some passes, of which each knows what symbols cost from the one before.

use crate::matches::Chains;
use crate::parse::{Costs, Found, Model, Part, Token, before, parse};
use crate::trees::{Codes, codes};
use crate::{LAST, LENGTHS, LITERALS, PART, code_of, distance_tree, far_distance};

/// Parts that are gone over together: what is found in them is memory.
const CHUNK: usize = 32;
/// Matches of one place: in memory as long as its chunk.
const MOST_MATCHES: usize = 16;
/// Parts that have the same trees, as tried.
const BLOCKS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Passes before the size of blocks is chosen, and after.
const PASSES: (usize, usize) = (3, 2);

/// Parts and their trees.
type Block = (Model, Vec<Part>);

/// A section: the bytes of its head, which are to be packed further, and those of its parts. Matches go back no more than `1 << dictionary`
/// bytes, or a part. `None` if a part comes out too large.
pub fn encode(bytes: &[u8], dictionary: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut out) = (Vec::new(), Vec::new());
    let mut chains = Chains::new(bytes, PART.max(1 << dictionary));
    let mut last = [1; LAST];
    for start in (0..bytes.len()).step_by(CHUNK * PART) {
        let end = bytes.len().min(start + CHUNK * PART);
        let found = find(&mut chains, start, end);
        for (model, parts) in chunk(bytes, start..end, &found, &mut last) {
            let writer = Writer::new(&model);
            for (n, (place, tokens)) in parts.iter().enumerate() {
                head.push(u8::from(n == 0));
                if n == 0 {
                    put_trees(&mut head, &model);
                }
                let length = writer.part(&mut out, bytes, *place, tokens);
                head.extend_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
            }
        }
    }
    Some((head, out))
}

fn find(chains: &mut Chains<'_>, start: usize, end: usize) -> Found {
    let mut found = Found { start, begins: vec![0], all: Vec::new() };
    for at in start..end {
        let part_end = end.min(start + ((at - start) / PART + 1) * PART);
        let begin = found.all.len();
        chains.at(at, part_end, |length, distance| {
            // The longest is among them.
            if found.all.len() == begin + MOST_MATCHES {
                found.all.pop();
            }
            found.all.push((length, distance));
        });
        found.begins.push(found.all.len() as u32);
    }
    found
}

/// The blocks of a chunk.
fn chunk(bytes: &[u8], range: std::ops::Range<usize>, found: &Found, last: &mut [u32; LAST]) -> Vec<Block> {
    let first = *last;
    let mut block = CHUNK;
    let mut models = vec![Model::first(bytes, range.start, range.end)];
    let mut pass = |models: &[Model], block: usize| {
        *last = first;
        let mut parts: Vec<Part> = Vec::new();
        for (model, starts) in models.iter().zip(range.clone().step_by(PART).collect::<Vec<_>>().chunks(block)) {
            let costs = Costs::new(model);
            parts.extend(starts.iter().map(|at| (*at, parse(bytes, *at..range.end.min(at + PART), &costs, found, last))));
        }
        parts
    };
    let mut parts = pass(&models, block);
    for _ in 1..PASSES.0 {
        models = vec![Model::of(bytes, &parts, None)];
        parts = pass(&models, block);
    }
    let tried = BLOCKS
        .into_iter()
        .map(|block| (block, parts.chunks(block).map(|parts| Model::of(bytes, parts, None)).collect::<Vec<_>>()));
    if let Some(best) = tried.min_by_key(|(_, models)| models.iter().map(|model| model.bits).sum::<u64>()) {
        (block, models) = best;
    }
    for _ in 0..PASSES.1 {
        parts = pass(&models, block);
        models = parts.chunks(block).zip(&models).map(|(parts, like)| Model::of(bytes, parts, Some(like))).collect();
    }
    let mut rest = parts.into_iter();
    models.into_iter().map(|model| (model, rest.by_ref().take(block).collect())).collect()
}

/// Trees as they stand in the head.
fn put_trees(head: &mut Vec<u8>, model: &Model) {
    head.push(model.shape.byte());
    head.push(model.literals.lengths.len() as u8);
    head.extend_from_slice(&model.literals.choice);
    for lengths in model.literals.lengths.iter().chain(&model.tokens).chain(&model.distances) {
        head.extend_from_slice(lengths);
    }
}

/// Bits, the first the lowest.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    fn put(&mut self, bits: u32, count: u32) {
        self.buffer |= u64::from(bits) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.out.push(self.buffer as u8);
            (self.buffer, self.count) = (self.buffer >> 8, self.count - 8);
        }
    }

    fn symbol(&mut self, codes: &Codes, symbol: usize) {
        let (code, length) = codes[symbol];
        self.put(code.into(), length.into());
    }
}

/// Writes parts of a block.
struct Writer<'a> {
    model: &'a Model,
    literals: Vec<Codes>,
    tokens: Vec<Codes>,
    distances: Vec<Codes>,
}

impl<'a> Writer<'a> {
    fn new(model: &'a Model) -> Writer<'a> {
        let each = |trees: &[crate::trees::Lengths]| trees.iter().map(codes).collect();
        Writer { model, literals: each(&model.literals.lengths), tokens: each(&model.tokens), distances: each(&model.distances) }
    }

    /// How many bytes it has.
    fn part(&self, out: &mut Vec<u8>, bytes: &[u8], mut at: usize, tokens: &[Token]) -> usize {
        let begin = out.len();
        let mut bits = Bits { out, buffer: 0, count: 0 };
        for token in tokens {
            let code = token.code();
            bits.symbol(&self.tokens[self.model.shape.token(at)], code);
            let (least, more) = LITERALS[code >> 4];
            bits.put(token.literals - least, more);
            for _ in 0..token.literals {
                let tree = self.model.literals.choice[self.model.shape.context(at, before(bytes, at))];
                bits.symbol(&self.literals[tree as usize], bytes[at].into());
                at += 1;
            }
            if token.length > 0 {
                let (least, more) = LENGTHS[code & 15];
                bits.put(token.length - least, more);
                bits.symbol(&self.distances[distance_tree(code_of(&LENGTHS, token.length))], token.symbol.into());
                if let Some((_, more)) = far_distance(token.symbol.into()) {
                    bits.put(((token.distance >> self.model.shape.unit) - 1) & ((1 << more) - 1), more);
                }
                at += token.length as usize;
            }
        }
        if bits.count > 0 {
            bits.out.push(bits.buffer as u8);
        }
        out.len() - begin
    }
}
