//! HTTP/1.1, the server's side: request heads, chunked bodies, query strings, answers. Pure functions over bytes.

use crate::base::{Error, Result};
use std::fmt::Write;

/// The largest request head, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The largest JSON body, in bytes.
pub const MAX_BODY: usize = 4 << 20;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunked coding.
    Chunked,
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, POST, …
    pub method: String,
    /// Percent-decoded path without the query.
    pub path: String,
    /// Decoded query parameters, in their order.
    pub query: Vec<(String, String)>,
    /// Header names in lower case, values trimmed.
    pub headers: Vec<(String, String)>,
    /// The body's form.
    pub body: Body,
    /// HTTP/1.0.
    pub http10: bool,
}

impl Request {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first query parameter of that name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A query parameter as Docker reads booleans: absent, "", "0", "no", "false", "none" are false.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.param(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The client asks to keep the connection.
    pub fn keep_alive(&self) -> bool {
        let connection = self.header("connection").unwrap_or_default().to_ascii_lowercase();
        if self.http10 { connection.contains("keep-alive") } else { !connection.contains("close") }
    }

    /// The client asks for a raw stream in both directions.
    pub fn upgrade(&self) -> bool {
        self.header("upgrade").is_some()
    }
}

/// Parses a head. `None` if it is not complete yet; else it and its length in bytes. Errors carry the status.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, (u16, Error)> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut raw = httparse::Request::new(&mut headers);
    let length = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => {
            return Err((431, Error::invalid(format!("request header fields exceed {MAX_HEAD} bytes"))));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err((431, Error::invalid("more than 96 request header fields"))),
        Err(e) => return Err((400, Error::invalid(format!("malformed HTTP request: {e}")))),
    };
    let headers: Vec<(String, String)> =
        raw.headers.iter().map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).trim().to_string())).collect();
    let target = raw.path.unwrap_or("/");
    let target = match target.find("://") {
        Some(at) if !target.starts_with('/') => target[at + 3..].find('/').map_or("/", |slash| &target[at + 3 + slash..]),
        _ => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: raw.method.unwrap_or_default().to_string(),
        path: percent_decode(path, false),
        query: parse_query(query),
        headers,
        body: Body::Length(0),
        http10: raw.version == Some(0),
    };
    let lengths: Vec<&str> = request.headers.iter().filter(|(n, _)| n == "content-length").map(|(_, v)| v.as_str()).collect();
    let chunked = match request.header("transfer-encoding") {
        None => false,
        Some(v) if v.eq_ignore_ascii_case("chunked") => true,
        Some(v) if v.eq_ignore_ascii_case("identity") => false,
        Some(v) => return Err((501, Error::invalid(format!("unsupported transfer encoding '{v}'")))),
    };
    // Two lengths, or a length and chunks, are how requests are smuggled past proxies.
    request.body = match (chunked, lengths.as_slice()) {
        (true, []) => Body::Chunked,
        (false, []) => Body::Length(0),
        (false, [one]) if one.bytes().all(|b| b.is_ascii_digit()) => {
            Body::Length(one.parse().map_err(|_| (400, Error::invalid(format!("invalid content length '{one}'"))))?)
        }
        _ => return Err((400, Error::invalid("contradicting or malformed content length"))),
    };
    Ok(Some((request, length)))
}

/// Decodes `a=b&c=d`, with `+` and percent escapes.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (percent_decode(name, true), percent_decode(value, true))
        })
        .collect()
}

/// Decodes percent escapes; malformed ones stay as they are, bytes that are no UTF-8 are replaced.
pub fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
                continue;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            (b, ..) => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Escapes everything but unreserved characters.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(b as char);
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Takes a chunked body apart, however it is cut into reads.
#[derive(Debug, Default)]
pub struct Chunked {
    left: u64,
    state: ChunkState,
    digits: u8,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    Data,
    DataEnd,
    TrailerStart,
    Trailer,
    End,
}

impl Chunked {
    /// Consumes bytes, calls `sink` with pieces of the body; returns how many bytes were used. Stops at the body's end.
    pub fn feed(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let bad = || Error::invalid("malformed chunked body");
        let mut at = 0;
        while at < input.len() && self.state != ChunkState::End {
            let byte = input[at];
            match self.state {
                ChunkState::Size => match (byte as char).to_digit(16) {
                    Some(digit) if self.digits < 15 => {
                        self.left = self.left * 16 + u64::from(digit);
                        self.digits += 1;
                    }
                    Some(_) => return Err(bad()),
                    None if self.digits == 0 => return Err(bad()),
                    None if byte == b'\n' => self.size_ends(),
                    None if matches!(byte, b'\r' | b';' | b' ' | b'\t') => self.state = ChunkState::Extension,
                    None => return Err(bad()),
                },
                ChunkState::Extension => {
                    if byte == b'\n' {
                        self.size_ends();
                    }
                }
                ChunkState::Data => {
                    let take = (input.len() - at).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    sink(&input[at..at + take]);
                    self.left -= take as u64;
                    at += take;
                    if self.left == 0 {
                        self.state = ChunkState::DataEnd;
                    }
                    continue;
                }
                ChunkState::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => {
                        self.digits = 0;
                        self.state = ChunkState::Size;
                    }
                    _ => return Err(bad()),
                },
                ChunkState::TrailerStart => match byte {
                    b'\r' => {}
                    b'\n' => self.state = ChunkState::End,
                    _ => self.state = ChunkState::Trailer,
                },
                ChunkState::Trailer => {
                    if byte == b'\n' {
                        self.state = ChunkState::TrailerStart;
                    }
                }
                ChunkState::End => {}
            }
            at += 1;
        }
        Ok(at)
    }

    fn size_ends(&mut self) {
        self.state = if self.left == 0 { ChunkState::TrailerStart } else { ChunkState::Data };
    }

    /// The last chunk and its trailer are through.
    pub fn is_done(&self) -> bool {
        self.state == ChunkState::End
    }
}

/// The reason phrase of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "UPGRADED",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Payload Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// The newest API version that is served.
pub const API_VERSION: &str = "1.44";

/// Status line and the headers that every answer has.
pub fn common_head(status: u16) -> String {
    format!(
        "HTTP/1.1 {status} {}\r\nApi-Version: {API_VERSION}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Prtiql/{} (linux)\r\n",
        reason(status),
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_parse_and_incomplete_ones_wait() {
        let text = b"POST /v1.44/containers/create?name=a%2Fb&x=1+2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..text.len() - 5 {
            assert!(parse_head(&text[..cut]).unwrap().is_none());
        }
        let (r, n) = parse_head(text).unwrap().unwrap();
        assert_eq!((r.method.as_str(), r.path.as_str(), n), ("POST", "/v1.44/containers/create", text.len() - 5));
        assert_eq!((r.param("name"), r.param("x"), r.body), (Some("a/b"), Some("1 2"), Body::Length(5)));
        assert!(r.keep_alive() && !r.upgrade());
    }

    #[test]
    fn bad_heads_are_refused() {
        let status = |text: &[u8]| parse_head(text).unwrap_err().0;
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), 501);
        assert_eq!(status(b"\x00\x01\x02 / \r\n\r\n"), 400);
        let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
        long.resize(MAX_HEAD + 10, b'a');
        assert_eq!(status(&long), 431);
    }

    #[test]
    fn chunked_bodies_in_any_cut() {
        let body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\nREST";
        for step in 1..body.len() {
            let (mut chunked, mut out, mut at) = (Chunked::default(), Vec::new(), 0);
            while !chunked.is_done() {
                let end = (at + step).min(body.len());
                at += chunked.feed(&body[at..end], &mut |piece| out.extend_from_slice(piece)).unwrap();
            }
            assert_eq!((out.as_slice(), &body[at..]), (&b"hello world"[..], &b"REST"[..]));
        }
        for bad in [&b"x\r\n"[..], b"\r\n", b"1\r\naX", b"fffffffffffffffff\r\n"] {
            assert!(Chunked::default().feed(bad, &mut |_| ()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn flags_and_escapes() {
        let (r, _) = parse_head(b"GET /x?a=1&b=0&c&d=True HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert!(r.flag("a") && !r.flag("b") && !r.flag("c") && r.flag("d") && !r.keep_alive());
        assert_eq!(percent_decode(&percent_encode("a b/ü%"), false), "a b/ü%");
        assert_eq!(percent_encode("repository:a/b:pull x"), "repository%3Aa%2Fb%3Apull%20x");
        assert_eq!(percent_decode("%zz%4", false), "%zz%4");
    }
}
