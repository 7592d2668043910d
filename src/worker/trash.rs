//! Deleting what was moved to trash/, when nobody else wants the device.

use crate::base::Result;
use crate::store::{self, Root};
use crate::sys::io;
use crate::worker::session::Session;

/// Runs the job.
pub fn run(session: &Session, root: &Root) -> Result<()> {
    io::idle_priority();
    store::empty_trash(root, &mut || session.check().is_ok())
}
