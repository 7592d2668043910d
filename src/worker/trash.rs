//! Deleting what was moved to trash/, when nobody else wants the device.

use crate::base::Result;
use crate::store::{self, Root};
use crate::sys::io;
use crate::wire::worker::Report;
use crate::worker::session::Session;

/// Runs the job.
pub fn run(session: &Session, root: &Root, hold: &[String]) -> Result<()> {
    io::idle_priority();
    let held = store::empty_trash(root, hold, &mut || session.check().is_ok())?;
    session.report(&Report::Held(held))
}
