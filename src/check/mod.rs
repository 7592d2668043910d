//! Floor 3: what the engine needs of the kernel and the machine, each tried out by doing it: `prtiql check`, and the daemon's first
//! words. Nothing is left behind, and where something could not be tried it is said so.

mod groups;
mod kernel;
mod machine;
mod network;
mod options;
mod trial;

pub use options::Options;

use std::path::{Path, PathBuf};

/// How a feature was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There.
    Ok,
    /// Not there, or only in part: containers run, with less.
    Degraded,
    /// Not there, and containers do not run without it.
    Missing,
    /// Could not be tried out.
    Unknown,
}

impl State {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Missing => "missing",
            State::Unknown => "unknown",
        }
    }
}

/// What a probe has seen, with a few words; an empty text has nothing to add.
pub(crate) enum Found {
    Yes(String),
    No(String),
    /// There, but not as it should be.
    Partly(String),
    /// Why it could not be tried.
    Unknown(String),
}

impl Found {
    fn yes() -> Found {
        Found::Yes(String::new())
    }
    fn no() -> Found {
        Found::No(String::new())
    }
}

/// Where things are to be tried.
pub struct Place {
    /// The data root; it need not exist.
    pub data_root: PathBuf,
    /// The exec root; it need not exist.
    pub exec_root: PathBuf,
}

/// Something that the engine needs or uses.
#[derive(Clone, Copy)]
pub(crate) struct Feature {
    name: &'static str,
    /// No container runs without it.
    required: bool,
    /// The kernel's options, separated by spaces; or what else to do.
    options: &'static str,
    /// What stops working without it.
    without: &'static str,
    probe: fn(&Place) -> Found,
}

/// What was found of one feature.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its name.
    pub feature: &'static str,
    /// How it was found.
    pub state: State,
    /// No container runs without it.
    pub required: bool,
    /// The kernel's options, separated by spaces; may be empty.
    pub options: &'static str,
    /// What stops working without it.
    pub without: &'static str,
    /// More about what was found; may be empty.
    pub detail: String,
}

fn look(feature: &Feature, place: &Place) -> Finding {
    let (state, detail) = match (feature.probe)(place) {
        Found::Yes(detail) => (State::Ok, detail),
        Found::No(detail) => (if feature.required { State::Missing } else { State::Degraded }, detail),
        Found::Partly(detail) => (State::Degraded, detail),
        Found::Unknown(detail) => (State::Unknown, detail),
    };
    let Feature { name, required, options, without, .. } = *feature;
    Finding { feature: name, state, required, options, without, detail }
}

/// Tries everything out, in the order in which it is best read.
pub fn all(place: &Place) -> Vec<Finding> {
    let tables = [machine::FEATURES, kernel::FEATURES, kernel::CALLS, groups::FEATURES, network::FEATURES];
    tables.into_iter().flatten().map(|feature| look(feature, place)).collect()
}

/// What is to be said when the daemon starts, after a few quick looks: what containers cannot do without and this kernel has not, and
/// what else will go wrong soon.
pub fn at_start() -> Vec<Finding> {
    let place = Place { data_root: PathBuf::new(), exec_root: PathBuf::new() };
    let quick = kernel::QUICK.iter().chain(groups::FEATURES.iter().take(1)).chain(machine::QUICK);
    quick.map(|feature| look(feature, &place)).filter(|f| matches!(f.state, State::Missing | State::Degraded)).collect()
}

impl std::fmt::Display for Finding {
    /// One sentence about something that is not there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.feature, self.state.word())?;
        for more in [self.options, &self.detail].into_iter().filter(|more| !more.is_empty()) {
            write!(f, ", {more}")?;
        }
        write!(f, "; without: {} (`prtiql check` tells more)", self.without)
    }
}

/// The folder, or the nearest one above that exists.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_the_daemon_looks_at_first_are_what_their_names_say() {
        let first: Vec<&str> = kernel::QUICK.iter().chain(machine::QUICK).map(|f| f.name).collect();
        let want = ["PID namespaces", "UTS namespaces", "IPC namespaces", "network namespaces", "overlay file system", "clock"];
        assert_eq!((&first[..6], first[6]), (&want[..], "random numbers"));
    }

    #[test]
    fn every_feature_has_a_name_of_its_own_and_says_what_it_is_for() {
        let mut names = BTreeSet::new();
        for f in [machine::FEATURES, kernel::FEATURES, kernel::CALLS, groups::FEATURES, network::FEATURES].into_iter().flatten() {
            assert!(names.insert(f.name), "{}", f.name);
            assert!(!f.without.is_empty() || !f.required, "{}", f.name);
            assert!(f.options.split(' ').all(|o| o.is_empty() || o.starts_with("CONFIG_")), "{}: {}", f.name, f.options);
        }
    }
}
