//! `docker top`: the processes of a container, in the columns of `ps -ef` and some of `ps -o`.

use crate::base::{Error, Result};
use crate::engine::Engine;
use serde_json::{Value, json};

/// One process, from /proc.
struct Process {
    pid: u32,
    ppid: u32,
    uid: u32,
    comm: String,
    args: String,
    tty: i32,
    /// Clock ticks of user and system time.
    ticks: u64,
    /// Clock ticks since boot at its start.
    start: u64,
    state: char,
    rss_kb: u64,
    vsz_kb: u64,
    nice: i64,
}

const HZ: u64 = 100;

impl Engine {
    /// `GET /containers/{id}/top?ps_args=`.
    pub fn top(&self, id: &str, ps_args: &str) -> Result<Value> {
        let c = self.containers.get(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        if !c.is_running() {
            return Err(Error::conflict(format!("container {id} is not running")));
        }
        let columns = columns(ps_args)?;
        let pids = c.control_group()?.pids()?;
        let processes: Vec<Process> = pids.into_iter().filter_map(|pid| read(pid as u32)).collect();
        let titles: Vec<&str> = columns.iter().map(|c| title(c)).collect();
        let rows: Vec<Vec<String>> = processes.iter().map(|p| columns.iter().map(|c| cell(p, c)).collect()).collect();
        Ok(json!({"Titles": titles, "Processes": rows}))
    }
}

/// The columns that ps's arguments ask for.
fn columns(ps_args: &str) -> Result<Vec<String>> {
    let list = |text: &str| text.split(',').map(String::from).collect::<Vec<_>>();
    let words: Vec<&str> = ps_args.split_whitespace().collect();
    let columns = match words.as_slice() {
        [] | ["-ef"] | ["-e", "-f"] => list("user,pid,ppid,c,stime,tname,time,cmd"),
        ["aux"] | ["-aux"] => list("user,pid,pcpu,pmem,vsz,rss,tname,stat,stime,time,args"),
        [.., "-o", columns] | [.., "-eo", columns] => list(columns),
        [.., one] if one.starts_with("-o") => list(&one[2..]),
        _ => return Err(Error::invalid(format!("ps arguments '{ps_args}' are not understood: use -ef, aux or -o with columns"))),
    };
    match columns.iter().find(|c| title(c).is_empty()) {
        Some(unknown) => Err(Error::invalid(format!("ps: unknown column '{unknown}'"))),
        None if !columns.iter().any(|c| c == "pid") => Err(Error::invalid("Couldn't find PID field in ps output")),
        None => Ok(columns),
    }
}

fn title(column: &str) -> &'static str {
    match column {
        "user" | "uid" | "euser" => "UID",
        "pid" => "PID",
        "ppid" => "PPID",
        "c" => "C",
        "stime" | "start" | "start_time" => "STIME",
        "tname" | "tty" | "tt" => "TTY",
        "time" | "cputime" => "TIME",
        "cmd" => "CMD",
        "args" | "command" => "COMMAND",
        "comm" | "ucmd" => "COMMAND",
        "rss" => "RSS",
        "vsz" => "VSZ",
        "stat" | "state" | "s" => "STAT",
        "nice" | "ni" => "NI",
        "pcpu" | "%cpu" => "%CPU",
        "pmem" | "%mem" => "%MEM",
        "etime" => "ELAPSED",
        _ => "",
    }
}

fn cell(p: &Process, column: &str) -> String {
    let clock = |seconds: u64| format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec as u64;
    let age = boot.saturating_sub(p.start / HZ);
    match column {
        "user" | "euser" => {
            if p.uid == 0 {
                "root".into()
            } else {
                p.uid.to_string()
            }
        }
        "uid" => p.uid.to_string(),
        "pid" => p.pid.to_string(),
        "ppid" => p.ppid.to_string(),
        "c" => (p.ticks / HZ * 100 / age.max(1)).min(99).to_string(),
        "stime" | "start" | "start_time" => {
            let (.., h, m, _) = crate::base::time::civil(crate::base::time::Time::now().seconds() - age as i64);
            format!("{h:02}:{m:02}")
        }
        "tname" | "tty" | "tt" => match p.tty {
            0 => "?".into(),
            n => format!("pts/{}", (n & 0xff) | ((n >> 12) & 0xfff00)),
        },
        "time" | "cputime" => clock(p.ticks / HZ),
        "etime" => clock(age),
        "cmd" | "args" | "command" => p.args.clone(),
        "comm" | "ucmd" => p.comm.clone(),
        "rss" => p.rss_kb.to_string(),
        "vsz" => p.vsz_kb.to_string(),
        "stat" | "state" | "s" => p.state.to_string(),
        "nice" | "ni" => p.nice.to_string(),
        "pcpu" | "%cpu" => format!("{:.1}", p.ticks as f64 / HZ as f64 * 100.0 / age.max(1) as f64),
        _ => "0.0".into(),
    }
}

fn read(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(close + 2..)?.split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<i64>().ok()).unwrap_or(0);
    let uid = status.lines().find_map(|l| l.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let comm = stat.get(open + 1..close)?.to_string();
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let args = String::from_utf8_lossy(&raw).trim_end_matches('\0').replace('\0', " ");
    Some(Process {
        pid,
        uid,
        args: if args.is_empty() { format!("[{comm}]") } else { args },
        comm,
        state: fields.first()?.chars().next()?,
        ppid: number(1) as u32,
        tty: number(4) as i32,
        ticks: (number(11) + number(12)) as u64,
        nice: number(16),
        start: number(19) as u64,
        vsz_kb: number(20) as u64 / 1024,
        rss_kb: number(21) as u64 * rustix::param::page_size() as u64 / 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_ps() {
        assert_eq!(columns("").unwrap().len(), 8);
        assert_eq!(columns("-o pid,args").unwrap(), ["pid", "args"]);
        assert!(columns("-o args").is_err() && columns("-o pid,bogus").is_err() && columns("--weird").is_err());
        let own = read(rustix::process::getpid().as_raw_nonzero().get() as u32).unwrap();
        assert!(own.ppid > 0 && own.args.contains("prtiql"));
    }
}
