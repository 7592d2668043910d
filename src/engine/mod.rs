//! Floor 5: the daemon's state and what changes it. Nothing here blocks: work goes to children, durability to the committer.
//!
//! Callers (the API) name a connection by a [`ConnId`] and get [`Outcome`]s for it in [`Engine::outbox`], at once or later.

pub mod attach;
pub mod commit;
pub mod container;
pub mod create;
pub mod delta_image;
pub mod events;
pub mod exec;
pub mod gc;
pub mod host;
pub mod images;
pub mod jobs;
pub mod lifecycle;
pub mod limits;
pub mod mounts;
pub mod names;
pub mod networks;
pub mod progress;
pub mod pull;
pub mod remove;
pub mod restore;
pub mod shims;
pub mod signal;
pub mod top;
pub mod usage;
pub mod volumes;
pub mod wear;

use crate::base::time::Time;
use crate::base::{Error, Result};
use crate::config::Settings;
use crate::reactor::{Event, Reactor, Token, now_ms};
use crate::store;
use std::collections::BTreeMap;

/// A client's connection.
pub type ConnId = u32;

/// What a token belongs to: the upper eight bits.
pub mod kind {
    /// A connection or listener of the API.
    pub const API: u8 = 1;
    /// The committer's socket.
    pub const COMMITTER: u8 = 2;
    /// A worker's socket.
    pub const JOB: u8 = 3;
    /// A starter's or shim's socket.
    pub const SHIM: u8 = 4;
    /// Signals.
    pub const SIGNALS: u8 = 5;
    /// Deadline of a container's stop, by its number.
    pub const STOP: u8 = 6;
    /// Restart by policy, by the container's number.
    pub const RESTART: u8 = 7;
    /// Time to empty the trash.
    pub const TRASH: u8 = 8;
    /// The daily look at unused images.
    pub const GC: u8 = 11;
    /// Time to keep the sums of what was written.
    pub const WEAR: u8 = 13;
    /// End of a client's event stream, by connection.
    pub const EVENTS: u8 = 10;
    /// Watchdog of the service manager.
    pub const WATCHDOG: u8 = 9;
}

/// A token of that kind.
pub fn token(kind: u8, number: u32) -> Token {
    Token(u64::from(kind) << 56 | u64::from(number))
}

/// Kind and number of a token.
pub fn parts(token: Token) -> (u8, u32) {
    ((token.0 >> 56) as u8, token.0 as u32)
}

/// An answer, or a part of one.
#[derive(Debug)]
pub enum Reply {
    /// Status and JSON body.
    Json(u16, Vec<u8>),
    /// Status without a body.
    Empty(u16),
    /// An error: `{"message": …}`.
    Error(Error),
    /// A stream of JSON objects follows; its head goes out with the first piece, so that an error before it keeps its status.
    StreamStart,
    /// The same with the head at once.
    StreamHead,
    /// A piece of the stream.
    Chunk(Vec<u8>),
    /// The stream's end.
    StreamEnd,
}

/// What a connection is to be sent, once the changes up to `barrier` are durable.
#[derive(Debug)]
pub struct Outcome {
    /// Whose.
    pub conn: ConnId,
    /// What.
    pub reply: Reply,
    /// The batch of changes that it promises; 0 promises nothing.
    pub barrier: u64,
}

/// All state.
pub struct Engine {
    /// The settings.
    pub settings: Settings,
    /// The event loop.
    pub reactor: Reactor,
    /// The data root.
    pub root: store::Root,
    /// Makes changes durable.
    pub committer: commit::Committer,
    /// Answers that wait to be sent.
    pub outbox: Vec<Outcome>,
    /// Images and references.
    pub images: images::Images,
    /// Containers.
    pub containers: container::Containers,
    /// Processes in containers.
    pub execs: BTreeMap<String, exec::Exec>,
    /// Volumes.
    pub volumes: volumes::Volumes,
    /// Networks.
    pub networks: networks::Networks,
    /// Running workers.
    pub jobs: BTreeMap<u32, jobs::Job>,
    /// Jobs that have ended and may have left a control group.
    pub old_groups: Vec<String>,
    /// Sockets of starters and shims.
    pub shims: BTreeMap<u32, shims::Link>,
    /// What happened lately, and who listens.
    pub events: events::Events,
    /// What the host is.
    pub host: host::Host,
    /// Containers whose definition is on its way to the disk, by the batch that holds it.
    pub unborn: Vec<(u64, String)>,
    /// Something in the trash waits for containers that run on it.
    pub trash_held: bool,
    /// Something came while the trash was being emptied.
    pub trash_came: bool,
    /// Layers without an image have been removed since somebody asked for room.
    pub orphans_found: bool,
    /// Workers that give back room, and wait for the committer.
    pub reclaims: Vec<jobs::Purpose>,
    /// How much is written, and for what.
    pub wears: wear::Wears,
    /// When the daemon started.
    pub started: Time,
    /// The same by the clock that never jumps.
    pub started_ms: u64,
    /// The daemon is to end.
    pub stopping: bool,
    next_number: u32,
}

impl Engine {
    /// An engine over an opened data root; reads what is there.
    pub fn new(settings: Settings) -> Result<Engine> {
        store::probe(settings.data_root.as_ref())?;
        let root = store::Root::open(settings.data_root.as_ref())?;
        let mut space = store::limits(root.path(), &settings.storage_reserve, &settings.storage_quota)?;
        (space.frees, space.spare) = (settings.gc.enabled, settings.gc.keep_free_bytes());
        let mut root = root.with(space, store::Stores::default());
        for refused in root.add_stores(&settings.image_stores) {
            log::error!("{refused}");
        }
        let reactor = Reactor::new()?;
        let committer = commit::Committer::start(root.path(), &reactor)?;
        let networks = networks::Networks::new(&settings)?;
        let host = host::Host::probe(&root);
        let wears = wear::Wears::load(&settings.exec_root, root.path());
        let mut engine = Engine {
            settings,
            reactor,
            root,
            committer,
            outbox: Vec::new(),
            images: images::Images::default(),
            containers: container::Containers::default(),
            execs: BTreeMap::new(),
            volumes: volumes::Volumes::default(),
            networks,
            jobs: BTreeMap::new(),
            old_groups: Vec::new(),
            shims: BTreeMap::new(),
            events: events::Events::default(),
            host,
            unborn: Vec::new(),
            trash_held: false,
            trash_came: false,
            orphans_found: false,
            reclaims: Vec::new(),
            wears,
            started: Time::now(),
            started_ms: now_ms(),
            stopping: false,
            next_number: 1,
        };
        crate::worker::memory::clear();
        engine.restore()?;
        Ok(engine)
    }

    /// A number that no living thing has.
    pub fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1).max(1);
        self.next_number
    }

    /// Queues an answer that promises nothing durable.
    pub fn answer(&mut self, conn: ConnId, reply: Reply) {
        self.outbox.push(Outcome { conn, reply, barrier: 0 });
    }

    /// Queues an answer that waits until all changes so far are durable.
    pub fn answer_durably(&mut self, conn: ConnId, reply: Reply) {
        let barrier = self.committer.barrier();
        self.outbox.push(Outcome { conn, reply, barrier });
    }

    /// Queues an error, or the given success.
    pub fn answer_result(&mut self, conn: ConnId, result: Result<Reply>) {
        match result {
            Ok(reply) => self.answer(conn, reply),
            Err(e) => self.answer(conn, Reply::Error(e)),
        }
    }

    /// Handles an event of a kind that is the engine's.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Io { token, writable, .. } => match parts(token) {
                (kind::COMMITTER, _) => self.committer_ready(writable),
                (kind::JOB, number) => self.job_ready(number),
                (kind::SHIM, number) => self.shim_ready(number),
                _ => {}
            },
            Event::Timer(token) => match parts(token) {
                (kind::STOP, number) => self.stop_deadline(number),
                (kind::RESTART, number) => self.restart_due(number),
                (kind::TRASH, _) => self.empty_trash(),
                (kind::GC, _) => self.daily_look(),
                (kind::WEAR, _) => self.keep_wear(),
                (kind::EVENTS, conn) => {
                    self.events.unsubscribe(conn);
                    self.answer(conn, Reply::StreamEnd);
                }
                _ => {}
            },
        }
    }

    /// The end of a turn of the loop: what changed goes to the committer.
    pub fn end_turn(&mut self) {
        self.committer.flush(&self.reactor);
    }

    /// Takes the answers that may be sent now.
    pub fn take_answers(&mut self) -> Vec<Outcome> {
        let acked = self.committer.acked;
        let (ready, wait): (Vec<_>, Vec<_>) = self.outbox.drain(..).partition(|o| o.barrier <= acked);
        self.outbox = wait;
        ready
    }

    fn committer_ready(&mut self, writable: bool) {
        if writable {
            self.committer.send_queued(&self.reactor);
        }
        let failures = self.committer.receive();
        for (batch, message) in failures {
            log::error!("state could not be written: {message}");
            for outcome in self.outbox.iter_mut().filter(|o| o.barrier == batch) {
                outcome.reply = Reply::Error(Error::internal(format!("state could not be made durable: {message}")));
            }
            let lost: Vec<String> = self.unborn.iter().filter(|(b, _)| *b == batch).map(|(_, id)| id.clone()).collect();
            for id in lost {
                self.remove_now(&id, true); // it was never acknowledged
            }
        }
        let acked = self.committer.acked;
        self.let_planned_go(acked);
        self.reclaim_due();
        if let (bytes, batches @ 1..) = std::mem::take(&mut self.committer.wrote) {
            self.state_wore(bytes, batches, acked);
        }
        self.unborn.retain(|(batch, _)| *batch > acked);
        if self.committer.is_gone() && !self.stopping {
            log::error!("the committer has died; starting another");
            if let Err(e) = self.committer.restart(self.root.path(), &self.reactor) {
                log::error!("{e}");
            }
        }
    }

    /// A client's connection is gone: nobody waits there any more.
    pub fn forget(&mut self, conn: ConnId) {
        self.outbox.retain(|o| o.conn != conn);
        self.events.unsubscribe(conn);
        self.reactor.cancel_timer(token(kind::EVENTS, conn));
        self.containers.forget(conn);
        self.leave_job(conn);
    }

    /// Children that have ended are reaped; their sockets tell what became of them.
    pub fn reap(&mut self) {
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        self.leave_groups();
    }

    /// Records an event and hands it to those who listen.
    pub fn emit(&mut self, kind: &'static str, action: &str, id: &str, attributes: Vec<(String, String)>) {
        let event = events::Event { kind, action: action.to_string(), id: id.to_string(), attributes, time: Time::now() };
        for (conn, text) in self.events.publish(event) {
            self.answer(conn, Reply::Chunk(text));
        }
    }
}
