//! The cheapest way to say a part, when it is known what all symbols cost.

use crate::cluster::{Clusters, clusters, tree};
use crate::matches::{NICE, common};
use crate::trees::{Counts, Lengths};
use crate::{DISTANCE_TREES, FAR, LAST, LENGTHS, LITERALS, LONGEST_CODE, ONLY, Shape, code_of, distance_symbol, distance_tree};

/// Literals, then a match; the last token of a part may have none (length 0).
#[derive(Clone, Copy)]
pub struct Token {
    pub literals: u32,
    pub length: u32,
    pub distance: u32,
    /// The distance's.
    pub symbol: u8,
}

impl Token {
    pub fn code(&self) -> usize {
        code_of(&LITERALS, self.literals) << 4 | code_of(&LENGTHS, self.length)
    }
}

/// A part: where it begins, and its tokens.
pub type Part = (usize, Vec<Token>);

/// The trees of a block of parts.
pub struct Model {
    pub shape: Shape,
    pub literals: Clusters,
    pub tokens: Vec<Lengths>,
    pub distances: Vec<Lengths>,
    /// Of all symbols and trees, without the bits that follow symbols.
    pub bits: u64,
}

/// How often symbols are, by as much as any shape tells apart.
struct Counted {
    /// By the four low bits of the place, and the byte before.
    literals: Vec<Counts>,
    /// By the four low bits of the place.
    tokens: Vec<Counts>,
    distances: Vec<Counts>,
}

/// How many places any shape tells apart.
const PLACES: usize = 1 << (Shape::END - 1);

impl Counted {
    fn new(bytes: &[u8], parts: &[Part], unit: u32) -> Counted {
        let counts = |n| vec![[0; 256]; n];
        let mut counted = Counted { literals: counts(PLACES << 8), tokens: counts(PLACES), distances: counts(DISTANCE_TREES) };
        for (start, tokens) in parts {
            let mut at = *start;
            for token in tokens {
                counted.tokens[at % PLACES][token.code()] += 1;
                for place in at..at + token.literals as usize {
                    counted.literals[(place % PLACES) << 8 | usize::from(before(bytes, place))][usize::from(bytes[place])] += 1;
                }
                let symbol = match token.symbol {
                    symbol if usize::from(symbol) < LAST => Some(symbol.into()),
                    _ => distance_symbol(token.distance, unit).map(|(symbol, _)| symbol),
                };
                if let Some(symbol) = symbol.filter(|_| token.length > 0) {
                    counted.distances[distance_tree(code_of(&LENGTHS, token.length))][symbol] += 1;
                }
                at += (token.literals + token.length) as usize;
            }
        }
        counted
    }

    /// Literals by their contexts.
    fn literals(&self, shape: Shape) -> Vec<Counts> {
        folded(&self.literals, shape.contexts(), |n| shape.context(n >> 8, n as u8))
    }

    /// Tokens by their trees.
    fn tokens(&self, shape: Shape) -> Vec<Counts> {
        folded(&self.tokens, 1 << shape.tokens, |n| shape.token(n))
    }
}

/// The byte before a place.
pub fn before(bytes: &[u8], at: usize) -> u8 {
    if at == 0 { 0 } else { bytes[at - 1] }
}

/// Counts that are told less apart.
fn folded(counts: &[Counts], kept: usize, to: impl Fn(usize) -> usize) -> Vec<Counts> {
    let mut sums = vec![[0; 256]; kept];
    for (n, counts) in counts.iter().enumerate() {
        sums[to(n)].iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// The logarithm of what far distances are to be multiples of: others have to do without.
fn unit(parts: &[Part]) -> u32 {
    let far = || {
        parts.iter().flat_map(|(_, tokens)| tokens).filter(|token| usize::from(token.symbol) >= FAR).map(|token| token.distance)
    };
    let gain = |unit: &u32| {
        far().map(|distance| if distance.trailing_zeros() >= *unit { i64::from(*unit) } else { -LOST_BITS }).sum::<i64>()
    };
    (0..Shape::END).rev().max_by_key(gain).unwrap_or(0)
}

/// What a match costs that is not possible, about.
const LOST_BITS: i64 = 8;

impl Model {
    /// The best for parts with these tokens; of the same shape as `like`, if there is one.
    pub fn of(bytes: &[u8], parts: &[Part], like: Option<&Model>) -> Model {
        let unit = like.map_or_else(|| unit(parts), |like| like.shape.unit);
        let counted = Counted::new(bytes, parts, unit);
        let tried = |of: Option<u32>| of.map_or(0..Shape::END, |one| one..one + 1);
        let trees = |counts: Vec<Counts>| {
            counts.iter().map(tree).fold((Vec::new(), 0), |(mut trees, bits), (tree, more)| {
                trees.push(tree);
                (trees, bits + more)
            })
        };
        let shape = |literals, tokens| Shape { literals, tokens, unit };
        let literals = tried(like.map(|like| like.shape.literals)).map(|n| (n, clusters(&counted.literals(shape(n, 0)))));
        let (by_literal, literals) = literals.min_by_key(|(_, clusters)| clusters.bits).expect("one is tried");
        let tokens = tried(like.map(|like| like.shape.tokens)).map(|n| (n, trees(counted.tokens(shape(0, n)))));
        let (by_token, (tokens, token_bits)) = tokens.min_by_key(|(_, (_, bits))| *bits).expect("one is tried");
        let bits = literals.bits + token_bits;
        let (distances, distance_bits) = trees(counted.distances);
        Model { shape: shape(by_literal, by_token), literals, tokens, distances, bits: bits + distance_bits }
    }

    /// One to begin with: literals as if there were nothing else, all else equally long.
    pub fn first(bytes: &[u8], start: usize, end: usize) -> Model {
        let all = [(start, vec![Token { literals: (end - start) as u32, length: 0, distance: 0, symbol: 0 }])];
        let Model { shape, literals, .. } = Model::of(bytes, &all, None);
        let mut distances = vec![[6; 256]; DISTANCE_TREES];
        distances.iter_mut().for_each(|tree| tree[..LAST].fill(3));
        Model { shape: Shape { tokens: 0, unit: 0, ..shape }, literals, tokens: vec![[6; 256]], distances, bits: 0 }
    }
}

/// What a symbol costs that is not in its tree yet.
const ABSENT: u32 = LONGEST_CODE + 3;

fn costs(lengths: &Lengths) -> [u32; 256] {
    lengths.map(|length| match length {
        0 => ABSENT,
        ONLY => 0,
        length => length.into(),
    })
}

/// Of the begins that a match's literals may have, the cheapest few are gone on with.
const BEGINS: usize = 4;
/// Up to this length all lengths of a match are tried.
const ALL_LENGTHS: u32 = 24;
/// A match of this length, or more, is taken without looking for others in it.
const SURE: u32 = 512;

/// A place where a token may end.
#[derive(Clone, Copy)]
struct Place {
    cost: u32,
    /// The token that ends here.
    token: Token,
    last: [u32; LAST],
}

/// The matches of each place of some parts.
pub struct Found {
    pub start: usize,
    /// Where each place's begin in `all`, and one more.
    pub begins: Vec<u32>,
    /// Lengths and distances, longer and longer.
    pub all: Vec<(u32, u32)>,
}

impl Found {
    fn at(&self, place: usize) -> &[(u32, u32)] {
        let n = place - self.start;
        &self.all[self.begins[n] as usize..self.begins[n + 1] as usize]
    }
}

/// What symbols cost.
pub struct Costs<'a> {
    model: &'a Model,
    literals: Vec<[u32; 256]>,
    tokens: Vec<[u32; 256]>,
    distances: Vec<[u32; 256]>,
}

impl<'a> Costs<'a> {
    pub fn new(model: &'a Model) -> Costs<'a> {
        let each = |trees: &[Lengths]| trees.iter().map(costs).collect();
        Costs { model, literals: each(&model.literals.lengths), tokens: each(&model.tokens), distances: each(&model.distances) }
    }

    /// Of all literals up to each place of a part.
    fn prefix(&self, bytes: &[u8], part: &std::ops::Range<usize>) -> Vec<u32> {
        let mut sum = 0;
        let cost = |at: usize| {
            let tree = self.model.literals.choice[self.model.shape.context(at, before(bytes, at))];
            self.literals[tree as usize][bytes[at] as usize]
        };
        let sums = part.clone().map(|at| {
            sum += cost(at);
            sum
        });
        std::iter::once(0).chain(sums).collect()
    }
}

/// The tokens of a part being found.
struct Parse<'a> {
    costs: &'a Costs<'a>,
    places: Vec<Place>,
}

/// What a match may follow: a place where a token ends, and the literals from there.
struct Before<'a> {
    place: usize,
    literals: u32,
    cost: u32,
    /// What tokens cost, by the length's code.
    tokens: &'a [u32],
    last: [u32; LAST],
}

impl Parse<'_> {
    /// Notes a match of some lengths.
    fn matches(&mut self, before: &Before<'_>, lengths: std::ops::RangeInclusive<u32>, distance: u32, symbol: usize, more: u32) {
        let longest = *lengths.end();
        let some = *lengths.start()..=longest.min(ALL_LENGTHS);
        for length in some.chain((longest > ALL_LENGTHS).then_some(longest)) {
            let code = code_of(&LENGTHS, length);
            let cost =
                before.cost + before.tokens[code] + LENGTHS[code].1 + self.costs.distances[distance_tree(code)][symbol] + more;
            let place = &mut self.places[before.place + (before.literals + length) as usize];
            if cost < place.cost {
                let mut last = before.last;
                last[..=symbol.min(LAST - 1)].rotate_right(1);
                last[0] = distance;
                *place = Place { cost, token: Token { literals: before.literals, length, distance, symbol: symbol as u8 }, last };
            }
        }
    }
}

/// Finds the tokens of a part. `last` are the last distances, before and then after it.
pub fn parse(bytes: &[u8], part: std::ops::Range<usize>, costs: &Costs<'_>, found: &Found, last: &mut [u32; LAST]) -> Vec<Token> {
    let length = part.len();
    let prefix = costs.prefix(bytes, &part);
    let nothing = Token { literals: 0, length: 0, distance: 0, symbol: 0 };
    let mut parse = Parse { costs, places: vec![Place { cost: u32::MAX, token: nothing, last: *last }; length + 1] };
    parse.places[0].cost = 0;
    let mut begins: Vec<(i64, usize)> = Vec::with_capacity(BEGINS + 1);
    let mut sure = 0;
    for n in 0..=length {
        if parse.places[n].cost != u32::MAX {
            let key = i64::from(parse.places[n].cost) - i64::from(prefix[n]);
            let rank = begins.partition_point(|(other, _)| *other < key);
            begins.insert(rank, (key, n));
            begins.truncate(BEGINS);
        }
        if n < sure || n == length {
            continue;
        }
        let at = part.start + n;
        for (_, place) in &begins {
            let literals = (n - place) as u32;
            let code = code_of(&LITERALS, literals);
            let Place { cost, last, .. } = parse.places[*place];
            let before = Before {
                place: *place,
                literals,
                cost: cost + prefix[n] - prefix[*place] + LITERALS[code].1,
                tokens: &costs.tokens[costs.model.shape.token(part.start + place)][code << 4..(code + 1) << 4],
                last,
            };
            let mut longest = 0;
            for (symbol, distance) in last.iter().enumerate() {
                if *distance as usize <= at && !last[..symbol].contains(distance) {
                    let length = common(bytes, at - *distance as usize, at, (length - n).min(NICE)) as u32;
                    parse.matches(&before, 1..=length, *distance, symbol, 0);
                    longest = longest.max(length);
                }
            }
            let mut shorter = 1;
            for (length, distance) in found.at(at) {
                if let Some((symbol, more)) = distance_symbol(*distance, costs.model.shape.unit)
                    && !last.contains(distance)
                {
                    parse.matches(&before, shorter + 1..=*length, *distance, symbol, more);
                    longest = longest.max(*length);
                }
                shorter = *length;
            }
            if longest >= SURE {
                sure = n + longest as usize;
            }
        }
    }
    finish(&parse.places, &begins, &prefix, costs, part.start, last)
}

/// Goes back from the end of a part.
fn finish(
    places: &[Place],
    begins: &[(i64, usize)],
    prefix: &[u32],
    costs: &Costs<'_>,
    start: usize,
    last: &mut [u32; LAST],
) -> Vec<Token> {
    let length = places.len() - 1;
    let tail = |place: usize| (length - place) as u32;
    let cost = |place: usize| {
        let code = code_of(&LITERALS, tail(place));
        let token =
            if place == length { 0 } else { costs.tokens[costs.model.shape.token(start + place)][code << 4] + LITERALS[code].1 };
        places[place].cost + prefix[length] - prefix[place] + token
    };
    let mut place = begins.iter().map(|(_, place)| *place).min_by_key(|place| cost(*place)).unwrap_or(0);
    *last = places[place].last;
    let mut tokens = Vec::new();
    if place < length {
        tokens.push(Token { literals: tail(place), length: 0, distance: 0, symbol: 0 });
    }
    while place > 0 {
        let token = places[place].token;
        tokens.push(token);
        place -= (token.literals + token.length) as usize;
    }
    tokens.reverse();
    tokens
}
