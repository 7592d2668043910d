//! The suffixes of a text in order: where in it is the longest beginning of another.

use crate::base::{Error, Result};

/// A text and the order of its suffixes: five bytes of memory for each of its own.
pub struct Suffixes {
    text: Vec<u8>,
    order: Vec<i32>,
}

impl Suffixes {
    /// Sorts them; a text of 2 GiB is too long.
    pub fn new(text: Vec<u8>) -> Result<Suffixes> {
        if i32::try_from(text.len()).is_err() {
            return Err(Error::unsupported("a base of 2 GiB or more is too large to search"));
        }
        let mut order = vec![0; text.len()];
        divsufsort::sort_in_place(&text, &mut order);
        Ok(Suffixes { text, order })
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The longest beginning of `wanted` that the text has: where, and how long.
    pub fn longest(&self, wanted: &[u8]) -> (usize, usize) {
        let (mut low, mut high) = (0, self.order.len());
        // What `wanted` has in common with the suffixes on either side of the range: all within have at least the lesser of both.
        let (mut low_common, mut high_common) = (0, 0);
        let mut best = (0, 0);
        while low < high {
            let middle = (low + high) / 2;
            let at = self.order[middle] as usize;
            let suffix = &self.text[at..];
            let from = low_common.min(high_common);
            let common = from + common_prefix(&suffix[from..], &wanted[from..]);
            if common > best.1 {
                best = (at, common);
            }
            if common == wanted.len() {
                break;
            }
            if common == suffix.len() || suffix[common] < wanted[common] {
                (low, low_common) = (middle + 1, common);
            } else {
                (high, high_common) = (middle, common);
            }
        }
        best
    }
}

/// How many bytes two texts have in common at their beginning.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let n = a.len().min(b.len());
    // Arrays are compared as numbers, slices of eight bytes by a call.
    let (a_words, b_words) = (a[..n].as_chunks::<8>().0, b[..n].as_chunks::<8>().0);
    let words = a_words.iter().zip(b_words).take_while(|(a, b)| a == b).count() * 8;
    words + a[words..n].iter().zip(&b[words..n]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_found() {
        let text: Vec<u8> = (0..3000u32).map(|i| (i * i / 7 % 5) as u8).collect();
        let suffixes = Suffixes::new(text.clone()).unwrap();
        let mut wanted: Vec<u8> = text[1200..1290].to_vec();
        wanted.extend_from_slice(&[9, 9]);
        for from in 0..wanted.len() {
            let needle = &wanted[from..];
            let (at, length) = suffixes.longest(needle);
            let best = (0..text.len()).map(|at| common_prefix(&text[at..], needle)).max().unwrap();
            assert_eq!(length, best);
            assert_eq!(text[at..at + length], needle[..length]);
        }
        assert_eq!(Suffixes::new(Vec::new()).unwrap().longest(b"abc"), (0, 0));
    }
}
