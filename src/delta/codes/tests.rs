//! What is packed comes out again, and what is damaged does no harm.

use crate::trees::{Counts, bits, codes, lengths};
use crate::{LAST, LENGTHS, LITERALS, ONLY, PART, Shape, Unpacker, code_of, distance_symbol, encode, far_distance};
use std::io::{self, Read};

/// Dice of any quality.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 56) as u8
    }
}

/// Packs and unpacks; how many bytes it takes.
fn there_and_back(bytes: &[u8], dictionary: u32) -> usize {
    let (head, packed) = encode(bytes, dictionary).expect("parts are never so large");
    let unpacked = unpack(&head, &packed, bytes.len(), dictionary).unwrap();
    assert!(unpacked == bytes, "{} bytes come out as others", bytes.len());
    packed.len()
}

fn unpack(head: &[u8], packed: &[u8], length: usize, dictionary: u32) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Unpacker::new(Box::new(head), Box::new(packed), length as u64, dictionary).read_to_end(&mut out)?;
    Ok(out)
}

/// Rows of 16 bytes: a counter, something of 4 values, dice.
fn rows(count: u32) -> Vec<u8> {
    let mut dice = Dice(3);
    (0..count).flat_map(|n| [n.to_le_bytes(), [dice.next() & 3, 0, 1, 0], [dice.next(), 0, 0, 7], [9; 4]].concat()).collect()
}

/// Words of some alphabet, over and over.
fn text(length: usize) -> Vec<u8> {
    let mut dice = Dice(5);
    let words: Vec<Vec<u8>> = (0..200).map(|_| (0..2 + dice.next() % 9).map(|_| b'a' + dice.next() % 26).collect()).collect();
    let mut text = Vec::new();
    while text.len() < length {
        text.extend_from_slice(&words[usize::from(dice.next()) % 200]);
        text.push(b' ');
    }
    text.truncate(length);
    text
}

#[test]
fn all_lengths_come_back() {
    let bytes = text(2 * PART + 5);
    for length in [0, 1, 2, 3, 17, 1000, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5] {
        there_and_back(&bytes[..length], 12);
    }
}

#[test]
fn zeros_and_dice_come_back() {
    assert!(there_and_back(&[0; 3 * PART], 16) < 100);
    let mut dice = Dice(1);
    let random: Vec<u8> = (0..2 * PART).map(|_| dice.next()).collect();
    assert!(there_and_back(&random, 16) < random.len() + random.len() / 50);
    // Each byte follows the one before: trees of one symbol.
    let stairs: Vec<u8> = (0..40_000u32).map(|n| (n / 256 + n) as u8).collect();
    there_and_back(&stairs, 12);
}

#[test]
fn what_is_farther_back_than_the_window_is_not_used() {
    let mut dice = Dice(9);
    let once: Vec<u8> = (0..3 * PART).map(|_| dice.next()).collect();
    let twice = [&once[..], &once[..]].concat();
    assert!(there_and_back(&twice, 15) > once.len() * 19 / 10);
    assert!(there_and_back(&twice, 17) < once.len() * 11 / 10, "{}", there_and_back(&twice, 17));
}

#[test]
fn several_chunks_come_back() {
    let bytes = [rows(70_000), text(300_000)].concat();
    assert!(bytes.len() > 1 << 20);
    there_and_back(&bytes, 18);
}

#[test]
fn rows_are_told_by_their_columns() {
    let bytes = rows(16_000);
    // 10 bits of dice in each row, and a counter of which one byte or two change.
    assert!(there_and_back(&bytes, 18) < 16_000 * 4, "{}", there_and_back(&bytes, 18));
}

#[test]
fn text_is_small() {
    let bytes = text(200_000);
    assert!(there_and_back(&bytes, 18) < 52_000, "{}", there_and_back(&bytes, 18));
}

#[test]
fn lengths_are_the_best_of_eleven_bits() {
    // Fibonacci's numbers would have codes of 20 bits.
    let (mut counts, mut two): (Counts, _) = ([0; 256], (1, 1));
    for count in &mut counts[..20] {
        *count = two.0;
        two = (two.1, two.0 + two.1);
    }
    let found = lengths(&counts);
    assert_eq!(found[..20].iter().map(|length| 1 << (11 - length)).sum::<u32>(), 1 << 11);
    assert_eq!(found.iter().max(), Some(&11));
    // By hand: the eleven most frequent have 1 to 7 bits, …, and no assignment costs less than this one.
    let unlimited: u64 = [19, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        .iter()
        .zip(&counts)
        .map(|(l, c)| l * u64::from(*c))
        .sum();
    let limited = bits(&counts, &found);
    assert!(limited >= unlimited && limited < unlimited + unlimited / 100, "{limited} {unlimited}");

    let mut one = [0; 256];
    one[7] = 5;
    assert_eq!((lengths(&one)[7], bits(&one, &lengths(&one))), (ONLY, 0));
    assert_eq!(lengths(&[0; 256]), [0; 256]);
    let two = codes(&lengths(&std::array::from_fn(|n| u32::from(n == 3 || n == 200))));
    assert_eq!((two[3], two[200]), ((0, 1), (1, 1)));
}

#[test]
fn numbers_have_one_code_each() {
    for (scale, first) in [(&LITERALS, 0), (&LENGTHS, 1)] {
        for number in first..=PART as u32 {
            let (least, more) = scale[code_of(scale, number)];
            assert!(number >= least && number - least < 1 << more, "{number}");
        }
    }
    for unit in 0..Shape::END {
        for distance in (1..=8).chain((9..1 << 20).filter(|distance| distance % (1 << unit) == 0)) {
            let (symbol, more) = distance_symbol(distance, unit).unwrap();
            let back = match far_distance(symbol) {
                Some((least, bits)) => {
                    assert_eq!(bits, more);
                    let rest = ((distance >> unit) - 1) & ((1 << more) - 1);
                    (least + rest) << unit
                }
                None => (symbol - LAST) as u32 + 1,
            };
            assert_eq!(back, distance, "of units of {}", 1 << unit);
        }
        assert_eq!(distance_symbol(9, unit).is_some(), unit == 0);
    }
}

#[test]
fn what_is_damaged_is_an_error_or_other_bytes() {
    let bytes = [rows(600), text(30_000)].concat();
    let (head, packed) = encode(&bytes, 12).unwrap();
    let mut errors = 0;
    for n in 0..head.len() {
        let mut head = head.clone();
        head[n] ^= 1 << (n % 8);
        errors += u32::from(unpack(&head, &packed, bytes.len(), 12).is_err());
    }
    assert!(errors > 100);
    for n in 0..packed.len() {
        let mut packed = packed.clone();
        packed[n] ^= 1 << (n % 8);
        assert!(!matches!(unpack(&head, &packed, bytes.len(), 12), Ok(other) if other.len() != bytes.len()));
    }
    for n in (0..packed.len()).step_by(97) {
        assert!(unpack(&head, &packed[..n], bytes.len(), 12).is_err());
    }
    assert!(unpack(&head, &packed, bytes.len() - 1, 12).is_err());
}

/// A head with one tree of literals, `a` and `b` of a bit each, and these trees of tokens and distances.
fn head(tokens: [u8; 256], distances: [u8; 256], size: u16) -> Vec<u8> {
    let mut literals = [0; 256];
    (literals[usize::from(b'a')], literals[usize::from(b'b')]) = (1, 1);
    let mut head = vec![1, 0, 1];
    head.extend_from_slice(&[0; 256]);
    [literals, tokens, distances, distances, distances, distances].iter().for_each(|tree| head.extend_from_slice(tree));
    head.extend_from_slice(&size.to_le_bytes());
    head
}

fn only(symbol: usize) -> [u8; 256] {
    std::array::from_fn(|n| if n == symbol { ONLY } else { 0 })
}

#[test]
fn a_part_may_not_say_too_much() {
    // Tokens of three literals and a match of one byte, eight bytes back.
    let (tokens, near) = (only(3 << 4), only(LAST + 7));
    let unpack =
        |tokens, distances, packed: &[u8], length| unpack(&head(tokens, distances, packed.len() as u16), packed, length, 12);
    assert_eq!(unpack(tokens, near, &[0b110], 3).unwrap(), b"abb");
    assert!(unpack(tokens, near, &[0b110], 2).is_err(), "literals beyond the end");
    assert!(unpack(tokens, near, &[0b110], 4).is_err(), "from before the begin");
    assert_eq!(unpack(tokens, only(LAST), &[0b110], 4).unwrap(), b"abbb");
    assert!(unpack(tokens, near, &[0b1110], 3).is_err(), "a bit too many");
    assert!(unpack(tokens, near, &[0b110, 0], 3).is_err(), "a byte too many");
    assert!(unpack(tokens, near, &[], 3).is_err(), "a byte too few");
    assert!(unpack(tokens, only(255), &[0b110], 4).is_err(), "a distance that no window has");
    let mut long = only(0);
    (long[0], long[15]) = (1, 1);
    assert!(unpack(long, only(LAST), &[0xff; 4], 100).is_err(), "a match beyond the end");
    let mut three = [0; 256];
    three[..3].fill(1);
    assert!(unpack(three, near, &[0], 3).is_err(), "too many codes");
    three[..3].copy_from_slice(&[1, 2, 0]);
    assert!(unpack(three, near, &[0], 3).is_err(), "too few codes");
    assert!(unpack([13; 256], near, &[0], 3).is_err(), "a length that is none");
    let mut both = only(0);
    both[1] = 3;
    assert!(unpack(both, near, &[0], 3).is_err(), "an only symbol and another");
    let refused = |head: &[u8], packed: &[u8], why| assert!(self::unpack(head, packed, 3, 12).is_err(), "{why}");
    refused(&[0, 1, 0], &[0b110], "no trees");
    refused(&[&[2], &head(tokens, near, 1)[1..]].concat(), &[0b110], "neither trees nor none");
    refused(&[&head(tokens, near, 1)[..], &[0]].concat(), &[0b110], "more head than parts");
    refused(&head(tokens, near, 1), &[0b110, 0], "more than the parts");
}
