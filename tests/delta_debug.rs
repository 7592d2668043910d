//! Deltas of programs with debugging information: all that it names follows when functions come, and both appliers make the same of it.

mod harness;

use harness::program::{BASE, Bytes, finish, follows, random};

/// Functions of the old program; the new one has a few more.
const FUNCTIONS: usize = 300;
const ADDED: [usize; 3] = [40, 41, 200];
/// Bytes of the delta. Without any one of the kinds of tables it is more.
const LARGEST: usize = 1890;

/// Abbreviations: attributes with their forms. Places in sections are of form 6 before DWARF 4, of form 0x17 since.
fn abbreviations(out: &mut Bytes, place: u8) {
    let all: [(u8, &[(u8, u8)]); 7] = [
        // A unit: name, begin, size, lines.
        (0x11, &[(0x03, 0x0e), (0x11, 0x01), (0x12, 0x06), (0x10, place)]),
        // A function: name, line, begin, size, its frame, the function it calls.
        (0x2e, &[(0x03, 0x0e), (0x3b, 0x05), (0x11, 0x01), (0x12, 0x06), (0x40, 0x18), (0x49, 0x13)]),
        // Variables: in places that change, and at an address.
        (0x34, &[(0x03, 0x0e), (0x02, place)]),
        (0x34, &[(0x03, 0x08), (0x02, 0x0a)]),
        // A part of a function, of two ranges.
        (0x0b, &[(0x55, place)]),
        // A constant, which is the abbreviation's own; numbers that say how long they are.
        (0x27, &[(0x1c, 0x21), (0x3b, 0x0f), (0x1c, 0x0d)]),
        // Nothing in .debug_info.
        (0x3b, &[(0x3c, 0x19)]),
    ];
    for (nth, (tag, attributes)) in all.iter().enumerate() {
        out.all.extend([nth as u8 + 1, *tag, 0]);
        for (attribute, form) in *attributes {
            out.all.extend([*attribute, *form]);
            if *form == 0x21 {
                out.all.extend([0x80, 0x7f]);
            }
        }
        out.all.extend([0, 0]);
    }
    out.all.push(0);
}

/// A program of these functions, of which each fourth part is a unit of its own version.
fn program(functions: &[usize], wide: bool) -> Vec<u8> {
    let mut out = Bytes { all: vec![0; 0x1000], word: if wide { 8 } else { 4 } };
    let mut sections: Vec<(&str, usize, usize)> = Vec::new();
    let mut code = Vec::new();
    for nth in functions {
        let start = out.align(16);
        out.text(*nth, 1, 64 + 4 * (random(*nth, 2) % 50));
        code.push((BASE + start, out.all.len() - start));
    }
    sections.push((".text", 0x1000, out.all.len()));
    // Names, in another order.
    let strings = out.all.len();
    let mut names = vec![0; functions.len()];
    for place in (0..functions.len()).rev() {
        names[place] = out.all.len() - strings;
        out.text(functions[place], 3, 8 + random(functions[place], 4) % 20);
        out.all.push(0);
    }
    sections.push((".debug_str", strings, out.all.len()));
    let border = |nth: usize| functions.iter().filter(|function| **function % FUNCTIONS < nth * FUNCTIONS / 4).count();
    let units: Vec<(usize, std::ops::Range<usize>)> = (0..4).map(|nth| (nth + 2, border(nth)..border(nth + 1))).collect();
    // What of each function is where: lists of locations and of ranges, and lines.
    let (mut locations, mut ranges, mut lines) = (vec![0; functions.len()], vec![0; functions.len()], Vec::new());
    for is_newer in [false, true] {
        for (name, places) in
            [([".debug_loc", ".debug_loclists"], &mut locations), ([".debug_ranges", ".debug_rnglists"], &mut ranges)]
        {
            let is_ranges = name[0] == ".debug_ranges";
            let start = if is_ranges && !is_newer { out.align(16) } else { out.all.len() };
            for (_, unit) in units.iter().filter(|(version, _)| (*version == 5) == is_newer) {
                let base = code[unit.start].0;
                for place in unit.clone() {
                    places[place] = out.all.len() - start;
                    let (address, size) = code[place];
                    for part in [0, size / 2] {
                        match (is_newer, is_ranges) {
                            (false, _) => out.words(&[address + part - base, address + part + size / 3 - base]),
                            (true, false) => out.all.push(8),
                            (true, true) => out.all.push(7),
                        }
                        if is_newer {
                            out.words(&[address + part]);
                            out.all.push(size as u8 / 3);
                        }
                        match (is_newer, is_ranges) {
                            (_, true) => {}
                            (false, false) => {
                                out.all.extend([17, 0, 0x9e]);
                                out.text(functions[place], 9 + part, 16);
                            }
                            (true, false) => out.all.extend([1, 0x50 | functions[place] as u8 & 7]),
                        }
                    }
                    if is_newer { out.all.push(0) } else { out.words(&[0, 0]) }
                }
            }
            sections.push((name[usize::from(is_newer)], start, out.all.len()));
        }
    }
    let start = out.all.len();
    for (_, unit) in &units {
        lines.push(out.all.len() - start);
        for place in unit.clone() {
            out.all.extend([0, out.word as u8 + 1, 2]);
            out.words(&[code[place].0]);
            out.text(functions[place], 5, 9);
        }
    }
    sections.push((".debug_line", start, out.all.len()));
    let start = out.all.len();
    let mut of_units = Vec::new();
    for (version, _) in &units {
        of_units.push(out.all.len() - start);
        abbreviations(&mut out, if *version < 4 { 6 } else { 0x17 });
    }
    sections.push((".debug_abbrev", start, out.all.len()));
    let start = out.all.len();
    for (nth, (version, unit)) in units.iter().enumerate() {
        let own = out.all.len();
        out.put(&[0]);
        out.all.extend([*version as u8, 0]);
        match version {
            5 => {
                out.all.extend([1, out.word as u8]);
                out.put(&[of_units[nth]]);
            }
            _ => {
                out.put(&[of_units[nth]]);
                out.all.push(out.word as u8);
            }
        }
        let (first, last) = (code[unit.start], code[unit.end - 1]);
        out.all.push(1);
        out.put(&[names[unit.start]]);
        out.words(&[first.0]);
        out.put(&[last.0 + last.1 - first.0, lines[nth]]);
        let mut entries = Vec::new();
        for place in unit.clone() {
            entries.push((functions[place], out.all.len() - own));
            let function = functions[place];
            out.all.push(2);
            out.put(&[names[place]]);
            out.all.extend([random(function, 6) as u8, 1]);
            out.words(&[code[place].0]);
            // The same one in both programs.
            let other = entries.iter().find(|entry| entry.0 == function / 8 * 8).map_or(entries[0].1, |entry| entry.1);
            out.put(&[code[place].1]);
            out.all.extend([1, 0x9c]);
            out.put(&[other]);
            out.all.push(3);
            out.put(&[names[place], locations[place]]);
            out.all.push(4);
            out.text(function, 8, 5);
            out.all.extend([0, out.word as u8 + 1, 3]);
            out.words(&[code[place].0 + 4]);
            out.all.push(5);
            out.put(&[ranges[place]]);
            out.all.extend([6, 0x80 | function as u8, 1, 0xff, function as u8 & 0x7f, 7, 0]);
        }
        out.all.push(0);
        let length = (out.all.len() - own - 4) as u32;
        out.all[own..own + 4].copy_from_slice(&length.to_le_bytes());
    }
    sections.push((".debug_info", start, out.all.len()));
    finish(out, &sections, wide)
}

#[test]
fn debugging_information_follows_when_functions_come() {
    follows(FUNCTIONS, &ADDED, program, LARGEST);
}
