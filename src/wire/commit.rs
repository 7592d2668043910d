//! Messages between the daemon and its committer.

use serde::{Deserialize, Serialize};

/// One change on disk; paths are relative to the data root. Each may be done twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The file has this content, whole or not at all; its folder is made.
    Write {
        /// Which file.
        path: String,
        /// All of it.
        data: String,
    },
    /// The names in a folder are durable, those too that a worker has made, before a file that is written after gets its name.
    Names {
        /// Which.
        path: String,
    },
    /// The folder exists.
    Folder {
        /// Which.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// The file is gone.
    Remove {
        /// Which.
        path: String,
    },
    /// The file or tree is gone: renamed into trash/, deleted later.
    Trash {
        /// Which.
        path: String,
    },
    /// The same for what need not be gone after a power cut: the next start finds and discards it.
    Discard {
        /// Which.
        path: String,
    },
}

/// The changes of one turn of the daemon's loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Counts up.
    pub number: u64,
    /// In this order.
    pub changes: Vec<Change>,
}

/// The batch is durable, or why it is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The batch, and all before it.
    pub number: u64,
    /// Empty if all went well.
    pub error: String,
    /// Bytes that the committer has written since it started.
    #[serde(default)]
    pub written: u64,
}
