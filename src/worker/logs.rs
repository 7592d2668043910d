//! `logs`: reads the json-file records of a container and answers the client, on the connection that was handed over.

use crate::base::time::Time;
use crate::base::{Context, Error, Result};
use crate::logs::CURRENT;
use crate::wire::http::common_head;
use crate::wire::worker::Logs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde::Deserialize;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// A record is at most so long: 16 KiB, each byte escaped.
const LONGEST: u64 = 256 * 1024;
/// What is collected before it is sent.
const PIECE: usize = 16 * 1024;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The client's side: HTTP's chunked coding, sent in pieces.
struct Client {
    socket: OwnedFd,
    piece: Vec<u8>,
    started: bool,
    content_type: &'static str,
}

impl Client {
    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n =
                rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)).context(|| "client")?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        if !self.started {
            self.started = true;
            let head = format!("{}Content-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n", common_head(200), self.content_type);
            self.send(head.as_bytes())?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.start()?;
        if self.piece.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", self.piece.len()).into_bytes();
        chunk.append(&mut self.piece);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk)
    }

    fn end(&mut self) -> Result<()> {
        self.flush()?;
        self.send(b"0\r\n\r\n")
    }
}

/// What to do after a record.
#[derive(PartialEq)]
enum Next {
    More,
    Enough,
}

/// Answers the client; nobody but it is told of failures.
pub fn run(task: &Logs, socket: OwnedFd) -> Result<()> {
    rustix::io::ioctl_fionbio(&socket, false)?;
    let content_type = match !task.tty && task.multiplexed {
        true => "application/vnd.docker.multiplexed-stream",
        false => "application/vnd.docker.raw-stream",
    };
    let mut client = Client { socket, piece: Vec::with_capacity(PIECE), started: false, content_type };
    let result = answer(task, &mut client);
    match result {
        Ok(()) => client.end(),
        Err(e) if !client.started => {
            let body = format!("{}\n", serde_json::json!({"message": e.to_string()}));
            let head = common_head(e.kind().status());
            client.send(
                format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
            )?;
            Err(e)
        }
        Err(e) => Err(e),
    }
}

fn answer(task: &Logs, client: &mut Client) -> Result<()> {
    // Before anything is read: what is written or ends afterwards is noticed.
    let shim = if task.follow { connect(&task.shim) } else { None };
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    if shim.is_some() {
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        std::fs::create_dir_all(&task.dir).context(|| task.dir.clone())?;
        inotify::add_watch(&watch, &*task.dir, what).context(|| format!("watch {}", task.dir))?;
    }
    let mut files = files(&task.dir);
    let (first, offset) = match task.tail {
        Some(n) => start_of_tail(&task.dir, &files, n)?,
        None => (0, 0),
    };
    files.drain(..first);
    client.start()?;
    let mut line = Vec::new();
    let mut current = None;
    for (i, name) in files.iter().enumerate() {
        let mut reader = open(&task.dir, name, if i == 0 { offset } else { 0 })?;
        if copy(task, client, &mut reader, &mut line)? == Next::Enough {
            return Ok(());
        }
        current = Some(reader);
    }
    let Some(shim) = shim else { return Ok(()) };
    loop {
        client.flush()?;
        let ended = wait(client, &watch, &shim)?;
        if copy_new(task, client, &mut current, &mut line)? == Next::Enough || ended {
            return Ok(());
        }
    }
}

fn connect(path: &str) -> Option<OwnedFd> {
    if path.is_empty() {
        return None;
    }
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(path).ok()?).ok()?;
    Some(fd)
}

/// Sleeps until there is something new; `true`: the shim is gone, all is written.
fn wait(client: &Client, watch: &OwnedFd, shim: &OwnedFd) -> Result<bool> {
    let mut set = [
        PollFd::new(watch, PollFlags::IN),
        PollFd::new(shim, PollFlags::IN),
        PollFd::from_borrowed_fd(client.socket.as_fd(), PollFlags::RDHUP),
    ];
    rustix::io::retry_on_intr(|| poll(&mut set, None))?;
    let [changed, ended, gone] = [set[0].revents(), set[1].revents(), set[2].revents()];
    if !changed.is_empty() {
        let mut buffer = [0u8; 4096];
        while matches!(rustix::io::read(watch, &mut buffer), Ok(n) if n > 0) {}
    }
    if gone.intersects(PollFlags::HUP | PollFlags::ERR) {
        return Err(Error::internal("the client is gone"));
    }
    Ok(!ended.is_empty())
}

/// Names of the log files, oldest first.
fn files(dir: &str) -> Vec<String> {
    let mut names: Vec<String> =
        (1..).map(|n| format!("{CURRENT}.{n}")).take_while(|n| std::path::Path::new(&format!("{dir}/{n}")).exists()).collect();
    names.reverse();
    if std::path::Path::new(&format!("{dir}/{CURRENT}")).exists() {
        names.push(CURRENT.to_string());
    }
    names
}

fn open(dir: &str, name: &str, offset: u64) -> Result<BufReader<File>> {
    let mut file = File::open(format!("{dir}/{name}")).context(|| format!("open log {dir}/{name}"))?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(PIECE, file))
}

/// File and offset where the last `n` records begin.
fn start_of_tail(dir: &str, files: &[String], n: u64) -> Result<(usize, u64)> {
    let mut left = n;
    for (i, name) in files.iter().enumerate().rev() {
        let mut file = File::open(format!("{dir}/{name}")).context(|| format!("open log {dir}/{name}"))?;
        let end = file.metadata()?.len();
        if left == 0 {
            return Ok((i, end));
        }
        let (mut at, mut block) = (end, vec![0u8; PIECE]);
        while at > 0 {
            let size = at.min(PIECE as u64) as usize;
            at -= size as u64;
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut block[..size])?;
            for k in (0..size).rev().filter(|k| block[*k] == b'\n') {
                let after = at + k as u64 + 1;
                if after == end {
                    continue; // the end of the last record
                }
                left -= 1;
                if left == 0 {
                    return Ok((i, after));
                }
            }
        }
        if end > 0 {
            left -= 1; // the first record of the file has no newline before it
            if left == 0 {
                return Ok((i, 0));
            }
        }
    }
    Ok((0, 0))
}

/// Copies whole records until the file's end. A record whose end is not written yet stays in `line`.
fn copy(task: &Logs, client: &mut Client, reader: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<Next> {
    loop {
        let before = line.len();
        reader.by_ref().take(LONGEST.saturating_sub(before as u64)).read_until(b'\n', line).context(|| "read log")?;
        if line.last() != Some(&b'\n') {
            if line.len() as u64 >= LONGEST {
                line.clear(); // no record of ours: the rest of it is skipped too
            }
            if line.len() == before || line.is_empty() {
                return Ok(Next::More);
            }
            continue;
        }
        let next = record(task, client, line)?;
        line.clear();
        if next == Next::Enough {
            return Ok(next);
        }
    }
}

/// Goes on at the end of what was read: in the same file, and in the one that took its name after a rotation.
fn copy_new(task: &Logs, client: &mut Client, current: &mut Option<BufReader<File>>, line: &mut Vec<u8>) -> Result<Next> {
    if let Some(reader) = current
        && copy(task, client, reader, line)? == Next::Enough
    {
        return Ok(Next::Enough);
    }
    let Ok(newest) = std::fs::metadata(format!("{}/{CURRENT}", task.dir)) else { return Ok(Next::More) };
    let same = match current {
        Some(reader) => {
            let own = reader.get_ref().metadata()?;
            let truncated = reader.stream_position()? > own.len();
            own.ino() == newest.ino() && !truncated
        }
        None => false,
    };
    if same {
        return Ok(Next::More);
    }
    line.clear();
    let mut reader = open(&task.dir, CURRENT, 0)?;
    let next = copy(task, client, &mut reader, line)?;
    *current = Some(reader);
    Ok(next)
}

fn record(task: &Logs, client: &mut Client, line: &[u8]) -> Result<Next> {
    // A power cut may leave a torn record; the next one then follows on the same line.
    let start = b"{\"log\":";
    let at = line.windows(start.len()).rposition(|w| w == start).unwrap_or(0);
    let Ok(record) = serde_json::from_slice::<Record<'_>>(line).or_else(|_| serde_json::from_slice(&line[at..])) else {
        return Ok(Next::More);
    };
    let time = Time::parse_rfc3339(&record.time).unwrap_or_default();
    if task.until != 0 && time.0 > task.until {
        return Ok(Next::Enough);
    }
    let stderr = record.stream == "stderr";
    if time.0 < task.since || !(if stderr { task.stderr } else { task.stdout }) {
        return Ok(Next::More);
    }
    let stamp = if task.timestamps { format!("{} ", time.rfc3339_fixed()) } else { String::new() };
    let length = (stamp.len() + record.log.len()) as u32;
    if !task.tty {
        client.piece.extend_from_slice(&[if stderr { 2 } else { 1 }, 0, 0, 0]);
        client.piece.extend_from_slice(&length.to_be_bytes());
    }
    client.piece.extend_from_slice(stamp.as_bytes());
    client.piece.extend_from_slice(record.log.as_bytes());
    if client.piece.len() >= PIECE {
        client.flush()?;
    }
    Ok(Next::More)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(task: &Logs) -> String {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        run(task, theirs).unwrap();
        let mut text = String::new();
        File::from(ours).read_to_string(&mut text).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1.to_string();
        let mut out = String::new();
        crate::wire::http::Chunked::default().feed(body.as_bytes(), &mut |p| out.push_str(&String::from_utf8_lossy(p))).unwrap();
        out
    }

    #[test]
    fn tail_since_streams_and_torn_records() {
        let dir = std::env::temp_dir().join(format!("prtiql-logs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let line = |n: i64, stream: &str| {
            format!("{{\"log\":\"{n}\\n\",\"stream\":\"{stream}\",\"time\":\"{}\"}}\n", Time(n * 1_000_000_000).rfc3339_fixed())
        };
        let old: String = (1..=3).map(|n| line(n, "stdout")).collect();
        let new: String = (4..=6).map(|n| line(n, if n == 5 { "stderr" } else { "stdout" })).collect();
        std::fs::write(dir.join("json.log.1"), old).unwrap();
        std::fs::write(dir.join("json.log"), format!("{{\"log\":\"torn{new}")).unwrap();
        let task = Logs { dir: dir.to_string_lossy().into_owned(), stdout: true, stderr: true, tty: true, ..Logs::default() };
        assert_eq!(read_all(&task), "1\n2\n3\n4\n5\n6\n");
        for (tail, want) in [(0, ""), (1, "6\n"), (3, "4\n5\n6\n"), (4, "3\n4\n5\n6\n"), (50, "1\n2\n3\n4\n5\n6\n")] {
            assert_eq!(read_all(&Logs { tail: Some(tail), ..task.clone() }), want, "{tail}");
        }
        assert_eq!(read_all(&Logs { stderr: false, since: 4_500_000_000, ..task.clone() }), "6\n");
        assert_eq!(read_all(&Logs { until: 2_000_000_000, ..task.clone() }), "1\n2\n");
        assert_eq!(read_all(&Logs { tty: false, tail: Some(1), ..task.clone() }), "\u{1}\0\0\0\0\0\0\u{2}6\n");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
