//! Making a librsync delta: copies may begin at any byte of the base, found through its suffixes, so that few bytes are left over.

use crate::base::Result;
use crate::delta::rsync::{Sink, Writer};
use crate::delta::suffix::{Suffixes, common_prefix};

/// Shorter copies cost more than the bytes themselves, compressed …
const SHORTEST: usize = 20;
/// … but for one that goes on where the last would have: its numbers compress better.
const SHORTEST_STRAIGHT: usize = 12;
/// Bytes of the new text that are looked at together, and the fewest that are looked ahead.
const WINDOW: usize = 4 << 20;
const AHEAD: usize = 1 << 20;

/// Writes the delta that makes the text which `read` gives (0 at its end) out of the base. Returns the delta's length.
pub fn create(base: &Suffixes, read: &mut dyn FnMut(&mut [u8]) -> Result<usize>, sink: Sink<'_>) -> Result<u64> {
    let mut writer = Writer::new(sink)?;
    let mut window = vec![0; WINDOW];
    let (mut at, mut end, mut more) = (0, 0, true);
    // Where in the base the last copy would go on.
    let mut next = 0;
    loop {
        if more && end - at < AHEAD {
            window.copy_within(at..end, 0);
            (at, end) = (0, end - at);
            while more && end < WINDOW {
                let n = read(&mut window[end..])?;
                (end, more) = (end + n, n > 0);
            }
        }
        let wanted = &window[at..end];
        if wanted.is_empty() {
            return writer.finish();
        }
        let straight = common_prefix(base.text().get(next..).unwrap_or(&[]), wanted);
        let (from, length) = match straight {
            SHORTEST_STRAIGHT.. => (next, straight),
            _ => base.longest(wanted),
        };
        if length >= SHORTEST || straight >= SHORTEST_STRAIGHT {
            writer.copy(from as u64, length as u64)?;
            (at, next) = (at + length, from + length);
        } else {
            writer.literal(&wanted[..1])?;
            (at, next) = (at + 1, next + 1);
        }
    }
}
