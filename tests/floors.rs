//! The floors of docs/ARCHITECTURE.md: a file of src/ imports from its own floor or from floors below, never upward, and
//! modules of one floor do not import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module, floor.
const FLOORS: &[(&str, u32)] = &[
    ("main", 8),
    ("cli", 7),
    ("api", 6),
    ("engine", 5),
    ("worker", 4),
    ("shim", 4),
    ("check", 3),
    ("delta", 3),
    ("registry", 3),
    ("build", 3),
    ("reactor", 3),
    ("layer", 2),
    ("store", 2),
    ("runtime", 2),
    ("network", 2),
    ("volume", 2),
    ("logs", 2),
    ("image", 1),
    ("wire", 1),
    ("config", 1),
    ("base", 0),
    ("sys", 0),
];
/// What the command line talks to is the socket: of the floors below it only these. `check` is for where there is no daemon.
const CLI_USES: &[&str] = &["cli", "base", "sys", "image", "wire", "config", "check"];
/// Dispatch to another process's entry is not an import of its insides. `delta`, as `runtime`, works without an engine.
const CLI_DISPATCH: &[&str] = &["src/cli/mod.rs", "src/cli/runtime", "src/cli/delta"];

fn floor(module: &str) -> u32 {
    let found = FLOORS.iter().find(|(name, _)| *name == module);
    found.unwrap_or_else(|| panic!("module {module} has no floor: add it to tests/floors.rs and docs/ARCHITECTURE.md")).1
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The first path component after each `crate::` of a text without comments: `crate::a::b`, `crate::{a, b::c}`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => top_level_names(group, &mut found),
            None => _ = found.insert(word(rest)),
        }
    }
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn top_level_names(group: &str, found: &mut BTreeSet<String>) {
    let (mut depth, mut start) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                found.insert(word(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
}

/// Module -> modules that it imports, and every import that breaks a rule.
fn scan() -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let (mut graph, mut wrong) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    for file in files {
        let name = file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        if name == "src/lib.rs" || name == "src/main.rs" || name == "src/sys/entry.rs" {
            continue; // the list of modules, and the top
        }
        if ["src/delta/predict/", "src/delta/codes/"].iter().any(|package| name.starts_with(package)) {
            continue; // packages of their own, which import nothing of this one
        }
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_string();
        for used in imports(&fs::read_to_string(&file).unwrap()) {
            if floor(&used) > floor(&module) {
                wrong.push(format!("{name} imports upward: {used}"));
            }
            if module == "cli" && !CLI_USES.contains(&used.as_str()) && !CLI_DISPATCH.iter().any(|top| name.starts_with(top)) {
                wrong.push(format!("{name} imports {used}: the command line talks to the socket only"));
            }
            if used != module {
                graph.entry(module.clone()).or_default().insert(used);
            }
        }
    }
    (graph, wrong)
}

fn circle(
    graph: &BTreeMap<String, BTreeSet<String>>,
    at: &str,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<String> {
    if let Some(start) = path.iter().position(|m| m == at) {
        return Some([&path[start..], &[at.to_string()]].concat().join(" -> "));
    }
    if !done.insert(at.to_string()) {
        return None;
    }
    path.push(at.to_string());
    let found = graph.get(at).into_iter().flatten().find_map(|next| circle(graph, next, path, done));
    path.pop();
    found
}

#[test]
fn no_import_goes_upward() {
    let (_, wrong) = scan();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn modules_make_no_circle() {
    let (graph, _) = scan();
    let mut done = BTreeSet::new();
    for module in graph.keys() {
        assert_eq!(circle(&graph, module, &mut Vec::new(), &mut done), None);
    }
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::base::Error;\nuse crate::{\n    wire::{a, b},\n    image::c,\n};\n// use crate::engine::x;\nlet y = crate::sys::f();";
    let want: BTreeSet<String> = ["base", "wire", "image", "sys"].map(String::from).into();
    assert_eq!(imports(text), want);
}
