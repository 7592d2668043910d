//! Pulls and loads: finding or making the job, and Docker's progress lines.

use crate::base::{Error, Result};
use crate::engine::jobs::Purpose;
use crate::engine::{ConnId, Engine, Reply};
use crate::wire::worker::{Auth, DeltaMode, Job as Task, Registries};
use std::os::fd::AsFd;

impl Engine {
    /// How workers reach registries.
    pub fn registries(&self) -> Registries {
        let s = &self.settings;
        let or_env = |own: &str, name: &str| match own {
            "" => std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).unwrap_or_default(),
            own => own.to_string(),
        };
        Registries {
            insecure: s.insecure_registries.clone(),
            mirrors: s.registry_mirrors.clone(),
            certs_dir: s.certs_dir.clone(),
            http_proxy: or_env(&s.proxies.http_proxy, "HTTP_PROXY"),
            https_proxy: or_env(&s.proxies.https_proxy, "HTTPS_PROXY"),
            no_proxy: or_env(&s.proxies.no_proxy, "NO_PROXY"),
            max_downloads: s.max_concurrent_downloads,
            max_attempts: s.max_download_attempts,
            rate: crate::base::size::parse(&s.download_rate_limit).unwrap_or(0),
            pace_file: format!("{}/download-pace", s.exec_root),
            stall: s.download_stall_timeout,
            delta: DeltaMode::parse(&s.delta).unwrap_or_default(),
        }
    }

    /// `POST /images/create?fromImage=`: joins a running pull of the same, or starts one. `delta` may be empty: as the settings say.
    pub fn pull(
        &mut self,
        conn: ConnId,
        reference: &str,
        all_tags: bool,
        platform: &str,
        delta: &str,
        auth: Option<Auth>,
    ) -> Result<()> {
        let mut registries = self.registries();
        if !delta.is_empty() {
            registries.delta = DeltaMode::parse(delta)?;
        }
        self.root.check_writable()?;
        if !platform.is_empty() {
            crate::image::Platform::parse(platform, &self.host.platform)?;
        }
        // Clients with different credentials must not see each other's images: they do not join.
        let who = auth.as_ref().map(|a| format!("{}\0{}\0{}\0{}", a.username, a.password, a.identity_token, a.registry_token));
        let key =
            crate::image::Digest::of(format!("{reference} {all_tags} {platform} {delta} {}", who.unwrap_or_default()).as_bytes())
                .hex();
        let running = self.jobs.values_mut().find(|j| j.purpose == Purpose::Pull { key: key.clone() } && !j.listeners.is_empty());
        match running {
            Some(job) => job.listeners.push(conn),
            None => {
                let task =
                    Task::Pull { reference: reference.to_string(), all_tags, platform: platform.to_string(), auth, registries };
                self.spawn_worker(Purpose::Pull { key }, task, &[], vec![conn])?;
            }
        }
        self.answer(conn, Reply::StreamStart);
        Ok(())
    }

    /// `POST /images/load`: the worker reads the archive from the connection.
    pub fn load(
        &mut self,
        conn: ConnId,
        socket: impl AsFd,
        prefix: Vec<u8>,
        body: crate::wire::http::Body,
        quiet: bool,
    ) -> Result<()> {
        self.root.check_writable()?;
        let (length, chunked) = match body {
            crate::wire::http::Body::Length(n) => (Some(n), false),
            crate::wire::http::Body::Chunked => (None, true),
        };
        let task = Task::Load { prefix, length, chunked };
        self.spawn_worker(Purpose::Load { quiet }, task, &[socket.as_fd()], vec![conn])?;
        self.answer(conn, Reply::StreamStart);
        Ok(())
    }

    /// A stream that has begun ends with an error.
    pub fn stream_failed(&mut self, conn: ConnId, error: &Error) {
        self.answer_durably(conn, Reply::Error(Error::new(error.kind(), error.to_string())));
    }
}
