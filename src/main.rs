//! Picks what this process is from argv[0] and argv[1]: the shim before anything else, so that it starts with neither
//! std's start-up code nor a heap; then worker, committer, daemon, runtime, and the command line.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;

use prtiql::{cli, shim, worker};

/// Runs the process that the arguments name and returns its exit status.
fn run(args: entry::Args) -> i32 {
    let first = || String::from_utf8_lossy(args.list().get(1).copied().unwrap_or_default()).into_owned();
    match args.name() {
        b"prtiql-shim" => return shim::main(&args.list()),
        b"prtiql-start" => return shim::start_main(),
        b"prtiql-worker" => return worker::main(&first()),
        b"prtiql-committer" => return worker::committer::main(&first()),
        b"docker-init" => return shim::init::main(&args.to_strings()),
        _ => {}
    }
    cli::main(args.to_strings())
}
