//! The helpers of a pull: workers of a worker, which fetch layers side by side. Each is a process of its own that takes whichever
//! layer nobody has (a lock on its folder says so); the pull's worker hands on what they tell.

use crate::base::{Error, Result};
use crate::sys::{channel, spawn};
use crate::wire::worker::{Assignment, Job, Place, Report};
use crate::worker::memory;
use crate::worker::session::{Session, canceled};
use rustix::event::{PollFd, PollFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;

/// A helper, and whether it has said how it ended.
struct Helper {
    process: Child,
    socket: Option<OwnedFd>,
}

/// Gives the same job to `count` helpers, and waits until all have ended. The first failure ends the others.
pub fn run(session: &mut Session, place: &Place, job: &Job, count: usize) -> Result<()> {
    let mut crew = Vec::with_capacity(count);
    let started = (0..count).try_for_each(|_| start(place, job).map(|helper| crew.push(helper)));
    let result = started.and_then(|()| listen(session, place, &mut crew));
    // A helper whose socket is closed ends by itself.
    crew.iter_mut().for_each(|helper| helper.socket = None);
    for helper in &mut crew {
        let _ = helper.process.wait();
    }
    result
}

fn start(place: &Place, job: &Job) -> Result<Helper> {
    let (ours, theirs) = channel::pair()?;
    channel::send_json(ours.as_fd(), &Assignment { place: place.clone(), job: job.clone() }, &[])?;
    let process = spawn::child("prtiql-worker", &[crate::base::logger::level()], theirs)?;
    Ok(Helper { process, socket: Some(ours) })
}

fn listen(session: &mut Session, place: &Place, crew: &mut [Helper]) -> Result<()> {
    let daemon = session.watch();
    loop {
        let open: Vec<usize> = (0..crew.len()).filter(|nth| crew[*nth].socket.is_some()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut waits = vec![PollFd::new(&daemon, PollFlags::IN)];
        waits.extend(open.iter().filter_map(|nth| Some(PollFd::new(crew[*nth].socket.as_ref()?, PollFlags::IN))));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waits, None))?;
        let ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        drop(waits);
        if ready[0] {
            return Err(canceled());
        }
        for (nth, _) in open.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            hear(session, place, &mut crew[*nth])?;
        }
    }
}

fn hear(session: &mut Session, place: &Place, helper: &mut Helper) -> Result<()> {
    let Some(socket) = &helper.socket else { return Ok(()) };
    match channel::receive_json::<Report>(socket.as_fd(), &mut Vec::new())? {
        Some(Report::Done) => helper.socket = None,
        Some(Report::Failed { kind, message }) => return Err(Error::new(kind, message)),
        Some(report) => session.report(&report)?,
        None => return Err(Error::internal(memory::why_killed(&place.job))),
    }
    Ok(())
}
