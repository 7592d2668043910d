//! Connections: TCP, perhaps through a proxy, perhaps with TLS on top. Every wait also watches the worker's own socket, so that
//! a job nobody waits for any more ends at once, and ends by itself when nothing comes for a while.

use crate::base::Error;
use crate::base::base64;
use crate::registry::failure::{Failure, cancel_io};
use crate::registry::url::{Url, split_port};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No byte for so many seconds is a failure, unless the settings say otherwise.
const STALL: u32 = 30;
/// A connection that is not made within so long is a failure.
const CONNECT: i64 = 15;

/// A TCP stream whose waits end early.
pub struct Wire {
    tcp: TcpStream,
    /// Readable when the job is to stop.
    watch: Option<BorrowedFd<'static>>,
    /// No byte for so many seconds is a failure.
    stall: i64,
}

impl Wire {
    fn wait(&self, what: PollFlags, seconds: i64) -> io::Result<()> {
        let mut all = heapless::Vec::<PollFd<'_>, 2>::new();
        let _ = all.push(PollFd::new(&self.tcp, what));
        if let Some(watch) = &self.watch {
            let _ = all.push(PollFd::new(watch, PollFlags::IN));
        }
        let limit = Timespec { tv_sec: seconds as _, tv_nsec: 0 };
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut all, Some(&limit)))?;
        if ready == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if all.get(1).is_some_and(|w| !w.revents().is_empty()) {
            return Err(cancel_io());
        }
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN, self.stall)?;
        self.tcp.read(buf)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT, self.stall)?;
        self.tcp.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A connection to a server.
pub enum Stream {
    /// http.
    Plain(Wire),
    /// https.
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Wire>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(wire) => wire.read(buf),
            Stream::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(wire) => wire.write(buf),
            Stream::Tls(tls) => tls.write(buf),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(wire) => wire.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// Connects to the server of `url`, through `proxy` if there is one, with TLS by `tls` if the URL says https.
/// `stall` seconds without a byte are a failure; 0 is the usual.
pub fn connect(
    url: &Url,
    proxy: Option<&Url>,
    tls: &dyn Fn() -> crate::base::Result<Arc<rustls::ClientConfig>>,
    watch: Option<BorrowedFd<'static>>,
    stall: u32,
) -> Result<Stream, Failure> {
    let to = proxy.unwrap_or(url);
    let tcp = dial(&to.host, to.port, watch).map_err(|f| match proxy {
        Some(proxy) => f.context(format!("proxyconnect {proxy}")),
        None => f,
    })?;
    let mut wire = Wire { tcp, watch, stall: i64::from(if stall == 0 { STALL } else { stall }) };
    let _ = wire.tcp.set_nodelay(true);
    if !url.tls {
        return Ok(Stream::Plain(wire));
    }
    if let Some(proxy) = proxy {
        tunnel(&mut wire, url, proxy)?;
    }
    entropy(wire.stall, watch)?;
    let config = tls().map_err(Failure::lasting)?;
    let name = rustls::pki_types::ServerName::try_from(url.host.clone())
        .map_err(|_| Failure::lasting(Error::invalid(format!("{:?} is no name that a certificate could have", url.host))))?;
    let connection =
        rustls::ClientConnection::new(config, name).map_err(|e| Failure::lasting(Error::internal(format!("tls: {e}"))))?;
    let mut stream = rustls::StreamOwned::new(connection, wire);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|e| Failure::of_io(&e))?;
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// Waits until the kernel has random numbers that are fit for keys: TLS would wait for them where nobody could stop it, and for ever on
/// a machine without a source of them. A kernel that can make entropy out of its clock does so for who reads the device, not for who asks
/// without waiting.
fn entropy(seconds: i64, watch: Option<BorrowedFd<'static>>) -> Result<(), Failure> {
    let start = Instant::now();
    while getrandom(&mut [0u8; 1][..], GetRandomFlags::NONBLOCK) == Err(rustix::io::Errno::AGAIN) {
        if start.elapsed() >= Duration::from_secs(seconds.unsigned_abs()) {
            let error = Error::internal(format!(
                "tls: the kernel has gathered too little entropy for keys, even after {seconds} s: it needs a driver of a hardware \
                 generator (CONFIG_HW_RANDOM), or a seed from the boot loader or from the last boot"
            ));
            return Err(Failure { wrong_scheme: true, ..Failure::lasting(error) });
        }
        let _ = std::fs::File::open("/dev/urandom").and_then(|mut device| device.read_exact(&mut [0]));
        pause(Duration::from_millis(200), watch)?;
    }
    Ok(())
}

/// Asks a proxy for a way through, by CONNECT.
fn tunnel(wire: &mut Wire, url: &Url, proxy: &Url) -> Result<(), Failure> {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let target = format!("{host}:{}", url.port);
    let credentials = proxy_credentials(proxy);
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n");
    let io = |e: io::Error| Failure::of_io(&e).context(format!("proxyconnect {proxy}"));
    wire.write_all(request.as_bytes()).map_err(io)?;
    // Byte by byte: what follows the head belongs to TLS.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8192 || wire.read(&mut byte).map_err(io)? == 0 {
            return Err(Failure::passing(Error::internal(format!("proxyconnect {proxy}: unexpected EOF"))));
        }
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or("").to_string();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Failure::lasting(Error::internal(format!("proxyconnect {proxy}: {line}")))),
    }
}

/// The `Proxy-Authorization` header for a proxy whose URL has a user, with its line end; else nothing.
pub fn proxy_credentials(proxy: &Url) -> String {
    match &proxy.user {
        Some(user) => format!("Proxy-Authorization: Basic {}\r\n", base64::encode(user.as_bytes())),
        None => String::new(),
    }
}

fn dial(host: &str, port: u16, watch: Option<BorrowedFd<'static>>) -> Result<TcpStream, Failure> {
    let lookup = |text: &str| Failure::passing(Error::internal(format!("dial tcp: lookup {host}: {text}")));
    let addresses = (host, port).to_socket_addrs().map_err(|e| match e.to_string() {
        // What the C library says when no name server has answered.
        text if text.contains("again") || text.contains("emporary") => {
            lookup("no name server answers: is the network up, and is /etc/resolv.conf right?")
        }
        _ => lookup("no such host"),
    })?;
    let mut last = lookup("no such host");
    for address in addresses.take(8) {
        match dial_one(&address, watch) {
            Ok(tcp) => return Ok(tcp),
            Err(e) => {
                let step = if e.kind() == io::ErrorKind::TimedOut { "" } else { ": connect" };
                last = Failure::of_io(&e).context(format!("dial tcp {address}{step}"));
                if crate::registry::failure::is_cancel(&e) {
                    return Err(Failure::of_io(&e));
                }
                // Nobody listens there: that does not pass by itself within seconds.
                if e.kind() == io::ErrorKind::ConnectionRefused {
                    last.passing = false;
                }
            }
        }
    }
    Err(last)
}

fn dial_one(address: &SocketAddr, watch: Option<BorrowedFd<'static>>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let wire = Wire { tcp: TcpStream::from(socket), watch, stall: CONNECT };
    wire.wait(PollFlags::OUT, CONNECT)?;
    rustix::net::sockopt::socket_error(wire.tcp.as_fd())??;
    wire.tcp.set_nonblocking(false)?;
    Ok(wire.tcp)
}

/// Waits so long, unless the job is to stop.
pub fn pause(time: Duration, watch: Option<BorrowedFd<'static>>) -> Result<(), Failure> {
    let limit = Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX) as _, tv_nsec: time.subsec_nanos() as _ };
    let mut all = heapless::Vec::<PollFd<'_>, 1>::new();
    if let Some(watch) = &watch {
        let _ = all.push(PollFd::new(watch, PollFlags::IN));
    }
    match rustix::io::retry_on_intr(|| rustix::event::poll(&mut all, Some(&limit))) {
        Ok(0) => Ok(()),
        _ => Err(Failure::of_io(&cancel_io())),
    }
}

/// The proxy for a URL by the variables' rules; loopback never goes through one.
pub fn proxy_for(url: &Url, http: &str, https: &str, no_proxy: &str) -> crate::base::Result<Option<Url>> {
    let proxy = if url.tls { https } else { http };
    let ip: Option<std::net::IpAddr> = url.host.parse().ok();
    if proxy.is_empty() || url.host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return Ok(None);
    }
    for rule in no_proxy.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        if rule == "*" {
            return Ok(None);
        }
        if let (Some(ip), Some(true)) = (ip, ip.map(|ip| crate::registry::trust::in_network(ip, rule))) {
            let _ = ip;
            return Ok(None);
        }
        let Some((name, port)) = split_port(rule.trim_start_matches('.').trim_start_matches("*."), 0) else { continue };
        let host = url.host.to_ascii_lowercase();
        let name = name.to_ascii_lowercase();
        let below = host.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if below && (port == 0 || port == url.port) {
            return Ok(None);
        }
    }
    let text = if proxy.contains("://") { proxy.to_string() } else { format!("http://{proxy}") };
    let proxy = Url::parse(&text).map_err(|e| e.context("proxy"))?;
    if proxy.tls {
        return Err(Error::unsupported(format!("proxy {proxy}: a proxy reached by https is not supported")));
    }
    Ok(Some(proxy))
}
