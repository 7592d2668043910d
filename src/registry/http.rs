//! HTTP/1.1 requests, one at a time over a connection that is kept for the next. Heads and bodies are bounded.

use crate::base::Error;
use crate::registry::failure::Failure;
use crate::registry::url::Url;
use crate::registry::wire::{Stream, connect, proxy_credentials, proxy_for};
use crate::wire::worker::Registries;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The largest head of an answer.
const LARGEST_HEAD: usize = 32 * 1024;
/// The most headers in it.
const MOST_HEADERS: usize = 100;
/// Redirects followed for one request.
const MOST_REDIRECTS: u32 = 10;
/// Connections kept for later requests: the registry's and the blob store's.
const KEPT: usize = 2;

/// A request without a body, or with a form.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: &'static str,
    /// Where.
    pub url: Url,
    /// `Accept`.
    pub accept: &'static str,
    /// `Authorization`; stays with the URL's server.
    pub authorization: Option<String>,
    /// `Range: bytes=<n>-`.
    pub range_from: u64,
    /// Body of type application/x-www-form-urlencoded.
    pub form: Option<String>,
}

impl Request {
    /// A GET.
    pub fn get(url: Url) -> Request {
        Request { method: "GET", url, accept: "*/*", authorization: None, range_from: 0, form: None }
    }
}

/// The head of an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
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
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Where it came from, after redirects.
    pub url: Url,
    stream: Stream,
    /// Read with the head, but of the body.
    early: Vec<u8>,
    early_used: usize,
    body: Body,
    keep: bool,
}

impl Response {
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
            return Err(Failure::lasting(Error::invalid(format!("the answer of {} is longer than {most} bytes", self.url))));
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

impl Read for Response {
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

/// The client: settings, and connections kept for later.
pub struct Client {
    /// Proxies and trust.
    pub settings: Registries,
    /// Readable when the job is to stop.
    pub watch: Option<BorrowedFd<'static>>,
    kept: Vec<(Url, Stream)>,
    tls: Vec<(String, Arc<rustls::ClientConfig>)>,
    /// The certificates' folder of the registry.
    certs: Option<std::path::PathBuf>,
    agent: String,
}

impl Client {
    /// A client with these settings; `watch` is readable when the job is to stop.
    pub fn new(settings: Registries, watch: Option<BorrowedFd<'static>>) -> Client {
        let agent = format!("prtiql/{} (linux)", env!("CARGO_PKG_VERSION"));
        Client { settings, watch, kept: Vec::new(), tls: Vec::new(), certs: None, agent }
    }

    /// Sends a request, follows redirects, and gives the answer, whatever its status.
    pub fn send(&mut self, mut request: Request) -> Result<Response, Failure> {
        for _ in 0..=MOST_REDIRECTS {
            let mut response = self.send_once(&request).map_err(|f| name_request(f, &request))?;
            let location = match response.head.status {
                301 | 302 | 303 | 307 | 308 => response.head.get("location").map(str::to_string),
                _ => None,
            };
            let Some(location) = location else { return Ok(response) };
            let next = request.url.join(&location).map_err(Failure::lasting)?;
            if request.url.tls && !next.tls {
                return Err(Failure::lasting(Error::internal(format!("{} redirects from https to http", request.url))));
            }
            // Credentials are for the server that they were asked by.
            if !next.same_server(&request.url) {
                request.authorization = None;
            }
            if request.form.is_some() && response.head.status <= 303 {
                (request.method, request.form) = ("GET", None);
            }
            if response.read_all(64 * 1024).is_ok() {
                self.keep(response);
            }
            request.url = next;
        }
        Err(Failure::lasting(Error::internal(format!("{}: too many redirects", request.url))))
    }

    /// Keeps the connection of an answer that was read to its end.
    pub fn keep(&mut self, response: Response) {
        if response.keep && matches!(response.body, Body::Done) && response.early_used == response.early.len() {
            self.kept.insert(0, (response.url, response.stream));
            self.kept.truncate(KEPT);
        }
    }

    fn send_once(&mut self, request: &Request) -> Result<Response, Failure> {
        let proxy = proxy_for(&request.url, &self.settings.http_proxy, &self.settings.https_proxy, &self.settings.no_proxy);
        let proxy = proxy.map_err(Failure::lasting)?;
        if let Some(at) = self.kept.iter().position(|(url, _)| url.same_server(&request.url)) {
            let (_, stream) = self.kept.remove(at);
            // The server may have closed it meanwhile: then a fresh one is as good.
            match exchange(stream, request, proxy.as_ref(), &self.agent) {
                Err(f) if f.passing => {}
                other => return other,
            }
        }
        let config = match request.url.tls {
            true => Some(self.tls_config(&request.url).map_err(Failure::lasting)?),
            false => None,
        };
        let tls = || config.clone().ok_or_else(|| Error::internal("no TLS settings"));
        let stream = connect(&request.url, proxy.as_ref(), &tls, self.watch)?;
        exchange(stream, request, proxy.as_ref(), &self.agent)
    }

    fn tls_config(&mut self, url: &Url) -> crate::base::Result<Arc<rustls::ClientConfig>> {
        let authority = url.authority();
        if let Some((_, config)) = self.tls.iter().find(|(a, _)| *a == authority) {
            return Ok(config.clone());
        }
        if let Some(folder) = crate::registry::trust::certs_folder(url, &self.settings) {
            self.certs = Some(folder);
        }
        let config = crate::registry::trust::client_config(url, &self.settings, self.certs.as_deref())?;
        self.tls.push((authority, config.clone()));
        Ok(config)
    }
}

/// `Get "https://host/v2/": …`, as Go's client words it.
fn name_request(failure: Failure, request: &Request) -> Failure {
    let mut method = request.method.to_ascii_lowercase();
    if let Some(first) = method.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    failure.context(format!("{method} \"{}\"", request.url))
}

fn exchange(mut stream: Stream, request: &Request, proxy: Option<&Url>, agent: &str) -> Result<Response, Failure> {
    use std::fmt::Write as _;
    let url = &request.url;
    let mut text = String::new();
    // A plain request to a proxy names the whole URL.
    let target = match proxy {
        Some(_) if !url.tls => url.to_string(),
        _ => url.target.clone(),
    };
    let _ = write!(text, "{} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {agent}\r\n", request.method, url.authority());
    let _ = write!(text, "Accept: {}\r\nAccept-Encoding: identity\r\n", request.accept);
    if let (Some(proxy), false) = (proxy, url.tls) {
        text.push_str(&proxy_credentials(proxy));
    }
    if let Some(authorization) = &request.authorization {
        let _ = write!(text, "Authorization: {authorization}\r\n");
    }
    if request.range_from > 0 {
        let _ = write!(text, "Range: bytes={}-\r\n", request.range_from);
    }
    if let Some(form) = &request.form {
        let _ = write!(text, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", form.len());
    } else {
        text.push_str("\r\n");
    }
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).map_err(|e| Failure::of_io(&e))?;
    let mut early = Vec::new();
    loop {
        let (head, used) = read_head(&mut stream, &mut early)?;
        early.drain(..used);
        if (100..200).contains(&head.status) {
            continue;
        }
        let body = body_of(&head, request.method)?;
        let keep = !head.all("connection").any(|v| v.eq_ignore_ascii_case("close")) && !matches!(body, Body::ToEnd);
        return Ok(Response { head, url: url.clone(), stream, early, early_used: 0, body, keep });
    }
}

fn read_head(stream: &mut Stream, early: &mut Vec<u8>) -> Result<(Head, usize), Failure> {
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
