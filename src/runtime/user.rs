//! Users and groups of a container, looked up in its own /etc/passwd and /etc/group, by Docker's rules.

use super::path;
use crate::base::{Context, Error, Result};
use std::os::fd::BorrowedFd;

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, if the user has an entry.
    pub home: Option<String>,
}

/// The largest file of users that is read.
const LARGEST: u64 = 1 << 20;

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn in_range(n: i64) -> Result<u32> {
    u32::try_from(n)
        .ok()
        .filter(|n| *n <= i32::MAX as u32)
        .ok_or_else(|| Error::invalid("uids and gids must be in range 0-2147483647"))
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(|l| l.split(':').collect())
}

fn field<'a>(line: &[&'a str], at: usize) -> &'a str {
    line.get(at).copied().unwrap_or_default()
}

fn id(line: &[&str], at: usize) -> Option<u32> {
    field(line, at).parse().ok()
}

fn file(root: BorrowedFd<'_>, name: &str) -> Result<String> {
    match path::read(root, name, LARGEST) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(String::new()),
        Err(e) => Err(e).context(|| format!("read {name} in the container")),
    }
}

/// Resolves `user` (`name`, `uid`, `name:group`, `uid:gid`, empty is root) and additional groups.
pub fn resolve(root: BorrowedFd<'_>, user: &str, more: &[String]) -> Result<Identity> {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    let numeric = group.is_empty() || group.bytes().all(|b| b.is_ascii_digit());
    let passwd = file(root, "/etc/passwd")?;
    // the file of groups is needed for names of groups, and for the groups of a user that has a name
    let groups = if numeric && !group.is_empty() && more.iter().all(|g| number(g).is_some()) {
        String::new()
    } else {
        file(root, "/etc/group")?
    };
    look_up(&passwd, &groups, name, group, more)
}

/// The home directory of `uid`, if it has an entry.
pub fn home(root: BorrowedFd<'_>, uid: u32) -> Option<String> {
    let passwd = file(root, "/etc/passwd").ok()?;
    lines(&passwd).find(|l| id(l, 2) == Some(uid)).map(|l| field(&l, 5).to_owned()).filter(|h| !h.is_empty())
}

fn look_up(passwd: &str, group_file: &str, name: &str, group: &str, more: &[String]) -> Result<Identity> {
    let mut who = Identity::default();
    let wanted = if name.is_empty() { Some(0) } else { number(name) };
    let entry = lines(passwd)
        .find(|l| (!name.is_empty() && field(l, 0) == name) || wanted.is_some_and(|n| id(l, 2).map(i64::from) == Some(n)));
    let mut login = "";
    match (&entry, wanted) {
        (Some(line), _) => {
            login = field(line, 0);
            who.uid = id(line, 2).unwrap_or_default();
            who.gid = id(line, 3).unwrap_or_default();
            who.home = Some(field(line, 5).to_owned()).filter(|h| !h.is_empty());
        }
        (None, Some(n)) => who.uid = in_range(n)?,
        (None, None) => return Err(Error::invalid(format!("unable to find user {name}: no matching entries in passwd file"))),
    }
    let by_name = |wanted: &str| -> Result<u32> {
        let n = number(wanted);
        let found = lines(group_file).find(|l| field(l, 0) == wanted || n.is_some_and(|n| id(l, 2).map(i64::from) == Some(n)));
        match (found.and_then(|l| id(&l, 2)), n) {
            (Some(gid), _) => Ok(gid),
            (None, Some(n)) => in_range(n),
            (None, None) => Err(Error::invalid(format!("unable to find group {wanted}: no matching entries in group file"))),
        }
    };
    if !group.is_empty() {
        who.gid = by_name(group)?;
    }
    // the primary group is a supplementary one, too: else a process could lose it and gain what "not in group" permits
    who.groups.push(who.gid);
    let add = |groups: &mut Vec<u32>, gid: u32| {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    };
    for wanted in more {
        add(&mut who.groups, by_name(wanted)?);
    }
    if group.is_empty() && !login.is_empty() {
        for line in lines(group_file) {
            if field(&line, 3).split(',').any(|member| member == login)
                && let Some(gid) = id(&line, 2)
            {
                add(&mut who.groups, gid);
            }
        }
    }
    Ok(who)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# c\nwww-data:x:33:33:www:/var/www:/bin/false\n77:x:1077:77::/h77:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,www-data\nwww-data:x:33:\nstaff:x:50:\n";

    fn who(user: &str, more: &[&str]) -> Result<(u32, u32, Vec<u32>, Option<String>)> {
        let (name, group) = user.split_once(':').unwrap_or((user, ""));
        let more: Vec<String> = more.iter().map(|s| (*s).to_owned()).collect();
        look_up(PASSWD, GROUP, name, group, &more).map(|w| (w.uid, w.gid, w.groups, w.home))
    }

    #[test]
    fn docker_s_rules() {
        let home = |h: &str| Some(h.to_owned());
        assert_eq!(who("", &[]).unwrap(), (0, 0, vec![0, 10], home("/root")));
        assert_eq!(who("www-data", &["staff", "7"]).unwrap(), (33, 33, vec![33, 50, 7, 10], home("/var/www")));
        assert_eq!(who("33", &[]).unwrap(), (33, 33, vec![33, 10], home("/var/www")));
        assert_eq!(who("www-data:staff", &[]).unwrap(), (33, 50, vec![50], home("/var/www")));
        assert_eq!(who("1000:1000", &[]).unwrap(), (1000, 1000, vec![1000], None));
        assert_eq!(who("1000", &[]).unwrap(), (1000, 0, vec![0], None));
        assert_eq!(who("77", &[]).unwrap().0, 1077); // a name that looks like a number is a name first
        let text = |r: Result<_>| r.unwrap_err().to_string();
        assert_eq!(text(who("nosuchuser", &[])), "unable to find user nosuchuser: no matching entries in passwd file");
        assert_eq!(text(who("0:nogrp", &[])), "unable to find group nogrp: no matching entries in group file");
        assert_eq!(text(who("0", &["x"])), "unable to find group x: no matching entries in group file");
        for odd in ["-1", "4294967295", "99999999999", "0:-1"] {
            assert_eq!(text(who(odd, &[])), "uids and gids must be in range 0-2147483647", "{odd}");
        }
    }
}
