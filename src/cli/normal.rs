//! Docker's spellings of flags, turned into the one that argh reads: `-it`, `--name=x`, `-p80:80`, `--rm=false`, a `--help`
//! behind the image's name. Driven by the table that argh's derive makes of each verb's structure.

use crate::base::{Error, Result};
use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

/// What became of a verb's arguments.
pub enum Normal {
    /// Flags as `--long` and `--long value`, then `--`, then the rest.
    Args(Vec<String>),
    /// Help is wanted.
    Help,
}

/// Is it a flag with a value that is true or false (and true when nothing is said)?
pub fn is_bool(flag: &FlagInfo<'_>) -> bool {
    matches!(flag.kind, FlagInfoKind::Switch | FlagInfoKind::Option { arg_name: "bool" })
}

/// Normalises the arguments of a verb.
pub fn normalise(info: &CommandInfoWithArgs, args: &[String]) -> Result<Normal> {
    // flags end at the first other word where the rest belongs to somebody else's command
    let stops = info.positionals.iter().any(|p| p.optionality == Optionality::Greedy);
    let mut out = Flags { values: Vec::new() };
    let mut words: Vec<String> = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            words.extend(args.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (long, None),
            };
            let flag = info.flags.iter().find(|f| f.long.strip_prefix("--") == Some(name) && name != "help");
            let flag = match flag {
                Some(flag) => flag,
                None if name == "help" => return Ok(Normal::Help),
                None => return Err(Error::invalid(format!("unknown flag: --{name}"))),
            };
            let value = match value {
                Some(value) => value,
                None if is_bool(flag) => "true".into(),
                None => args.next().cloned().ok_or_else(|| Error::invalid(format!("flag needs an argument: --{name}")))?,
            };
            out.set(flag, value)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            let cluster = &arg[1..];
            for (at, letter) in cluster.char_indices() {
                let flag = match info.flags.iter().find(|f| f.short == Some(letter)) {
                    Some(flag) => flag,
                    None if letter == 'h' => return Ok(Normal::Help),
                    None => return Err(Error::invalid(format!("unknown shorthand flag: '{letter}' in -{cluster}"))),
                };
                let rest = &cluster[at + letter.len_utf8()..];
                if is_bool(flag) && !rest.starts_with('=') {
                    out.set(flag, "true".into())?;
                    continue;
                }
                let value = match rest.strip_prefix('=').unwrap_or(rest) {
                    "" if rest.is_empty() => args
                        .next()
                        .cloned()
                        .ok_or_else(|| Error::invalid(format!("flag needs an argument: '{letter}' in -{cluster}")))?,
                    value => value.to_string(),
                };
                out.set(flag, value)?;
                break;
            }
        } else {
            words.push(arg.clone());
            if stops {
                words.extend(args.by_ref().cloned());
            }
        }
    }
    let mut list: Vec<String> = Vec::new();
    for (flag, value) in out.values {
        match flag.kind {
            FlagInfoKind::Switch if value == "true" => list.push(flag.long.into()),
            FlagInfoKind::Switch => {}
            FlagInfoKind::Option { .. } => list.extend([flag.long.to_string(), value]),
        }
    }
    list.push("--".into());
    list.extend(words);
    Ok(Normal::Args(list))
}

struct Flags<'a> {
    values: Vec<(&'a FlagInfo<'a>, String)>,
}

impl<'a> Flags<'a> {
    /// Of a flag that cannot repeat, the last one counts.
    fn set(&mut self, flag: &'a FlagInfo<'a>, mut value: String) -> Result<()> {
        if is_bool(flag) {
            value = match value.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => "true".into(),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => "false".into(),
                other => {
                    let why = format!("strconv.ParseBool: parsing {other:?}: invalid syntax");
                    return Err(Error::invalid(format!("invalid argument {other:?} for {:?} flag: {why}", names(flag))));
                }
            };
        }
        if flag.optionality != Optionality::Repeating {
            self.values.retain(|(f, _)| f.long != flag.long);
        }
        self.values.push((flag, value));
        Ok(())
    }
}

/// `-t, --tty`
pub fn names(flag: &FlagInfo<'_>) -> String {
    match flag.short {
        Some(short) => format!("-{short}, {}", flag.long),
        None => flag.long.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::{ArgsInfo, FromArgs};

    /// as run
    #[derive(FromArgs, ArgsInfo)]
    #[allow(dead_code)]
    struct Like {
        /// a switch
        #[argh(switch, short = 'i')]
        interactive: bool,
        /// a switch
        #[argh(switch, short = 't')]
        tty: bool,
        /// a switch that is on
        #[argh(option, arg_name = "bool", default = "true")]
        sig_proxy: bool,
        /// repeats
        #[argh(option, short = 'p')]
        publish: Vec<String>,
        /// once
        #[argh(option)]
        name: Option<String>,
        /// image
        #[argh(positional)]
        image: String,
        /// command
        #[argh(positional, greedy)]
        command: Vec<String>,
    }

    fn run(args: &str) -> String {
        let args: Vec<String> = args.split_whitespace().map(String::from).collect();
        match normalise(&Like::get_args_info(), &args) {
            Ok(Normal::Args(args)) => args.join(" "),
            Ok(Normal::Help) => "help".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn dockers_spellings() {
        for (given, want) in [
            (
                "-it --name=x -p80:80 -p 81:81 img sh -c x",
                "--interactive --tty --name x --publish 80:80 --publish 81:81 -- img sh -c x",
            ),
            ("-itp=80:80 img --help", "--interactive --tty --publish 80:80 -- img --help"),
            ("--name a --name b -i=false --tty --tty=false img", "--name b -- img"),
            ("--sig-proxy=false img", "--sig-proxy false -- img"),
            ("--sig-proxy img", "--sig-proxy true -- img"),
            ("-i -- img -x", "--interactive -- img -x"),
            ("--help", "help"),
            ("-h", "help"),
            ("--nope x", "unknown flag: --nope"),
            ("-iz x", "unknown shorthand flag: 'z' in -iz"),
            ("--name", "flag needs an argument: --name"),
            ("-p", "flag needs an argument: 'p' in -p"),
        ] {
            assert_eq!(run(given), want, "{given}");
        }
        assert!(run("--tty=maybe img").starts_with("invalid argument \"maybe\" for \"-t, --tty\" flag"));
    }

    #[test]
    fn argh_takes_what_comes_out() {
        let args = ["-it", "--sig-proxy=false", "-p80:80", "img", "--help"].map(String::from);
        let Ok(Normal::Args(args)) = normalise(&Like::get_args_info(), &args) else { panic!() };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let like = Like::from_args(&["run"], &args).ok().unwrap();
        assert!(like.interactive && like.tty && !like.sig_proxy);
        assert_eq!((like.image.as_str(), like.command), ("img", vec!["--help".to_string()]));
    }
}
