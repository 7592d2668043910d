//! Prefix codes: hostile ones, and such as this engine makes of any bytes.

use super::ENOUGH;
use prtiql_codes::{PART, Unpacker, encode};
use std::io::{self, Read};

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

fn unpack(head: &[u8], packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Unpacker::new(Box::new(head), Box::new(packed), length as u64, 12).read_to_end(&mut out)?;
    Ok(out)
}
