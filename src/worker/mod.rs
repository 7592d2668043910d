//! Floor 4: jobs in processes of their own.

pub mod committer;
pub mod logs;
mod archive;
mod body;
mod crew;
mod delta;
mod delta_image;
mod fetch;
mod load;
mod make_delta;
pub mod memory;
mod privileges;
mod plan;
mod pull;
mod reclaim;
mod repair;
mod room;
mod session;
mod staged_image;
mod trash;
mod usage;
mod verify;

use crate::base::{Error, Result, logger};
use crate::store::{Root, Stores};
use crate::wire::worker::{Assignment, Job, Report};
use session::Session;
use std::path::Path;

/// Runs the one job that arrives on standard input: an [`Assignment`] with the job's descriptors. Logs at the daemon's
/// `level`.
pub fn main(level: &str) -> i32 {
    logger::start(level, false);
    let mut session = Session::new();
    let result = run(&mut session);
    session.tell_wear();
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
    match job {
        Job::Layers { .. } => memory::share(&place), // it was started in its pull's group
        _ => memory::enter(&place),
    }
    let root = Root::attach(Path::new(&place.data_root)).with(place.space, Stores::new(&place.stores));
    privileges::prepare(&job);
    // A helper's share is part of its pull's; the others write nothing.
    if !matches!(job, Job::Layers { .. } | Job::Logs(_) | Job::Usage { .. } | Job::RemoveCgroup { .. }) {
        session.watch_wear(&root);
    }
    match job {
        Job::Pull { reference, all_tags, platform, auth, registries } => {
            let wish = pull::Wish { reference, all_tags, platform, auth };
            pull::run(session, &root, &place, &wish, registries)
        }
        Job::Layers { reference, auth, registries, layers } => {
            fetch::help(session, &root, &reference, auth.as_ref(), registries, &layers)
        }
        Job::Load { prefix, length, chunked } => load::run(session, &root, &place.job, prefix, length, chunked),
        Job::MakeDelta { source, target, name, tag } => {
            make_delta::run(session, &root, &place.job, &make_delta::Wish { source, target, name, tag })
        }
        Job::Logs(task) => logs::run(&task, session.fds.pop().ok_or_else(|| Error::internal("no connection came with the job"))?),
        Job::Verify { images, repair } => verify::run(session, &root, &images, repair.as_ref()),
        Job::EmptyTrash { hold } => trash::run(session, &root, &hold),
        Job::Reclaim { hold, keep, known, partials, urgent } => {
            reclaim::run(session, &root, &reclaim::Wish { hold, keep, known, partials, urgent })
        }
        Job::Usage { paths } => usage::run(session, &paths),
        Job::RemoveCgroup { path, id } => crate::runtime::Cgroup::locate(&path, &id)?.delete(),
    }
}
