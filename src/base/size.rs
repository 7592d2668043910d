//! Sizes in bytes, as people write and read them.

use crate::base::{Error, Result};

/// Parses `64m`, `1.5g`, `10kb`, `1GiB`, `123`: units of 1024, as Docker's flags mean them.
pub fn parse(text: &str) -> Result<u64> {
    let bad = || Error::invalid(format!("invalid size: '{text}'"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes.is_finite() && (0.0..9.0e18).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// `1.23MB`: units of 1000, four significant digits, as Docker's tables show sizes.
pub fn human(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// `1.172MiB`: units of 1024, four significant digits, as `docker stats` shows memory.
pub fn human_binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

/// Like [`human`] with the given number of significant digits (image lists use three).
pub fn human_digits(bytes: u64, digits: usize) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], digits)
}

/// Like [`human`] for a number of the API's, which may be less than nothing: that is nothing.
pub fn human_signed(bytes: i64) -> String {
    human(bytes.max(0) as u64)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// C's `%.{digits}g` for values below 10^digits.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{:.*}", digits.saturating_sub(whole), value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_in_units_of_1024() {
        for (text, bytes) in
            [("64m", 64 << 20), ("1.5g", 3 << 29), ("10KB", 10 << 10), ("1GiB", 1 << 30), ("123", 123), ("5b", 5)]
        {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3", "99999999999p"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_as_docker_prints_them() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.235MB"), (100_000, "100kB"), (26_183_187, "26.18MB")]
        {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human_binary(64 << 20), "64MiB");
        assert_eq!(human_digits(7_654_321, 3), "7.65MB");
    }
}
