//! One file for each verb, or for a small family of them.

pub mod archive;
pub mod attach;
pub mod df;
pub mod events;
pub mod exec;
pub mod history;
pub mod images;
pub mod info;
pub mod inspect;
pub mod life;
pub mod login;
pub mod logs;
pub mod network;
pub mod prune;
pub mod ps;
pub mod run;
pub mod start;
pub mod stats;
pub mod top;
pub mod transfer;
pub mod update;
pub mod verify;
pub mod version;
pub mod volume;
