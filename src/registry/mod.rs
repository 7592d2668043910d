//! Floor 3: registries, as a client that blocks; only workers use it.

mod auth;
mod errors;
mod failure;
mod http;
mod repository;
mod trust;
mod url;
mod wire;

pub use errors::of_pull;
pub use failure::Failure;
pub use http::Client;
pub use repository::{ManifestText, Repository, first_with, tags};
