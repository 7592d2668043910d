//! Summing up what folders occupy.

use crate::base::Result;
use crate::store;
use crate::wire::worker::Report;
use crate::worker::session::Session;
use std::path::Path;

/// Runs the job. A folder that is gone, or cannot be read, counts nothing.
pub fn run(session: &Session, paths: &[String]) -> Result<()> {
    let sizes = paths.iter().map(|path| session.check().map(|()| store::tree_size(Path::new(path)).unwrap_or(0)));
    session.report(&Report::Usage(sizes.collect::<Result<_>>()?))
}
