//! Names for containers that were given none.

const HOW: &[&str] = &[
    "amber", "brave", "brisk", "calm", "clever", "coral", "eager", "early", "gentle", "golden", "happy", "humble", "keen",
    "kind", "light", "lively", "lucid", "mellow", "merry", "mild", "modest", "neat", "noble", "polite", "proud", "quick",
    "quiet", "rapid", "ready", "round", "sharp", "silent", "silver", "smart", "snug", "solid", "steady", "sunny", "swift",
    "tidy", "tiny", "vivid", "warm", "wise", "witty",
];

const WHO: &[&str] = &[
    "ampere",
    "babbage",
    "bartik",
    "bell",
    "boole",
    "carson",
    "curie",
    "darwin",
    "dijkstra",
    "euler",
    "faraday",
    "fermat",
    "franklin",
    "galileo",
    "gauss",
    "goodall",
    "hamilton",
    "hertz",
    "hopper",
    "hypatia",
    "johnson",
    "kepler",
    "lamarr",
    "liskov",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "mirzakhani",
    "newton",
    "noether",
    "ohm",
    "pascal",
    "perlman",
    "planck",
    "ptolemy",
    "ride",
    "shannon",
    "tesla",
    "turing",
    "volta",
    "watt",
    "wiles",
    "wing",
    "yonath",
    "zuse",
];

/// A name that `taken` does not have.
pub fn generate(taken: impl Fn(&str) -> bool) -> String {
    let mut digits = 0usize;
    loop {
        let id = crate::base::id::random();
        let number = |at: usize| usize::from_str_radix(&id[at..at + 7], 16).unwrap_or(0);
        let mut name = format!("{}_{}", HOW[number(0) % HOW.len()], WHO[number(8) % WHO.len()]);
        if digits > 0 {
            name.push_str(&(number(16) % 10usize.pow(digits.min(6) as u32)).to_string());
        }
        if !taken(&name) {
            return name;
        }
        digits += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_a_number() {
        assert!(generate(|n| !n.ends_with(|c: char| c.is_ascii_digit())).ends_with(|c: char| c.is_ascii_digit()));
    }
}
