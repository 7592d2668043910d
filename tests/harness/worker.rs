//! Runs `prtiql-worker` as the daemon does.

use prtiql::store::{Root, tag_text};
use prtiql::sys::channel;
use prtiql::wire::worker::{Answer, Assignment, Auth, Job, Place, Registries, Report, Space};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A data root, and the daemon's part in front of it.
pub struct Engine {
    pub root: Root,
}

pub struct Outcome {
    pub reports: Vec<Report>,
    /// The message of `Failed`, or "".
    pub error: String,
}

impl Outcome {
    /// `id status` of every progress line.
    pub fn statuses(&self) -> Vec<String> {
        let line = |r: &Report| match r {
            Report::Progress(p) => Some(format!("{} {}", p.id, p.status).trim().to_string()),
            Report::Stream(text) => Some(text.trim_end().to_string()),
            _ => None,
        };
        self.reports.iter().filter_map(line).collect()
    }

    pub fn has(&self, text: &str) -> bool {
        self.statuses().iter().any(|s| s.contains(text))
    }

    #[track_caller]
    pub fn ok(self) -> Outcome {
        assert_eq!(self.error, "", "{:#?}", self.statuses());
        self
    }
}

impl Engine {
    pub fn new(path: &Path) -> Engine {
        Engine { root: Root::open(path).unwrap() }
    }

    /// The data root as the next daemon opens it.
    pub fn restarted(self) -> Engine {
        let path = self.root.path().to_path_buf();
        drop(self);
        Engine::new(&path)
    }

    /// What work has left in staging/.
    pub fn staged(&self) -> Vec<String> {
        let names = |path: std::path::PathBuf| -> Vec<String> {
            std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        };
        let staging = self.root.path().join("staging");
        names(staging.clone()).into_iter().filter(|name| name != "layers").chain(names(staging.join("layers"))).collect()
    }

    pub fn start(&self, job: Job, fds: &[BorrowedFd<'_>]) -> (Child, OwnedFd) {
        self.start_as(Place::default(), job, fds)
    }

    fn start_as(&self, limits: Place, job: Job, fds: &[BorrowedFd<'_>]) -> (Child, OwnedFd) {
        let (ours, theirs) = channel::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_prtiql"));
        let child = command.arg0("prtiql-worker").stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn().unwrap();
        let place = Place {
            data_root: self.root.path().to_str().unwrap().into(),
            exec_root: "/run/prtiql".into(),
            job: format!("job-{}", child.id()),
            processes: 8,
            ..limits
        };
        channel::send_json(ours.as_fd(), &Assignment { place, job }, fds).unwrap();
        (child, ours)
    }

    pub fn run(&self, job: Job, fds: &[BorrowedFd<'_>]) -> Outcome {
        self.run_as(Place::default(), job, fds)
    }

    /// With limits.
    pub fn run_as(&self, limits: Place, job: Job, fds: &[BorrowedFd<'_>]) -> Outcome {
        let (mut child, socket) = self.start_as(limits, job, fds);
        let mut outcome = Outcome { reports: Vec::new(), error: "no last word".into() };
        while let Ok(Some(report)) = channel::receive_json::<Report>(socket.as_fd(), &mut Vec::new()) {
            match &report {
                Report::Short(_) => channel::send_json(socket.as_fd(), &Answer::No, &[]).unwrap(),
                Report::Plan { .. } => channel::send_json(socket.as_fd(), &Answer::Go, &[]).unwrap(),
                Report::Image(image) => {
                    for reference in &image.references {
                        let reference = prtiql::image::Reference::parse(reference).unwrap();
                        let id = image.id.parse().unwrap();
                        std::fs::write(self.root.tag(&reference), tag_text(&id, &reference)).unwrap();
                    }
                    channel::send_json(socket.as_fd(), &Answer::Go, &[]).unwrap();
                }
                Report::Done => outcome.error.clear(),
                Report::Failed { message, .. } => outcome.error = message.clone(),
                _ => {}
            }
            outcome.reports.push(report);
        }
        child.wait().unwrap();
        outcome
    }

    pub fn pull(&self, reference: &str) -> Outcome {
        self.pull_with(reference, "", None, Registries { max_attempts: 3, ..Registries::default() })
    }

    pub fn pull_with(&self, reference: &str, platform: &str, auth: Option<Auth>, registries: Registries) -> Outcome {
        let job = Job::Pull { reference: reference.into(), all_tags: false, platform: platform.into(), auth, registries };
        self.run(job, &[])
    }

    /// A pull with limits of room.
    pub fn run_in(&self, storage_reserve: u64, storage_quota: u64, reference: &str) -> Outcome {
        let job = Job::Pull {
            reference: reference.into(),
            all_tags: false,
            platform: String::new(),
            auth: None,
            registries: Registries::default(),
        };
        let space = Space { reserve: storage_reserve, quota: storage_quota, ..Space::default() };
        self.run_as(Place { space, ..Place::default() }, job, &[])
    }

    /// Every layer on disk gives back its tar.
    pub fn verify(&self) -> usize {
        let outcome = self.run(Job::Verify { images: Vec::new(), repair: None }, &[]).ok();
        let damage = |r: &Report| match r {
            Report::Verified(line) => Some(format!("{}{}", line.layer, line.damage)),
            _ => None,
        };
        let all: Vec<String> = outcome.reports.iter().filter_map(damage).collect();
        assert!(all.iter().all(|l| l.len() == 71), "{all:?}");
        all.len()
    }

    /// Nothing half-made is left: no layer, image or staging folder.
    #[track_caller]
    pub fn assert_empty(&self) {
        for folder in ["layers/sha256", "images/sha256", "tags", "staging/layers"] {
            let found: Vec<_> =
                std::fs::read_dir(self.root.path().join(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(found.is_empty(), "{folder}: {found:?}");
        }
        assert_eq!(self.staged(), [""; 0]);
    }
}
