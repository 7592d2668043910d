//! Points in time: nanoseconds since 1970 in an `i64` (good until 2262), and RFC 3339 text as Docker writes and reads it.

use crate::base::{Error, Result};

/// Nanoseconds since 1970-01-01T00:00:00Z. Zero means "never" and prints as Go's zero time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

const SECOND: i64 = 1_000_000_000;

impl Time {
    /// The wall clock.
    pub fn now() -> Time {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Time(t.tv_sec * SECOND + i64::from(t.tv_nsec as i32))
    }

    /// Whole seconds.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// A clock that says less was never set: the year 2020.
    pub fn is_plausible(self) -> bool {
        self.seconds() >= 1_577_836_800
    }

    /// Nanoseconds within the second.
    pub fn nanos(self) -> u32 {
        self.0.rem_euclid(SECOND) as u32
    }

    /// `2026-11-25T14:17:03.123456789Z` with trailing zeros cut, as Go's RFC3339Nano; the zero time is year 1.
    pub fn rfc3339(self) -> String {
        if self.0 == 0 {
            return "0001-01-01T00:00:00Z".into();
        }
        let (y, mo, d, h, mi, s) = civil(self.seconds());
        let mut text = format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}");
        if self.nanos() != 0 {
            let fraction = format!(".{:09}", self.nanos());
            text.push_str(fraction.trim_end_matches('0'));
        }
        text.push('Z');
        text
    }

    /// The same with all nine digits of the fraction: what `logs --timestamps` prints.
    pub fn rfc3339_fixed(self) -> String {
        let (y, mo, d, h, mi, s) = civil(self.seconds());
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{:09}Z", self.nanos())
    }

    /// Parses RFC 3339, with any fraction and zone; Go's zero time gives zero.
    pub fn parse_rfc3339(text: &str) -> Result<Time> {
        parse_date(text).ok_or_else(|| Error::invalid(format!("invalid time '{text}': not of the form 2006-01-02T15:04:05Z")))
    }

    /// Parses what `--since` and `--until` take: `1700000000`, `1700000000.123`, RFC 3339 (its shorter forms too), or a duration before `now`.
    pub fn parse_flexible(text: &str, now: Time) -> Result<Time> {
        if let Some(t) = parse_unix(text).or_else(|| parse_date(text)) {
            return Ok(t);
        }
        parse_duration(text)
            .map(|d| Time(now.0 - d))
            .map_err(|_| Error::invalid(format!("failed to parse value as time or duration: '{text}'")))
    }
}

fn parse_unix(text: &str) -> Option<Time> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if seconds.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    Some(Time(seconds.checked_mul(SECOND)?.checked_add(nanos)?))
}

fn parse_date(text: &str) -> Option<Time> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let sep = |at: usize, c: u8| text.as_bytes().get(at) == Some(&c);
    if !(sep(4, b'-') && sep(7, b'-')) {
        return None;
    }
    let (y, mo, d) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (mut h, mut mi, mut s, mut nanos, mut offset) = (0, 0, 0, 0, 0);
    let mut at = 10;
    if text.len() > 10 {
        if !(sep(10, b'T') || sep(10, b't') || sep(10, b' ')) || !sep(13, b':') {
            return None;
        }
        (h, mi) = (number(11..13)?, number(14..16)?);
        at = 16;
        if sep(16, b':') {
            s = number(17..19)?;
            at = 19;
        }
        if sep(at, b'.') {
            let end = text[at + 1..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |n| at + 1 + n);
            let digits = &text[at + 1..end];
            nanos = format!("{:0<9}", &digits[..digits.len().min(9)]).parse().ok()?;
            at = end;
        }
        match text.as_bytes().get(at) {
            None => {}
            Some(b'Z' | b'z') => at += 1,
            Some(sign @ (b'+' | b'-')) => {
                let minutes = number(at + 1..at + 3)? * 60 + number(at + 4..at + 6)?;
                offset = if *sign == b'+' { minutes } else { -minutes };
                at += 6;
            }
            Some(_) => return None,
        }
    }
    let days_in_month = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if at != text.len() || !(1..=12).contains(&mo) || d < 1 || d > days_in_month[mo as usize - 1] || h > 24 || mi > 59 || s > 60 {
        return None;
    }
    if y < 1678 {
        return Some(Time(0)); // Go's zero time and its like: "never"
    }
    let seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - offset * 60;
    Some(Time(seconds.checked_mul(SECOND)?.checked_add(nanos)?))
}

/// Parses Go's durations: `1h30m`, `1.5s`, `300ms`. Returns nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64> {
    let bad = || Error::invalid(format!("invalid duration '{text}'"));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let value: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        total += value * scale;
        rest = &rest[unit..];
    }
    if total > 9.2e18 {
        return Err(bad());
    }
    Ok(if negative { -(total as i64) } else { total as i64 })
}

/// `About an hour`, `3 days`: the wording of Docker's tables. Takes seconds.
pub fn human_duration(seconds: i64) -> String {
    let (m, h) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        i64::MIN..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if m == 1 => "About a minute".into(),
        _ if m < 60 => format!("{m} minutes"),
        _ if h == 1 => "About an hour".into(),
        _ if h < 48 => format!("{h} hours"),
        _ if h < 24 * 7 * 2 => format!("{} days", h / 24),
        _ if h < 24 * 30 * 2 => format!("{} weeks", h / 24 / 7),
        _ if h < 24 * 365 * 2 => format!("{} months", h / 24 / 30),
        _ => format!("{} years", h / 24 / 365),
    }
}

/// Year, month, day, hour, minute, second of seconds since 1970 (proleptic Gregorian calendar, UTC).
pub fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1, rest / 3600, rest % 3600 / 60, rest % 60)
}

fn days_from_civil(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_both_ways() {
        for text in ["2026-11-25T14:17:03.123456789Z", "2026-11-25T14:17:03Z", "2040-02-29T00:00:00.5Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(Time::parse_rfc3339(text).unwrap().rfc3339(), text);
        }
        assert_eq!(Time(0).rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(Time::parse_rfc3339("0001-01-01T00:00:00Z").unwrap(), Time(0));
        assert_eq!(Time::parse_rfc3339("2026-01-01T01:00:00+01:00").unwrap().rfc3339(), "2026-01-01T00:00:00Z");
        for text in ["", "2026", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00Zx", "2026-01-01Q00:00:00Z", "ä026-01-01"] {
            assert!(Time::parse_rfc3339(text).is_err(), "{text}");
        }
    }

    #[test]
    fn since_takes_what_docker_takes() {
        let now = Time(1_700_000_000 * SECOND);
        assert_eq!(Time::parse_flexible("1600000000.5", now).unwrap().0, 1_600_000_000_500_000_000);
        assert_eq!(Time::parse_flexible("1h30m", now).unwrap().seconds(), 1_700_000_000 - 5400);
        assert_eq!(Time::parse_flexible("2026-11-25T14:17", now).unwrap().rfc3339(), "2026-11-25T14:17:00Z");
        assert!(Time::parse_flexible("yesterday", now).is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1.5s").unwrap(), 1_500_000_000);
        assert_eq!(parse_duration("-2m3ms").unwrap(), -120_003_000_000);
        assert!(parse_duration("5").is_err() && parse_duration("5x").is_err() && parse_duration("").is_err());
        assert_eq!(human_duration(0), "Less than a second");
        assert_eq!(human_duration(3 * 86400), "3 days");
    }
}
