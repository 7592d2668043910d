//! Floor 4: jobs in processes of their own.

pub mod committer;
pub mod logs;
mod archive;
mod body;
mod load;
mod privileges;
mod pull;
mod session;
mod trash;
mod usage;
mod verify;

use crate::base::{Error, Result};
use crate::store::Root;
use crate::wire::worker::{Assignment, Job, Report};
use session::Session;
use std::path::Path;

/// Runs the one job that arrives on standard input: an [`Assignment`] with the job's descriptors.
pub fn main() -> i32 {
    let mut session = Session::new();
    let result = run(&mut session);
    let code = i32::from(result.is_err());
    let last = match &result {
        Ok(()) => Report::Done,
        Err(e) => Report::failed(e),
    };
    // If nobody listens any more there is nobody to tell.
    let _ = session.report(&last);
    code
}

fn run(session: &mut Session) -> Result<()> {
    let Assignment { place, job } = session.receive()?.ok_or_else(|| Error::internal("no job"))?;
    let root = Root::attach(Path::new(&place.data_root));
    privileges::prepare(&job);
    match job {
        Job::Pull { reference, all_tags, platform, auth, registries } => {
            let wish = pull::Wish { reference, all_tags, platform, auth };
            pull::run(session, &root, &place.job, &wish, registries)
        }
        Job::Load { prefix, length, chunked } => load::run(session, &root, &place.job, prefix, length, chunked),
        Job::Logs(task) => logs::run(&task, session.fds.pop().ok_or_else(|| Error::internal("no connection came with the job"))?),
        Job::Verify { images } => verify::run(session, &root, &images),
        Job::EmptyTrash => trash::run(session, &root),
        Job::Usage { paths } => usage::run(session, &paths),
        Job::RemoveCgroup { path, id } => crate::runtime::Cgroup::locate(&path, &id)?.delete(),
    }
}
