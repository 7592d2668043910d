//! Prefix codes: hostile ones, and such as this engine makes of any bytes.

use super::ENOUGH;
use prtiql_codes::{Decoder, PART, encode};
use std::io;

/// Any bytes, as packed ones, the first saying how much of it is their head, give no more than they may. A few are packed, too, which takes
/// long, and come out again as they went in.
pub fn codes(data: &[u8]) {
    if data.len().is_multiple_of(32)
        && let Some((head, packed)) = encode(data, 12)
    {
        assert!(unpack(&head, &packed, data.len()).is_ok_and(|unpacked| unpacked == data));
    }
    let Some((sizes, rest)) = data.split_first_chunk::<4>() else { return };
    let [head, length] = [[sizes[0], sizes[1]], [sizes[2], sizes[3]]].map(|size| usize::from(u16::from_le_bytes(size)));
    let (head, packed) = rest.split_at(head.min(rest.len()));
    let length = (4 * length).min(ENOUGH);
    if let Ok(unpacked) = unpack(head, packed, length) {
        assert_eq!(unpacked.len(), length);
    }
}

/// Packed ones.
pub fn seed() -> Vec<u8> {
    let mut text: Vec<u8> =
        (0..2000u32).map(|n| if n % 9 < 4 { (n / 9) as u8 } else { (n * n / 700 % 26) as u8 + b'a' }).collect();
    text.resize(PART + 400, b'z');
    let (head, packed) = encode(&text, 12).expect("parts are never so large");
    [&(head.len() as u16).to_le_bytes()[..], &((text.len() / 4) as u16).to_le_bytes(), &head, &packed].concat()
}

fn unpack(mut head: &[u8], mut packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let (mut decoder, mut out) = (Decoder::new(12), Vec::new());
    while out.len() < length {
        let mut next = |into: &mut [u8]| io::Read::read_exact(&mut head, into);
        let mut has_trees = [0];
        next(&mut has_trees)?;
        if has_trees[0] & 1 != 0 {
            decoder.read_trees(&mut next)?;
        }
        let mut size = [0; 2];
        next(&mut size)?;
        let (now, rest) = packed.split_at_checked(u16::from_le_bytes(size).into()).ok_or(io::ErrorKind::UnexpectedEof)?;
        packed = rest;
        decoder.part(now, PART.min(length - out.len()))?;
        out.extend_from_slice(decoder.latest());
    }
    Ok(out)
}
