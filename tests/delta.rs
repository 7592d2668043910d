//! Deltas give back the exact tar: of grown and mutated trees, from tar files and from a store's files; and damaged ones do no harm.

mod harness;

use harness::Temp;
use prtiql::delta::apply::{Out, apply};
use prtiql::delta::base::{Base, Origin};
use prtiql::delta::create::{self, Layer, Options};
use prtiql::delta::format::{self, read_head};
use prtiql::image::Digest;
use prtiql::layer::{Apply, Skeleton};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

#[derive(Clone)]
enum What {
    File(Vec<u8>),
    Link(String),
    Hard(usize),
    Folder,
}

#[derive(Clone)]
struct Node {
    path: String,
    mode: u32,
    time: u64,
    owner: u64,
    what: What,
}

fn tree(dice: &mut Dice, nodes: usize) -> Vec<Node> {
    let mut all: Vec<Node> = Vec::new();
    for nth in 0..nodes {
        let long = if dice.below(12) == 0 { "/a folder with a long name".repeat(5) } else { String::new() };
        let what = match dice.below(10) {
            0 => What::Folder,
            1 => What::Link(format!("../target{}", dice.below(50))),
            2 if nth > 0 => match dice.below(nth) {
                n if matches!(all[n].what, What::File(_)) => What::Hard(n),
                _ => What::Folder,
            },
            3 => What::File(Vec::new()),
            4 => What::File(program(dice)),
            _ => {
                let n = 1 + dice.below(30_000);
                What::File(dice.bytes(n))
            }
        };
        all.push(Node {
            path: format!("d{}{long}/lib{}.so.{}.{}", dice.below(5), nth, dice.below(3), dice.below(9)),
            mode: [0o644, 0o755, 0o4755][dice.below(3)],
            time: 1_700_000_000 + dice.below(1000) as u64,
            owner: [0, 0, 1000, 4_000_000][dice.below(4)],
            what,
        });
    }
    all
}

/// A file that begins as an ELF file does, of any machine, with segments that may be nonsense.
fn program(dice: &mut Dice) -> Vec<u8> {
    let n = 4096 + dice.below(30_000);
    let mut bytes = dice.bytes(n);
    let wide = dice.below(2) == 1;
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1]);
    let machine = [3u16, 62, 40, 183, 243][dice.below(5)];
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let (table, size, fields) = if wide { (32, 56u16, 54) } else { (28, 32u16, 42) };
    bytes[table..table + 8].copy_from_slice(&64u64.to_le_bytes());
    bytes[fields..fields + 4].copy_from_slice(&[size as u8, 0, 1, 0]);
    let mut number = |at: usize, value: usize, narrow: usize, wide_at: usize| match wide {
        true => bytes[at + wide_at..at + wide_at + 8].copy_from_slice(&(value as u64).to_le_bytes()),
        false => bytes[at + narrow..at + narrow + 4].copy_from_slice(&(value as u32).to_le_bytes()),
    };
    number(64, 0, 4, 8);
    number(64, 0x10000, 8, 16);
    number(64, n, 16, 32);
    number(64, n + 4096, 20, 40);
    bytes[64..68].copy_from_slice(&1u32.to_le_bytes());
    bytes[64 + if wide { 4 } else { 24 }] = 5;
    // Calls and pointers.
    for at in (256..n - 8).step_by(16) {
        let near = dice.below(256) as u8;
        match dice.below(12) {
            4 => bytes[at..at + 8].copy_from_slice(&[2, 0, 0, 0x90, 0x42, near & 0xfc, near & 15, 0x91]), // ADRP, ADD
            5 => bytes[at..at + 8].copy_from_slice(&[1, 0, 0, 0xb0, 0x23, near & 0xfc, near & 15 | 0x40, 0xf9]), // ADRP, LDR
            6 => bytes[at..at + 4].copy_from_slice(&[near & 1, 0xf0, near, [0xf8, 0xe8, 0xb8][at / 16 % 3]]), // BL, BLX, B
            7 => bytes[at..at + 8].copy_from_slice(&[0x97, 0x10, 0, 0, 0x93, 0x80, 0, near]),             // AUIPC, ADDI
            8 => bytes[at..at + 8].copy_from_slice(&[0x97, 0x10, 0, 0, 0x23, 0xa0, near, near]),          // AUIPC, SW
            9 => bytes[at..at + 4].copy_from_slice(&[0xef, near & 0xf0, near, 0]),                        // JAL
            10 => bytes[at..at + 7].copy_from_slice(&[0x48, 0x8b, 0x05, near, 1, 0, 0]),
            11 => bytes[at..at + 4].copy_from_slice(&[near & 0xf8, 0, 0, 0]), // a distance
            0 => bytes[at..at + 5].copy_from_slice(&[0xe8, dice.below(256) as u8, dice.below(20) as u8, 0, 0]),
            1 => bytes[at + 3] = 0xeb,
            2 => bytes[at..at + 8].copy_from_slice(&(0x10000 + dice.below(n) as u64).to_le_bytes()),
            _ => bytes[at + 3] = 0x94,
        }
    }
    if dice.below(4) > 0 {
        sections(dice, &mut bytes, wide);
    }
    bytes
}

/// Gives a program sections: two tables of symbols with their names, relocations, and records and index of unwinding.
fn sections(dice: &mut Dice, bytes: &mut [u8], wide: bool) {
    let (n, word, row) = (bytes.len(), if wide { 8 } else { 4 }, if wide { 24 } else { 16 });
    let address = |dice: &mut Dice| (0x10000 + dice.below(n) as u64).to_le_bytes();
    let mut at = n / 3 / 8 * 8;
    let mut all: Vec<(&str, u32, usize, usize)> = Vec::new();
    for (name, kind, length) in
        [(".symtab", 2u32, 40 * row), (".dynsym", 11, 9 * row), (".strtab", 3, 400), (".rela.dyn", 4, 600), (".eh_frame", 1, 480)]
    {
        all.push((name, kind, at, length));
        match kind {
            2 | 11 => (at..at + length).step_by(row).for_each(|at| {
                bytes[at..at + row].fill(0);
                bytes[at..at + 2].copy_from_slice(&(dice.below(410) as u16).to_le_bytes());
                bytes[at + word..at + 2 * word].copy_from_slice(&address(dice)[..word]);
                bytes[at + 2 * word] = dice.below(256) as u8;
            }),
            4 => (at..at + length).step_by(word).for_each(|at| bytes[at..at + word].copy_from_slice(&address(dice)[..word])),
            1 => (at..at + length).step_by(24).for_each(|record| {
                let parent = if record == at { 0 } else { (record + 4 - at) as u32 };
                let far = |dice: &mut Dice, from: usize| (dice.below(n) as i32 - from as i32).to_le_bytes();
                bytes[record..record + 4].copy_from_slice(&20u32.to_le_bytes());
                bytes[record + 4..record + 8].copy_from_slice(&parent.to_le_bytes());
                bytes[record + 8..record + 12].copy_from_slice(&far(dice, record + 8));
                bytes[record + 12..record + 17].copy_from_slice(&[dice.below(200) as u8, 0, 0, 0, 4]);
                bytes[record + 17..record + 21].copy_from_slice(&far(dice, record + 17));
            }),
            _ => bytes[at..at + length].iter_mut().for_each(|byte| *byte = [0, b'a', b'b', b'c'][dice.below(4)]),
        }
        at += (length + dice.below(8)).next_multiple_of(4);
    }
    // The headers behind the program's, then the names.
    let names = 512;
    let (headers, size) = (128, if wide { 64 } else { 40 });
    bytes[headers..headers + size * 6].fill(0);
    let mut header = |nth: usize, name: u32, kind: u32, offset: usize, length: usize| {
        let at = headers + nth * size;
        bytes[at..at + 4].copy_from_slice(&name.to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&kind.to_le_bytes());
        let (place, link) = if wide { (at + 24, at + 40) } else { (at + 16, at + 24) };
        bytes[place - word..place - word + 4].copy_from_slice(&(0x10000 + offset as u32).to_le_bytes());
        bytes[place..place + 4].copy_from_slice(&(offset as u32).to_le_bytes());
        bytes[place + word..place + word + 4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[link] = 3;
    };
    header(0, 0, 3, names, 100);
    for (nth, (_, kind, offset, length)) in all.iter().enumerate() {
        header(nth + 1, 1 + 12 * nth as u32, *kind, *offset, *length);
    }
    bytes[names..names + 100].fill(0);
    for (nth, (name, ..)) in all.iter().enumerate() {
        bytes[names + 1 + 12 * nth..][..name.len()].copy_from_slice(name.as_bytes());
    }
    let (table, counts) = if wide { (40, 58) } else { (32, 46) };
    bytes[table..table + 2].copy_from_slice(&(headers as u16).to_le_bytes());
    bytes[table + 2..table + word].fill(0);
    bytes[counts..counts + 6].copy_from_slice(&[size as u8, 0, 6, 0, 0, 0]);
}

/// Where a section of a program is, if it has any: 3 has names, 5 records.
fn section(bytes: &[u8], nth: usize) -> Option<usize> {
    let wide = bytes.get(4)? == &2;
    let (size, table, counts, place) = if wide { (64u8, 40, 58, 24) } else { (40, 32, 46, 16) };
    let is_ours =
        bytes.len() > 1024 && bytes[table..table + 2] == 128u16.to_le_bytes() && bytes[counts..counts + 3] == [size, 0, 6];
    (is_ours && bytes.starts_with(b"\x7fELF")).then(|| number(bytes, 128 + nth * size as usize + place))
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// After bytes were put into a program: its sections follow, and the addresses, sizes and names in their tables.
fn relink(bytes: &mut [u8], from: usize, more: usize) {
    let Some(strings) = section(bytes, 3) else { return };
    let (word, size, row) = if bytes[4] == 2 { (8, 64, 24) } else { (4, 40, 16) };
    let moves = |number: usize, from: usize| number + if number >= from { more } else { 0 };
    let write = |bytes: &mut [u8], at: usize, number: usize| bytes[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
    for header in (128..128 + 6 * size).step_by(size) {
        let place = header + if word == 8 { 24 } else { 16 };
        let (kind, start, length) = (number(bytes, header + 4), moves(number(bytes, place), from), number(bytes, place + word));
        write(bytes, place, start);
        let rows = (start..(start + length).min(bytes.len() - 24))
            .step_by([row, word, 24][usize::from(kind == 4) + 2 * usize::from(kind == 1)]);
        rows.filter(|_| [1, 2, 4, 11].contains(&kind)).for_each(|at| {
            if kind == 1 {
                return unwound(bytes, at, from, more);
            }
            let value = if kind == 4 { at } else { at + word };
            let address = number(bytes, value);
            write(bytes, value, moves(address, 0x10000 + from));
            if kind != 4 {
                let (end, name) = (address + number(bytes, at + 2 * word), number(bytes, at));
                write(bytes, at + 2 * word, moves(end, 0x10000 + from) - moves(address, 0x10000 + from));
                write(bytes, at, moves(strings + name, from) - strings);
            }
        });
    }
}

/// The same for a record of unwinding that is now at a place.
fn unwound(bytes: &mut [u8], at: usize, from: usize, more: usize) {
    let moves = |place: i64| place + if place >= from as i64 { more as i64 } else { 0 };
    let was = |place: usize| if place >= from + more { (place - more) as i64 } else { place as i64 };
    let far = |bytes: &[u8], at: usize| i64::from(number(bytes, at) as u32 as i32);
    let write = |bytes: &mut [u8], at: usize, number: i64| bytes[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
    if far(bytes, at + 4) != 0 {
        let parent = was(at + 4) - far(bytes, at + 4);
        write(bytes, at + 4, at as i64 + 4 - moves(parent));
        let function = was(at + 8) + far(bytes, at + 8);
        let end = function + far(bytes, at + 12);
        write(bytes, at + 8, moves(function) - at as i64 - 8);
        write(bytes, at + 12, moves(end) - moves(function));
        let data = was(at + 17) + far(bytes, at + 17);
        write(bytes, at + 17, moves(data) - at as i64 - 17);
    }
}

fn mutate(dice: &mut Dice, old: &[Node]) -> Vec<Node> {
    let mut new = old.to_vec();
    // Without hard links to move about, the order may change.
    for _ in 0..dice.below(20) {
        let at = dice.below(new.len());
        let node = &mut new[at];
        match dice.below(7) {
            0 => node.time += 5,
            1 => node.mode ^= 0o111,
            2 => node.owner ^= 77,
            3 => node.path = format!("{}.new", node.path),
            4 => node.path = node.path.replace("so.1", "so.2"),
            _ => {
                if let What::File(content) = &mut node.what {
                    let at = dice.below(content.len() + 1);
                    match dice.below(4) {
                        0 => drop(content.splice(at..at, vec![7; 1 + dice.below(3000)])),
                        1 => content.truncate(at),
                        2 => content.iter_mut().skip(at).step_by(97).for_each(|b| *b = b.wrapping_add(1)),
                        _ => content.rotate_left(at.min(5000)),
                    }
                }
            }
        }
    }
    if dice.below(2) == 0 {
        let time = dice.below(100_000) as u64;
        new.iter_mut().for_each(|node| node.time += time);
    }
    let extra = 1 + dice.below(4);
    new.extend(tree(dice, extra).into_iter().filter(|node| !matches!(node.what, What::Hard(_))));
    new
}

fn tar(nodes: &[Node], pax: bool, tail: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in nodes {
        let mut header = if pax { tar::Header::new_ustar() } else { tar::Header::new_gnu() };
        header.set_mode(node.mode);
        header.set_mtime(node.time);
        header.set_uid(node.owner);
        header.set_gid(node.owner);
        header.set_size(0);
        match &node.what {
            What::File(content) => {
                header.set_size(content.len() as u64);
                if pax && node.owner == 1000 {
                    builder.append_pax_extensions([("SCHILY.xattr.user.a", b"value".as_slice())]).unwrap();
                }
                builder.append_data(&mut header, &node.path, &content[..]).unwrap();
            }
            What::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, format!("{}/", node.path), &[][..]).unwrap();
            }
            What::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, &node.path, target).unwrap();
            }
            What::Hard(of) => {
                header.set_entry_type(tar::EntryType::Link);
                builder.append_link(&mut header, &node.path, &nodes[*of].path).unwrap();
            }
        }
    }
    let mut bytes = builder.into_inner().unwrap();
    bytes.extend_from_slice(tail);
    bytes
}

fn options() -> Options {
    Options { level: 1, memory: 1 << 32, processes: 1 }
}

fn create(base: &[Vec<u8>], new: &[u8]) -> Vec<u8> {
    let all = base.concat();
    let ends = base.iter().scan(0, |end, part| {
        *end += part.len();
        Some((*end, Digest::of(part)))
    });
    let parts: Vec<_> = ends.collect();
    let layer = Layer { base: &all, parts: &parts, new, target: Digest::of(new) };
    create::layer(&layer, &options(), &mut |_, _, _| {}).unwrap()
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> File {
    let path = folder.join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    File::open(path).unwrap()
}

/// Applies a delta. More than the head promises is no end.
fn applied(delta: &File, base: &mut Base<'_>) -> Result<Vec<u8>, String> {
    let (mut out, mut whole) = (Vec::new(), 0);
    let result = apply(delta, base, &mut |part| {
        match part {
            Out::Bytes(bytes) => out.extend_from_slice(bytes),
            Out::Whole(_) => whole += 1,
        }
        assert!(out.len() < 64 << 20);
        Ok(())
    });
    result.map(|()| out).map_err(|e| e.to_string())
}

#[test]
fn any_tree_from_any_other() {
    let temp = Temp::new();
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let pax = seed % 3 == 0;
        let count = 1 + dice.below(3);
        let old: Vec<Vec<Node>> = (0..count).map(|_| tree(&mut dice, 25)).collect();
        let base: Vec<Vec<u8>> = old.iter().map(|nodes| tar(nodes, pax, &[])).collect();
        let from = dice.below(old.len());
        let tail: &[u8] = [&[][..], &[0; 9216], b"something after the end"][dice.below(3)];
        let new = tar(&mutate(&mut dice, &old[from]), pax, tail);
        let delta = create(&base, &new);
        assert_eq!(create(&base, &new), delta, "the same input gives the same bytes");
        let delta_file = file(&temp.0, "delta", &delta);
        let head = read_head(&delta_file).unwrap();
        assert_eq!((head.target, head.tar_size, head.base.len()), (Digest::of(&new), new.len() as u64, base.len()));
        // From tar files.
        let files: Vec<File> = base.iter().enumerate().map(|(n, bytes)| file(&temp.0, &format!("base{n}"), bytes)).collect();
        let origins: Vec<Origin<'_>> = files.iter().zip(&base).map(|(f, b)| Origin::Tar(f, b.len() as u64)).collect();
        let made = applied(&delta_file, &mut Base::new(&origins).unwrap()).unwrap();
        assert!(made == new, "seed {seed}: {:?}", made.iter().zip(&new).position(|(a, b)| a != b));
        // From a store's files.
        if seed % 6 == 0 {
            let mut layers = Vec::new();
            for (n, bytes) in base.iter().enumerate() {
                let work = temp.0.join(format!("layer{seed}-{n}"));
                std::fs::create_dir(&work).unwrap();
                let mut layer = Apply::new(&work).unwrap();
                layer.push(bytes).unwrap();
                layer.finish(|_| Ok(())).unwrap();
                layers.push(Skeleton::open(&work.join("layer")).unwrap());
            }
            let origins: Vec<Origin<'_>> = layers.iter().map(Origin::Layer).collect();
            assert!(applied(&delta_file, &mut Base::new(&origins).unwrap()).unwrap() == new, "seed {seed}");
        }
    }
}

#[test]
fn an_applier_written_from_the_document_makes_the_same() {
    if Command::new("python3").args(["-c", "import lzma"]).status().map_or(true, |status| !status.success()) {
        return eprintln!("skipped: no python3");
    }
    let temp = Temp::new();
    for seed in 100..116 {
        let mut dice = Dice(seed);
        let pax = seed % 3 == 0;
        let mut old = tree(&mut dice, 12);
        for nth in 0..6 {
            let what = What::File(program(&mut dice));
            old.push(Node { path: format!("bin/program{nth}"), mode: 0o755, time: 1_700_000_000, owner: 0, what });
        }
        let base = [tar(&old, pax, &[]), tar(&tree(&mut dice, 3), pax, &[])];
        let mut nodes = mutate(&mut dice, &old);
        // All programs move.
        for node in nodes.iter_mut().filter(|node| node.path.starts_with("bin/")) {
            let What::File(content) = &mut node.what else { continue };
            // Anywhere, or whole rows among names or records.
            let nth = [3, 5][dice.below(2)];
            let (at, more) = match section(content, nth).filter(|_| dice.below(3) == 0) {
                Some(start) => (start + 24 * (1 + dice.below(4)), 24 * (1 + dice.below(5))),
                None => (512 + 4 * dice.below(content.len() / 8 + 1), 4 * (1 + dice.below(30))),
            };
            let at = at.min(content.len());
            content.splice(at..at, vec![9; more]).for_each(drop);
            relink(content, at, more);
        }
        let new = tar(&nodes, pax, &[]);
        let delta = create(&base, &new);
        let files = [0, 1].map(|nth| file(&temp.0, &format!("base{nth}"), &base[nth]));
        let origins: Vec<Origin<'_>> = files.iter().zip(&base).map(|(f, b)| Origin::Tar(f, b.len() as u64)).collect();
        let (shaken, other) = shaken(&temp.0, &mut dice, &delta, &origins);
        for (delta, new) in [(delta, new), (shaken, other)] {
            file(&temp.0, "delta", &delta);
            assert!(undelta(&temp.0, &["base0", "base1"]) == new, "seed {seed}");
        }
    }
}

/// What the second applier makes of the file `delta`.
fn undelta(folder: &Path, base: &[&str]) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lib/undelta.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).args(["delta", "new"].iter().chain(base).map(|name| folder.join(name)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.join("new")).unwrap()
}

/// Two tars, of which the second has much that is new: programs, text, and rows of 16 bytes.
fn much_new(dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
    let node = |path: &str, content: Vec<u8>| Node {
        path: path.into(),
        mode: 0o644,
        time: 1_700_000_000,
        owner: 0,
        what: What::File(content),
    };
    let words: Vec<Vec<u8>> = (0..500).map(|_| (0..3 + dice.below(7)).map(|_| b'a' + dice.below(26) as u8).collect()).collect();
    let mut text = |count: usize| (0..count).flat_map(|_| [&words[dice.below(500)], &b" "[..]].concat()).collect::<Vec<u8>>();
    let (kept, added) = (text(20_000), text(30_000));
    let rows =
        (0..6_000u32).flat_map(|n| [n * 24, n % 7, dice.below(60_000) as u32, 0].map(u32::to_le_bytes)).flatten().collect();
    let programs = (0..6).map(|n| node(&format!("program{n}"), program(dice))).collect::<Vec<_>>();
    let old = tar(&[node("text", kept.clone())], false, &[]);
    let new = [vec![node("text", [kept, added].concat()), node("rows", rows)], programs].concat();
    (old, tar(&new, false, &[]))
}

#[test]
fn what_is_large_has_prefix_codes() {
    let temp = Temp::new();
    let (old, new) = much_new(&mut Dice(77));
    let delta = create(std::slice::from_ref(&old), &new);
    let base = file(&temp.0, "base", &old);
    let origins = [Origin::Tar(&base, old.len() as u64)];
    let packed = file(&temp.0, "delta", &delta);
    let head = read_head(&packed).unwrap();
    let literals = head.sections[format::Section::Literals as usize];
    assert!(matches!(literals.way, format::Way::Codes { .. }) && literals.plain > 3 * 32768, "{:?}", head.sections);
    assert!(applied(&packed, &mut Base::new(&origins).unwrap()).unwrap() == new);
    assert!(undelta(&temp.0, &["base"]) == new);

    // Damage in the codes' head, and in the parts.
    let start = head.start + head.sections[..format::Section::Literals as usize].iter().map(|s| s.packed).sum::<u64>();
    let mut dice = Dice(78);
    for nth in 0..200 {
        let mut bytes = delta.clone();
        let at = start as usize + if nth % 2 == 0 { dice.below(600) } else { dice.below(literals.packed as usize) };
        bytes[at] ^= 1 << dice.below(8);
        let made = applied(&file(&temp.0, "damaged", &bytes), &mut Base::new(&origins).unwrap());
        assert!(made.is_err() || made.is_ok_and(|made| made.len() == new.len()), "byte {at}");
    }
}

/// The delta with any modes instead of those that fit, so that all rules are used, and what it makes.
fn shaken(folder: &Path, dice: &mut Dice, delta: &[u8], origins: &[Origin<'_>]) -> (Vec<u8>, Vec<u8>) {
    let packed = file(folder, "delta", delta);
    let mut head = read_head(&packed).unwrap();
    let mut streams = format::open(&packed, &head).unwrap();
    let mut sections: Vec<Vec<u8>> =
        streams.iter_mut().zip(&head.sections).map(|(stream, section)| stream.take_vec(section.plain).unwrap()).collect();
    let modes = &mut sections[format::Section::Modes as usize];
    *modes = dice.bytes(modes.len());
    head.joined = None;
    for (section, bytes) in head.sections.iter_mut().zip(&sections) {
        *section = format::Packing { plain: bytes.len() as u64, packed: bytes.len() as u64, way: format::Way::Stored };
    }
    let with = |head: &format::Head| [head.write(), sections.concat()].concat();
    let made = applied(&file(folder, "shaken", &with(&head)), &mut Base::new(origins).unwrap()).unwrap();
    head.target = Digest::of(&made);
    (with(&head), made)
}

#[test]
fn from_nothing_and_to_nothing() {
    let temp = Temp::new();
    let mut dice = Dice(99);
    let some = tar(&tree(&mut dice, 20), false, &[]);
    let noise = dice.bytes(10_000);
    for (base, new) in
        [(vec![], some.clone()), (vec![some.clone()], vec![0; 1024]), (vec![some.clone()], vec![]), (vec![noise.clone()], noise)]
    {
        let delta = file(&temp.0, "delta", &create(&base, &new));
        let files: Vec<File> = base.iter().map(|bytes| file(&temp.0, "base", bytes)).collect();
        let origins: Vec<Origin<'_>> = files.iter().zip(&base).map(|(f, b)| Origin::Tar(f, b.len() as u64)).collect();
        assert_eq!(applied(&delta, &mut Base::new(&origins).unwrap()).unwrap(), new);
    }
}

#[test]
fn damaged_deltas_end_in_errors_or_other_bytes() {
    let temp = Temp::new();
    let mut dice = Dice(5);
    let old = tree(&mut dice, 12);
    let (base, new) = (tar(&old, false, &[]), tar(&mutate(&mut dice, &old), false, &[]));
    let delta = create(std::slice::from_ref(&base), &new);
    let base_file = file(&temp.0, "base", &base);
    let origins = [Origin::Tar(&base_file, base.len() as u64)];
    for cut in (0..delta.len()).step_by(delta.len() / 60 + 1) {
        let damaged = file(&temp.0, "damaged", &delta[..cut]);
        assert!(applied(&damaged, &mut Base::new(&origins).unwrap()).is_err(), "cut at {cut}");
    }
    for _ in 0..400 {
        let mut bytes = delta.clone();
        for _ in 0..1 + dice.below(3) {
            // The head is where the lengths are.
            let at = if dice.below(2) == 0 { dice.below(bytes.len().min(160)) } else { dice.below(bytes.len()) };
            bytes[at] = dice.below(256) as u8;
        }
        let damaged = file(&temp.0, "damaged", &bytes);
        if let Ok(made) = applied(&damaged, &mut Base::new(&origins).unwrap()) {
            assert!(made.len() < 64 << 20);
        }
    }
}
