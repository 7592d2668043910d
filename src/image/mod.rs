//! Floor 1: what an image is, as pure data: references, digests, platforms, manifests, configs.

pub mod archive;
pub mod config;
pub mod digest;
pub mod manifest;
pub mod platform;
pub mod reference;

pub use digest::Digest;
pub use platform::Platform;
pub use reference::Reference;
