//! A registry in memory that takes pushes, and keeps lists of referrers if it is told to.

use prtiql::image::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Entries of one page of a list.
const PAGE: usize = 2;

#[derive(Default)]
pub struct State {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// By tag and by digest: media type and text.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    /// Keeps lists of referrers.
    pub referrers: bool,
    /// Takes no PATCH.
    pub whole_only: bool,
    /// Forgets uploads whose connection broke.
    pub forgets: bool,
    /// Breaks the connection after so many bytes of a body, so often.
    pub cut: (usize, u32),
    /// Requests that contain the text are answered by the bytes, so often.
    pub canned: Vec<(String, Vec<u8>, u32)>,
    pub log: Vec<String>,
}

#[derive(Clone)]
pub struct Taker {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
}

impl Taker {
    pub fn start() -> Taker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taker = Taker { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let serving = taker.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taker = serving.clone();
                std::thread::spawn(move || taker.serve(stream));
            }
        });
        taker
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    /// The next `times` requests whose `METHOD /path` has `matching` in it are answered so.
    pub fn can(&self, matching: &str, head: &str, body: &str, times: u32) {
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.with(|s| s.canned.push((matching.into(), text.into_bytes(), times)));
    }

    pub fn count(&self, matching: &str) -> usize {
        self.with(|s| s.log.iter().filter(|l| l.contains(matching)).count())
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while self.one(&mut reader, &mut stream).is_some() {}
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    fn one(&self, reader: &mut BufReader<TcpStream>, out: &mut TcpStream) -> Option<()> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
        let (mut length, mut kind, mut range) = (0, String::new(), String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "content-type" => kind = value.into(),
                "content-range" => range = value.into(),
                _ => {}
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let upload = path.split_once("/blobs/uploads/").map(|(_, id)| id.to_string()).filter(|id| !id.is_empty());
        let cut = self.with(|s| {
            s.log.push(format!("{method} {target} range={range} length={length}"));
            let cut = s.cut.1 > 0 && length > s.cut.0;
            s.cut.1 -= u32::from(cut);
            cut.then_some(s.cut.0)
        });
        let mut body = vec![0; cut.unwrap_or(length)];
        reader.read_exact(&mut body).ok()?;
        if cut.is_some() {
            return self.with(|s| {
                match upload {
                    Some(id) if s.forgets => drop(s.uploads.remove(&id)),
                    Some(id) if method == "PATCH" => s.uploads.entry(id).or_default().extend(&body),
                    _ => {}
                }
                None
            });
        }
        let canned = self.with(|s| {
            let request = format!("{method} {target}");
            let found = s.canned.iter_mut().find(|(m, _, times)| *times > 0 && request.contains(m.as_str()))?;
            found.2 -= 1;
            Some(found.1.clone())
        });
        if let Some(bytes) = canned {
            return out.write_all(&bytes).ok();
        }
        let (head, body) = self.with(|s| answer(s, &method, path, query, &kind, &range, upload, body));
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
        out.write_all(text.as_bytes()).ok()?;
        if method == "HEAD" { Some(()) } else { out.write_all(&body).ok() }
    }
}

#[allow(clippy::too_many_arguments)]
fn answer(
    s: &mut State,
    method: &str,
    path: &str,
    query: &str,
    kind: &str,
    range: &str,
    upload: Option<String>,
    body: Vec<u8>,
) -> (String, Vec<u8>) {
    let unknown =
        |code: &str| ("404 No".to_string(), format!(r#"{{"errors":[{{"code":"{code}","message":"unknown"}}]}}"#).into_bytes());
    let asked = |key: &str| {
        query.split('&').find_map(|p| p.strip_prefix(key)?.strip_prefix('=').map(|v| v.replace("%3A", ":").replace("%2F", "/")))
    };
    let place =
        |id: &str| format!("Location: {}/{id}?_state=SECRET", path.split("/uploads/").next().unwrap().to_string() + "/uploads");
    if let Some(id) = upload {
        let Some(have) = s.uploads.get_mut(&id) else { return unknown("BLOB_UPLOAD_UNKNOWN") };
        match method {
            "GET" => return (format!("204 X\r\n{}\r\nRange: 0-{}", place(&id), have.len().max(1) - 1), Vec::new()),
            "PATCH" if s.whole_only => return ("405 X".into(), Vec::new()),
            "PATCH" if !range.starts_with(&format!("{}-", have.len())) => return ("416 X".into(), Vec::new()),
            _ => have.extend(&body),
        }
        if method == "PATCH" {
            return (format!("202 X\r\n{}", place(&id)), Vec::new());
        }
        let blob = s.uploads.remove(&id).unwrap();
        let digest = Digest::of(&blob).to_string();
        if asked("digest").as_deref() != Some(&digest) {
            return ("400 X".into(), br#"{"errors":[{"code":"DIGEST_INVALID","message":"did not match"}]}"#.to_vec());
        }
        s.blobs.insert(digest.clone(), blob);
        return (format!("201 X\r\nDocker-Content-Digest: {digest}"), Vec::new());
    }
    let name = path.rsplit('/').next().unwrap().to_string();
    match (method, path) {
        ("POST", _) => {
            let id = format!("u{}", s.log.len());
            s.uploads.insert(id.clone(), Vec::new());
            (format!("202 X\r\n{}", place(&id)), Vec::new())
        }
        ("PUT", path) if path.contains("/manifests/") => {
            let digest = Digest::of(&body).to_string();
            let subject = serde_json::from_slice::<Value>(&body).unwrap()["subject"]["digest"].as_str().map(String::from);
            let noted = subject.filter(|_| s.referrers).map(|d| format!("\r\nOCI-Subject: {d}")).unwrap_or_default();
            s.manifests.insert(name, (kind.into(), body.clone()));
            s.manifests.insert(digest.clone(), (kind.into(), body));
            (format!("201 X\r\nDocker-Content-Digest: {digest}{noted}"), Vec::new())
        }
        (_, path) if path.contains("/blobs/") => match s.blobs.get(&name) {
            Some(blob) => ("200 OK".into(), blob.clone()),
            None => unknown("BLOB_UNKNOWN"),
        },
        (_, path) if path.contains("/manifests/") => match s.manifests.get(&name) {
            Some((kind, text)) => (format!("200 OK\r\nContent-Type: {kind}"), text.clone()),
            None => unknown("MANIFEST_UNKNOWN"),
        },
        (_, path) if path.contains("/referrers/") && s.referrers => referrers(s, path, &name, asked("from")),
        (_, path) if path.ends_with("/tags/list") => {
            let tags: Vec<&String> = s.manifests.keys().filter(|k| !k.contains(':')).collect();
            ("200 OK".into(), json!({ "name": "x", "tags": tags }).to_string().into_bytes())
        }
        (_, "/v2/") => ("200 OK".into(), b"{}".to_vec()),
        _ => ("404 Not Found\r\nContent-Type: text/plain".into(), b"404 page not found\n".to_vec()),
    }
}

/// A page of the list. It filters nothing: that is for the client to do anyhow.
fn referrers(s: &State, path: &str, subject: &str, from: Option<String>) -> (String, Vec<u8>) {
    let mut all: Vec<Value> = Vec::new();
    for (name, (kind, text)) in s.manifests.iter().filter(|(name, _)| name.contains(':')) {
        let doc: Value = serde_json::from_slice(text).unwrap();
        if doc["subject"]["digest"].as_str() == Some(subject) {
            all.push(json!({"mediaType": kind, "digest": name, "size": text.len(), "artifactType": doc["artifactType"], "annotations": doc["annotations"]}));
        }
    }
    let from: usize = from.and_then(|n| n.parse().ok()).unwrap_or(0);
    let more = from + PAGE < all.len();
    let link = if more { format!("\r\nLink: <{path}?from={}>; rel=\"next\"", from + PAGE) } else { String::new() };
    let page: Vec<Value> = all.into_iter().skip(from).take(PAGE).collect();
    let text = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": page});
    (format!("200 OK{link}"), text.to_string().into_bytes())
}
