//! Progress on standard error: one line that changes on a terminal, a line for each new step elsewhere.

use crate::base::size;
use crate::cli::terminal;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The line changes no more often.
const EVERY: Duration = Duration::from_millis(200);

/// Shows progress.
pub struct Meter {
    /// Codes that move the cursor are understood.
    moves: bool,
    quiet: bool,
    told: Option<Instant>,
    steps: BTreeSet<String>,
    open: bool,
}

impl Meter {
    /// On standard error; `quiet` shows nothing.
    pub fn new(quiet: bool) -> Meter {
        let moves = std::io::stderr().is_terminal() && !terminal::is_plain();
        Meter { moves, quiet, told: None, steps: BTreeSet::new(), open: false }
    }

    /// What is being done, how far it is, and how far it goes (0 if that is not known).
    pub fn show(&mut self, step: &str, now: u64, all: u64) {
        if self.quiet {
            return;
        }
        if !self.moves {
            if self.steps.insert(step.to_string()) {
                eprintln!("{step}");
            }
            return;
        }
        let time = Instant::now();
        if self.told.is_some_and(|told| time - told < EVERY) {
            return;
        }
        self.told = Some(time);
        self.open = true;
        match all {
            0 => eprint!("\r\x1b[K{step} {}", size::human_digits(now, 3)),
            all => eprint!("\r\x1b[K{step} {}%", u128::from(now) * 100 / u128::from(all)),
        }
    }

    /// Takes the line away: something else is to be said.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            eprint!("\r\x1b[K");
        }
        (self.told, self.steps) = (None, BTreeSet::new());
    }

    /// A line of its own.
    pub fn say(&mut self, text: &str) {
        self.clear();
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.clear();
    }
}
