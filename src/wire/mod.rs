//! Floor 1: what crosses a socket. Pure data and codecs; no I/O.

pub mod commit;
pub mod container;
pub mod http;
pub mod shim;
pub mod worker;
