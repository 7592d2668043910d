//! Rules for devices: in order, the last that fits decides; what no rule fits is denied.

use crate::runtime::spec::DeviceRule;

/// What every container may use, beside what its specification says: to make any node, and the nodes of its own `/dev`.
const ALWAYS: [(char, Option<i64>, Option<i64>, &str); 10] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
];

/// One rule, made plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major number; all if unset.
    pub major: Option<i64>,
    /// Minor number; all if unset.
    pub minor: Option<i64>,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

/// A line for `devices.allow` or `devices.deny`.
pub struct Line {
    /// Which of them.
    pub allow: bool,
    /// The line.
    pub text: String,
}

/// All rules in force: deny everything, those of the specification, and what every container may use. After a rule that
/// allows everything (`--privileged`) nothing of that is needed.
pub fn rules(spec: &[DeviceRule]) -> Vec<Rule> {
    let mut all = Vec::with_capacity(spec.len() + ALWAYS.len() + 1);
    let wild = |n: Option<i64>| n.filter(|n| *n >= 0);
    for r in spec {
        let kind = r.kind.chars().next().filter(|k| matches!(k, 'b' | 'c')).unwrap_or('a');
        let access = if r.access.is_empty() { "rwm".to_owned() } else { r.access.clone() };
        all.push(Rule { allow: r.allow, kind, major: wild(r.major), minor: wild(r.minor), access });
    }
    // whatever stands before a rule for everything is void
    if let Some(last) = all.iter().rposition(|r| r.kind == 'a' && r.major.is_none() && r.minor.is_none() && r.access.len() == 3) {
        all.drain(..last);
        if all[0].allow && all.iter().all(|r| r.allow) {
            all.truncate(1);
            return all;
        }
    } else {
        all.insert(0, Rule { allow: false, kind: 'a', major: None, minor: None, access: "rwm".to_owned() });
    }
    if !all[0].allow {
        let always =
            ALWAYS.map(|(kind, major, minor, access)| Rule { allow: true, kind, major, minor, access: access.to_owned() });
        all.splice(1..1, always);
    }
    all
}

/// The same for version 1.
pub fn lines(spec: &[DeviceRule]) -> Vec<Line> {
    let number = |n: Option<i64>| n.map_or("*".to_owned(), |n| n.to_string());
    let rules = rules(spec);
    let mut lines = Vec::new();
    for r in &rules {
        if r.kind == 'a' {
            lines.push(Line { allow: r.allow, text: "a".to_owned() });
        } else {
            let text = format!("{} {}:{} {}", r.kind, number(r.major), number(r.minor), r.access);
            // a rule that is already there costs a system call for nothing
            if !lines.iter().any(|l: &Line| l.allow == r.allow && l.text == text) {
                lines.push(Line { allow: r.allow, text });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
    }

    #[test]
    fn everything_is_denied_first() {
        for spec in [
            vec![],
            vec![rule(false, "", None, None, "rwm")],
            vec![rule(true, "a", None, None, "rwm"), rule(false, "a", Some(-1), None, "")],
        ] {
            let lines = lines(&spec);
            assert!(!lines[0].allow && lines[0].text == "a");
            assert_eq!(lines.len(), 11);
            assert!(lines[1..].iter().all(|l| l.allow));
        }
    }

    #[test]
    fn privileged_and_single_devices() {
        let all = lines(&[rule(false, "", None, None, "rwm"), rule(true, "", None, None, "rwm")]);
        assert!(all.len() == 1 && all[0].allow);
        let one = lines(&[rule(false, "a", None, None, "rwm"), rule(true, "c", Some(10), Some(229), "rw")]);
        assert!(one.iter().any(|l| l.allow && l.text == "c 10:229 rw"));
    }
}
