//! A small HTTP/1.1 client over a Unix socket or plain TCP: one connection for one request, streams in both directions, and
//! the hijacking that attach and exec need.

use crate::base::{Context, Error, Kind, Result};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Where the daemon listens.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// A socket file.
    Unix(String),
    /// `host:port`, without TLS.
    Tcp(String),
}

impl Endpoint {
    /// Parses `unix:///path`, `tcp://host:port`, `http://host:port`.
    pub fn parse(text: &str) -> Result<Endpoint> {
        match text.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Ok(Endpoint::Unix(path.into())),
            Some(("tcp" | "http", host)) if !host.is_empty() => {
                let host = host.trim_end_matches('/');
                let port = host.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
                Ok(Endpoint::Tcp(if port { host.into() } else { format!("{host}:2375") }))
            }
            Some((scheme @ ("ssh" | "npipe" | "fd"), _)) => {
                Err(Error::unsupported(format!("cannot connect by {scheme}://: use unix:// or tcp://")))
            }
            None if text.starts_with('/') => Ok(Endpoint::Unix(text.into())),
            _ => Err(Error::invalid(format!("unable to parse docker host `{text}`"))),
        }
    }

    /// As it is written.
    pub fn url(&self) -> String {
        match self {
            Endpoint::Unix(path) => format!("unix://{path}"),
            Endpoint::Tcp(host) => format!("tcp://{host}"),
        }
    }

    fn connect(&self) -> Result<Stream> {
        let stream = match self {
            Endpoint::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Endpoint::Tcp(host) => TcpStream::connect(host).map(Stream::Tcp),
        };
        stream.map_err(|e| {
            let why = match e.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "permission denied while trying to connect to the daemon socket at {}: are you root, or in the group of the socket?",
                    self.url()
                ),
                _ => format!("Cannot connect to the Docker daemon at {}. Is the docker daemon running?", self.url()),
            };
            Error::new(Kind::Unavailable, why)
        })
    }
}

/// A connection.
pub enum Stream {
    /// Unix socket.
    Unix(UnixStream),
    /// TCP.
    Tcp(TcpStream),
}

impl Stream {
    /// Half-close: the other side sees the end of our input.
    pub fn shutdown_write(&self) {
        // the other side may be gone already: then there is nothing to tell it
        _ = match self {
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
        };
    }

    /// Reads and writes no longer wait.
    pub fn set_nonblocking(&self) -> Result<()> {
        Ok(match self {
            Stream::Unix(s) => s.set_nonblocking(true),
            Stream::Tcp(s) => s.set_nonblocking(true),
        }?)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.read(buf),
            Stream::Tcp(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.write(buf),
            Stream::Tcp(s) => s.write(buf),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(s) => s.as_fd(),
            Stream::Tcp(s) => s.as_fd(),
        }
    }
}

/// The body of a request.
pub enum Payload<'a> {
    /// None.
    Empty,
    /// JSON text.
    Json(Vec<u8>),
    /// Anything, sent as it is read, in chunks.
    Stream(&'a mut dyn Read, &'static str),
    /// None; the connection becomes a raw stream.
    Upgrade(Vec<u8>),
}

/// The head of an answer, and its body to read.
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<Stream>,
    framing: Framing,
}

enum Framing {
    Length(u64),
    /// Bytes left in this chunk; `None` before a chunk's head.
    Chunked(Option<u64>),
    Close,
    Done,
}

/// Longer heads are not Docker's.
const LARGEST_HEAD: usize = 64 << 10;

/// Sends a request and reads the head of the answer.
pub fn request(to: &Endpoint, method: &str, target: &str, headers: &[(&str, &str)], body: Payload<'_>) -> Result<Response> {
    let mut stream = to.connect()?;
    let host = match to {
        Endpoint::Unix(_) => "prtiql",
        Endpoint::Tcp(host) => host,
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: prtiql/{}\r\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let sent = match body {
        Payload::Empty if method == "POST" => write_all(&mut stream, head + "Content-Length: 0\r\n", &[]),
        Payload::Empty => write_all(&mut stream, head, &[]),
        Payload::Json(text) => write_all(&mut stream, head + &json_head(text.len()), &text),
        Payload::Upgrade(text) => {
            let kind = if text.is_empty() { "Content-Length: 0\r\n".into() } else { json_head(text.len()) };
            write_all(&mut stream, head + "Connection: Upgrade\r\nUpgrade: tcp\r\n" + &kind, &text)
        }
        Payload::Stream(from, kind) => {
            let head = head + &format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n");
            write_all(&mut stream, head, &[]).and_then(|()| send_chunks(&mut stream, from))
        }
    };
    // a daemon that refuses a large body answers and closes before it has read all: its answer tells more than our EPIPE
    let answer = Response::read_head(stream, method);
    match (answer, sent) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(sent)) => Err(sent),
        (Err(e), Ok(())) => Err(e),
    }
}

fn json_head(len: usize) -> String {
    format!("Content-Type: application/json\r\nContent-Length: {len}\r\n")
}

fn write_all(stream: &mut Stream, mut head: String, body: &[u8]) -> Result<()> {
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).context(|| "send to the daemon")
}

fn send_chunks(stream: &mut Stream, from: &mut dyn Read) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).context(|| "read the input"),
        };
        let head = format!("{n:x}\r\n");
        let mut chunk = head.into_bytes();
        chunk.extend_from_slice(&buffer[..n]);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk).context(|| "send to the daemon")?;
        if n == 0 {
            return Ok(());
        }
    }
}

impl Response {
    fn read_head(stream: Stream, method: &str) -> Result<Response> {
        let mut reader = BufReader::with_capacity(32 << 10, stream);
        loop {
            let mut head = Vec::new();
            loop {
                let before = head.len();
                reader.by_ref().take(LARGEST_HEAD as u64).read_until(b'\n', &mut head).context(|| "read the daemon's answer")?;
                match head.len() - before {
                    0 => return Err(Error::new(Kind::Unavailable, "the daemon closed the connection without an answer")),
                    1 | 2 if head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n") => break,
                    _ if head.len() > LARGEST_HEAD => return Err(Error::internal("the daemon's answer has too large a head")),
                    _ => {}
                }
            }
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Response::new(&mut slots);
            parsed.parse(&head).map_err(|e| Error::internal(format!("the daemon's answer is not HTTP: {e}")))?;
            let status = parsed.code.unwrap_or(0);
            if status == 100 {
                continue;
            }
            let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
            let headers: Vec<(String, String)> =
                parsed.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
            let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            let framing = if method == "HEAD" || matches!(status, 204 | 304) {
                Framing::Done
            } else if find("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
                Framing::Chunked(None)
            } else if let Some(length) = find("content-length").and_then(|v| v.parse().ok()) {
                Framing::Length(length)
            } else {
                Framing::Close
            };
            return Ok(Response { status, headers, reader, framing });
        }
    }

    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The whole body.
    pub fn whole(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read_to_end(&mut body).context(|| "read the daemon's answer")?;
        Ok(body)
    }

    /// The raw connection of an upgraded request, and what was read of it already.
    pub fn hijack(self) -> (Stream, Vec<u8>) {
        let rest = self.reader.buffer().to_vec();
        (self.reader.into_inner(), rest)
    }

    fn chunk_head(&mut self) -> io::Result<u64> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a chunk's head is malformed");
        let mut line = String::new();
        self.reader.by_ref().take(1024).read_line(&mut line)?;
        if line.trim().is_empty() {
            line.clear(); // the line end behind the chunk before
            self.reader.by_ref().take(1024).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let digits = line.trim().split(';').next().unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(|_| bad())
    }
}

impl Read for Response {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = match &mut self.framing {
                Framing::Done => return Ok(0),
                Framing::Close => return self.reader.read(buf),
                Framing::Chunked(None) => {
                    match self.chunk_head()? {
                        0 => self.framing = Framing::Done,
                        n => self.framing = Framing::Chunked(Some(n)),
                    }
                    continue;
                }
                Framing::Chunked(Some(0)) => {
                    self.framing = Framing::Chunked(None);
                    continue;
                }
                Framing::Length(0) => return Ok(0),
                Framing::Length(n) | Framing::Chunked(Some(n)) => n,
            };
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
            if most == 0 {
                return Ok(0);
            }
            let n = self.reader.read(&mut buf[..most])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *left -= n as u64;
            return Ok(n);
        }
    }
}

/// The query part of a target, escaped.
#[derive(Clone, Debug, Default)]
pub struct Query(String);

impl Query {
    /// Nothing yet.
    pub fn new() -> Query {
        Query::default()
    }

    /// Adds a parameter.
    pub fn set(mut self, key: &str, value: &str) -> Query {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(&escape(value));
        self
    }

    /// Adds a parameter unless it is empty.
    pub fn maybe(self, key: &str, value: &str) -> Query {
        if value.is_empty() { self } else { self.set(key, value) }
    }

    /// Adds `key=1` if set.
    pub fn flag(self, key: &str, on: bool) -> Query {
        if on { self.set(key, "1") } else { self }
    }

    /// The text, with its question mark.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Percent-escapes for a query value or a path segment.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        assert_eq!(Endpoint::parse("unix:///run/x.sock").unwrap(), Endpoint::Unix("/run/x.sock".into()));
        assert_eq!(Endpoint::parse("tcp://127.0.0.1:99").unwrap(), Endpoint::Tcp("127.0.0.1:99".into()));
        assert_eq!(Endpoint::parse("tcp://h").unwrap(), Endpoint::Tcp("h:2375".into()));
        assert!(Endpoint::parse("ssh://h").is_err() && Endpoint::parse("nonsense").is_err());
    }

    /// A server on a socket pair answers `answer` to whatever comes.
    fn answer(answer: &[u8]) -> Response {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer).unwrap();
        drop(theirs);
        Response::read_head(Stream::Unix(ours), "GET").unwrap()
    }

    #[test]
    fn bodies_of_every_framing() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef").whole().unwrap(), b"abc");
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n\r\nabc").whole().unwrap(), b"abc");
        let chunked =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        assert_eq!(answer(chunked).whole().unwrap(), b"abc");
        let mut cut = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
        assert!(cut.whole().is_err());
        assert_eq!(answer(b"HTTP/1.1 304 Not Modified\r\n\r\n").whole().unwrap(), b"");
        let (_, rest) = answer(b"HTTP/1.1 101 UPGRADED\r\n\r\nraw").hijack();
        assert_eq!(rest, b"raw");
    }

    #[test]
    fn no_answer_and_nonsense_are_errors() {
        for bytes in [&b""[..], b"\x16\x03\x01\n\n", b"HTTP/1.1 200 OK\r\nContent"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(bytes).unwrap();
            drop(theirs);
            assert!(Response::read_head(Stream::Unix(ours), "GET").is_err());
        }
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(Query::new().set("a", "b c/d").flag("e", true).flag("f", false).maybe("g", "").text(), "?a=b%20c%2Fd&e=1");
    }
}
