//! Workers: starting them, hearing from them, and what follows.

use crate::base::{Error, Kind, Result};
use crate::engine::{ConnId, Engine, Reply, kind, token};
use crate::image::Digest;
use crate::reactor::{Interest, now_ms};
use crate::sys::{channel, spawn};
use crate::wire::commit::Change;
use crate::wire::worker::{Answer, Assignment, Job as Task, Place, Report};
use rustix::process::{Pid, Signal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Workers at once; more are refused.
const MOST: usize = 64;
/// The trash is emptied that long after something was thrown away.
const TRASH_PAUSE_MS: u64 = 1000;

/// What a job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A pull; its key joins clients that want the same.
    Pull {
        /// Reference and platform.
        key: String,
    },
    /// A load: progress goes to the client.
    Load {
        /// No progress lines.
        quiet: bool,
    },
    /// Verify: lines go to the client.
    Verify,
    /// Figures for one client's answer.
    Usage(UsageFor),
    /// Nobody waits.
    Quiet,
}

/// What the figures of a usage job are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageFor {
    /// `GET /containers/json?size=1`, and inspect: IDs in the order of the paths.
    Containers {
        /// IDs.
        ids: Vec<String>,
        /// The answer's JSON without sizes.
        answer: serde_json::Value,
    },
    /// `GET /system/df`.
    System {
        /// Names of the volumes in the order of the paths, after the containers.
        volumes: Vec<String>,
        /// IDs of the containers in the order of the paths.
        containers: Vec<String>,
        /// The answer's JSON without sizes.
        answer: serde_json::Value,
    },
}

/// A running worker.
pub struct Job {
    socket: OwnedFd,
    pid: u32,
    /// Its folder under staging/.
    name: String,
    /// What for.
    pub purpose: Purpose,
    /// Clients that are sent its progress.
    pub listeners: Vec<ConnId>,
    /// Layers that must not be removed meanwhile.
    pub pinned: Vec<Digest>,
    /// What it wants answered when the changes up to a batch are durable.
    finished: bool,
    /// Figures of a usage job.
    pub usage: Vec<u64>,
}

impl Job {
    /// It may leave half-made things in staging/ or trash/.
    fn stages(&self) -> bool {
        matches!(self.purpose, Purpose::Pull { .. } | Purpose::Load { .. })
    }
}

impl Engine {
    /// Starts a worker.
    pub fn spawn_worker(&mut self, purpose: Purpose, task: Task, fds: &[BorrowedFd<'_>], listeners: Vec<ConnId>) -> Result<u32> {
        if self.jobs.len() >= MOST {
            return Err(Error::unavailable(format!("{MOST} jobs are running already: try again later")));
        }
        let (ours, theirs) = channel::pair()?;
        let number = self.number();
        let place = Place {
            data_root: self.root.path().to_string_lossy().into_owned(),
            exec_root: self.settings.exec_root.clone(),
            job: format!("job-{}-{number}", rustix::process::getpid().as_raw_nonzero()),
        };
        let name = place.job.clone();
        channel::send_json(ours.as_fd(), &Assignment { place, job: task }, fds)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let child = spawn::child("prtiql-worker", &[], theirs)?;
        self.reactor.add(&ours, token(kind::JOB, number), Interest::Read)?;
        let job = Job {
            socket: ours,
            pid: child.id(),
            name,
            purpose,
            listeners,
            pinned: Vec::new(),
            finished: false,
            usage: Vec::new(),
        };
        self.jobs.insert(number, job);
        Ok(number)
    }

    /// Starts a worker that nobody waits for.
    pub fn spawn_quietly(&mut self, task: Task) {
        if let Err(e) = self.spawn_worker(Purpose::Quiet, task, &[], Vec::new()) {
            log::warn!("background job: {e}");
        }
    }

    /// The trash is emptied soon, once for all that comes meanwhile.
    pub fn empty_trash_soon(&mut self) {
        if !self.reactor.has_timer(token(kind::TRASH, 0)) {
            self.reactor.set_timer(token(kind::TRASH, 0), now_ms() + TRASH_PAUSE_MS);
        }
    }

    /// The time has come.
    pub fn empty_trash(&mut self) {
        match self.committer.is_idle() {
            true => self.spawn_quietly(Task::EmptyTrash),
            false => self.empty_trash_soon(),
        }
    }

    /// A running job needs that layer.
    pub fn layer_is_pinned(&self, layer: &Digest) -> bool {
        self.jobs.values().any(|j| j.pinned.contains(layer))
    }

    /// A client is gone: a job that nobody waits for any more is cancelled.
    pub fn leave_job(&mut self, conn: ConnId) {
        let mut cancelled = Vec::new();
        for (number, job) in &mut self.jobs {
            let before = job.listeners.len();
            job.listeners.retain(|l| *l != conn);
            if before > 0 && job.listeners.is_empty() && job.purpose != Purpose::Quiet {
                cancelled.push(*number);
            }
        }
        for number in cancelled {
            self.answer_worker(number, Answer::Cancel);
            if let Some(job) = self.jobs.get(&number)
                && let Some(pid) = i32::try_from(job.pid).ok().and_then(Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
        }
    }

    fn answer_worker(&mut self, number: u32, answer: Answer) {
        if let Some(job) = self.jobs.get(&number)
            && let Err(e) = channel::send_json(job.socket.as_fd(), &answer, &[])
        {
            log::debug!("job {number}: {e}");
        }
    }

    /// A worker has said something, or is gone.
    pub fn job_ready(&mut self, number: u32) {
        let mut body = Vec::new();
        loop {
            let Some(job) = self.jobs.get(&number) else { return };
            match channel::receive(job.socket.as_fd(), &mut body, &mut Vec::new()) {
                Ok(true) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(false) | Err(_) => return self.job_gone(number),
            }
            match serde_json::from_slice::<Report>(&body) {
                Ok(report) => self.job_says(number, report),
                Err(e) => log::error!("job {number}: {e}"),
            }
        }
    }

    fn job_says(&mut self, number: u32, report: Report) {
        match report {
            Report::Progress(progress) => self.send_to_listeners(number, super::progress::progress_line(&progress)),
            Report::Stream(text) => {
                self.send_to_listeners(number, super::progress::json_line(&serde_json::json!({"stream": text})));
            }
            Report::Plan { layers, .. } => {
                let layers = layers.iter().filter_map(|l| Digest::parse(l).ok()).collect();
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.pinned = layers;
                }
                self.answer_worker(number, Answer::Go);
            }
            Report::Image(image) => {
                let done = self.add_image(&image);
                match done {
                    Ok(id) => self.image_arrived(number, &id, &image.references),
                    Err(e) => self.job_failed(number, &e),
                }
                self.answer_worker(number, Answer::Go);
            }
            Report::Usage(figures) => {
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.usage = figures;
                }
            }
            Report::Verified { layer, damage } => {
                self.send_to_listeners(number, super::progress::json_line(&serde_json::json!({"id": layer, "damage": damage})));
            }
            Report::Done => self.job_done(number),
            Report::Failed { kind, message } => self.job_failed(number, &Error::new(kind, message)),
        }
    }

    fn image_arrived(&mut self, number: u32, id: &Digest, references: &[String]) {
        let action = match self.jobs.get(&number).map(|j| &j.purpose) {
            Some(Purpose::Load { .. }) => "load",
            _ => "pull",
        };
        for reference in references {
            let name = crate::image::Reference::parse(reference).map(|r| r.familiar()).unwrap_or_default();
            let id = if action == "pull" { name.clone() } else { id.to_string() };
            self.emit("image", action, &id, vec![("name".into(), name)]);
        }
    }

    fn send_to_listeners(&mut self, number: u32, line: Vec<u8>) {
        let Some(job) = self.jobs.get(&number) else { return };
        if matches!(job.purpose, Purpose::Load { quiet: true }) && !line.starts_with(b"{\"stream\"") {
            return;
        }
        for conn in job.listeners.clone() {
            // In order with the last lines, which wait for what they promise.
            self.answer_durably(conn, Reply::Chunk(line.clone()));
        }
    }

    fn job_done(&mut self, number: u32) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.finished = true;
        let listeners = std::mem::take(&mut job.listeners);
        match job.purpose.clone() {
            Purpose::Usage(what) => {
                let figures = std::mem::take(&mut job.usage);
                for conn in listeners {
                    self.answer_usage(conn, &what, &figures);
                }
            }
            _ => {
                for conn in listeners {
                    self.answer_durably(conn, Reply::StreamEnd);
                }
            }
        }
    }

    fn job_failed(&mut self, number: u32, error: &Error) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.finished {
            return;
        }
        job.finished = true;
        let listeners = std::mem::take(&mut job.listeners);
        let purpose = job.purpose.clone();
        if job.stages() {
            self.empty_trash_soon(); // what it had half made is there
        }
        log::warn!("{purpose:?} failed: {error}");
        for conn in listeners {
            match purpose {
                Purpose::Usage(_) => self.answer(conn, Reply::Error(Error::new(error.kind(), error.to_string()))),
                _ => self.stream_failed(conn, error),
            }
        }
    }

    fn job_gone(&mut self, number: u32) {
        let finished = self.jobs.get(&number).is_none_or(|j| j.finished);
        if !finished {
            let why = "the worker was killed before it was done (out of memory?); what is complete is kept: try again";
            self.job_failed(number, &Error::new(Kind::Internal, why));
            if let Some(job) = self.jobs.get(&number).filter(|j| j.stages()) {
                self.committer.change(Change::Discard { path: format!("staging/{}", job.name) });
            }
        }
        if let Some(job) = self.jobs.remove(&number) {
            self.reactor.remove(&job.socket);
        }
    }
}
