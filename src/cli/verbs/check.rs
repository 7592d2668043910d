//! `check`: what this kernel and machine can, and what to do about the rest. It needs no daemon.

use crate::base::Result;
use crate::check::{self, Finding, Options, Place, State};
use crate::cli::Cx;
use crate::cli::output::{Layout, say};
use crate::cli::tabs::wrap;
use crate::cli::terminal;
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};

/// show whether this kernel and machine can run containers, and what they lack
#[derive(FromArgs, ArgsInfo)]
pub struct Check {
    /// settings of the daemon to check for
    #[argh(option, default = "String::new()")]
    config_file: String,
    /// data root to check, instead of the daemon's
    #[argh(option, default = "String::new()")]
    data_root: String,
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// only show what is not ok
    #[argh(switch, short = 'q')]
    quiet: bool,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("State", "STATE"),
        ("Feature", "FEATURE"),
        ("Required", "REQUIRED"),
        ("Options", "OPTIONS"),
        ("Without", "WITHOUT IT"),
        ("Detail", "DETAIL"),
        ("Config", "KERNEL CONFIGURATION"),
    ],
    table: "{{.State}}\t{{.Feature}}\t{{.Options}}",
    quiet: "{{.Feature}}",
};

/// Prints a line for each feature; the exit status is 1 if something required is missing.
pub fn check(_: &Cx, args: Check) -> Result<i32> {
    let flags = [("--config-file", args.config_file), ("--data-root", args.data_root)];
    let flags: Vec<String> = flags.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={v}")).collect();
    let settings = crate::config::load(&flags)?;
    let place = Place { data_root: settings.data_root.into(), exec_root: settings.exec_root.into() };
    let (mut found, options) = (check::all(&place), Options::read());
    let lacking = found.iter().filter(|f| f.state == State::Missing).count();
    if args.quiet {
        found.retain(|f| f.state != State::Ok);
    }
    if args.format.is_empty() {
        let width = if terminal::stdout_is_terminal() { terminal::width() } else { 80 };
        say(&text(&found, &options, width))?;
        let untried = found.iter().any(|f| f.state == State::Unknown);
        match lacking {
            0 if untried => say("this machine can run containers, as far as could be tried\n")?,
            0 => say("this machine can run containers\n")?,
            n => say(&format!("this machine cannot run containers: {n} of what they need is missing\n"))?,
        }
    } else {
        let rows: Vec<Json> = found.iter().map(|f| row(f, &options)).collect();
        LAYOUT.print(&args.format, false, &rows)?;
    }
    Ok(i32::from(lacking > 0))
}

fn row(f: &Finding, options: &Options) -> Json {
    let texts = [
        ("State", f.state.word().to_string()),
        ("Feature", f.feature.to_string()),
        ("Options", f.options.to_string()),
        ("Without", f.without.to_string()),
        ("Detail", f.detail.clone()),
        ("Config", options.describe(f.options)),
    ];
    let mut fields: Vec<(String, Json)> = texts.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect();
    fields.insert(2, ("Required".into(), Json::Bool(f.required)));
    Json::Obj(fields)
}

/// A line for each feature, and below it what to do where it is not there.
fn text(found: &[Finding], options: &Options, width: usize) -> String {
    let mut out = String::new();
    for f in found {
        let detail = if f.detail.is_empty() { String::new() } else { format!(": {}", f.detail) };
        wrap(&mut out, &format!("{:<10}", f.state.word()), &format!("{}{detail}", f.feature), 12, width);
        if !matches!(f.state, State::Missing | State::Degraded) {
            continue;
        }
        if !f.options.is_empty() {
            wrap(&mut out, "          ", &advice(f.options, options), 12, width);
        }
        wrap(&mut out, "          ", &format!("without: {}", f.without), 12, width);
    }
    out
}

/// What to do about the kernel's options. Where its configuration can be read, only those that it lacks are named.
fn advice(names: &str, options: &Options) -> String {
    let names: Vec<&str> = names.split_whitespace().collect();
    let are = |value: &str| names.iter().copied().filter(|n| options.of(n) == value).collect::<Vec<_>>().join(", ");
    let (unset, modules) = (are("not set"), are("m"));
    if options.file.is_empty() {
        format!("set {}", names.join(", "))
    } else if !unset.is_empty() {
        format!("set {unset} (not set in {})", options.file)
    } else if !modules.is_empty() {
        format!("load the modules of {modules}, or build them in")
    } else {
        format!("{} is set in {}", names.join(", "), options.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_what_to_do_and_fits_the_width() {
        let finding = |state, detail: &str| Finding {
            feature: "overlay file system",
            state,
            required: true,
            options: "CONFIG_OVERLAY_FS",
            without: "no container runs: each is an overlay of its image's layers, and there is nothing else",
            detail: detail.into(),
        };
        assert_eq!(text(&[finding(State::Ok, "")], &Options::default(), 80), "ok        overlay file system\n");
        let shown = text(&[finding(State::Missing, "it is gone")], &Options::default(), 60);
        assert!(shown.starts_with("missing   overlay file system: it is gone\n          set CONFIG_OVERLAY_FS\n"), "{shown}");
        assert!(shown.lines().all(|l| l.len() <= 60) && shown.contains("\n            "), "{shown}");
    }
}
