//! Floor 7: the command line.

pub mod runtime;

/// Runs the command line and returns the exit status.
pub fn main(args: Vec<String>) -> i32 {
    let mut args = args.into_iter().skip(1);
    match args.next().as_deref() {
        Some("runtime") => runtime::main(args.collect()),
        _ => 0,
    }
}
