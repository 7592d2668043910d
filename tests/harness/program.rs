//! Programs as compilers make them, of functions whose code and names are random by their numbers; and deltas between them.

use super::Temp;
use prtiql::delta::apply::{Out, apply};
use prtiql::delta::base::{Base, Origin};
use prtiql::delta::create::{self, Layer, Options};
use prtiql::image::Digest;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// A function: what is random about it is so by its number.
pub fn random(nth: usize, what: usize) -> usize {
    let x = (nth * 31 + what + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
}

/// A file that grows.
pub struct Bytes {
    pub all: Vec<u8>,
    /// Bytes of an address.
    pub word: usize,
}

impl Bytes {
    pub fn align(&mut self, to: usize) -> usize {
        self.all.resize(self.all.len().next_multiple_of(to), 0);
        self.all.len()
    }

    pub fn put(&mut self, numbers: &[usize]) {
        numbers.iter().for_each(|n| self.all.extend((*n as u32).to_le_bytes()));
    }

    pub fn words(&mut self, numbers: &[usize]) {
        numbers.iter().for_each(|n| self.all.extend(&(*n as u64).to_le_bytes()[..self.word]));
    }

    pub fn text(&mut self, nth: usize, what: usize, length: usize) {
        (0..length).for_each(|at| self.all.push(random(nth * 1024 + at, what) as u8 | 0x40));
    }
}

/// The address of the file's begin.
pub const BASE: usize = 0x40_0000;

/// Gives a program its headers.
pub fn finish(mut out: Bytes, sections: &[(&str, usize, usize)], wide: bool) -> Vec<u8> {
    let length = out.all.len();
    let names = length;
    out.all.push(0);
    sections.iter().for_each(|(name, ..)| out.all.extend(name.bytes().chain([0])));
    let headers = out.align(8);
    let mut header = |name: usize, kind: usize, at: usize, end: usize| {
        out.put(&[name, kind]);
        out.words(&[2, BASE + at, at, end - at]);
        out.put(&[0, 0]);
        out.words(&[8, 0]);
    };
    header(0, 3, names, headers);
    let mut name = 1;
    for (text, at, end) in sections {
        header(name, 1, *at, *end);
        name += text.len() + 1;
    }
    let mut head = Bytes { all: Vec::new(), word: out.word };
    head.all.extend(b"\x7fELF");
    head.all.extend([if wide { 2 } else { 1 }, 1, 1]);
    head.all.extend([0; 9]);
    head.all.extend([2, 0, if wide { 183 } else { 40 }, 0, 1, 0, 0, 0]);
    head.words(&[BASE, if wide { 64 } else { 52 }, headers]);
    head.put(&[0]);
    let shorts = if wide { [64, 56, 1, 64] } else { [52, 32, 1, 40] };
    shorts.iter().chain(&[sections.len() as u16 + 1, 0]).for_each(|n: &u16| head.all.extend(n.to_le_bytes()));
    // One segment has it all.
    match wide {
        true => {
            head.put(&[1, 5]);
            head.words(&[0, BASE, BASE, length, length, 4096]);
        }
        false => head.put(&[1, 0, BASE, BASE, length, length, 5, 4096]),
    }
    out.all[..head.all.len()].copy_from_slice(&head.all);
    out.all
}

fn tar(program: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, "bin/program", program).unwrap();
    builder.into_inner().unwrap()
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> File {
    std::fs::write(folder.join(name), bytes).unwrap();
    File::open(folder.join(name)).unwrap()
}

/// A program of so many functions, wide or not, and the same with some more, each of which comes before the one of its number: both
/// appliers make the new one, and its delta has fewer than `most` bytes.
pub fn follows(functions: usize, added: &[usize], program: impl Fn(&[usize], bool) -> Vec<u8>, most: usize) {
    for wide in [true, false] {
        let old: Vec<usize> = (0..functions).collect();
        let mut new = old.clone();
        added.iter().rev().for_each(|nth| new.insert(*nth, functions + nth));
        let length = delta_of(&program(&old, wide), &program(&new, wide));
        assert!(length < most, "wide {wide}: {length} bytes");
    }
}

/// Bytes of the delta between two programs, after both appliers have made the same of it.
fn delta_of(old: &[u8], new: &[u8]) -> usize {
    let temp = Temp::new();
    let (base, new) = (tar(old), tar(new));
    let parts = [(base.len(), Digest::of(&base))];
    let layer = Layer { base: &base, parts: &parts, new: &new, target: Digest::of(&new) };
    let options = Options { level: 9, memory: 1 << 32, processes: 1 };
    let delta = create::layer(&layer, &options, &mut |_, _, _| {}).unwrap();
    let (base_file, delta_file) = (file(&temp.0, "base", &base), file(&temp.0, "delta", &delta));
    let mut made = Vec::new();
    let mut sink = |part: Out<'_>| {
        if let Out::Bytes(bytes) = part {
            made.extend_from_slice(bytes);
        }
        Ok(())
    };
    let origins = [Origin::Tar(&base_file, base.len() as u64)];
    apply(&delta_file, &mut Base::new(&origins).unwrap(), &mut sink).unwrap();
    assert!(made == new);
    if Command::new("python3").args(["-c", "import lzma"]).status().is_ok_and(|status| status.success()) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lib/undelta.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).args(["delta", "new", "base"].map(|name| temp.0.join(name)));
        assert!(command.status().unwrap().success());
        assert!(std::fs::read(temp.0.join("new")).unwrap() == new);
    }
    delta.len()
}
