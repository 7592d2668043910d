//! Messages between the daemon and a worker: JSON, one per packet, over the worker's standard input.
//!
//! The daemon sends one [`Assignment`] (with descriptors where the job says so), then perhaps [`Answer`]s; the worker sends
//! [`Report`]s, the last of which is `Done` or `Failed`, and exits. A worker that exits without either has failed.

use crate::base::{Error, Kind};
use serde::{Deserialize, Serialize};

/// What every job knows of its surroundings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// The data root.
    pub data_root: String,
    /// The exec root.
    pub exec_root: String,
    /// The job's own name: its folder under staging/.
    pub job: String,
}

/// How to reach registries: from daemon.json and flags.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Registries {
    /// `host[:port]` or CIDR of registries that may be spoken to in plain http, or with a certificate that does not verify.
    pub insecure: Vec<String>,
    /// URLs tried before Docker Hub.
    pub mirrors: Vec<String>,
    /// Folder with `<host:port>/{*.crt,client.cert,client.key}`.
    pub certs_dir: String,
    /// As the variables HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
    pub http_proxy: String,
    /// See `http_proxy`.
    pub https_proxy: String,
    /// See `http_proxy`.
    pub no_proxy: String,
    /// Layers fetched at once.
    pub max_downloads: u32,
    /// Attempts per request that fails for a passing reason.
    pub max_attempts: u32,
}

/// Credentials of the request (`X-Registry-Auth`, decoded).
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// OAuth2 refresh token.
    #[serde(rename = "identitytoken")]
    pub identity_token: String,
    /// A bearer token to use as it is.
    #[serde(rename = "registrytoken")]
    pub registry_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)") // no secret in a log
    }
}

/// The daemon's one message at the start: where things are, and what is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Where things are.
    pub place: Place,
    /// What is to be done.
    pub job: Job,
}

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Pull one reference (or all tags of a repository).
    Pull {
        /// As the client wrote it, normalised: `docker.io/library/busybox:latest` or `…@sha256:…`.
        reference: String,
        /// All tags of the repository; `reference` then has no tag.
        all_tags: bool,
        /// `os[/arch[/variant]]`; empty is the host's.
        platform: String,
        /// Credentials.
        auth: Option<Auth>,
        /// How to reach registries.
        registries: Registries,
    },
    /// Load a docker-archive or an OCI layout (plain, gzip or zstd) from descriptor 0 of the message.
    Load {
        /// Bytes that were read from the descriptor before it was handed over.
        prefix: Vec<u8>,
        /// Length of the body, if known; else it is chunked (`true` in `chunked`) or runs to the end.
        length: Option<u64>,
        /// The body has HTTP's chunked coding.
        chunked: bool,
    },
    /// Send the logs of a container to descriptor 0, as the body of an HTTP answer whose head the worker writes too.
    Logs(Logs),
    /// Verify stored layers; every layer of the named images, or all.
    Verify {
        /// Image IDs; none means all.
        images: Vec<String>,
    },
    /// Delete everything in trash/.
    EmptyTrash,
    /// Sum up what paths occupy (bytes), for `ps -s` and `system df`.
    Usage {
        /// Folders to walk.
        paths: Vec<String>,
    },
    /// Remove the cgroup of a container whose shim was killed: kill what is in it, then its folders.
    RemoveCgroup {
        /// As in the spec's `cgroupsPath`.
        path: String,
        /// Container ID.
        id: String,
    },
}

/// What `logs` wants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Logs {
    /// The container's log folder.
    pub dir: String,
    /// The log driver that wrote it: json-file or local.
    pub driver: String,
    /// The shim's socket: its end of stream is the end of the log. Empty if the container does not run.
    pub shim: String,
    /// Wanted streams.
    pub stdout: bool,
    /// See `stdout`.
    pub stderr: bool,
    /// Go on until the container ends.
    pub follow: bool,
    /// Put the time in front.
    pub timestamps: bool,
    /// Put the details in front.
    pub details: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
    /// Nanoseconds since 1970; 0 is unset.
    pub since: i64,
    /// See `since`.
    pub until: i64,
    /// The container has a terminal: raw bytes, no frames.
    pub tty: bool,
    /// The HTTP version and API version decide the content type.
    pub multiplexed: bool,
}

/// An image that now is in the store, durably; the daemon takes it into its tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewImage {
    /// `sha256:…` of the config.
    pub id: String,
    /// The config's exact text.
    pub config: String,
    /// `sha256:…` of the manifest it was pulled by; empty if loaded.
    pub manifest: String,
    /// Diff IDs, bottom first.
    pub layers: Vec<String>,
    /// Bytes of files of each layer.
    pub sizes: Vec<u64>,
    /// References to set to it, normalised; a tag or a digest each.
    pub references: Vec<String>,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// A line of Docker's progress stream.
    Progress(Progress),
    /// The layers that the job relies on: keep them. Answered by [`Answer::Go`].
    Plan {
        /// Diff IDs.
        layers: Vec<String>,
        /// Bytes to download.
        download: u64,
        /// Bytes of files, as far as is known.
        unpacked: u64,
    },
    /// An image is complete. Answered by [`Answer::Go`] when its references are durable.
    Image(NewImage),
    /// Text for the client's stream (`load`: "Loaded image: …").
    Stream(String),
    /// One figure for each path of `Usage`.
    Usage(Vec<u64>),
    /// One line of `Verify` for a layer: diff ID, and what is wrong ("" if nothing).
    Verified {
        /// Diff ID.
        layer: String,
        /// What is damaged, and where; empty if nothing.
        damage: String,
    },
    /// All went well.
    Done,
    /// It failed.
    Failed {
        /// Which kind of failure.
        kind: Kind,
        /// One line that names the object.
        message: String,
    },
}

impl Report {
    /// The error as a report.
    pub fn failed(e: &Error) -> Report {
        Report::Failed { kind: e.kind(), message: e.to_string() }
    }
}

/// What the daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Go on.
    Go,
    /// Stop and exit: nobody waits any more.
    Cancel,
}

/// Docker's JSONMessage, as far as a worker fills it in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// "Downloading", "Pull complete", …
    pub status: String,
    /// A layer's short digest, or a tag.
    pub id: String,
    /// Bytes so far; 0 with `total` 0 means no figures.
    pub current: u64,
    /// Bytes in all.
    pub total: u64,
}
