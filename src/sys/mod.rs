//! Floor 0: system calls that have no safe wrapper elsewhere. The only `unsafe` of the project is in here.

pub mod bpf;
pub mod channel;
pub mod clone;
pub mod exec;
pub mod mountattr;
pub mod netif;
pub mod seqpacket;
pub mod spawn;
