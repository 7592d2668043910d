//! Floor 0: system calls that have no safe wrapper elsewhere. The only `unsafe` of the project is in here.

pub mod aio;
pub mod beside;
pub mod bpf;
pub mod calls;
pub mod channel;
pub mod clone;
pub mod exec;
pub mod inherit;
pub mod io;
#[cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
pub mod memory;
pub mod mountattr;
pub mod netif;
pub mod pages;
pub mod seqpacket;
pub mod signals;
pub mod spawn;
