//! Finding what repeats what is before.

/// Places that are looked at, at most.
const DEPTH: usize = 96;
/// Longer ones need not be compared.
pub const NICE: usize = 1024;
/// The longest that is of use with the two bytes of a hash alone.
const NEAR: usize = 4 << 10;

/// Chains of places that begin alike, over a whole section.
pub struct Chains<'a> {
    bytes: &'a [u8],
    window: usize,
    /// The last place of each four bytes' hash, and of each place the one before with the same.
    heads: Vec<u32>,
    before: Vec<u32>,
    /// The last place of each three bytes' hash, and of each two bytes.
    threes: Vec<u32>,
    pairs: Vec<u32>,
    next: usize,
}

/// No place.
const NONE: u32 = u32::MAX;

impl<'a> Chains<'a> {
    pub fn new(bytes: &'a [u8], window: usize) -> Chains<'a> {
        Chains {
            bytes,
            window,
            heads: vec![NONE; 1 << 16],
            before: vec![NONE; bytes.len()],
            threes: vec![NONE; 1 << 16],
            pairs: vec![NONE; 1 << 16],
            next: 0,
        }
    }

    fn hash(&self, at: usize, count: usize) -> Option<usize> {
        let mut bytes = [0; 4];
        bytes[..count].copy_from_slice(self.bytes.get(at..at + count)?);
        Some((u32::from_le_bytes(bytes).wrapping_mul(0x9e37_79b1) >> 16) as usize)
    }

    fn pair(&self, at: usize) -> Option<usize> {
        self.bytes.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])))
    }

    /// Hands on the matches at `at`, up to `end`: longer and longer ones, each the nearest of its length. Places come in order.
    pub fn at(&mut self, at: usize, end: usize, mut each: impl FnMut(u32, u32)) {
        self.pass(at);
        let most = (end - at).min(NICE);
        let mut longest = 1;
        let mut consider = |from: u32| {
            let length = common(self.bytes, from as usize, at, most);
            if length > longest {
                longest = length;
                each(length as u32, (at - from as usize) as u32);
            }
            longest == most
        };
        if most < 2 {
            return;
        }
        let near =
            [(self.pair(at).map(|pair| self.pairs[pair]), NEAR), (self.hash(at, 3).map(|hash| self.threes[hash]), self.window)];
        for (from, window) in near {
            if let Some(from) = from.filter(|from| *from != NONE && at - *from as usize <= window)
                && consider(from)
            {
                return;
            }
        }
        let mut from = self.hash(at, 4).map_or(NONE, |hash| self.heads[hash]);
        for _ in 0..DEPTH {
            if from == NONE || at - from as usize > self.window || consider(from) {
                return;
            }
            from = self.before[from as usize];
        }
    }

    /// Takes in all places before this one.
    fn pass(&mut self, at: usize) {
        for place in self.next..at {
            if let Some(hash) = self.hash(place, 4) {
                self.before[place] = self.heads[hash];
                self.heads[hash] = place as u32;
            }
            if let Some(hash) = self.hash(place, 3) {
                self.threes[hash] = place as u32;
            }
            if let Some(pair) = self.pair(place) {
                self.pairs[pair] = place as u32;
            }
        }
        self.next = at;
    }
}

/// How many bytes are equal from two places on.
pub fn common(bytes: &[u8], from: usize, at: usize, most: usize) -> usize {
    bytes[from..].iter().zip(&bytes[at..at + most]).take_while(|(a, b)| a == b).count()
}
