//! Deltas: hostile ones, and such as this engine makes of any two trees.

use super::{ENOUGH, Folder};
use prtiql::base::Error;
use prtiql::delta::apply::{self as applier, Out};
use prtiql::delta::base::{Base, Origin};
use prtiql::delta::create::{self, Layer, Options};
use prtiql::delta::format::{Head, Packing, SECTIONS, Way, open, read_head};
use prtiql::image::Digest;
use std::fs::File;

/// A delta that is `data`; and one whose head is right and whose sections are what `data` has, so that all of it reaches the applier.
/// Whatever they say, no more comes out than the head has announced, and all of it if it ends well.
pub fn apply(data: &[u8]) {
    let folder = Folder::new("delta");
    // A tar of all kinds of entries, and then anything.
    let mut base = tar(&nodes());
    base.extend_from_slice(data);
    let base = [write(&folder, "base", &base)];
    run(&folder, data, &base);
    if let Some(delta) = dressed(data) {
        run(&folder, &delta, &base);
    }
}

fn nodes() -> Vec<Node> {
    tree(&mut Dice { data: &[], state: 7 }, 12)
}

/// A delta that is one for [`apply`]'s base, as a whole and with its sections as they are.
pub fn seeds() -> [Vec<u8>; 2] {
    let (mut new, mut dice) = (nodes(), Dice { data: &[], state: 5 });
    let base = tar(&new);
    (0..8).for_each(|_| mutate(&mut dice, &mut new));
    let new = tar(&new);
    let delta = create(&[&base], &new);
    let folder = Folder::new("delta_seeds");
    let (file, _) = write(&folder, "delta", &delta);
    let head = read_head(&file).expect("a head");
    let mut plain: Vec<u8> = [head.tar_size / 16, head.entries].iter().flat_map(|n| (*n as u16).to_le_bytes()).collect();
    plain.extend(head.sections.iter().flat_map(|s| (s.plain as u16).to_le_bytes()));
    for (mut stream, section) in open(&file, &head).expect("sections").into_iter().zip(&head.sections) {
        plain.extend(stream.take_vec(section.plain).expect("a section"));
    }
    [delta, plain]
}

fn run(folder: &Folder, delta: &[u8], base: &[(File, u64)]) {
    let (file, _) = write(folder, "delta", delta);
    let Ok(head) = read_head(&file) else { return };
    let _ = applied(&file, &head, base);
}

/// What a delta makes, or why not.
fn applied(file: &File, head: &Head, base: &[(File, u64)]) -> Result<Vec<u8>, String> {
    let origins: Vec<Origin<'_>> = base.iter().map(|(file, size)| Origin::Tar(file, *size)).collect();
    let mut out = Vec::new();
    let mut sink = |part: Out<'_>| {
        if let Out::Bytes(bytes) = part {
            out.extend_from_slice(bytes);
            assert!(out.len() as u64 <= head.tar_size);
        }
        if out.len() > ENOUGH { Err(Error::internal("enough")) } else { Ok(()) }
    };
    let result = Base::new(&origins).and_then(|mut base| applier::apply(file, &mut base, &mut sink));
    result.map_err(|e| e.to_string())?;
    assert_eq!(out.len() as u64, head.tar_size);
    Ok(out)
}

/// A head, from the first bytes, in front of the others, all stored.
fn dressed(data: &[u8]) -> Option<Vec<u8>> {
    let (numbers, mut rest) = data.split_at_checked(2 * (SECTIONS + 2))?;
    let mut numbers = numbers.chunks_exact(2).map(|n| u64::from(u16::from_le_bytes([n[0], n[1]])));
    let (size, entries) = (numbers.next()? * 16, numbers.next()? % 64);
    let mut sections = [Packing::default(); SECTIONS];
    for section in &mut sections {
        let (part, others) = rest.split_at((numbers.next()? as usize).min(rest.len()));
        *section = Packing { plain: part.len() as u64, packed: part.len() as u64, way: Way::Stored };
        rest = others;
    }
    let used = data.len() - rest.len();
    let head = Head {
        target: Digest([0; 32]),
        tar_size: size,
        base: Vec::new(),
        fresh: 0,
        entries,
        most_copies: 1000,
        joined: None,
        sections,
        start: 0,
    };
    let mut delta = head.write();
    delta.extend_from_slice(&data[2 * (SECTIONS + 2)..used]);
    Some(delta)
}

/// Any two trees, the second often grown out of the first, and any two texts: a delta makes the second out of the first, bit for bit.
pub fn trees(data: &[u8]) {
    let (first, second) = data.split_at(data.len() / 2);
    round_trip(&[first], second);
    let mut dice = Dice { data, state: data.len() as u64 };
    let count = 1 + dice.below(12);
    let old = tree(&mut dice, count);
    let mut new = old.clone();
    let changes = dice.below(12);
    (0..changes).for_each(|_| mutate(&mut dice, &mut new));
    let extra = dice.below(3);
    new.extend(tree(&mut dice, extra));
    let (mut base, mut tar) = (tar(&old), tar(&new));
    // The one or the other damaged, or with something after its end.
    for bytes in [&mut base, &mut tar] {
        for _ in 0..dice.below(8) / 4 {
            let at = dice.below(bytes.len());
            bytes[at] = dice.byte();
        }
        let tail = dice.below(3) * dice.below(2000);
        bytes.resize(bytes.len() + tail, dice.byte() & 1);
    }
    round_trip(&[&base, first], &tar);
}

fn round_trip(base: &[&[u8]], new: &[u8]) {
    let delta = create(base, new);
    let folder = Folder::new("delta_trees");
    let files: Vec<_> = base.iter().enumerate().map(|(nth, part)| write(&folder, &format!("base{nth}"), part)).collect();
    let (file, _) = write(&folder, "delta", &delta);
    let head = read_head(&file).expect("its head");
    assert!(applied(&file, &head, &files).as_deref() == Ok(new));
}

fn create(base: &[&[u8]], new: &[u8]) -> Vec<u8> {
    let all = base.concat();
    let mut end = 0;
    let parts: Vec<(usize, Digest)> = base
        .iter()
        .map(|part| {
            end += part.len();
            (end, Digest([0; 32]))
        })
        .collect();
    let layer = Layer { base: &all, parts: &parts, new, target: Digest([0; 32]) };
    let options = Options { level: 1, memory: 1 << 32, processes: 1 };
    create::layer(&layer, &options, &mut |_, _, _| {}).expect("a delta")
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) -> (File, u64) {
    let path = folder.0.join(name);
    let file = std::fs::write(&path, bytes).and_then(|()| File::open(&path)).expect("a folder to work in");
    (file, bytes.len() as u64)
}

/// Choices: what the fuzzer says, and when it has said all, what looks random.
struct Dice<'a> {
    data: &'a [u8],
    state: u64,
}

impl Dice<'_> {
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.state >> 33
    }

    fn byte(&mut self) -> u8 {
        match self.data.split_first() {
            Some((byte, rest)) => {
                self.data = rest;
                *byte
            }
            None => self.random() as u8,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % n.max(1)
    }
}

#[derive(Clone)]
struct Node {
    path: Vec<u8>,
    kind: u8,
    time: usize,
    owner: usize,
    body: Vec<u8>,
}

fn tree(dice: &mut Dice<'_>, count: usize) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(count);
    for nth in 0..count {
        let long = if dice.below(8) == 0 { "folder/".repeat(dice.below(25)) } else { String::new() };
        let kind = [b'0', b'0', b'0', b'0', b'2', b'5', b'1'][dice.below(7)];
        let body = match (kind, dice.below(3)) {
            (b'0', 0) => program(dice),
            (b'0', _) => {
                let length = dice.below(3000);
                (0..length).map(|_| dice.random() as u8).collect()
            }
            _ => Vec::new(),
        };
        let path = format!("{long}f{nth}.{}", dice.below(20)).into_bytes();
        nodes.push(Node { path, kind, time: dice.below(1000), owner: dice.below(3), body });
    }
    nodes
}

fn mutate(dice: &mut Dice<'_>, nodes: &mut [Node]) {
    let nth = dice.below(nodes.len());
    let Some(node) = nodes.get_mut(nth) else { return };
    let at = dice.below(node.body.len() + 1);
    match dice.below(8) {
        0 => node.time += 1,
        1 => node.owner ^= 9,
        2 => node.path.push(b'x'),
        3 => node.body.truncate(at),
        4 => {
            let more = vec![dice.byte(); 4 * dice.below(200)];
            node.body.splice(at..at, more).for_each(drop);
        }
        5 => node.body[at..].iter_mut().step_by(37).for_each(|b| *b ^= 1),
        6 => node.body.rotate_left(at),
        _ => drop(node.body.drain(at..(at + 300).min(node.body.len()))),
    }
}

/// What begins as an ELF file of any machine does; its segments are as the dice have them, and it is full of branches and addresses.
fn program(dice: &mut Dice<'_>) -> Vec<u8> {
    let length = 512 + dice.below(9000);
    let mut bytes: Vec<u8> = (0..length).map(|_| dice.random() as u8).collect();
    let wide = dice.below(2) == 1;
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1, 1]);
    let machine = [3u16, 62, 40, 183, 243, 8][dice.below(6)];
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let (table, size_at, size) = if wide { (32, 54, 56) } else { (28, 42, 32) };
    bytes[table..table + 8].copy_from_slice(&64u64.to_le_bytes());
    let count = dice.below(4);
    bytes[size_at..size_at + 4].copy_from_slice(&[size as u8, 0, count as u8, 0]);
    for nth in 0..count {
        let at = 64 + nth * size;
        let odd = if dice.below(6) == 0 { u64::from(dice.byte()) << (8 * dice.below(8)) } else { 0 };
        let start = dice.below(length) as u64 & !3;
        let memory = dice.below(length) as u64;
        let fields = [start.wrapping_add(odd), 0x1_0000 + start, memory, memory + odd % 4096];
        for (field, (narrow, far)) in fields.into_iter().zip([(4, 8), (8, 16), (16, 32), (20, 40)]) {
            match wide {
                true => bytes[at + far..at + far + 8].copy_from_slice(&field.to_le_bytes()),
                false => bytes[at + narrow..at + narrow + 4].copy_from_slice(&(field as u32).to_le_bytes()),
            }
        }
        bytes[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
        bytes[at + if wide { 4 } else { 24 }] = 5;
    }
    for at in (300..length - 16).step_by(16) {
        let near = dice.random() as u8;
        let address = 0x1_0000 + dice.random() % length as u64;
        match dice.random() % 7 {
            0 => bytes[at..at + 5].copy_from_slice(&[0xe8, near, 1, 0, 0]),
            1 => bytes[at..at + 4].copy_from_slice(&[near, 1, 0, 0xeb]),
            2 => bytes[at..at + 4].copy_from_slice(&[0, 0xf0, near, 0xf8]),
            3 => bytes[at..at + 4].copy_from_slice(&[near, 0, 0, 0x94]),
            4 => bytes[at..at + 8].copy_from_slice(&[0x97, 0, 0, 0, 0x93, 0x80, near, 0]),
            5 => bytes[at..at + 8].copy_from_slice(&[1, 0, 0, 0x90, 0x21, 0, near & 3, 0x91]),
            _ => bytes[at..at + 8].copy_from_slice(&address.to_le_bytes()),
        }
    }
    if length > 2048 && dice.below(3) > 0 {
        sections(dice, &mut bytes, wide);
    }
    bytes
}

/// Sections of all kinds that are looked at, anywhere, with anything in them; their headers are at the end.
fn sections(dice: &mut Dice<'_>, bytes: &mut [u8], wide: bool) {
    const ALL: [(&[u8], u32); 18] = [
        (b".symtab", 2),
        (b".dynsym", 11),
        (b".strtab", 3),
        (b".rela.dyn", 4),
        (b".rel.dyn", 9),
        (b".eh_frame", 1),
        (b".ARM.exidx", 0x7000_0001),
        (b".gopclntab", 1),
        (b".text", 1),
        (b".rodata", 1),
        (b".typelink", 1),
        (b".debug_info", 1),
        (b".debug_abbrev", 1),
        (b".debug_str", 1),
        (b".debug_loc", 1),
        (b".debug_ranges", 1),
        (b".debug_line", 1),
        (b".debug_rnglists", 1),
    ];
    let (word, size) = if wide { (8, 64) } else { (4, 40) };
    let (table, counts) = if wide { (40, 58) } else { (32, 46) };
    let headers = bytes.len() - size * 8 - dice.below(3);
    let names = headers - 96;
    bytes[table..table + word].copy_from_slice(&(headers as u64).to_le_bytes()[..word]);
    bytes[counts..counts + 6].copy_from_slice(&[size as u8, 0, 8, 0, 0, 0]);
    bytes[names..].fill(0);
    let mut go = None;
    for nth in 0..8 {
        let at = headers + nth * size;
        let (name, kind, offset, length) = match nth {
            0 => (0, 3, names, 96),
            _ => {
                let (name, kind) = ALL[dice.below(ALL.len())];
                bytes[names + 12 * nth..][..name.len()].copy_from_slice(name);
                let (offset, length) = (dice.below(names) & !7, dice.below(names / 4));
                // Go's head, and numbers that may fit.
                if name == b".gopclntab" && offset >= 512 && offset + 8 + 8 * word < names {
                    bytes[offset..offset + 8].copy_from_slice(&[0xf1, 0xff, 0xff, 0xff, 0, 0, 4, word as u8]);
                    for nth in 0..8 {
                        let number = (dice.below(length + 1) / (9 - nth)) as u32;
                        bytes[offset + 8 + nth * word..][..4].copy_from_slice(&number.to_le_bytes());
                        bytes[offset + 8 + nth * word..][4..word].fill(0);
                    }
                    go = Some(offset);
                }
                if name.starts_with(b".debug_") && offset >= 512 && offset + length <= names {
                    debugging(dice, name, &mut bytes[offset..offset + length], word);
                }
                // Many addresses.
                if kind != 1 && dice.below(2) == 0 {
                    for at in (offset.max(512)..(offset + length).min(names - 8)).step_by(word) {
                        let address = 0x1_0000 + dice.random() % names as u64;
                        bytes[at..at + word].copy_from_slice(&address.to_le_bytes()[..word]);
                    }
                }
                (12 * nth, kind, offset, length)
            }
        };
        let fields = [offset as u64, length as u64];
        bytes[at..at + 4].copy_from_slice(&(name as u32).to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&kind.to_le_bytes());
        let (place, link) = if wide { (at + 24, at + 40) } else { (at + 16, at + 24) };
        for (by, field) in fields.iter().enumerate() {
            let odd = if dice.below(30) == 0 { u64::MAX << dice.below(64) } else { 0 };
            bytes[place + by * word..place + (by + 1) * word].copy_from_slice(&field.wrapping_add(odd).to_le_bytes()[..word]);
        }
        bytes[link] = dice.byte() % 10;
    }
    if let Some(table) = go {
        module(dice, &mut bytes[..names], table, word);
    }
}

/// Abbreviations of forms that there are, mostly, and units that have them.
fn debugging(dice: &mut Dice<'_>, name: &[u8], bytes: &mut [u8], word: usize) {
    const ATTRIBUTES: [u8; 8] = [0x03, 0x11, 0x12, 0x10, 0x55, 0x02, 0x40, 0x49];
    const FORMS: [u8; 16] = [1, 1, 6, 7, 8, 0x0a, 0x0b, 0x0e, 0x0e, 0x0f, 0x13, 0x13, 0x17, 0x17, 0x18, 0x19];
    let mut at = 0;
    if name == b".debug_abbrev" {
        for code in 1..8 {
            let fields = 2 * dice.below(5);
            let Some(shape) = bytes.get_mut(at..at + 3 + fields + 2) else { break };
            shape.copy_from_slice(&[&[code, 0x2e, 0][..], &vec![0; fields + 2]].concat());
            for pair in shape[3..3 + fields].chunks_exact_mut(2) {
                pair.copy_from_slice(&[ATTRIBUTES[dice.below(8)], FORMS[dice.below(16)]]);
            }
            at += 3 + fields + 2;
        }
        bytes.get_mut(at..at + 1).into_iter().for_each(|end| end.fill(0));
    }
    while name == b".debug_info" && at + 12 < bytes.len() {
        let length = dice.below(bytes.len() - at).max(12);
        bytes[at..at + 4].copy_from_slice(&(length as u32 - 4).to_le_bytes());
        let version = 2 + dice.below(4) as u8;
        let rest = if version == 5 { [1, word as u8, 0, 0, 0, 0] } else { [0, 0, 0, 0, word as u8, 1] };
        bytes[at + 4..at + 12].copy_from_slice(&[&[version, 0][..], &rest].concat());
        // Codes of abbreviations are small, so all bytes are.
        bytes[at + 12..].iter_mut().take(length - 12).for_each(|byte| *byte &= if *byte & 0x80 == 0 { 7 } else { 0xff });
        at += length;
    }
}

/// What Go's runtime knows of a program whose sections have no addresses, anywhere in it.
fn module(dice: &mut Dice<'_>, bytes: &mut [u8], table: usize, word: usize) {
    let number = |at: usize| bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes(field.try_into().unwrap()) as usize);
    let (count, index) = (number(table + 8), table + number(table + 8 + 7 * word));
    let text = dice.below(64);
    let ends = [index, index + 8 * count].map(|at| text + number(at));
    let far = [(); 3].map(|()| dice.below(bytes.len() / 4));
    let words = [0, dice.below(8), far[0], ends[0], ends[1], text, 0, far[1] + far[2], 0, far[2]];
    let at = (512 + dice.below((bytes.len() / 2).saturating_sub(512))) & !7;
    if at + words.len() * word <= bytes.len() {
        let field = |number: &usize| (*number as u64).to_le_bytes()[..word].to_vec();
        bytes[at..at + words.len() * word].copy_from_slice(&words.iter().flat_map(field).collect::<Vec<u8>>());
    }
}

fn tar(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    for node in nodes {
        if node.path.len() > 100 {
            header(&mut out, b"././@LongLink", b'L', node, node.path.len());
            pad(&mut out, &node.path);
        }
        header(&mut out, &node.path[..node.path.len().min(100)], node.kind, node, node.body.len());
        pad(&mut out, &node.body);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn pad(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn header(out: &mut Vec<u8>, name: &[u8], kind: u8, node: &Node, size: usize) {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    let numbers = [(100, 7, 0o644), (108, 7, node.owner), (116, 7, node.owner), (124, 11, size), (136, 11, node.time)];
    for (at, digits, number) in numbers {
        block[at..at + digits].copy_from_slice(format!("{number:0digits$o}").as_bytes());
    }
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}
