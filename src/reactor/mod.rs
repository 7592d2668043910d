//! Floor 3: the event loop. epoll for descriptors, a heap of deadlines for timers; it knows nothing of what they are for.
//!
//! A loop without armed timers sleeps in the kernel until a descriptor is ready: an idle daemon wakes up never.

use crate::base::Result;
use rustix::event::epoll;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

/// What the owner of a descriptor or timer calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The descriptor is ready; `closed` is an error or a hang-up.
    Io {
        /// Whose.
        token: Token,
        /// Can be read (or has ended).
        readable: bool,
        /// Can be written.
        writable: bool,
        /// Error or hang-up.
        closed: bool,
    },
    /// The deadline has passed.
    Timer(Token),
}

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Readable.
    Read,
    /// Writable.
    Write,
    /// Both.
    Both,
    /// Only that the other side is gone.
    Nothing,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Interest::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Interest::Write => epoll::EventFlags::OUT,
            Interest::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP,
            Interest::Nothing => epoll::EventFlags::empty(),
        }
    }
}

/// One epoll descriptor and its timers.
pub struct Reactor {
    epoll: OwnedFd,
    timers: BTreeSet<(u64, Token)>,
    buffer: Vec<epoll::Event>,
    /// The program's pages were given back: nothing has happened for [`QUIET_MS`].
    asleep: bool,
}

/// After so long without an event the process gives its program's pages back and sleeps on: one wake-up, then none.
const QUIET_MS: u64 = 2000;

/// Milliseconds of the monotonic clock (it stands still while the machine sleeps).
pub fn now_ms() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

impl Reactor {
    /// An empty loop.
    pub fn new() -> Result<Reactor> {
        Ok(Reactor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            timers: BTreeSet::new(),
            buffer: Vec::with_capacity(64),
            asleep: false,
        })
    }

    /// Watches a descriptor.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.0), interest.flags())?)
    }

    /// Changes what is watched.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token.0), interest.flags())?)
    }

    /// Stops watching; a descriptor that is not watched is no error.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Arms (or moves) the token's one timer to `at` milliseconds of [`now_ms`].
    pub fn set_timer(&mut self, token: Token, at: u64) {
        self.cancel_timer(token);
        self.timers.insert((at, token));
    }

    /// The token's timer is armed.
    pub fn has_timer(&self, token: Token) -> bool {
        self.timers.iter().any(|(_, t)| *t == token)
    }

    /// Disarms the token's timer.
    pub fn cancel_timer(&mut self, token: Token) {
        self.timers.retain(|(_, t)| *t != token);
    }

    fn sleep(&mut self, ms: Option<u64>) -> Result<()> {
        let timeout = ms.map(|ms| rustix::event::Timespec { tv_sec: (ms / 1000) as _, tv_nsec: ((ms % 1000) * 1_000_000) as _ });
        self.buffer.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.buffer), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Sleeps until something happens and appends it to `events`.
    pub fn wait(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let timer = self.timers.first().map(|(at, _)| at.saturating_sub(now_ms()));
        let quiet = if self.asleep { None } else { Some(QUIET_MS) };
        self.sleep([timer, quiet].into_iter().flatten().min())?;
        if self.buffer.is_empty() && !self.asleep && timer.is_none_or(|t| t > QUIET_MS) {
            self.asleep = true;
            crate::sys::pages::forget_program();
            self.sleep(self.timers.first().map(|(at, _)| at.saturating_sub(now_ms())))?;
        }
        self.asleep &= self.buffer.is_empty();
        for event in &self.buffer {
            let flags = event.flags;
            events.push(Event::Io {
                token: Token(event.data.u64()),
                readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::HUP),
                writable: flags.contains(epoll::EventFlags::OUT),
                closed: flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP),
            });
        }
        let now = now_ms();
        while let Some((at, token)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, token));
            events.push(Event::Timer(token));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_timers_are_reported_in_their_order() {
        let mut reactor = Reactor::new().unwrap();
        let (a, b) = crate::sys::channel::pair().unwrap();
        reactor.add(&b, Token(7), Interest::Read).unwrap();
        let now = now_ms();
        reactor.set_timer(Token(2), now + 20);
        reactor.set_timer(Token(1), now + 10);
        reactor.set_timer(Token(3), now + 5);
        reactor.cancel_timer(Token(3));
        crate::sys::channel::send(a.as_fd(), b"x", &[]).unwrap();
        let mut events = Vec::new();
        reactor.wait(&mut events).unwrap();
        assert_eq!(events, [Event::Io { token: Token(7), readable: true, writable: false, closed: false }]);
        reactor.remove(&b);
        events.clear();
        while events.len() < 2 {
            reactor.wait(&mut events).unwrap();
        }
        assert_eq!(events, [Event::Timer(Token(1)), Event::Timer(Token(2))]);
    }
}
