//! The limit on downloads: all workers of an engine share one file that says when the next byte may come. It is in memory (the
//! exec root), and only limited downloads touch it.

use crate::registry::failure::Failure;
use crate::registry::wire::pause;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// What may come at once after a while without any.
const BURST: Duration = Duration::from_millis(100);
/// A time farther ahead is none of this boot's.
const FARTHEST: Duration = Duration::from_secs(60);

/// Paces what one process reads.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; 0 is no limit.
    rate: u64,
    shared: Option<OwnedFd>,
    /// When the next byte may come, if no file says so.
    next: u64,
}

impl Pace {
    /// `rate` bytes a second (0 is no limit), shared with all that name the same file; an empty name shares with nobody.
    pub fn new(rate: u64, file: &str) -> Pace {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let shared = match (rate, file) {
            (0, _) | (_, "") => None,
            _ => rustix::fs::open(file, flags, Mode::from_raw_mode(0o600))
                .inspect_err(|e| log::warn!("each download is limited by itself: open {file}: {e}"))
                .ok(),
        };
        Pace { rate, shared, next: 0 }
    }

    /// The most bytes to read at once, so that no pause is long.
    pub fn chunk(&self, most: usize) -> usize {
        match self.rate {
            0 => most,
            rate => usize::try_from(rate / 8).unwrap_or(most).clamp(512, most.max(512)),
        }
    }

    /// So many bytes have come: waits until the next may.
    pub fn after(&mut self, bytes: usize, watch: Option<BorrowedFd<'static>>) -> Result<(), Failure> {
        if self.rate == 0 {
            return Ok(());
        }
        let now = now();
        let cost = u64::try_from(bytes as u128 * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX);
        let advance = |next: u64| {
            let earliest = now.saturating_sub(nanos(BURST));
            if next > now + nanos(FARTHEST) { now } else { next.max(earliest) }.saturating_add(cost)
        };
        self.next = match self.shared.as_ref().and_then(|file| change(file, advance).ok()) {
            Some(next) => next,
            None => advance(self.next),
        };
        match self.next.saturating_sub(now) {
            0 => Ok(()),
            wait => pause(Duration::from_nanos(wait), watch),
        }
    }
}

/// Changes the number in the file; nobody else does meanwhile.
fn change(file: &OwnedFd, advance: impl Fn(u64) -> u64) -> rustix::io::Result<u64> {
    rustix::fs::flock(file, FlockOperation::LockExclusive)?;
    let mut bytes = [0; 8];
    let changed = rustix::io::pread(file, &mut bytes, 0).and_then(|read| {
        let next = advance(if read == 8 { u64::from_le_bytes(bytes) } else { 0 });
        rustix::io::pwrite(file, &next.to_le_bytes(), 0).map(|_| next)
    });
    rustix::fs::flock(file, FlockOperation::Unlock)?;
    changed
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn two_share_one_limit() {
        let file = std::env::temp_dir().join(format!("prtiql-pace-{}", std::process::id()));
        let name = file.to_str().unwrap();
        let (mut one, mut two) = (Pace::new(1_000_000, name), Pace::new(1_000_000, name));
        assert_eq!((one.chunk(65536), Pace::new(0, "").chunk(65536), Pace::new(1, "").chunk(65536)), (65536, 65536, 512));
        let start = Instant::now();
        for _ in 0..5 {
            one.after(50_000, None).unwrap();
            two.after(50_000, None).unwrap();
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(380) && took < Duration::from_millis(1500), "{took:?}");
        // A time from another boot does not stop anything.
        std::fs::write(&file, (u64::MAX - 5).to_le_bytes()).unwrap();
        one.after(1000, None).unwrap();
        std::fs::remove_file(&file).unwrap();
    }
}
