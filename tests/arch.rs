//! What differs between machines stands in few places, where it can be looked over, and tested for all five on any of them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a machine may be asked for, and what for.
const PLACES: &[(&str, &str)] = &[
    ("src/image/platform.rs", "names and variants of platforms"),
    ("src/runtime/cgroup/bpf.rs", "order of halves of a byte in a program for devices"),
    ("src/runtime/seccomp/emit.rs", "order of halves of an argument"),
    ("src/runtime/seccomp/simulate.rs", "the same, for its tests"),
    ("src/runtime/seccomp/tables/mod.rs", "numbers of system calls"),
    ("src/sys/mod.rs", "x86-64's own memcpy"),
    ("src/sys/pages.rs", "system calls as single instructions"),
];
const ASKS: &[&str] = &["target_arch", "target_pointer_width", "target_endian", "target_family", "consts::ARCH"];
/// std's clock and times of files end in 2038 on 32-bit machines with musl; those of rustix and `base::time` do not.
const ENDS_IN_2038: &[&str] = &["SystemTime::", "time::SystemTime", "UNIX_EPOCH", ".modified()", ".accessed()", ".created()"];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, out),
            false => out.push(path),
        }
    }
}

/// Names of files under src/ that have one of the words outside comments.
fn having(words: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let has = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|l| l.split("//").next().unwrap_or("")).any(|l| words.iter().any(|w| l.contains(w)))
    };
    let mut found: Vec<String> =
        files.iter().filter(|p| has(p)).map(|p| p.strip_prefix(root).unwrap().display().to_string()).collect();
    found.sort();
    found
}

#[test]
fn machines_are_told_apart_in_few_places() {
    assert_eq!(having(ASKS), PLACES.iter().map(|(file, _)| *file).collect::<Vec<_>>());
}

#[test]
fn no_time_comes_from_a_clock_that_ends_in_2038() {
    assert_eq!(having(ENDS_IN_2038), [""; 0]);
}
