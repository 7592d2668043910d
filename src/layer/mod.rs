//! Floor 2: layers. Their bytes become files and a skeleton ([`Apply`]); files and skeleton become the exact tar again
//! ([`Skeleton`]).

mod apply;
mod file_body;
pub mod checkpoint;
pub mod decode;
pub mod entry;
mod extract;
mod flush;
mod folders;
mod made;
pub mod ops;
pub mod path;
mod place;
pub mod rebuild;
mod restore;
pub mod skeleton;
mod spool;
pub mod tar;
mod twin;
mod undo;
mod xattr;

pub use apply::{Applied, Apply};
pub use extract::MASKED;
pub use file_body::FileBody;
pub use ops::{Op, Ops};
pub use rebuild::{Skeleton, TarReader};
