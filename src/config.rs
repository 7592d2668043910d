//! daemon.json.
