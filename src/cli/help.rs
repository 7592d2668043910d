//! Help, man page and shell completion, all made from the table of verbs.

use crate::cli::normal;
use crate::cli::table::{GROUPS, VERBS, Verb};
use crate::cli::tabs::wrap;
use crate::cli::terminal;
use argh::{FlagInfo, FlagInfoKind, Optionality};
use std::fmt::Write;

fn sentence(text: &str) -> String {
    let mut chars = text.trim().chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `list`, `string`, `int`: what stands behind a flag.
fn word(flag: &FlagInfo<'_>) -> &'static str {
    match (&flag.kind, flag.optionality == Optionality::Repeating) {
        _ if normal::is_bool(flag) => "",
        (FlagInfoKind::Switch, _) => "",
        (_, true) => "list",
        (_, false) => "string",
    }
}

/// What a verb is for, in one line.
pub fn about(verb: &Verb) -> String {
    match verb.names[0] {
        "create" => "Create a new container".into(), // shares its flags with run
        _ => sentence((verb.info)().description),
    }
}

/// `Usage:  prtiql run [OPTIONS] IMAGE …`
pub fn usage(program: &str, name: &str, verb: &Verb) -> String {
    format!("Usage:  {program} {name} {}", verb.usage)
}

/// The help of one verb.
pub fn verb(program: &str, name: &str, verb: &Verb) -> String {
    let info = (verb.info)();
    let mut out = format!("\n{}\n\n", usage(program, name, verb));
    wrap(&mut out, "", &about(verb), 0, columns());
    if verb.names.len() > 1 {
        let all: Vec<String> = verb.names.iter().map(|n| format!("{program} {n}")).collect();
        out.push_str("\nAliases:\n");
        wrap(&mut out, "  ", &all.join(", "), 2, columns());
    }
    let mut flags: Vec<(String, String)> = Vec::new();
    for flag in info.flags.iter().filter(|f| !f.hidden && f.long != "--help") {
        let short = flag.short.map_or("    ".into(), |s| format!("-{s}, "));
        flags.push((format!("  {short}{} {}", flag.long, word(flag)).trim_end().into(), sentence(flag.description)));
    }
    if !flags.is_empty() {
        out.push_str("\nOptions:\n");
        let width = flags.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 3;
        for (left, right) in flags {
            wrap(&mut out, &format!("{left:width$}"), &right, width, columns());
        }
    }
    out
}

/// Columns that help has to fit.
fn columns() -> usize {
    terminal::plain_width().unwrap_or(80)
}

/// What the help of the whole says on a plain terminal: the names only, so that it fits one screen.
const SHORT: &[(&str, &[&str])] = &[
    ("Run", &["run", "create", "start", "stop", "restart", "kill", "wait", "exec", "attach", "pause", "unpause", "rm"]),
    ("Look", &["ps", "logs", "top", "stats", "inspect", "diff", "port", "events", "info", "version", "check"]),
    ("Images", &["pull", "images", "history", "tag", "rmi", "load", "save", "push", "import", "commit", "export"]),
    ("Change", &["update", "rename", "login", "logout"]),
    ("Engine", &["daemon", "runtime", "man", "completion"]),
];

/// The help of the whole in a few lines.
pub fn short(program: &str) -> String {
    let mut out = format!("Usage:  {program} [OPTIONS] COMMAND\n\nA container engine for devices\n\n");
    for (what, names) in SHORT {
        wrap(&mut out, &format!("{what:<8}"), &names.join(" "), 8, columns());
    }
    let groups: Vec<&str> = GROUPS.iter().map(|(g, _)| *g).collect();
    wrap(&mut out, "Groups  ", &groups.join(" "), 8, columns());
    out.push_str("\nOptions\n");
    for (flag, about) in GLOBAL {
        wrap(&mut out, &format!("  {flag:<22}"), about, 24, columns());
    }
    _ = writeln!(out, "\nRun '{program} COMMAND --help' for more.");
    out
}

/// The help of the whole, or of one group.
pub fn overview(program: &str, group: Option<&str>) -> String {
    let mut out = match group {
        Some(group) => {
            let about = GROUPS.iter().find(|(g, _)| *g == group).map_or("", |(_, a)| a);
            format!("\nUsage:  {program} {group} COMMAND\n\n{about}\n\nCommands:\n")
        }
        None => format!("Usage:  {program} [OPTIONS] COMMAND\n\nA container engine for devices\n\nCommands:\n"),
    };
    let mut lines: Vec<(String, String)> = Vec::new();
    for verb in VERBS {
        let name = verb.names.iter().find_map(|name| match group {
            Some(group) => name.strip_prefix(group).and_then(|n| n.strip_prefix(' ')),
            None if name.contains(' ') => None,
            None => Some(*name),
        });
        if let Some(name) = name {
            lines.push((name.into(), about(verb)));
        }
    }
    if group.is_none() {
        lines.push(("daemon".into(), "Run the engine itself".into()));
        lines.push(("runtime".into(), "Run containers without the engine: an OCI runtime".into()));
    }
    lines.sort();
    for (name, about) in &lines {
        wrap(&mut out, &format!("  {name:<12}"), about, 14, columns());
    }
    if group.is_none() {
        out.push_str("\nManagement Commands:\n");
        for (name, about) in GROUPS {
            _ = writeln!(out, "  {name:<12}{about}");
        }
        out.push_str("\nGlobal Options:\n");
        for (flag, about) in GLOBAL {
            _ = writeln!(out, "  {flag:<22}{about}");
        }
    }
    let name = group.map_or(program.to_string(), |g| format!("{program} {g}"));
    _ = writeln!(out, "\nRun '{name} COMMAND --help' for more information on a command.");
    out
}

const GLOBAL: &[(&str, &str)] = &[
    ("    --config string", "Location of client config files"),
    ("-D, --debug", "Enable debug mode"),
    ("-H, --host string", "Daemon socket to connect to"),
    ("-v, --version", "Print version information and quit"),
];

/// A man page in roff.
pub fn man(program: &str) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('-', "\\-");
    let mut out = format!(
        ".TH {} 1\n.SH NAME\n{program} \\- a container engine for devices\n.SH SYNOPSIS\n.B {program}\n[OPTIONS] COMMAND\n.SH COMMANDS\n",
        program.to_uppercase()
    );
    for verb in VERBS {
        let info = (verb.info)();
        _ = write!(out, ".SS {program} {} {}\n{}.\n", verb.names[0], escape(verb.usage), escape(&about(verb)));
        for flag in info.flags.iter().filter(|f| !f.hidden && f.long != "--help") {
            _ = write!(
                out,
                ".TP\n\\fB{}\\fR {}\n{}\n",
                escape(&normal::names(flag)),
                word(flag),
                escape(&sentence(flag.description))
            );
        }
    }
    out
}

/// Completion for bash: verbs, flags, and names asked from the engine.
pub fn bash(program: &str) -> String {
    let mut out = format!(
        "_{program}() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} words=\"${{COMP_WORDS[*]:1:COMP_CWORD-1}}\" flags names\n  case $words in\n"
    );
    let mut verbs: Vec<(&str, &Verb)> = VERBS.iter().flat_map(|v| v.names.iter().map(move |n| (*n, v))).collect();
    verbs.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, verb) in &verbs {
        let info = (verb.info)();
        let flags: Vec<&str> = info.flags.iter().filter(|f| !f.hidden).map(|f| f.long).collect();
        let names = match verb.usage {
            u if u.contains("CONTAINER") => "ps -a --format {{.Names}}",
            u if u.contains("IMAGE") => "images --format {{.Repository}}:{{.Tag}}",
            u if u.contains("VOLUME") => "volume ls -q",
            u if u.contains("NETWORK") => "network ls --format {{.Name}}",
            _ => "",
        };
        let names = if names.is_empty() { String::new() } else { format!(" names=$({program} {names} 2>/dev/null)") };
        _ = writeln!(out, "    '{name}'|'{name} '*) flags='{}'{names} ;;", flags.join(" "));
    }
    for (group, _) in GROUPS {
        let inner: Vec<&str> = verbs.iter().filter_map(|(n, _)| n.strip_prefix(group)?.strip_prefix(' ')).collect();
        _ = writeln!(out, "    '{group}') names='{}' ;;", inner.join(" "));
    }
    let mut top: Vec<&str> = verbs.iter().map(|(n, _)| *n).filter(|n| !n.contains(' ')).collect();
    top.extend(GROUPS.iter().map(|(g, _)| *g));
    top.sort_unstable();
    _ = write!(
        out,
        "    '') names='{}' ;;\n  esac\n  case $cur in -*) names=$flags ;; esac\n  COMPREPLY=($(compgen -W \"$names\" -- \"$cur\"))\n}}\ncomplete -F _{program} {program}\n",
        top.join(" ")
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table;

    #[test]
    fn on_a_plain_terminal_the_help_of_the_whole_is_one_screen_and_names_every_verb() {
        let text = short("prtiql");
        assert!(text.lines().count() < 24 && text.lines().all(|l| l.len() < 80), "{text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        for verb in VERBS.iter().filter(|v| !v.names[0].contains(' ')) {
            assert!(words.contains(&verb.names[0]), "{}", verb.names[0]);
        }
        for (_, names) in SHORT {
            let known = |n: &&str| table::find(&[n.to_string()]).is_some();
            assert!(names.iter().all(|n| known(n) || ["daemon", "runtime", "man", "completion"].contains(n)));
        }
    }

    #[test]
    fn every_help_fits_eighty_columns() {
        for v in VERBS {
            let text = verb("prtiql", v.names[0], v);
            assert!(text.lines().all(|l| l.chars().count() < 80), "{text}");
        }
        let all = GROUPS.iter().map(|(group, _)| overview("prtiql", Some(group))).chain([overview("prtiql", None)]);
        for text in all {
            assert!(text.lines().all(|l| l.chars().count() < 80), "{text}");
        }
    }

    #[test]
    fn help_shows_every_flag_and_every_verb() {
        let (run, _) = table::find(&["run".into()]).unwrap();
        let text = verb("prtiql", "run", run);
        assert!(text.contains("Usage:  prtiql run [OPTIONS] IMAGE [COMMAND] [ARG...]"));
        assert!(text.contains("  -i, --interactive ") && text.contains("      --add-host list "));
        assert!(!text.contains("--net-alias"));
        let all = overview("prtiql", None);
        assert!(
            all.contains("  run         Create and run a new container from an image")
                && all.contains("  volume      Manage volumes")
        );
        assert!(overview("prtiql", Some("volume")).contains("  ls          List volumes"));
        assert!(man("prtiql").contains("\\-\\-add\\-host"));
        assert!(bash("prtiql").contains("'container ls'"));
    }
}
