//! Floor 2: layers. Their bytes become files and a skeleton ([`Apply`]); files and skeleton become the exact tar again
//! ([`Skeleton`]).

mod apply;
pub mod decode;
pub mod entry;
mod extract;
mod flush;
pub mod ops;
pub mod path;
mod place;
pub mod rebuild;
pub mod skeleton;
pub mod tar;
mod times;

pub use apply::{Applied, Apply};
pub use extract::MASKED;
pub use ops::{Op, Ops};
pub use rebuild::{Skeleton, TarReader};
