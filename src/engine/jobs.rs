//! Workers: starting them, hearing from them, and what follows.

use crate::base::{Error, Result, size};
use crate::engine::{ConnId, Engine, Reply, kind, token};
use crate::image::Digest;
use crate::reactor::{Interest, now_ms};
use crate::sys::{channel, spawn};
use crate::wire::commit::Change;
use crate::wire::worker::{Answer, Assignment, Job as Task, Place, Report, Verified};
use crate::worker::memory;
use rustix::process::{Pid, Signal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Workers at once; more are refused.
const MOST: usize = 64;
/// Bytes of memory, page cache included: the least that a process of a job needs, and the most that it makes use of.
const PROCESS_MEMORY: (u64, u64) = (3 << 20, 32 << 20);
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
    /// A delta image: progress goes to the client.
    MakeDelta,
    /// Verify: lines go to the client.
    Verify {
        /// What is damaged is fetched again.
        repair: bool,
    },
    /// Figures for one client's answer.
    Usage(UsageFor),
    /// Room for another job, which waits for it.
    Room {
        /// Its number.
        job: u32,
    },
    /// The daily look at what is unused.
    Daily,
    /// What is left over after a prune.
    Prune {
        /// Layers in part, too.
        all: bool,
    },
    /// Emptying the trash.
    Trash,
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
    /// What its writes are summed up as.
    kind: &'static str,
    /// Clients that are sent its progress.
    pub listeners: Vec<ConnId>,
    /// Layers that must not be removed meanwhile.
    pub pinned: Vec<Digest>,
    /// What it wants answered when the changes up to a batch are durable.
    finished: bool,
    /// Figures of a usage job.
    pub usage: Vec<u64>,
    /// It may go on when the changes up to this batch are durable.
    go_after: Option<u64>,
    /// How often it has asked for room.
    pub rounds: u32,
}

impl Purpose {
    /// It may leave half-made things in staging/ or trash/.
    fn stages(&self) -> bool {
        matches!(self, Purpose::Pull { .. } | Purpose::Load { .. } | Purpose::MakeDelta | Purpose::Verify { repair: true })
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
        // A delta's making takes as much as its base is large: its worker compares that with the machine.
        let memory = if purpose.stages() && purpose != Purpose::MakeDelta { self.worker_memory() } else { 0 };
        let place = Place {
            data_root: self.root.path().to_string_lossy().into_owned(),
            exec_root: self.settings.exec_root.clone(),
            job: format!("job-{}-{number}", rustix::process::getpid().as_raw_nonzero()),
            memory,
            fixed: !self.settings.worker_memory.is_empty(),
            processes: u32::try_from(memory / PROCESS_MEMORY.0).unwrap_or(u32::MAX).max(1),
            space: *self.root.space(),
            stores: self.root.stores().paths().iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        };
        let name = place.job.clone();
        let kind = match &task {
            Task::Pull { .. } | Task::Layers { .. } => "pull",
            Task::Load { .. } => "load",
            Task::MakeDelta { .. } => "delta",
            Task::Verify { repair: None, .. } => "verify",
            Task::Verify { .. } => "repair",
            Task::EmptyTrash { .. } | Task::Reclaim { .. } => "trash",
            Task::Logs(_) | Task::Usage { .. } | Task::RemoveCgroup { .. } => "other",
        };
        channel::send_json(ours.as_fd(), &Assignment { place, job: task }, fds)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let child = spawn::child("prtiql-worker", &[crate::base::logger::level()], theirs)?;
        self.reactor.add(&ours, token(kind::JOB, number), Interest::Read)?;
        let job = Job {
            socket: ours,
            pid: child.id(),
            name,
            purpose,
            kind,
            listeners,
            pinned: Vec::new(),
            finished: false,
            usage: Vec::new(),
            go_after: None,
            rounds: 0,
        };
        self.jobs.insert(number, job);
        Ok(number)
    }

    /// What a job may use, by the settings; else a tenth of the machine, which leaves an application's pages alone, and no more than
    /// its processes can put to use.
    fn worker_memory(&self) -> u64 {
        let most = (1 + u64::from(self.settings.max_concurrent_downloads)) * PROCESS_MEMORY.1;
        size::parse(&self.settings.worker_memory).unwrap_or_else(|_| (self.host.memory / 10).clamp(PROCESS_MEMORY.0, most))
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
            // One at a time: it starts again when that one has ended.
            true if self.jobs.values().any(|j| j.purpose == Purpose::Trash) => self.trash_came = true,
            true => {
                let hold = self.layers_in_use();
                if let Err(e) = self.spawn_worker(Purpose::Trash, Task::EmptyTrash { hold }, &[], Vec::new()) {
                    log::warn!("emptying the trash: {e}");
                }
            }
            false => self.empty_trash_soon(),
        }
    }

    /// Hexadecimal diff IDs of the layers that containers run on.
    pub fn layers_in_use(&self) -> Vec<String> {
        let running = self.containers.all().filter(|c| c.is_running() || c.starting.is_some());
        let hex = |layer: &String| Some(Digest::parse(layer).ok()?.hex());
        let all: std::collections::BTreeSet<String> = running.flat_map(|c| c.def.layers.iter().filter_map(hex)).collect();
        all.into_iter().collect()
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

    /// Says something to a worker.
    pub fn answer_worker(&mut self, number: u32, answer: Answer) {
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
            Report::Plan { layers } => {
                let layers = layers.iter().filter_map(|l| Digest::parse(l).ok()).collect();
                // What was removed before it was pinned is to be gone before the worker looks.
                let barrier = self.committer.barrier();
                if let Some(job) = self.jobs.get_mut(&number) {
                    (job.pinned, job.go_after) = (layers, Some(barrier));
                }
                self.let_planned_go(self.committer.acked);
            }
            Report::Short(bytes) => self.make_room(number, bytes),
            Report::Reclaimed { orphans, free } => {
                self.orphans(&orphans);
                if self.jobs.get(&number).is_some_and(|j| j.purpose == Purpose::Daily) {
                    self.keep_free(free);
                }
            }
            Report::Image(image) => {
                let done = self.add_image(&image);
                match done {
                    Ok(id) => self.image_arrived(number, &id, &image.references, &image.base),
                    Err(e) => self.job_failed(number, &e),
                }
                self.answer_worker(number, Answer::Go);
            }
            Report::Usage(figures) => {
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.usage = figures;
                }
            }
            Report::Verified(line) => self.layer_verified(number, &line),
            Report::Held(count) => self.trash_held = count > 0,
            Report::Wear(wear) => {
                if let Some(job) = self.jobs.get(&number) {
                    self.job_wore(job.kind, &wear);
                }
            }
            Report::Done => self.job_done(number),
            Report::Failed { kind, message } => self.job_failed(number, &Error::new(kind, message)),
        }
    }

    /// Jobs that wait for the changes up to a batch go on.
    pub fn let_planned_go(&mut self, acked: u64) {
        let ready = |job: &mut Job| job.go_after.take_if(|barrier| *barrier <= acked).is_some();
        let numbers: Vec<u32> = self.jobs.iter_mut().filter_map(|(number, job)| ready(job).then_some(*number)).collect();
        for number in numbers {
            self.answer_worker(number, Answer::Go);
        }
    }

    fn layer_verified(&mut self, number: u32, line: &Verified) {
        let mut json = serde_json::json!({"id": line.layer, "damage": line.damage});
        if line.repaired || !line.reason.is_empty() {
            json["repaired"] = line.repaired.into();
            json["reason"] = line.reason.clone().into();
        }
        if line.repaired {
            log::info!("layer {} was damaged and is repaired: {}", line.layer, line.damage);
            self.empty_trash_soon();
        }
        self.send_to_listeners(number, super::progress::json_line(&json));
    }

    fn image_arrived(&mut self, number: u32, id: &Digest, references: &[String], base: &str) {
        let action = match self.jobs.get(&number).map(|j| &j.purpose) {
            Some(Purpose::Load { .. }) => "load",
            Some(Purpose::MakeDelta) => "tag",
            _ => "pull",
        };
        for reference in references {
            let name = crate::image::Reference::parse(reference).map(|r| r.familiar()).unwrap_or_default();
            let id = if action == "pull" { name.clone() } else { id.to_string() };
            let mut attributes = vec![("name".into(), name)];
            if !base.is_empty() {
                attributes.push(("delta.base".into(), base.to_string()));
            }
            self.emit("image", action, &id, attributes);
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
            Purpose::Room { job } => self.answer_worker(job, Answer::Go),
            Purpose::Usage(what) => {
                let figures = std::mem::take(&mut job.usage);
                for conn in listeners {
                    self.answer_usage(conn, &what, &figures);
                }
            }
            purpose => {
                if purpose.stages() {
                    self.empty_trash_soon(); // its work folder is there
                }
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
        if job.purpose.stages() {
            self.empty_trash_soon(); // what it had half made is there
        }
        log::warn!("{purpose:?} failed: {error}");
        if let Purpose::Room { job } = purpose {
            self.answer_worker(job, Answer::No);
        }
        for conn in listeners {
            match purpose {
                Purpose::Usage(_) => self.answer(conn, Reply::Error(Error::new(error.kind(), error.to_string()))),
                _ => self.stream_failed(conn, error),
            }
        }
    }

    /// Removes the control groups of jobs whose processes have all ended by now.
    pub fn leave_groups(&mut self) {
        self.old_groups.retain(|job| !memory::leave(job));
    }

    fn job_gone(&mut self, number: u32) {
        let finished = self.jobs.get(&number).is_none_or(|j| j.finished);
        if !finished {
            let name = self.jobs.get(&number).map(|j| j.name.clone()).unwrap_or_default();
            self.job_failed(number, &Error::internal(memory::why_killed(&name)));
            if let Some(job) = self.jobs.get(&number).filter(|j| j.purpose.stages()) {
                self.committer.change(Change::Discard { path: format!("staging/{}", job.name) });
            }
        }
        if let Some(job) = self.jobs.remove(&number) {
            self.reactor.remove(&job.socket);
            if job.purpose == Purpose::Trash && std::mem::take(&mut self.trash_came) {
                self.empty_trash_soon();
            }
            if job.purpose.stages() {
                self.old_groups.push(job.name);
                self.leave_groups();
            }
        }
    }
}
