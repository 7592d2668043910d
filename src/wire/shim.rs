//! Messages between the daemon and the parent of a container.
