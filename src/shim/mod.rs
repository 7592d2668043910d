//! Floor 4: the parent of one container (or of one exec).
//!
//! `start_main` sets the container up (a normal program, with a heap), then execs this binary again as the shim, which
//! has no heap: [`supervise`] holds the container's streams, its log and its exit status until the end.

pub mod devices;
pub mod ending;
pub mod files;
pub mod init;
pub mod limits;
pub mod log;
pub mod output;
pub mod profile;
pub mod spec;
pub mod start;
pub mod supervise;

pub use start::start_main;

/// The shim: `args` are those that [`start::become_shim`] wrote.
pub fn main(args: &[&'static [u8]]) -> i32 {
    match supervise::run(args) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
