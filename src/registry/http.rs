//! HTTP/1.1 requests, one at a time over a connection that is kept for the next.

use crate::base::Error;
use crate::registry::body::{Body, Broken};
use crate::registry::codec;
use crate::registry::failure::{Failure, is_cancel};
use crate::registry::pace::Pace;
use crate::registry::url::Url;
use crate::registry::wire::{Stream, connect, proxy_credentials, proxy_for};
use crate::wire::worker::Registries;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Redirects followed for one request.
const MOST_REDIRECTS: u32 = 10;
/// Connections kept for later requests: the registry's, its blob store's, its token server's, a mirror's.
const KEPT: usize = 4;

/// An answer from a server.
pub type Response = codec::Response<Stream>;

/// A request.
#[derive(Clone)]
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
    /// What it carries.
    pub body: Option<Body>,
}

impl Request {
    /// A GET.
    pub fn get(url: Url) -> Request {
        Request { method: "GET", url, accept: "*/*", authorization: None, range_from: 0, body: None }
    }

    /// `Get`, `Put`: the method as Go's client words it in errors.
    pub fn verb(&self) -> String {
        let mut method = self.method.to_ascii_lowercase();
        if let Some(first) = method.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        method
    }
}

/// The client: settings, and connections kept for later.
pub struct Client {
    /// Proxies and trust.
    pub settings: Registries,
    /// Readable when the job is to stop.
    pub watch: Option<BorrowedFd<'static>>,
    /// The limit on what blobs bring.
    pub pace: Pace,
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
        let pace = Pace::new(settings.rate, &settings.pace_file);
        Client { settings, watch, pace, kept: Vec::new(), tls: Vec::new(), certs: None, agent }
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
                return Err(Failure::lasting(Error::internal(format!(
                    "{} redirects from https to http: is it a captive portal or a proxy that answers?",
                    request.url.public()
                ))));
            }
            // Credentials are for the server that they were asked by.
            if !next.same_server(&request.url) {
                request.authorization = None;
            }
            // Where the outcome of what was sent is to be read; what is being uploaded goes to the new place instead.
            if request.method == "POST" && response.head.status <= 303 {
                (request.method, request.body) = ("GET", None);
            }
            if response.read_all(64 * 1024).is_ok() {
                self.keep(response);
            }
            request.url = next;
        }
        Err(Failure::lasting(Error::internal(format!("{}: too many redirects", request.url.public()))))
    }

    /// Keeps the connection of an answer that was read to its end.
    pub fn keep(&mut self, response: Response) {
        if let Some(kept) = response.into_reusable() {
            self.kept.insert(0, kept);
            self.kept.truncate(KEPT);
        }
    }

    fn send_once(&mut self, request: &Request) -> Result<Response, Failure> {
        let proxy = proxy_for(&request.url, &self.settings.http_proxy, &self.settings.https_proxy, &self.settings.no_proxy);
        let proxy = proxy.map_err(Failure::lasting)?;
        if let Some(at) = self.kept.iter().position(|(url, _)| url.same_server(&request.url)) {
            let (_, stream) = self.kept.remove(at);
            // What was being uploaded has come in part: how far is to be asked first.
            let uploads =
                matches!(request.method, "PUT" | "PATCH") && request.body.as_ref().is_some_and(|b| !b.content.is_empty());
            // The server may have closed it meanwhile: then a fresh one is as good.
            match exchange(stream, request, proxy.as_ref(), &self.agent) {
                Err(f) if f.passing && !uploads => {}
                other => return other,
            }
        }
        let config = match request.url.tls {
            true => Some(self.tls_config(&request.url).map_err(Failure::lasting)?),
            false => None,
        };
        let tls = || config.clone().ok_or_else(|| Error::internal("no TLS settings"));
        let stream = connect(&request.url, proxy.as_ref(), &tls, self.watch, self.settings.stall)?;
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

/// `Get "https://host/v2/": …`, as Go's client words it. What a server told us to use, where uploads go and where it redirects to, may
/// have secrets behind the question mark.
fn name_request(failure: Failure, request: &Request) -> Failure {
    failure.context(format!("{} \"{}\"", request.verb(), request.url.public()))
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
    if let Some(body) = &request.body {
        text.push_str(&body.head());
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).map_err(|e| Failure::of_io(&e))?;
    let sent = request.body.as_ref().map_or(Ok(()), |body| body.write(&mut stream));
    match sent.and_then(|()| stream.flush().map_err(Broken::Link)) {
        Ok(()) => Response::receive(stream, url.clone(), request.method),
        Err(Broken::Source(e)) => Err(Failure::local(Error::from(e).context("read what is being sent"))),
        Err(Broken::Link(e)) if is_cancel(&e) => Err(Failure::of_io(&e)),
        // A server that refuses a body may say so and close before all of it was sent.
        Err(Broken::Link(e)) => Response::receive(stream, url.clone(), request.method).map_err(|_| Failure::of_io(&e)),
    }
}
