//! Floor 0: what every other floor stands on.

pub mod base64;
pub mod error;
pub mod id;
pub mod logger;
pub mod need;
pub mod part;
pub mod size;
pub mod time;

pub use error::{Context, Error, Kind, Result};
