//! Floor 4: the parent of one container.

/// The shim proper: no heap.
pub fn main() -> i32 {
    0
}

/// Sets a container up, then becomes its shim.
pub fn start_main() -> i32 {
    0
}
