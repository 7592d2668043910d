//! HTTP/1.1, the client's side: heads and bodies of answers, from anything that can be read. Both are bounded.

use crate::base::Error;
use crate::registry::failure::Failure;
use crate::registry::url::Url;
use std::io::{self, Read};

/// The largest head of an answer.
const LARGEST_HEAD: usize = 32 * 1024;
/// The most headers in it.
const MOST_HEADERS: usize = 100;
/// The most interim answers (100 Continue, 103 Early Hints) before the real one.
const MOST_INTERIM: usize = 16;

/// The head of an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// For tests: a head with one header.
    #[cfg(test)]
    pub(super) fn made(status: u16, name: &str, value: &str) -> Head {
        Head { status, headers: vec![(name.into(), value.into())] }
    }

    /// A header by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All headers of a lower-case name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

enum Body {
    Length(u64),
    /// Bytes left in the chunk; `None` before a chunk's size line.
    Chunked(Option<u64>),
    ToEnd,
    Done,
}

/// An answer whose body is still to be read.
pub struct Response<S> {
    /// Its head.
    pub head: Head,
    /// Where it came from, after redirects.
    pub url: Url,
    stream: S,
    /// Read with the head, but of the body.
    early: Vec<u8>,
    early_used: usize,
    body: Body,
    keep: bool,
}

impl<S: Read> Response<S> {
    /// Reads the head of the answer to a request of that method.
    pub fn receive(mut stream: S, url: Url, method: &str) -> Result<Response<S>, Failure> {
        let mut early = Vec::new();
        for _ in 0..MOST_INTERIM {
            let (head, used) = read_head(&mut stream, &mut early)?;
            early.drain(..used);
            if (100..200).contains(&head.status) {
                continue;
            }
            let body = body_of(&head, method)?;
            let keep = !head.all("connection").any(|v| v.eq_ignore_ascii_case("close")) && !matches!(body, Body::ToEnd);
            return Ok(Response { head, url, stream, early, early_used: 0, body, keep });
        }
        Err(Failure::lasting(Error::invalid("the server sends one interim answer after the other")))
    }

    /// The connection, if the answer was read to its end and the server keeps it open.
    pub fn into_reusable(self) -> Option<(Url, S)> {
        let whole = matches!(self.body, Body::Done) && self.early_used == self.early.len();
        (self.keep && whole).then_some((self.url, self.stream))
    }

    /// The body's length, if it is known.
    pub fn length(&self) -> Option<u64> {
        match self.body {
            Body::Length(n) => Some(n),
            Body::Done => Some(0),
            _ => None,
        }
    }

    /// The whole body, if it is no longer than `most`.
    pub fn read_all(&mut self, most: u64) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        self.by_ref().take(most + 1).read_to_end(&mut out).map_err(|e| Failure::of_io(&e))?;
        if out.len() as u64 > most {
            return Err(Failure::lasting(Error::invalid(format!(
                "the answer of {} is longer than {most} bytes",
                self.url.public()
            ))));
        }
        Ok(out)
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.early_used < self.early.len() {
            let n = buf.len().min(self.early.len() - self.early_used);
            buf[..n].copy_from_slice(&self.early[self.early_used..self.early_used + n]);
            self.early_used += n;
            return Ok(n);
        }
        self.stream.read(buf)
    }

    /// One line of the chunked coding.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            if line.len() > 1024 || self.fill(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_string())
    }

    fn chunk(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::Error::other("malformed chunked encoding"))?;
        if size == 0 {
            // Trailers, up to an empty line.
            for _ in 0..MOST_HEADERS {
                if self.line()?.is_empty() {
                    self.body = Body::Done;
                    return Ok(0);
                }
            }
            return Err(io::Error::other("malformed chunked encoding"));
        }
        Ok(size)
    }
}

impl<S: Read> Read for Response<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = match self.body {
            Body::Done => return Ok(0),
            Body::ToEnd => u64::MAX,
            Body::Length(left) => left,
            Body::Chunked(Some(left)) => left,
            Body::Chunked(None) => match self.chunk()? {
                0 => return Ok(0),
                size => size,
            },
        };
        let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = match self.fill(&mut buf[..most]) {
            // Many servers end TLS without a word; only a body without a length depends on it.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && matches!(self.body, Body::ToEnd) => 0,
            other => other?,
        };
        if n == 0 && most > 0 && !matches!(self.body, Body::ToEnd) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - n as u64;
        self.body = match self.body {
            Body::ToEnd if n == 0 => Body::Done,
            Body::Length(_) if left == 0 => Body::Done,
            Body::Length(_) => Body::Length(left),
            Body::Chunked(_) if left == 0 => {
                self.line()?;
                Body::Chunked(None)
            }
            Body::Chunked(_) => Body::Chunked(Some(left)),
            Body::ToEnd => Body::ToEnd,
            Body::Done => Body::Done,
        };
        Ok(n)
    }
}

fn read_head(stream: &mut impl Read, early: &mut Vec<u8>) -> Result<(Head, usize), Failure> {
    loop {
        if !early.is_empty() {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            match parsed.parse(early) {
                Ok(httparse::Status::Complete(used)) => {
                    let status = parsed.code.unwrap_or(0);
                    let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
                    let headers = parsed.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
                    return Ok((Head { status, headers }, used));
                }
                Ok(httparse::Status::Partial) => {}
                Err(httparse::Error::TooManyHeaders) => {
                    return Err(Failure::lasting(Error::invalid("the answer has too many headers")));
                }
                Err(_) => {
                    let start: String = String::from_utf8_lossy(&early[..early.len().min(16)]).into_owned();
                    let error = Error::invalid(format!("malformed HTTP response {start:?}"));
                    return Err(Failure { wrong_scheme: true, ..Failure::lasting(error) });
                }
            }
        }
        if early.len() >= LARGEST_HEAD {
            return Err(Failure::lasting(Error::invalid(format!("the head of the answer is longer than {LARGEST_HEAD} bytes"))));
        }
        let have = early.len();
        early.resize(have + 4096, 0);
        let n = stream.read(&mut early[have..]).map_err(|e| Failure::of_io(&e))?;
        early.truncate(have + n);
        if n == 0 {
            return Err(Failure::passing(Error::internal("EOF")));
        }
    }
}

fn body_of(head: &Head, method: &str) -> Result<Body, Failure> {
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return Ok(Body::Done);
    }
    if head.all("transfer-encoding").any(|v| v.eq_ignore_ascii_case("chunked")) {
        return Ok(Body::Chunked(None));
    }
    match head.get("content-length") {
        None => Ok(Body::ToEnd),
        Some(text) => match text.trim().parse() {
            Ok(0) => Ok(Body::Done),
            Ok(n) => Ok(Body::Length(n)),
            Err(_) => Err(Failure::lasting(Error::invalid(format!("bad Content-Length {text:?}")))),
        },
    }
}
