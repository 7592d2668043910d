//! Random identifiers, as Docker has them.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::Read;

/// 32 random bytes as 64 lower-case hexadecimal digits, never all decimal in the first twelve (it would read as a number).
pub fn random() -> String {
    loop {
        let mut bytes = [0u8; 32];
        fill(&mut bytes);
        let id = hex(&bytes);
        if id[..12].bytes().any(|b| !b.is_ascii_digit()) {
            return id;
        }
    }
}

/// Fills `bytes` with random ones. They tell things apart, and no secret hangs on them: so nobody waits here for a kernel that has not
/// gathered enough entropy yet, which one without a source of it never does.
pub fn fill(bytes: &mut [u8]) {
    let (mut filled, mut flags) = (0, GetRandomFlags::INSECURE);
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], flags) {
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(Errno::INVAL) if flags == GetRandomFlags::INSECURE => flags = GetRandomFlags::NONBLOCK, // before Linux 5.6
            Err(e) => {
                let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes[filled..]));
                return read.unwrap_or_else(|also| panic!("no random bytes: the kernel says {e}, and /dev/urandom {also}"));
            }
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
    out
}

/// The first twelve digits, for people.
pub fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+` (a single character is accepted for volumes only).
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && name.len() < 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hex_digits_and_differ() {
        let (a, b) = (random(), random());
        assert_eq!(a.len(), 64);
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(a, b);
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }

    #[test]
    fn names() {
        assert!(is_name("a") && is_name("web-1.x_y"));
        assert!(!is_name("") && !is_name("-a") && !is_name("a/b") && !is_name(".") && !is_name("..") && !is_name("ä"));
    }
}
