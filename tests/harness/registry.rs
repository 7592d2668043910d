//! A small registry that misbehaves when it is told to.

use super::image::{config, descriptor, gzip};
use prtiql::image::Digest;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[derive(Clone, Debug)]
pub enum Fault {
    /// Close after so many bytes of the body.
    Drop(usize),
    /// Hold the connection after so many bytes.
    Stall(usize),
    /// Flip a byte of the body.
    Corrupt(usize),
    /// This status, these extra headers, this body.
    Status(u16, String, String),
    /// All of it, whatever range is asked for.
    IgnoreRange,
    /// Chunked, without a length.
    Chunked,
    /// Up to the end of the connection.
    NoLength,
    /// More bytes than there should be.
    Longer,
    /// 307 to this place.
    Redirect(String),
}

#[derive(Default)]
pub struct State {
    content: HashMap<String, (String, Vec<u8>)>,
    faults: Vec<(String, Fault, u32)>,
    /// `GET /path range=… auth=…`
    pub log: Vec<String>,
    /// Connections so far.
    connections: usize,
    /// Wanted `Authorization` header, and the challenge without it.
    auth: Option<(String, String)>,
}

#[derive(Clone)]
pub struct Registry {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
}

impl Registry {
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Registry { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let serving = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let registry = serving.clone();
                registry.state.lock().unwrap().connections += 1;
                std::thread::spawn(move || registry.serve(stream));
            }
        });
        registry
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn put(&self, path: &str, content_type: &str, data: &[u8]) {
        self.state.lock().unwrap().content.insert(path.into(), (content_type.into(), data.to_vec()));
    }

    pub fn put_blob(&self, name: &str, data: &[u8]) -> Digest {
        let digest = Digest::of(data);
        self.put(&format!("/v2/{name}/blobs/{digest}"), "application/octet-stream", data);
        digest
    }

    pub fn put_manifest(&self, name: &str, tag: &str, text: &str, content_type: &str) -> Digest {
        let digest = Digest::of(text.as_bytes());
        self.put(&format!("/v2/{name}/manifests/{tag}"), content_type, text.as_bytes());
        self.put(&format!("/v2/{name}/manifests/{digest}"), content_type, text.as_bytes());
        digest
    }

    /// An image of gzip layers; returns the digest of the manifest and of the layers' blobs.
    pub fn put_image(&self, name: &str, tag: &str, layers: &[Vec<u8>]) -> (Digest, Vec<Digest>) {
        self.put_image_for(name, tag, "amd64", "", layers)
    }

    pub fn put_image_for(&self, name: &str, tag: &str, arch: &str, variant: &str, layers: &[Vec<u8>]) -> (Digest, Vec<Digest>) {
        let blobs: Vec<Vec<u8>> = layers.iter().map(|l| gzip(l)).collect();
        self.put_blobs(name, tag, &config(arch, variant, layers), &blobs)
    }

    /// An image of one layer whose blob is not of the usual making.
    pub fn put_image_of(&self, name: &str, tag: &str, layer: &[u8], blob: &[u8]) -> (Digest, Vec<Digest>) {
        self.put_blobs(name, tag, &config("amd64", "", &[layer.to_vec()]), &[blob.to_vec()])
    }

    pub fn put_blobs(&self, name: &str, tag: &str, config: &str, blobs: &[Vec<u8>]) -> (Digest, Vec<Digest>) {
        self.put_blob(name, config.as_bytes());
        let digests = blobs.iter().map(|b| self.put_blob(name, b)).collect();
        let entries: Vec<String> = blobs.iter().map(|b| descriptor(OCI_GZIP, b)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor(OCI_CONFIG, config.as_bytes()),
            entries.join(",")
        );
        (self.put_manifest(name, tag, &manifest, OCI_MANIFEST), digests)
    }

    /// The next `times` requests whose `GET /path` has `matching` in it misbehave.
    pub fn fault(&self, matching: &str, fault: Fault, times: u32) {
        self.state.lock().unwrap().faults.push((matching.into(), fault, times));
    }

    pub fn want_auth(&self, header: &str, challenge: &str) {
        self.state.lock().unwrap().auth = Some((header.into(), challenge.into()));
    }

    /// Requests so far with this in their line.
    pub fn count(&self, matching: &str) -> usize {
        self.state.lock().unwrap().log.iter().filter(|l| l.contains(matching)).count()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while self.one(&mut reader, &mut stream).is_some() {}
    }

    fn one(&self, reader: &mut BufReader<TcpStream>, out: &mut TcpStream) -> Option<()> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_string());
        }
        let length = headers.get("content-length").and_then(|l| l.parse::<usize>().ok()).unwrap_or(0);
        std::io::Read::read_exact(reader, &mut vec![0; length]).ok()?;
        let range = headers.get("range").cloned().unwrap_or_default();
        let auth = headers.get("authorization").cloned().unwrap_or_default();
        let (content, fault, wanted) = {
            let mut state = self.state.lock().unwrap();
            state.log.push(format!("{method} {path} range={range} auth={auth}"));
            let request = format!("{method} {path}");
            let fault = state.faults.iter_mut().find(|(m, _, times)| *times > 0 && request.contains(m.as_str())).map(|f| {
                f.2 -= 1;
                f.1.clone()
            });
            (state.content.get(path.split('?').next()?).cloned(), fault, state.auth.clone())
        };
        let answer = |out: &mut TcpStream, status: u16, more: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{more}\r\n", body.len());
            out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).ok()
        };
        if let Some((_, challenge)) = wanted.filter(|(w, _)| *w != auth && !path.starts_with("/token")) {
            return answer(out, 401, &format!("WWW-Authenticate: {challenge}\r\n"), b"{}");
        }
        match &fault {
            Some(Fault::Status(status, more, body)) => return answer(out, *status, more, body.as_bytes()),
            Some(Fault::Redirect(place)) => return answer(out, 307, &format!("Location: {place}\r\n"), b""),
            _ => {}
        }
        if path == "/v2/" {
            return answer(out, 200, "", b"{}");
        }
        let Some((content_type, mut data)) = content else {
            return answer(out, 404, "", br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
        };
        let from: usize = range.strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse().ok()).unwrap_or(0);
        let from = if matches!(fault, Some(Fault::IgnoreRange)) { 0 } else { from };
        let total = data.len();
        data.drain(..from);
        let status = match from {
            0 => "200 OK".to_string(),
            from => format!("206 Partial\r\nContent-Range: bytes {from}-{}/{total}", total - 1),
        };
        let kind = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n");
        if let Some(Fault::Corrupt(at)) = &fault {
            data[*at] ^= 0x55;
        }
        if let Some(Fault::Longer) = &fault {
            data.extend_from_slice(b"more");
        }
        match fault {
            Some(Fault::Chunked) => {
                out.write_all(format!("{kind}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).ok()?;
                for part in data.chunks(1000) {
                    out.write_all(format!("{:x};ext=1\r\n", part.len()).as_bytes()).ok()?;
                    out.write_all(part).and_then(|()| out.write_all(b"\r\n")).ok()?;
                }
                out.write_all(b"0\r\nTrailer: x\r\n\r\n").ok()
            }
            Some(Fault::NoLength) => {
                out.write_all(format!("{kind}Connection: close\r\n\r\n").as_bytes()).ok()?;
                out.write_all(&data).ok()?;
                out.shutdown(std::net::Shutdown::Both).ok()?;
                None
            }
            fault => {
                out.write_all(format!("{kind}Content-Length: {}\r\n\r\n", data.len()).as_bytes()).ok()?;
                match fault {
                    Some(Fault::Drop(after)) => {
                        out.write_all(&data[..after.min(data.len())]).ok()?;
                        out.shutdown(std::net::Shutdown::Both).ok()?;
                        None
                    }
                    Some(Fault::Stall(after)) => {
                        out.write_all(&data[..after.min(data.len())]).ok()?;
                        std::thread::sleep(Duration::from_secs(100));
                        None
                    }
                    _ => out.write_all(&data).ok(),
                }
            }
        }
    }
}
