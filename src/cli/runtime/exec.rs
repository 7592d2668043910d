//! `exec`: a further process in a container.

use super::options::Options;
use super::state::State;
use super::{Global, run, signals, terminal};
use crate::base::{Context, Error, Result};
use crate::runtime::{self, Exec, Stdio, caps, spec::Process};

const WITH_VALUE: &[&str] = &[
    "-p --process",
    "-u --user",
    "--cwd",
    "-e --env",
    "-c --cap",
    "-g --additional-gids",
    "--console-socket",
    "--pid-file",
    "--preserve-fds",
    "--apparmor",
    "--process-label",
    "--cgroup",
    "--pidfd-socket",
];
const FLAGS: &[&str] = &["-t --tty", "-d --detach", "--no-new-privs", "--ignore-paused"];

/// The options end at the container's name: what follows is the program and its arguments.
fn split(args: &[String]) -> (Vec<String>, Vec<String>) {
    let mut i = 0;
    while let Some(arg) = args.get(i) {
        if !arg.starts_with('-') {
            let rest = args.get(i + 1..).unwrap_or_default();
            let rest = if rest.first().is_some_and(|a| a == "--") { &rest[1..] } else { rest };
            return (args[..=i].to_vec(), rest.to_vec());
        }
        let takes = WITH_VALUE.iter().any(|words| words.split(' ').any(|w| w == arg));
        i += if takes { 2 } else { 1 };
    }
    (args.to_vec(), Vec::new())
}

fn process(o: &Options, command: Vec<String>, container: &Process) -> Result<Process> {
    if let Some(path) = o.get("--process") {
        let text = std::fs::read(path).context(|| format!("read {path}"))?;
        let mut p: Process = serde_json::from_slice(&text).map_err(|e| Error::from(e).context(format!("read {path}")))?;
        p.terminal |= o.is("--tty");
        return Ok(p);
    }
    if command.is_empty() {
        return Err(Error::invalid("exec: a program, or --process, is needed"));
    }
    let mut p = Process { args: command, terminal: o.is("--tty"), ..container.clone() };
    // what a container's first process may hand down to programs it starts is not for those that come from outside
    if let Some(sets) = &mut p.capabilities {
        sets.inheritable.clear();
        for name in o.all("--cap") {
            if caps::bit(name).is_none() {
                return Err(Error::invalid(format!("exec: capability {name:?} is not known")));
            }
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                set.push(name.to_owned());
            }
        }
        sets.ambient.retain(|name| sets.inheritable.contains(name));
    }
    if let Some(user) = o.get("--user") {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= i32::MAX as u32);
        let bad = || Error::invalid(format!("exec: user {user:?} is not uid[:gid]"));
        (p.user.uid, p.user.gid) = (number(uid).ok_or_else(bad)?, number(gid).ok_or_else(bad)?);
        p.user.additional_gids.clear();
    }
    for gid in o.all("--additional-gids") {
        p.user.additional_gids.push(gid.parse().map_err(|_| Error::invalid(format!("exec: group {gid:?} is not a number")))?);
    }
    if let Some(cwd) = o.get("--cwd") {
        p.cwd = cwd.to_owned();
    }
    p.env.extend(o.all("--env").map(str::to_owned));
    p.no_new_privileges |= o.is("--no-new-privs");
    Ok(p)
}

/// Runs it.
pub fn exec(global: &Global, args: &[String]) -> Result<i32> {
    let (options, command) = split(args);
    let o = Options::parse("exec", options, WITH_VALUE, FLAGS)?;
    let s = State::read(global, o.id()?)?;
    match s.status(global)? {
        "running" | "created" => {}
        "paused" if o.is("--ignore-paused") => {}
        "paused" => return Err(Error::conflict("cannot exec in a paused container (use --ignore-paused to override)")),
        _ => return Err(Error::conflict("cannot exec in a stopped container")),
    }
    let spec = s.spec(global)?;
    let p = process(&o, command, &spec.process)?;
    let detached = o.is("--detach");
    if p.terminal && detached && o.get("--console-socket").is_none() {
        return Err(Error::invalid("cannot allocate tty if runc will detach without setting console socket"));
    }
    let signals = if detached { None } else { Some(signals::block()?) };
    let made = runtime::exec(Exec {
        pid: s.pid,
        cgroup: &s.cgroup,
        process: &p,
        user_name: None,
        group_add: &[],
        default_seccomp: false,
        seccomp: spec.linux.seccomp.as_ref(),
        stdio: if p.terminal { Stdio::Terminal } else { Stdio::Inherit },
        preserve_fds: o.number::<u32>("--preserve-fds")?.unwrap_or(0),
    })?;
    run::pid_file(o.get("--pid-file"), made.pid)?;
    if let (Some(socket), Some(master)) = (o.get("--console-socket"), &made.console) {
        terminal::give(socket, master)?;
    }
    match (signals, made.console) {
        (None, _) => Ok(0),
        (Some(signals), Some(master)) if o.get("--console-socket").is_none() => terminal::join(&master, &signals, made.pid),
        (Some(signals), _) => signals::wait(&signals, made.pid),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn options_end_at_the_container_s_name() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (options, command) = super::split(&words("-t -u 0:0 --env A=b --cwd=/x box ls -l"));
        assert_eq!((options, command), (words("-t -u 0:0 --env A=b --cwd=/x box"), words("ls -l")));
    }
}
