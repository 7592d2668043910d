//! The worker's end of its socket to the daemon, which is its standard input.

use crate::base::{Error, Kind, Result};
use crate::store::{self, Device, Root};
use crate::sys::channel;
use crate::wire::worker::{Answer, Progress, Report, Wear, Written};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Progress of one layer is told no more often than this.
const EVERY: Duration = Duration::from_millis(250);

/// The socket, the descriptors that came over it, and when progress was last told.
pub struct Session {
    /// Descriptors that came with the job.
    pub fds: Vec<OwnedFd>,
    told: Option<Instant>,
    /// The device below the data root and its counts at the start, for jobs that write there.
    wear: Option<(Option<Device>, Written)>,
}

impl Session {
    /// On standard input.
    pub fn new() -> Session {
        Session { fds: Vec::new(), told: None, wear: None }
    }

    /// Readable when the daemon says something, or is gone: while a job works, both mean that it is to stop.
    pub fn watch(&self) -> BorrowedFd<'static> {
        rustix::stdio::stdin()
    }

    /// The next message; `None` if the daemon is gone.
    pub fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        channel::receive_json(self.watch(), &mut self.fds)
    }

    /// Says something.
    pub fn report(&self, report: &Report) -> Result<()> {
        channel::send_json(self.watch(), report, &[]).map_err(|_| canceled())
    }

    /// The job's end tells what was written.
    pub fn watch_wear(&mut self, root: &Root) {
        let device = Device::below(root.path());
        let before = device.as_ref().and_then(Device::written).unwrap_or_default();
        self.wear = Some((device, before));
    }

    /// Tells it, if it was to be watched.
    pub fn tell_wear(&self) {
        let Some((device, before)) = &self.wear else { return };
        let now = device.as_ref().and_then(Device::written).unwrap_or_default();
        let _ = self.report(&Report::Wear(Wear { bytes: store::written_by_process(), device: now.since(before) }));
    }

    /// Says something and waits for leave to go on.
    pub fn ask(&mut self, report: &Report) -> Result<()> {
        self.report(report)?;
        match self.receive::<Answer>()? {
            Some(Answer::Go) => Ok(()),
            Some(Answer::Cancel | Answer::No) | None => Err(canceled()),
        }
    }

    /// Asks for more room on the disk; false if there is none to be had.
    pub fn ask_for_room(&mut self, bytes: u64) -> Result<bool> {
        self.report(&Report::Short(bytes))?;
        match self.receive::<Answer>()? {
            Some(Answer::Go) => Ok(true),
            Some(Answer::No) => Ok(false),
            Some(Answer::Cancel) | None => Err(canceled()),
        }
    }

    /// Fails if the job is to stop: for work that waits for nothing else.
    pub fn check(&self) -> Result<()> {
        self.pause(Duration::ZERO)
    }

    /// Waits; fails at once if the job is to stop.
    pub fn pause(&self, time: Duration) -> Result<()> {
        let watch = self.watch();
        let mut all = [PollFd::new(&watch, PollFlags::IN)];
        let wait = Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ };
        match rustix::event::poll(&mut all, Some(&wait)) {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => Err(canceled()),
        }
    }

    /// A line of the progress stream without figures.
    pub fn status(&mut self, id: &str, status: impl Into<String>) -> Result<()> {
        self.told = None;
        self.report(&Report::Progress(Progress { status: status.into(), id: id.into(), current: 0, total: 0 }))
    }

    /// A line of the progress stream with figures, if the last one is old enough.
    pub fn progress(&mut self, id: &str, status: &str, current: u64, total: u64) -> Result<()> {
        let now = Instant::now();
        if self.told.is_some_and(|told| now - told < EVERY) {
            return Ok(());
        }
        self.told = Some(now);
        self.report(&Report::Progress(Progress { status: status.into(), id: id.into(), current, total }))
    }
}

/// Nobody waits for the job any more.
pub fn canceled() -> Error {
    Error::new(Kind::Unavailable, "context canceled")
}
