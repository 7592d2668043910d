//! Floor 6: the Docker Engine API, and the daemon's main loop.

pub mod call;
pub mod containers;
pub mod exec;
pub mod filters;
pub mod images;
pub mod inspect;
pub mod lifecycle;
pub mod listen;
pub mod networks;
pub mod routes;
pub mod server;
pub mod store;
pub mod system;
pub mod volumes;

use crate::base::{Context, Result, logger};
use crate::config;
use crate::engine::networks::Networks;
use crate::engine::{ConnId, Engine, kind, parts, token};
use crate::reactor::{Event, Interest, now_ms};
use crate::sys::signals;
use nix::sys::signalfd::SignalFd;
use server::{Conns, FIRST};

/// `prtiql daemon`: runs until a signal ends it; returns the exit status.
pub fn daemon_main(args: Vec<String>) -> i32 {
    if args.iter().any(|a| a == "--version" || a == "-v") {
        println!("prtiql version {}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    let (validate, args): (Vec<String>, Vec<String>) = args.into_iter().partition(|a| a == "--validate");
    let checked = |settings| if validate.is_empty() { Ok(settings) } else { Networks::new(&settings).map(|_| settings) };
    let settings = match config::load(&args).and_then(checked) {
        Ok(settings) => settings,
        Err(e) => {
            eprintln!("prtiql daemon: {e}");
            return 1;
        }
    };
    if !validate.is_empty() {
        println!("configuration OK");
        return 0;
    }
    logger::start(&settings.log_level, settings.debug);
    for finding in crate::check::at_start() {
        log::warn!("{finding}");
    }
    if let Err(e) = crate::runtime::shield() {
        log::warn!("{e}"); // containers are then a little less protected from each other, not absent
    }
    match Daemon::start(settings, args).and_then(|mut daemon| daemon.run()) {
        Ok(()) => 0,
        Err(e) => {
            log::error!("{e}");
            eprintln!("prtiql daemon: {e}");
            1
        }
    }
}

/// Engine, listeners and connections.
pub struct Daemon {
    engine: Engine,
    conns: Conns,
    listeners: listen::Listeners,
    signals: SignalFd,
    args: Vec<String>,
    watchdog_ms: u64,
}

impl Daemon {
    fn start(settings: config::Settings, args: Vec<String>) -> Result<Daemon> {
        signals::defaults();
        signals::ignore_pipe();
        let containers = format!("{}/containers", settings.exec_root);
        std::fs::create_dir_all(&containers).context(|| format!("exec root {}", settings.exec_root))?;
        rustix::fs::chmod(&*containers, rustix::fs::Mode::from_raw_mode(0o700)).context(|| containers.clone())?;
        // The kernel should take a container or a worker before what holds them; it may not be allowed.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-500");
        listen::check_pidfile(&settings.pidfile)?;
        let listeners = listen::Listeners::open(&settings)?;
        let engine = Engine::new(settings)?;
        listen::write_pidfile(&engine.settings.pidfile)?;
        let signals = signals::daemon()?;
        engine.reactor.add(&signals, token(kind::SIGNALS, 0), Interest::Read)?;
        listeners.watch(&engine.reactor)?;
        let watchdog_ms = listen::watchdog_ms();
        Ok(Daemon { engine, conns: Conns::default(), listeners, signals, args, watchdog_ms })
    }

    fn run(&mut self) -> Result<()> {
        listen::notify("READY=1");
        log::info!("API listens on {}", self.listeners.names().join(", "));
        if self.watchdog_ms > 0 {
            self.engine.reactor.set_timer(token(kind::WATCHDOG, 0), now_ms() + self.watchdog_ms);
        }
        let mut events = Vec::new();
        while !(self.engine.stopping && self.engine.committer.is_idle()) {
            self.end_turn();
            events.clear();
            self.engine.reactor.wait(&mut events)?;
            for event in &events {
                self.handle(*event);
            }
        }
        listen::notify("STOPPING=1");
        self.engine.keep_wear_volatile();
        self.listeners.remove();
        listen::remove_pidfile(&self.engine.settings.pidfile);
        log::info!("the daemon ends; containers run on");
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Io { token, readable, closed, .. } => match parts(token) {
                (kind::API, number) if number < FIRST => self.accept(number),
                (kind::API, conn) => self.conn_ready(conn, readable, closed),
                (kind::SIGNALS, _) => self.signal(),
                _ => self.engine.handle(event),
            },
            Event::Timer(token) => match parts(token) {
                (kind::API, conn) => {
                    self.conns.timed_out(conn);
                    self.flush(conn);
                }
                (kind::WATCHDOG, _) => {
                    listen::notify("WATCHDOG=1");
                    self.engine.reactor.set_timer(token, now_ms() + self.watchdog_ms);
                }
                _ => self.engine.handle(event),
            },
        }
    }

    fn accept(&mut self, number: u32) {
        while let Some(fd) = self.listeners.accept(number) {
            self.conns.accept(fd, &self.engine.reactor);
        }
    }

    fn conn_ready(&mut self, conn: ConnId, readable: bool, closed: bool) {
        if readable {
            match self.conns.readable(conn, &mut self.engine.reactor, &routes::takes_stream) {
                Ok(Some(ready)) => self.dispatch(ready),
                Ok(None) => {}
                Err(server::Over) => return self.gone(conn),
            }
        }
        // Both directions are closed: nobody reads an answer any more.
        if closed && self.conns.has(conn) {
            return self.gone(conn);
        }
        self.flush(conn);
    }

    fn dispatch(&mut self, ready: server::Ready) {
        let conn = ready.conn;
        let result = routes::dispatch(&mut call::Context { engine: &mut self.engine, conns: &mut self.conns }, ready);
        match result {
            Ok(Some(reply)) => self.conns.reply(conn, reply),
            Ok(None) => {}
            Err(e) => self.engine.answer(conn, crate::engine::Reply::Error(e)),
        }
    }

    /// Sends what is ready, goes on with pipelined requests, and gives the committer its batch.
    fn end_turn(&mut self) {
        loop {
            self.engine.end_turn();
            let answers = self.engine.take_answers();
            if answers.is_empty() {
                return;
            }
            for outcome in answers {
                self.conns.reply(outcome.conn, outcome.reply);
                self.flush(outcome.conn);
            }
        }
    }

    fn flush(&mut self, conn: ConnId) {
        loop {
            if !self.conns.flush(conn, &self.engine.reactor) {
                return self.gone(conn);
            }
            if !self.conns.has_next(conn) {
                return;
            }
            match self.conns.advance(conn, &mut self.engine.reactor, &routes::takes_stream) {
                Ok(Some(ready)) => self.dispatch(ready),
                Ok(None) => {
                    if !self.conns.flush(conn, &self.engine.reactor) {
                        self.gone(conn);
                    }
                    return;
                }
                Err(server::Over) => return self.gone(conn),
            }
        }
    }

    fn gone(&mut self, conn: ConnId) {
        self.conns.drop(conn, &mut self.engine.reactor);
        self.engine.forget(conn);
    }

    fn signal(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match info.ssi_signo as i32 {
                libc::SIGCHLD => self.engine.reap(),
                libc::SIGHUP => self.reload(),
                _ => {
                    self.engine.stopping = true;
                    self.engine.end_turn();
                }
            }
        }
    }

    /// SIGHUP: what may change without a restart is read again.
    fn reload(&mut self) {
        match config::load(&self.args) {
            Ok(new) => {
                let settings = &mut self.engine.settings;
                settings.debug = new.debug;
                settings.insecure_registries = new.insecure_registries;
                settings.registry_mirrors = new.registry_mirrors;
                settings.max_concurrent_downloads = new.max_concurrent_downloads;
                settings.max_download_attempts = new.max_download_attempts;
                settings.download_rate_limit = new.download_rate_limit;
                settings.delta = new.delta;
                settings.download_stall_timeout = new.download_stall_timeout;
                settings.labels = new.labels;
                settings.default_shm_size = new.default_shm_size;
                settings.shutdown_timeout = new.shutdown_timeout;
                settings.proxies = new.proxies;
                logger::start(&new.log_level, new.debug);
                log::info!("settings are read again");
                let (id, name) = (self.engine.host.id.clone(), self.engine.host.name.clone());
                self.engine.emit("daemon", "reload", &id, vec![("name".into(), name)]);
            }
            Err(e) => log::error!("settings stay as they are: {e}"),
        }
    }
}
