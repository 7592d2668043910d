//! Load: docker-archives and OCI layouts from a stream.

use crate::base::{Error, Result};
use crate::store::Root;
use crate::worker::session::Session;

/// Runs the job.
pub fn run(_: &mut Session, _: &Root, _: &str, _: Vec<u8>, _: Option<u64>, _: bool) -> Result<()> {
    Err(Error::unsupported("load"))
}
