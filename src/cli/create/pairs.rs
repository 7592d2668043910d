//! `KEY=VALUE` flags and files: environment, labels, options.

use crate::base::{Context, Error, Result};
use crate::wire::container::Labels;

/// `--env` and `--env-file`, in Docker's order: files first. A name without a value takes ours.
pub fn environment(files: &[String], flags: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for file in files {
        for line in lines(file)? {
            let (name, has_value) = line.split_once('=').map_or((line.as_str(), false), |(n, _)| (n, true));
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(Error::invalid(format!("{file}: variable '{name}' contains whitespaces or is empty")));
            }
            match (has_value, std::env::var(name)) {
                (true, _) => out.push(line),
                (false, Ok(value)) => out.push(format!("{name}={value}")),
                (false, Err(_)) => {}
            }
        }
    }
    for flag in flags {
        match flag.split_once('=') {
            Some(("", _)) => return Err(Error::invalid(format!("invalid environment variable: {flag}"))),
            Some(_) => out.push(flag.clone()),
            None => match std::env::var(flag) {
                Ok(value) => out.push(format!("{flag}={value}")),
                Err(_) => out.push(flag.clone()), // a name alone unsets what the image sets
            },
        }
    }
    Ok(out)
}

/// `--label` and `--label-file`.
pub fn labels(files: &[String], flags: &[String]) -> Result<Labels> {
    let mut out = Labels::new();
    for file in files {
        for line in lines(file)? {
            let (key, value) = line.split_once('=').unwrap_or((&line, ""));
            out.insert(key.into(), value.into());
        }
    }
    out.extend(map(flags));
    Ok(out)
}

/// `key=value` flags as a map; the last of a key counts.
pub fn map(flags: &[String]) -> Labels {
    flags.iter().map(|f| f.split_once('=').unwrap_or((f, ""))).map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// The lines of a file that are neither empty nor comments.
fn lines(file: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).context(|| format!("open {file}"))?;
    let text = text.trim_start_matches('\u{feff}');
    Ok(text.lines().map(|l| l.trim_start().to_string()).filter(|l| !l.is_empty() && !l.starts_with('#')).collect())
}
