//! Deltas of Go's programs: all of their tables follow when functions come, and both appliers make the same of it.

mod harness;

use harness::program::{BASE, Bytes, finish, follows, random};

/// Functions of the old program; the new one has a few more.
const FUNCTIONS: usize = 400;
const ADDED: [usize; 3] = [60, 61, 250];

/// Bytes of the delta.
const LARGEST: usize = 2940;

/// Where code begins.
const HEAD: usize = 0x1000;

/// Where Go puts its tables.
#[derive(Clone, Copy)]
struct Layout {
    /// Types have a section of their own, else they are the first constants: since 1.27, and in position-independent programs.
    types_apart: bool,
    /// What functions know of themselves is in their table, else it is the last constants: since 1.26.
    data_in_table: bool,
}

impl Layout {
    /// From 1.27 on nothing lists the types that are linked.
    fn lists_types(self) -> bool {
        !(self.types_apart && self.data_in_table)
    }
}

/// A program in the making.
struct Maker<'a> {
    out: Bytes,
    functions: &'a [usize],
    /// Where each function begins in the code, and where all end.
    entries: Vec<usize>,
    code_end: usize,
}

impl Maker<'_> {
    /// Another function before this one; it is the same in both programs.
    fn other(&self, nth: usize, what: usize) -> usize {
        let other = if nth < FUNCTIONS { random(nth, what) % (nth + 1) } else { 0 };
        self.functions.iter().position(|nth| *nth == other).unwrap()
    }

    fn code(&mut self) {
        // There is more before these functions.
        self.out.all.resize(HEAD + 0x2_0000, 1);
        for nth in self.functions {
            self.entries.push(self.out.all.len() - HEAD);
            self.out.text(*nth, 1, 64 + 4 * (random(*nth, 2) % 50));
            self.out.align(16);
        }
        self.code_end = self.out.all.len() - HEAD;
    }

    /// Names of types, and types with a method each: where each is from `start` on, and the end of the last.
    fn types(&mut self, start: usize, names_first: bool) -> (Vec<usize>, usize) {
        let word = self.out.word;
        let length = (3 * word + 96).next_multiple_of(16);
        let name_of = |nth: usize| 40 + random(nth, 4) % 9;
        let all_names: usize = self.functions.iter().map(|nth| name_of(*nth)).sum();
        let begin = self.out.all.len() - start;
        let first = if names_first { begin + all_names } else { begin + word }.next_multiple_of(16);
        let end = first + length * self.functions.len();
        let types: Vec<usize> = (0..self.functions.len()).map(|place| first + place * length).collect();
        let mut name = if names_first { begin } else { end };
        let mut names = Vec::new();
        for nth in self.functions {
            names.push(name);
            name += name_of(*nth);
        }
        let put_names = |out: &mut Bytes| self.functions.iter().for_each(|nth| out.text(*nth, 3, name_of(*nth)));
        if names_first {
            put_names(&mut self.out);
        }
        for (place, nth) in self.functions.iter().enumerate() {
            self.out.all.resize(start + types[place], 0);
            self.out.words(&[24, 16]);
            self.out.put(&[random(*nth, 5) << 8 | 0x8000_0000, 0x1908_0801]);
            // The address of a constant, a name, another type; then the methods.
            self.out.words(&[BASE + start + types[self.other(*nth, 6)]]);
            self.out.put(&[names[place], types[self.other(*nth, 7)], names[place], 1 | 1 << 16, 16, 0]);
            self.out.put(&[names[place], types[0], self.entries[place], self.entries[place]]);
            // It is seen by this which one it is.
            self.out.text(*nth, 18, 48);
        }
        self.out.all.resize(start + end, 0);
        if !names_first {
            put_names(&mut self.out);
        }
        (types, end)
    }

    /// What functions know of themselves: inlined calls and objects, of which `masks` from the constants on tell.
    fn data(&mut self, names: &[usize], masks: usize) -> (usize, Vec<(usize, usize)>) {
        let data = self.out.align(16);
        let mut all = Vec::new();
        for (place, nth) in self.functions.iter().enumerate() {
            let call = self.out.align(4) - data;
            self.out.put(&[0, names[self.other(*nth, 9)], random(*nth, 10) % 60, random(*nth, 11) % 900]);
            all.push((call, self.out.align(8) - data));
            self.out.words(&[1]);
            self.out.put(&[0xffff_ff00, 48, 16 + 8 * (random(*nth, 12) % 4), masks + 4 * place]);
        }
        (data, all)
    }

    /// The first function of each 256 bytes of code.
    fn buckets(&mut self) -> usize {
        let buckets = self.out.align(4);
        let code: Vec<usize> = (self.entries[0]..self.code_end).step_by(256).collect();
        for row in code.chunks(16) {
            let first = |at: &usize| self.entries.partition_point(|entry| entry <= at) - 1;
            self.out.put(&[first(&row[0])]);
            row.iter().for_each(|at| self.out.all.push((first(at) - first(&row[0])) as u8));
        }
        buckets
    }
}

/// A program of these functions, with the tables of Go 1.20 and later.
fn program(functions: &[usize], wide: bool, layout: Layout) -> Vec<u8> {
    let word = if wide { 8 } else { 4 };
    let out = Bytes { all: vec![0; HEAD], word };
    let mut maker = Maker { out, functions, entries: Vec::new(), code_end: 0 };
    let mut sections: Vec<(&str, usize, usize)> = Vec::new();
    maker.code();
    sections.push((".text", HEAD, maker.out.all.len()));
    let names: Vec<usize> = functions
        .iter()
        .scan(1, |at, nth| {
            *at += 12 + random(*nth, 8) % 30;
            Some(*at - 12 - random(*nth, 8) % 30)
        })
        .collect();
    let all_names = names.last().unwrap() + 50;
    // Constants.
    let constants = maker.out.align(4096);
    let (mut types, mut types_end, mut types_at) = (Vec::new(), 0, constants);
    if !layout.types_apart {
        (types, types_end) = maker.types(constants, true);
    }
    let (mut data, mut of_functions, mut buckets) = (0, Vec::new(), 0);
    let room = if layout.data_in_table { 0 } else { functions.len() * (64 + word) + 256 };
    let masks = maker.out.align(16) + room;
    if !layout.data_in_table {
        (data, of_functions) = maker.data(&names, masks - constants);
    }
    maker.out.all.resize(masks, 0);
    functions.iter().for_each(|nth| maker.out.text(*nth, 13, 4));
    if !layout.data_in_table {
        buckets = maker.buckets();
        types_end = maker.out.all.len() - constants;
    }
    sections.push((".rodata", constants, maker.out.all.len()));
    // The table of functions.
    let table = maker.out.align(32);
    let lines = |nth: usize| 3 + random(nth, 14) % 20;
    // Of each eight functions one file is what was compiled at once; others have one each.
    let unit = |nth: usize| nth / if nth < FUNCTIONS { 8 } else { 1 };
    let mut units: Vec<usize> = functions.iter().map(|nth| unit(*nth)).collect();
    let mut seen = std::collections::HashSet::new();
    units.retain(|unit| seen.insert(*unit));
    let (at_units, at_files) = (8 + 8 * word + all_names, 8 + 8 * word + all_names + 4 * units.len());
    let at_lines = at_files + 16 * units.len();
    let at_index = (at_lines + 1 + functions.iter().map(|nth| lines(*nth)).sum::<usize>()).next_multiple_of(8);
    maker.out.put(&[0xffff_fff1, (word << 24) | 4 << 16]);
    maker.out.words(&[functions.len(), 3, BASE + HEAD, 8 + 8 * word, at_units, at_files, at_lines, at_index]);
    for (place, nth) in functions.iter().enumerate() {
        maker.out.all.resize(table + 8 + 8 * word + names[place], 0);
        maker.out.text(*nth, 15, 11 + random(*nth, 8) % 30);
    }
    maker.out.all.resize(table + at_units, 0);
    (0..units.len()).for_each(|place| maker.out.put(&[place * 16]));
    units.iter().for_each(|unit| maker.out.text(*unit, 19, 16));
    maker.out.all.resize(table + at_lines + 1, 0);
    let mut at_line = Vec::new();
    for nth in functions {
        at_line.push(maker.out.all.len() - table - at_lines);
        maker.out.text(*nth, 16, lines(*nth));
    }
    maker.out.all.resize(table + at_index, 0);
    let record = 44 + 4 * (1 + 4);
    let first = (8 * functions.len() + 4).next_multiple_of(8);
    for (place, entry) in maker.entries.iter().enumerate() {
        maker.out.put(&[*entry, first + place * record]);
    }
    maker.out.put(&[maker.code_end]);
    maker.out.all.resize(table + at_index + first, 0);
    let records = maker.out.all.len();
    maker.out.all.resize(records + functions.len() * record, 0);
    if layout.data_in_table {
        (data, of_functions) = maker.data(&names, masks - constants);
        buckets = maker.buckets();
    }
    let mut all = Bytes { all: Vec::new(), word };
    for (place, nth) in functions.iter().enumerate() {
        let (line, (call, object)) = (at_line[place], of_functions[place]);
        let entry = maker.entries[place];
        let unit = units.iter().position(|other| *other == unit(*nth)).unwrap();
        all.put(&[entry, names[place], 8, 0, line, line + 1, line + 2, 1, unit, random(*nth, 17) % 5000, 4 << 24]);
        all.put(&[line, u32::MAX as usize, u32::MAX as usize, object, call]);
    }
    maker.out.all[records..records + all.all.len()].copy_from_slice(&all.all);
    sections.push((".gopclntab", table, maker.out.all.len()));
    let mut linked = 0;
    if layout.types_apart {
        types_at = maker.out.align(16);
        (types, linked) = maker.types(types_at, layout.lists_types());
        types_end = maker.out.all.len() - types_at;
        sections.push((".data.rel.ro", types_at, maker.out.all.len()));
    }
    if layout.lists_types() {
        let links = maker.out.align(16);
        maker.out.put(&types);
        sections.push((".data.rel.ro.typelink", links, maker.out.all.len()));
    }
    // What the runtime knows of the program.
    let module = maker.out.align(4096);
    let address = |at: usize| BASE + at;
    maker.out.words(&[address(table), address(table + 8 + 8 * word), all_names, all_names]);
    let (first, end) = (HEAD + maker.entries[0], HEAD + maker.code_end);
    maker.out.words(&[address(buckets), address(first), address(end), address(HEAD), address(types_at)]);
    match layout.lists_types() {
        true => maker.out.words(&[address(types_at + types_end)]),
        false => maker.out.words(&[linked, address(types_at + types_end), linked, 0]),
    }
    maker.out.words(&[address(constants), address(data), 0, 0]);
    sections.push((".noptrdata", module, maker.out.all.len()));
    finish(maker.out, &sections, wide)
}

#[test]
fn tables_follow_when_functions_come() {
    // Three functions and what is told of them. Where nothing follows it is more than twice as much.
    for (types_apart, data_in_table) in [(false, false), (true, false), (false, true), (true, true)] {
        let layout = Layout { types_apart, data_in_table };
        follows(FUNCTIONS, &ADDED, |functions, wide| program(functions, wide, layout), LARGEST);
    }
}
