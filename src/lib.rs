//! PRTIQL Engine: a container engine for devices. `docs/ARCHITECTURE.md` describes the whole; the modules below are its
//! floors, each importing only from floors beneath its own (`tests/floors.rs` holds that).
#![deny(unsafe_code)]
#![recursion_limit = "256"]

pub mod cli; // 8-7: command line
pub mod api; // 6: the Docker Engine API
pub mod engine; // 5: the daemon's state
pub mod shim; // 4: parent of one container
pub mod worker; // 4: jobs in processes of their own
pub mod check; // 3: what kernel and machine can
pub mod reactor; // 3: the event loop
pub mod delta; // 3: binary differences of layers
pub mod registry; // 3: registry client
pub mod layer; // 2: tar streams to files and back
pub mod logs; // 2: container logs
pub mod network; // 2: bridge, veth, nf_tables
pub mod runtime; // 2: OCI runtime
pub mod store; // 2: what is on disk
pub mod volume; // 2: volumes
pub mod config; // 1: daemon.json
pub mod image; // 1: references, digests, manifests
pub mod wire; // 1: HTTP, JSON types, child-process messages
pub mod base; // 0: errors, ids, times, sizes
pub mod sys; // 0: the only unsafe code
