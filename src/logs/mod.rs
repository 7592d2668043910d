//! Container logs on disk: the `json-file` format, written by the shim and read by a worker.

/// Name of the current file; `.1` and up are older ones.
pub const CURRENT: &str = "json.log";
