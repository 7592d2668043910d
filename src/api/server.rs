//! Connections: reading requests, writing answers, handing streams over. Bounded in number and in buffers.
//!
//! The sockets are left blocking and every call here says `DONTWAIT`: a worker that shares one may read it as it likes.

use crate::base::{Error, Result};
use crate::engine::{ConnId, Reply, kind, token};
use crate::reactor::{Interest, Reactor, now_ms};
use crate::wire::http::{self, Body, Chunked, MAX_BODY, MAX_HEAD, Request, common_head};
use rustix::net::{RecvFlags, SendFlags};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// Connections at once; more get 503.
pub const MOST: usize = 256;
/// Connection numbers start here; smaller ones are listeners.
pub const FIRST: u32 = 64;
/// A client that does not read is dropped when so many bytes wait for it.
const MOST_WAITING: usize = 8 << 20;
/// A request must be complete after so long.
const REQUEST_MS: u64 = 60_000;
/// What one read takes.
const READ: usize = 16 * 1024;

#[derive(Debug)]
enum State {
    /// Waiting for (the rest of) a head.
    Head,
    /// Reading a body.
    Body { request: Box<Request>, chunked: Chunked, body: Vec<u8> },
    /// The handler has it; the answer comes later.
    Busy,
    /// A stream was promised, its head not sent.
    StreamDue,
    /// A stream is being sent.
    Stream,
    /// Close once everything is written.
    Closing,
}

struct Conn {
    fd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    state: State,
    keep_alive: bool,
    http10: bool,
    head_only: bool,
    interest: Interest,
}

/// The connection has ended; there is nobody to answer.
#[derive(Clone, Copy, Debug)]
pub struct Over;

/// A request that is complete.
pub struct Ready {
    /// From whom.
    pub conn: ConnId,
    /// Its head.
    pub request: Request,
    /// Its body, unless the route takes it as a stream.
    pub body: Vec<u8>,
}

/// All connections.
pub struct Conns {
    all: BTreeMap<ConnId, Conn>,
    next: ConnId,
    buffer: Vec<u8>,
}

impl Default for Conns {
    fn default() -> Conns {
        Conns { all: BTreeMap::new(), next: FIRST, buffer: vec![0; READ] }
    }
}

impl Conns {
    /// Takes a new connection in.
    pub fn accept(&mut self, fd: OwnedFd, reactor: &Reactor) {
        if self.all.len() >= MOST {
            let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = rustix::net::send(&fd, text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            return;
        }
        self.next = if self.next == u32::MAX { FIRST } else { self.next + 1 };
        if reactor.add(&fd, token(kind::API, self.next), Interest::Read).is_ok() {
            let conn = Conn {
                fd,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                state: State::Head,
                keep_alive: true,
                http10: false,
                head_only: false,
                interest: Interest::Read,
            };
            self.all.insert(self.next, conn);
        }
    }

    /// The connection is there.
    pub fn has(&self, id: ConnId) -> bool {
        self.all.contains_key(&id)
    }

    /// Its credentials, for a unix socket.
    pub fn fd(&self, id: ConnId) -> Option<&OwnedFd> {
        self.all.get(&id).map(|c| &c.fd)
    }

    /// Reads what is there. `Ok(Some)` is a complete request; `Err` means the connection is over.
    pub fn readable(
        &mut self,
        id: ConnId,
        reactor: &mut Reactor,
        streams: &dyn Fn(&Request) -> bool,
    ) -> Result<Option<Ready>, Over> {
        let Some(conn) = self.all.get_mut(&id) else { return Err(Over) };
        if matches!(conn.state, State::Head | State::Body { .. }) {
            match rustix::net::recv(&conn.fd, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Over),
                Ok((n, _)) => conn.input.extend_from_slice(&self.buffer[..n]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
                Err(_) => return Err(Over),
            }
        }
        self.advance(id, reactor, streams)
    }

    /// Goes on with what has been read.
    pub fn advance(
        &mut self,
        id: ConnId,
        reactor: &mut Reactor,
        streams: &dyn Fn(&Request) -> bool,
    ) -> Result<Option<Ready>, Over> {
        let Some(conn) = self.all.get_mut(&id) else { return Err(Over) };
        if matches!(conn.state, State::Head) {
            if conn.input.is_empty() {
                return Ok(None);
            }
            match http::parse_head(&conn.input) {
                Ok(None) => {
                    reactor.set_timer(token(kind::API, id), now_ms() + REQUEST_MS);
                    return Ok(None);
                }
                Ok(Some((request, used))) => {
                    conn.input.drain(..used);
                    conn.keep_alive = request.keep_alive();
                    conn.http10 = request.http10;
                    conn.head_only = request.method == "HEAD";
                    if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
                        conn.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    if streams(&request) {
                        return Ok(Some(self.ready(id, request, Vec::new(), reactor)));
                    }
                    conn.state = State::Body { request: Box::new(request), chunked: Chunked::default(), body: Vec::new() };
                }
                Err((status, e)) => {
                    conn.keep_alive = false;
                    self.error(id, status, &e.to_string());
                    return Ok(None);
                }
            }
        }
        let State::Body { request, chunked, body } = &mut conn.state else { return Ok(None) };
        let (complete, bad) = match request.body {
            Body::Length(n) if n > MAX_BODY as u64 => {
                (false, Some((413, format!("request body of {n} bytes exceeds {MAX_BODY}"))))
            }
            Body::Length(n) => {
                let take = (n as usize - body.len()).min(conn.input.len());
                body.extend(conn.input.drain(..take));
                (body.len() == n as usize, None)
            }
            Body::Chunked => match chunked.feed(&conn.input, &mut |piece| body.extend_from_slice(piece)) {
                Ok(used) => {
                    conn.input.drain(..used);
                    let large = (body.len() > MAX_BODY).then(|| (413, format!("request body exceeds {MAX_BODY} bytes")));
                    (chunked.is_done(), large)
                }
                Err(e) => (false, Some((400, e.to_string()))),
            },
        };
        if let Some((status, message)) = bad {
            conn.keep_alive = false;
            self.error(id, status, &message);
            return Ok(None);
        }
        if !complete {
            reactor.set_timer(token(kind::API, id), now_ms() + REQUEST_MS);
            return Ok(None);
        }
        match std::mem::replace(&mut conn.state, State::Busy) {
            State::Body { request, body, .. } => Ok(Some(self.ready(id, *request, body, reactor))),
            _ => Ok(None),
        }
    }

    fn ready(&mut self, id: ConnId, request: Request, body: Vec<u8>, reactor: &mut Reactor) -> Ready {
        if let Some(conn) = self.all.get_mut(&id) {
            conn.state = State::Busy;
        }
        reactor.cancel_timer(token(kind::API, id));
        Ready { conn: id, request, body }
    }

    /// A request took too long.
    pub fn timed_out(&mut self, id: ConnId) {
        if let Some(conn) = self.all.get_mut(&id)
            && matches!(conn.state, State::Head | State::Body { .. })
        {
            conn.keep_alive = false;
            self.error(id, 408, "the request was not complete after 60 seconds");
        }
    }

    /// Takes the socket out of HTTP: the caller (or a child) goes on with it. Returns what was read beyond the head.
    pub fn take(&mut self, id: ConnId, reactor: &mut Reactor) -> Result<(OwnedFd, Vec<u8>)> {
        let conn = self.all.remove(&id).ok_or_else(|| Error::internal("the connection is gone"))?;
        reactor.remove(&conn.fd);
        reactor.cancel_timer(token(kind::API, id));
        Ok((conn.fd, conn.input))
    }

    /// What was read beyond the head; the socket's body belongs to a worker from now on.
    pub fn take_input(&mut self, id: ConnId) -> Vec<u8> {
        match self.all.get_mut(&id) {
            Some(conn) => {
                conn.keep_alive = false; // what the worker leaves unread is not known here
                std::mem::take(&mut conn.input)
            }
            None => Vec::new(),
        }
    }

    /// Sends a part of an answer.
    pub fn reply(&mut self, id: ConnId, reply: Reply) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        match reply {
            Reply::Json(status, body) => self.whole(id, status, "application/json", &body),
            Reply::Empty(status) => self.whole(id, status, "", &[]),
            Reply::Error(e) => {
                let status = e.kind().status();
                match conn.state {
                    State::Stream => {
                        let message = e.to_string();
                        let mut text = json!({"errorDetail": {"message": message}, "error": message}).to_string().into_bytes();
                        text.extend_from_slice(b"\r\n");
                        self.chunk(id, &text);
                        self.end(id);
                    }
                    _ if status == 304 => self.whole(id, 304, "", &[]),
                    _ => self.error(id, status, &e.to_string()),
                }
            }
            Reply::StreamStart => conn.state = State::StreamDue,
            Reply::StreamHead => self.stream_head(id),
            Reply::Chunk(bytes) => {
                if matches!(conn.state, State::StreamDue) {
                    self.stream_head(id);
                }
                self.chunk(id, &bytes);
            }
            Reply::StreamEnd => {
                if matches!(conn.state, State::StreamDue) {
                    self.stream_head(id);
                }
                self.end(id);
            }
        }
    }

    /// An answer with extra headers (archives' stat header, ping).
    pub fn whole_with(&mut self, id: ConnId, status: u16, content_type: &str, headers: &[(&str, &str)], body: &[u8]) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        let mut head = common_head(status);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !content_type.is_empty() {
            head.push_str(&format!("Content-Type: {content_type}\r\n"));
        }
        if !matches!(status, 204 | 304) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        if !conn.keep_alive {
            head.push_str("Connection: close\r\n");
        } else if conn.http10 {
            head.push_str("Connection: keep-alive\r\n");
        }
        head.push_str("\r\n");
        conn.output.extend_from_slice(head.as_bytes());
        if !conn.head_only {
            conn.output.extend_from_slice(body);
        }
        conn.state = if conn.keep_alive { State::Head } else { State::Closing };
    }

    fn whole(&mut self, id: ConnId, status: u16, content_type: &str, body: &[u8]) {
        let with_newline;
        let body = if content_type == "application/json" {
            with_newline = [body, b"\n"].concat();
            &with_newline
        } else {
            body
        };
        self.whole_with(id, status, content_type, &[], body);
    }

    fn error(&mut self, id: ConnId, status: u16, message: &str) {
        let body = json!({"message": message}).to_string();
        self.whole(id, status, "application/json", body.as_bytes());
    }

    fn stream_head(&mut self, id: ConnId) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        let mut head = common_head(200);
        head.push_str("Content-Type: application/json\r\n");
        if conn.http10 {
            conn.keep_alive = false;
            head.push_str("Connection: close\r\n");
        } else {
            head.push_str("Transfer-Encoding: chunked\r\n");
        }
        head.push_str("\r\n");
        conn.output.extend_from_slice(head.as_bytes());
        conn.state = State::Stream;
    }

    fn chunk(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        if bytes.is_empty() || conn.head_only {
            return;
        }
        if conn.http10 {
            conn.output.extend_from_slice(bytes);
        } else {
            conn.output.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
            conn.output.extend_from_slice(bytes);
            conn.output.extend_from_slice(b"\r\n");
        }
    }

    fn end(&mut self, id: ConnId) {
        let Some(conn) = self.all.get_mut(&id) else { return };
        if !conn.http10 && !conn.head_only {
            conn.output.extend_from_slice(b"0\r\n\r\n");
        }
        conn.state = if conn.keep_alive { State::Head } else { State::Closing };
    }

    /// Writes what the socket takes and sets what is waited for. `false`: the connection is over.
    pub fn flush(&mut self, id: ConnId, reactor: &Reactor) -> bool {
        let Some(conn) = self.all.get_mut(&id) else { return true };
        while conn.written < conn.output.len() {
            match rustix::net::send(&conn.fd, &conn.output[conn.written..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => conn.written += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        let waiting = conn.output.len() - conn.written;
        if waiting == 0 {
            conn.output.clear();
            conn.written = 0;
            if matches!(conn.state, State::Closing) {
                return false;
            }
            // A long answer's room is given back: an idle connection holds next to nothing.
            conn.output.shrink_to(READ);
            conn.input.shrink_to(READ);
        } else if waiting > MOST_WAITING {
            return false;
        }
        let reads = matches!(conn.state, State::Head | State::Body { .. }) && conn.input.len() < MAX_HEAD + READ;
        let interest = match (reads, waiting > 0) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::Nothing,
        };
        if interest != conn.interest {
            conn.interest = interest;
            return reactor.modify(&conn.fd, token(kind::API, id), interest).is_ok();
        }
        true
    }

    /// The connection waits for a head and has bytes of the next request.
    pub fn has_next(&self, id: ConnId) -> bool {
        self.all.get(&id).is_some_and(|c| matches!(c.state, State::Head) && !c.input.is_empty())
    }

    /// Closes it.
    pub fn drop(&mut self, id: ConnId, reactor: &mut Reactor) {
        if let Some(conn) = self.all.remove(&id) {
            reactor.remove(&conn.fd);
            reactor.cancel_timer(token(kind::API, id));
        }
    }

    /// All numbers.
    pub fn ids(&self) -> Vec<ConnId> {
        self.all.keys().copied().collect()
    }
}
