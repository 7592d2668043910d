//! Messages between the daemon and a worker: JSON, one per packet, over the worker's standard input.
//!
//! The daemon sends one [`Assignment`] (with descriptors where the job says so), then perhaps [`Answer`]s; the worker sends
//! [`Report`]s, the last of which is `Done` or `Failed`, and exits. A worker that exits without either has failed.

use crate::base::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What every job knows of its surroundings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// The data root.
    pub data_root: String,
    /// The exec root.
    pub exec_root: String,
    /// The job's own name: its folder under staging/.
    pub job: String,
    /// Bytes of memory, page cache included, that the job's control group may have; 0 makes none.
    #[serde(default)]
    pub memory: u64,
    /// The limit is the user's: what a process must have at once does not raise it.
    #[serde(default)]
    pub fixed: bool,
    /// How many processes of the job have room in it.
    #[serde(default)]
    pub processes: u32,
    /// How much of the disk is for images.
    #[serde(default)]
    pub space: Space,
    /// Additional image stores.
    #[serde(default)]
    pub stores: Vec<String>,
}

/// How much of the disk is for images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Space {
    /// Bytes that stay free.
    pub reserve: u64,
    /// Bytes that layers may have in all; 0 is no limit.
    pub quota: u64,
    /// The daemon removes unused images if there is too little room ([`Report::Short`]).
    pub frees: bool,
    /// Bytes that should be free after a pull, if `frees`.
    pub spare: u64,
}

/// How to reach registries: from daemon.json and flags.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Registries {
    /// `host[:port]` or CIDR of registries that may be spoken to in plain http, or with a certificate that does not verify.
    pub insecure: Vec<String>,
    /// URLs tried before Docker Hub; `registry=URL` is tried before that registry.
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
    /// Bytes a second that downloads may take; 0 has no limit.
    pub rate: u64,
    /// The file by which the engine's downloads share that.
    pub pace_file: String,
    /// Seconds without a byte that are a failure; 0 is the usual.
    pub stall: u32,
    /// Whether deltas are taken.
    #[serde(default)]
    pub delta: DeltaMode,
}

/// Whether a pull takes deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeltaMode {
    /// Where there is one that is smaller than the layers.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// A pull without one fails.
    Require,
}

impl DeltaMode {
    /// By its name: `auto`, `never`, `require`, or nothing for the first.
    pub fn parse(name: &str) -> Result<DeltaMode> {
        match name {
            "" | "auto" => Ok(DeltaMode::Auto),
            "never" => Ok(DeltaMode::Never),
            "require" => Ok(DeltaMode::Require),
            _ => Err(Error::invalid(format!("invalid delta mode {name:?}: auto, never or require"))),
        }
    }
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

/// A layer that is to be fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// `sha256:…` of the blob at the registry.
    pub blob: String,
    /// Its size in bytes.
    pub size: u64,
    /// `sha256:…` of the uncompressed tar.
    pub diff_id: String,
    /// The layer is there already, but damaged.
    pub replace: bool,
}

/// What was written to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// Requests: what the device was asked to do at once.
    pub requests: u64,
}

impl Written {
    /// Since an earlier look.
    pub fn since(&self, earlier: &Written) -> Written {
        Written { bytes: self.bytes.saturating_sub(earlier.bytes), requests: self.requests.saturating_sub(earlier.requests) }
    }

    /// Adds to it.
    pub fn add(&mut self, more: Written) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.requests = self.requests.saturating_add(more.requests);
    }
}

/// What a job has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wear {
    /// Bytes, by itself and its helpers.
    pub bytes: u64,
    /// What the data root's device was told to write meanwhile, by whomever.
    pub device: Written,
}

/// How damaged layers are to be fetched again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Repair {
    /// How to reach registries.
    pub registries: Registries,
    /// Credentials, by the registry's host.
    pub auths: BTreeMap<String, Auth>,
}

/// What `Verify` found out about a layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Diff ID.
    pub layer: String,
    /// What is damaged, and in which files; empty if nothing.
    pub damage: String,
    /// A good copy is in its place now.
    pub repaired: bool,
    /// Why it is not repaired; empty if that was not asked for.
    pub reason: String,
}

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Help a pull: fetch those layers that nobody else is fetching. The pull's worker gives it, and hears the progress.
    Layers {
        /// The image, by its manifest's digest.
        reference: String,
        /// Credentials.
        auth: Option<Auth>,
        /// How to reach registries.
        registries: Registries,
        /// All layers that the pull lacks.
        layers: Vec<Layer>,
    },
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
    /// Make a delta image of balenaEngine's kind.
    MakeDelta {
        /// ID of the image that the delta is from.
        source: String,
        /// ID of the image that it makes.
        target: String,
        /// How the client called the first.
        name: String,
        /// Reference to set to the delta image, normalised; empty sets none.
        tag: String,
    },
    /// Send the logs of a container to descriptor 0, as the body of an HTTP answer whose head the worker writes too.
    Logs(Logs),
    /// Verify stored layers; every layer of the named images, or all.
    Verify {
        /// Image IDs; none means all.
        images: Vec<String>,
        /// Fetch what is damaged again.
        repair: Option<Repair>,
    },
    /// Delete what is in trash/.
    EmptyTrash {
        /// Layers (hexadecimal diff IDs) whose replaced copies containers still run on.
        hold: Vec<String>,
    },
    /// Give back what nobody needs: empties the trash, looks for layers without an image.
    Reclaim {
        /// As in `EmptyTrash`.
        hold: Vec<String>,
        /// Diff IDs that running jobs rely on.
        keep: Vec<String>,
        /// Diff IDs that images have.
        known: Vec<String>,
        /// Layers that have come in part go too.
        partials: bool,
        /// Somebody waits for it.
        urgent: bool,
    },
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

/// An image that now is in the store; the daemon takes it into its tables, and has its name made durable before its references.
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
    /// The image that it was made from by deltas, if it was.
    #[serde(default)]
    pub base: String,
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
    },
    /// An image is complete. Answered by [`Answer::Go`] when its references are durable.
    Image(NewImage),
    /// Text for the client's stream (`load`: "Loaded image: …").
    Stream(String),
    /// One figure for each path of `Usage`.
    Usage(Vec<u64>),
    /// One line of `Verify` for a layer.
    Verified(Verified),
    /// So many bytes are missing. Answered by [`Answer::Go`] (room was made: look again) or [`Answer::No`].
    Short(u64),
    /// What `Reclaim` has found.
    Reclaimed {
        /// Layers that no image has.
        orphans: Vec<String>,
        /// Bytes that are free now.
        free: u64,
    },
    /// The trash holds so many things that cannot be deleted yet.
    Held(u64),
    /// What the job has written; before the last word.
    Wear(Wear),
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
    /// It cannot be done.
    No,
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
