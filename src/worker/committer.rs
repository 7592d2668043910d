//! Makes state durable.

/// Runs until the daemon closes its end.
pub fn main() -> i32 {
    0
}
