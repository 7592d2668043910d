//! Deltas of Go's programs: all of their tables follow when functions come, and both appliers make the same of it.

mod harness;

use harness::program::{BASE, Bytes, finish, follows, random};

/// Functions of the old program; the new one has a few more.
const FUNCTIONS: usize = 400;
const ADDED: [usize; 3] = [60, 61, 250];

/// Bytes of the delta.
const LARGEST: usize = 2860;

/// Where code begins.
const HEAD: usize = 0x1000;

/// A program of these functions, with the tables of Go 1.20 and later.
fn program(functions: &[usize], wide: bool) -> Vec<u8> {
    let word = if wide { 8 } else { 4 };
    let mut out = Bytes { all: vec![0; HEAD], word };
    let mut sections: Vec<(&str, usize, usize)> = Vec::new();
    // Another function before this one; it is the same in both programs.
    let other = |nth: usize, what: usize| {
        let other = if nth < FUNCTIONS { random(nth, what) % (nth + 1) } else { 0 };
        functions.iter().position(|nth| *nth == other).unwrap()
    };
    // Code; there is more before these functions.
    out.all.resize(HEAD + 0x2_0000, 1);
    let mut entries = Vec::new();
    for nth in functions {
        entries.push(out.all.len() - HEAD);
        out.text(*nth, 1, 64 + 4 * (random(*nth, 2) % 50));
        out.align(16);
    }
    let code_end = out.all.len() - HEAD;
    sections.push((".text", HEAD, out.all.len()));
    // Constants: names of types, types with a method each, data of functions, and what tells of pointers.
    let constants = out.align(4096);
    let mut type_names = Vec::new();
    for nth in functions {
        type_names.push(out.all.len() - constants);
        out.text(*nth, 3, 40 + random(*nth, 4) % 9);
    }
    let mut types = Vec::new();
    for (place, nth) in functions.iter().enumerate() {
        types.push(out.align(16) - constants);
        out.words(&[24, 16]);
        out.put(&[random(*nth, 5) << 8 | 0x8000_0000, 0x1908_0801]);
        // The address of a constant, a name, another type; then the methods.
        out.words(&[BASE + constants + types[other(*nth, 6)]]);
        out.put(&[type_names[place], types[other(*nth, 7)], type_names[place], 1 | 1 << 16, 16, 0]);
        out.put(&[type_names[place], types[0], entries[place], entries[place]]);
        // It is seen by this which one it is.
        out.text(*nth, 18, 48);
    }
    let data = out.align(16);
    let names: Vec<usize> = functions
        .iter()
        .scan(1, |at, nth| {
            *at += 12 + random(*nth, 8) % 30;
            Some(*at - 12 - random(*nth, 8) % 30)
        })
        .collect();
    let all_names = names.last().unwrap() + 50;
    let masks = data + functions.len() * (64 + word) + 256;
    let mut of_functions = Vec::new();
    for (place, nth) in functions.iter().enumerate() {
        let call = out.align(4) - data;
        out.put(&[0, names[other(*nth, 9)], random(*nth, 10) % 60, random(*nth, 11) % 900]);
        of_functions.push((call, out.align(8) - data));
        out.words(&[1]);
        out.put(&[0xffff_ff00, 48, 16 + 8 * (random(*nth, 12) % 4), masks - constants + 4 * place]);
    }
    out.all.resize(masks, 0);
    functions.iter().for_each(|nth| out.text(*nth, 13, 4));
    // The first function of each 256 bytes of code.
    let buckets = out.align(4);
    let code: Vec<usize> = (entries[0]..code_end).step_by(256).collect();
    for row in code.chunks(16) {
        let first = |at: &usize| entries.partition_point(|entry| entry <= at) - 1;
        out.put(&[first(&row[0])]);
        row.iter().for_each(|at| out.all.push((first(at) - first(&row[0])) as u8));
    }
    let end = out.all.len();
    sections.push((".rodata", constants, end));
    let links = out.align(16);
    out.put(&types);
    sections.push((".typelink", links, out.all.len()));
    // The table of functions.
    let table = out.align(32);
    let lines = |nth: usize| 3 + random(nth, 14) % 20;
    let units = functions.len() / 8 + 1;
    let (at_units, at_files) = (8 + 8 * word + all_names, 8 + 8 * word + all_names + 4 * units);
    let at_lines = at_files + 40;
    let at_index = (at_lines + 1 + functions.iter().map(|nth| lines(*nth)).sum::<usize>()).next_multiple_of(8);
    out.put(&[0xffff_fff1, (word << 24) | 4 << 16]);
    out.words(&[functions.len(), 3, BASE + HEAD, 8 + 8 * word, at_units, at_files, at_lines, at_index]);
    for (place, nth) in functions.iter().enumerate() {
        out.all.resize(table + 8 + 8 * word + names[place], 0);
        out.text(*nth, 15, 11 + random(*nth, 8) % 30);
    }
    out.all.resize(table + at_units, 0);
    (0..units).for_each(|unit| out.put(&[unit * 3]));
    out.all.resize(table + at_lines + 1, 0);
    let mut at_line = Vec::new();
    for nth in functions {
        at_line.push(out.all.len() - table - at_lines);
        out.text(*nth, 16, lines(*nth));
    }
    out.all.resize(table + at_index, 0);
    let record = 44 + 4 * (1 + 4);
    let first = (8 * functions.len() + 4).next_multiple_of(8);
    for (place, entry) in entries.iter().enumerate() {
        out.put(&[*entry, first + place * record]);
    }
    out.put(&[code_end]);
    out.all.resize(table + at_index + first, 0);
    for (place, nth) in functions.iter().enumerate() {
        let (line, (call, object)) = (at_line[place], of_functions[place]);
        out.put(&[entries[place], names[place], 8, 0, line, line + 1, line + 2, 1, place / 8, random(*nth, 17) % 5000, 4 << 24]);
        out.put(&[line, u32::MAX as usize, u32::MAX as usize, object, call]);
    }
    sections.push((".gopclntab", table, out.all.len()));
    // What the runtime knows of the program.
    let module = out.align(4096);
    let address = |at: usize| BASE + at;
    out.words(&[address(table), address(table + 8 + 8 * word), all_names, all_names]);
    out.words(&[address(buckets), address(HEAD + entries[0]), address(HEAD + code_end), address(HEAD)]);
    out.words(&[address(constants), address(end), address(constants), address(data), 0, 0]);
    sections.push((".noptrdata", module, out.all.len()));
    finish(out, &sections, wide)
}

#[test]
fn tables_follow_when_functions_come() {
    // Three functions and what is told of them. Where nothing follows it is more than twice as much.
    follows(FUNCTIONS, &ADDED, program, LARGEST);
}
