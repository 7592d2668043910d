//! Floor 0: system calls that have no safe wrapper elsewhere. The only `unsafe` of the project is in here.

pub mod channel;
pub mod inherit;
pub mod io;
pub mod pages;
pub mod signals;
pub mod spawn;
