//! Numbers as both sides write them: LEB128, seven bits a byte, lowest first; signed ones zigzag.

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// 0, -1, 1, -2, … as 0, 1, 2, 3, …
pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The reverse of [`zigzag`].
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The last four shifts of copies, the latest first: most copies have one of them.
#[derive(Default)]
pub struct Shifts([i64; 4]);

impl Shifts {
    /// What a shift is written as: 0 to 3 for one of the last, else 4 and the change from the last.
    pub fn code(&mut self, shift: i64) -> u64 {
        let code = match self.0.iter().position(|s| *s == shift) {
            Some(nth) => nth as u64,
            None => zigzag(shift.wrapping_sub(self.0[0])).saturating_add(4),
        };
        self.push(shift);
        code
    }

    /// The shift that was written so.
    pub fn decode(&mut self, code: u64) -> i64 {
        let shift = match code {
            0..4 => self.0[code as usize],
            _ => self.0[0].wrapping_add(unzigzag(code - 4)),
        };
        self.push(shift);
        shift
    }

    fn push(&mut self, shift: i64) {
        let at = self.0.iter().position(|s| *s == shift).unwrap_or(3);
        self.0[..=at].rotate_right(1);
        self.0[0] = shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_come_back() {
        let (mut there, mut back) = (Shifts::default(), Shifts::default());
        for shift in [0, 5, 5, -7, 0, 1 << 40, -(1 << 40), 5, 9, 8, 7, 6, 9] {
            let code = there.code(shift);
            assert_eq!(back.decode(code), shift);
        }
        for n in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(n)), n);
        }
    }
}
