//! The options of one command, as runc takes them: before the arguments, `-x value`, `--long value` or `--long=value`.

use crate::base::{Error, Result};

/// Options and arguments, taken apart.
#[derive(Debug, Default)]
pub struct Options {
    set: Vec<(String, String)>,
    /// What follows the options.
    pub args: Vec<String>,
}

impl Options {
    /// `with_value` and `flags` list the known ones, alternatives apart by a space, the long name last. Options may also follow
    /// the first argument, as in `delete x --force`.
    pub fn parse(command: &str, args: Vec<String>, with_value: &[&str], flags: &[&str]) -> Result<Options> {
        let mut o = Options::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                o.args.extend(args);
                break;
            }
            if !arg.starts_with('-') || arg == "-" {
                o.args.push(arg);
                continue;
            }
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            let known = |list: &[&str]| {
                list.iter()
                    .find(|words| words.split(' ').any(|w| w == name))
                    .and_then(|words| words.split(' ').next_back())
                    .map(str::to_owned)
            };
            if let Some(long) = known(flags) {
                o.set.push((long, inline.unwrap_or_else(|| "true".to_owned())));
            } else if let Some(long) = known(with_value) {
                let value =
                    inline.or_else(|| args.next()).ok_or_else(|| Error::invalid(format!("{command}: {name} needs a value")))?;
                o.set.push((long, value));
            } else {
                return Err(Error::invalid(format!("{command}: {name} is not known")));
            }
        }
        Ok(o)
    }

    /// The last value of an option.
    pub fn get(&self, long: &str) -> Option<&str> {
        self.set.iter().rev().find(|(name, _)| name == long).map(|(_, value)| value.as_str())
    }

    /// All values of an option.
    pub fn all(&self, long: &str) -> impl Iterator<Item = &str> {
        self.set.iter().filter(move |(name, _)| name == long).map(|(_, value)| value.as_str())
    }

    /// A flag is set.
    pub fn is(&self, long: &str) -> bool {
        self.get(long).is_some_and(|v| v != "false")
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, long: &str) -> Result<Option<T>> {
        self.get(long).map(|v| v.parse().map_err(|_| Error::invalid(format!("{long}: {v:?} is not a number")))).transpose()
    }

    /// The only argument: a container's name.
    pub fn id(&self) -> Result<&str> {
        match self.args.as_slice() {
            [id] => Ok(id),
            _ => Err(Error::invalid("exactly one container id is needed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_s_ways_of_writing_options() {
        let parse =
            |text: &str| Options::parse("x", text.split(' ').map(str::to_owned).collect(), &["-b --bundle"], &["-f --force"]);
        let o = parse("-b /x --force=false id --bundle=/y").unwrap();
        assert_eq!((o.get("--bundle"), o.is("--force"), o.id().unwrap()), (Some("/y"), false, "id"));
        assert!(parse("--nosuch").is_err() && parse("--bundle").is_err());
        assert_eq!(parse("a -- -f").unwrap().args, ["a", "-f"]);
    }
}
