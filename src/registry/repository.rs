//! One repository at one registry or mirror: its manifests and blobs, with authentication, retries, and blobs that go on where a
//! connection broke.

use crate::base::{Context, Error, Kind};
use crate::image::manifest::{ACCEPT, LARGEST_MANIFEST};
use crate::image::{Digest, Reference, reference};
use crate::registry::auth::{Challenge, answer, parse_challenges};
use crate::registry::errors;
use crate::registry::failure::{Failure, canceled};
use crate::registry::http::{Client, Request, Response};
use crate::registry::trust::is_insecure;
use crate::registry::url::Url;
use crate::registry::wire::pause;
use crate::wire::worker::Auth;
use std::io::Read;

/// Longest wait before another attempt, in seconds, whatever the server asks for.
const LONGEST_WAIT: u64 = 60;
/// A blob that has come this far since the last break starts counting attempts anew.
const PROGRESS: u64 = 256 * 1024;
/// The largest list of tags.
const LARGEST_LIST: u64 = 4 << 20;

/// Bytes of one read from a connection.
const CHUNK: usize = 64 * 1024;

/// A manifest or index: its bytes, digest and content type.
pub type ManifestText = (Vec<u8>, Digest, String);

/// A repository that answered.
pub struct Repository<'a> {
    client: &'a mut Client,
    base: Url,
    path: String,
    auth: Option<Auth>,
    authorization: Option<String>,
}

/// The hosts that serve a reference: for Docker Hub the mirrors first.
pub fn endpoints(reference: &Reference, mirrors: &[String]) -> Vec<String> {
    if reference.domain() != reference::DEFAULT_DOMAIN {
        return vec![reference.domain().to_string()];
    }
    let mut all = mirrors.to_vec();
    all.push("registry-1.docker.io".into());
    all
}

impl<'a> Repository<'a> {
    /// Connects to `endpoint` (a host with a port, or a mirror's URL) and finds out how it wants to be spoken to.
    pub fn open(
        client: &'a mut Client,
        endpoint: &str,
        reference: &Reference,
        auth: Option<&Auth>,
    ) -> Result<Repository<'a>, Failure> {
        let mut repository = Repository {
            client,
            base: Url { tls: true, host: String::new(), port: 0, target: String::new(), user: None },
            path: reference.path().to_string(),
            auth: auth.cloned(),
            authorization: None,
        };
        let base = |scheme: &str| Url::parse(&format!("{scheme}://{endpoint}")).map_err(Failure::lasting);
        if endpoint.contains("://") {
            repository.base = Url::parse(endpoint.trim_end_matches('/')).map_err(Failure::lasting)?;
            // Credentials are the registry's, not a mirror's.
            repository.auth = None;
            repository.ping()?;
        } else if is_insecure(endpoint, &repository.client.settings) {
            // Plain http first: a TLS greeting can leave a plain server waiting for a line that never ends.
            repository.base = base("http")?;
            match repository.ping() {
                Err(f) if f.wrong_scheme => {
                    repository.base = base("https")?;
                    repository.ping()?;
                }
                other => other?,
            }
        } else {
            repository.base = base("https")?;
            repository.ping()?;
        }
        Ok(repository)
    }

    /// `GET /v2/`: is it a registry, and what does it ask for?
    fn ping(&mut self) -> Result<(), Failure> {
        self.retried(|this| {
            let mut response = this.client.send(Request::get(this.url("/v2/")))?;
            let status = response.head.status;
            let body = response.read_all(64 * 1024);
            let tls_only = status == 400 && !this.base.tls;
            if tls_only {
                let error = Error::internal("the server speaks https");
                return Err(Failure { wrong_scheme: true, ..Failure::lasting(error) });
            }
            let challenges = challenges_of(&response);
            this.client.keep(response);
            match status {
                200 | 404 => Ok(()),
                401 => {
                    let scope = this.scope();
                    this.authorization = answer(this.client, &challenges, this.auth.as_ref(), &scope)
                        .map_err(|f| f.context(format!("Get \"{}\"", this.url("/v2/"))))?;
                    Ok(())
                }
                _ => {
                    Err(errors::of_answer(status, None, &body.unwrap_or_default())
                        .context(format!("Get \"{}\"", this.url("/v2/"))))
                }
            }
        })
    }

    /// A manifest or index by tag or digest: its bytes, digest and content type.
    pub fn manifest(&mut self, name: &str) -> Result<ManifestText, Failure> {
        let target = format!("/v2/{}/manifests/{name}", self.path);
        let wanted = name.contains(':').then(|| Digest::parse(name)).transpose().map_err(Failure::lasting)?;
        self.retried(|this| {
            let mut response = this.get(&target, ACCEPT, 0)?;
            let content_type = response.head.get("content-type").unwrap_or("").to_string();
            let text = response.read_all(LARGEST_MANIFEST)?;
            this.client.keep(response);
            let digest = Digest::of(&text);
            match wanted.filter(|w| *w != digest) {
                Some(wanted) => Err(Failure::lasting(Error::internal(format!(
                    "manifest verification failed for digest {wanted}: the registry sent {digest}"
                )))),
                None => Ok((text, digest, content_type)),
            }
        })
    }

    /// A small blob as a whole, its digest and size verified.
    pub fn small_blob(&mut self, digest: &Digest, size: u64) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        self.blob(digest, size, |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        match Digest::of(&text) == *digest {
            true => Ok(text),
            false => Err(Failure::lasting(Error::internal(format!("content of blob {digest} does not match its digest")))),
        }
    }

    /// Streams a blob of `size` bytes into `sink`, whose errors end it. When the connection breaks, a new one goes on from
    /// there. The caller verifies the digest.
    pub fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        mut sink: impl FnMut(&[u8]) -> crate::base::Result<()>,
    ) -> Result<(), Failure> {
        let target = format!("/v2/{}/blobs/{digest}", self.path);
        let mut buffer = vec![0; CHUNK];
        let (mut at, mut broken_at, mut attempt) = (0u64, 0u64, 1);
        loop {
            let failure = match self.blob_part(&target, &mut at, size, &mut buffer, &mut sink) {
                Ok(()) => return Ok(()),
                Err(f) => f,
            };
            if at - broken_at >= PROGRESS {
                attempt = 1;
            }
            broken_at = at;
            if !failure.passing || attempt >= self.attempts() {
                return Err(failure.context(format!("blob {digest}")));
            }
            self.wait(&failure, attempt)?;
            attempt += 1;
        }
    }

    fn blob_part(
        &mut self,
        target: &str,
        at: &mut u64,
        size: u64,
        buffer: &mut [u8],
        sink: &mut impl FnMut(&[u8]) -> crate::base::Result<()>,
    ) -> Result<(), Failure> {
        let mut response = self.get(target, "*/*", *at)?;
        // A server that knows no ranges sends all of it: the part that is here already is read over.
        let from = if response.head.status == 206 { range_start(&response).unwrap_or(*at) } else { 0 };
        if from > *at {
            return Err(Failure::lasting(Error::internal("the registry answered with another range than was asked for")));
        }
        let mut over = *at - from;
        if let Some(length) = response.length().filter(|n| from + n != size) {
            let whole = from + length;
            return Err(Failure::lasting(Error::internal(format!(
                "the registry sends {whole} bytes where the manifest says {size}"
            ))));
        }
        while *at < size {
            let n = response.read(buffer).map_err(|e| Failure::of_io(&e))?;
            if n == 0 {
                return Err(Failure::passing(Error::internal("unexpected EOF")));
            }
            let skip = usize::try_from(over).unwrap_or(usize::MAX).min(n);
            over -= skip as u64;
            let part = &buffer[skip..n];
            if *at + part.len() as u64 > size {
                return Err(Failure::lasting(Error::internal(format!(
                    "the registry sends more than the {size} bytes that the manifest says"
                ))));
            }
            sink(part).map_err(Failure::lasting)?;
            *at += part.len() as u64;
        }
        // A chunked body has its end still to come.
        if response.length() != Some(0) && response.read(&mut [0; 1]).is_ok_and(|n| n > 0) {
            return Err(Failure::lasting(Error::internal(format!(
                "the registry sends more than the {size} bytes that the manifest says"
            ))));
        }
        self.client.keep(response);
        Ok(())
    }

    /// All tags of the repository.
    pub fn tags(&mut self) -> Result<Vec<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct List {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut target = format!("/v2/{}/tags/list", self.path);
        let mut tags = Vec::new();
        loop {
            let (text, link) = self.retried(|this| {
                let mut response = this.get(&target, "application/json", 0)?;
                let link = response.head.get("link").and_then(next_link);
                let text = response.read_all(LARGEST_LIST)?;
                this.client.keep(response);
                Ok((text, link))
            })?;
            let list: List = serde_json::from_slice(&text)
                .map_err(|e| Failure::lasting(Error::invalid(format!("the registry's list of tags is not understood: {e}"))))?;
            tags.extend(list.tags.unwrap_or_default());
            match link {
                Some(link) if tags.len() < 100_000 => target = self.base.join(&link).map_err(Failure::lasting)?.target,
                _ => return Ok(tags),
            }
        }
    }

    /// A GET with authentication; any status but success is an error.
    fn get(&mut self, target: &str, accept: &'static str, range_from: u64) -> Result<Response, Failure> {
        let mut fresh = false;
        loop {
            let request =
                Request { accept, range_from, authorization: self.authorization.clone(), ..Request::get(self.url(target)) };
            let mut response = self.client.send(request)?;
            let status = response.head.status;
            if matches!(status, 200 | 206) {
                return Ok(response);
            }
            let body = response.read_all(64 * 1024).unwrap_or_default();
            let challenges = challenges_of(&response);
            let retry_after = response.head.get("retry-after").and_then(|v| v.trim().parse().ok());
            self.client.keep(response);
            // Once: a token may have expired, or the registry asks for one only here.
            if status == 401 && !fresh && !challenges.is_empty() {
                fresh = true;
                let scope = self.scope();
                if let Some(authorization) = answer(self.client, &challenges, self.auth.as_ref(), &scope)? {
                    self.authorization = Some(authorization);
                    continue;
                }
                if self.auth.is_none() {
                    let error = Error::new(Kind::Unauthorized, "no basic auth credentials");
                    return Err(Failure::lasting(error).context(format!("Get \"{}\"", self.url(target))));
                }
            }
            let bearer = challenges.iter().find(|c| c.scheme == "bearer");
            return Err(Failure { retry_after, ..errors::of_answer(status, bearer, &body) });
        }
    }

    fn retried<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut attempt = 1;
        loop {
            match act(self) {
                Err(failure) if failure.passing && attempt < self.attempts() => self.wait(&failure, attempt)?,
                other => return other,
            }
            attempt += 1;
        }
    }

    fn attempts(&self) -> u32 {
        match self.client.settings.max_attempts {
            0 => 5,
            n => n,
        }
    }

    /// 1, 2, 4, 8 … seconds, or what the server asked for.
    fn wait(&self, failure: &Failure, attempt: u32) -> Result<(), Failure> {
        let seconds = failure.retry_after.unwrap_or(1 << (attempt - 1).min(5)).min(LONGEST_WAIT);
        log::info!("trying again in {seconds} s: {}", failure.error);
        pause(seconds, self.client.watch)
    }

    fn scope(&self) -> String {
        format!("repository:{}:pull", self.path)
    }

    fn url(&self, target: &str) -> Url {
        let prefix = self.base.target.trim_end_matches('/');
        self.base.with_target(&format!("{prefix}{target}"))
    }
}

fn challenges_of(response: &Response) -> Vec<Challenge> {
    response.head.all("www-authenticate").flat_map(parse_challenges).collect()
}

/// Where `Content-Range: bytes <from>-…` begins.
fn range_start(response: &Response) -> Option<u64> {
    response.head.get("content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The target of `Link: <…>; rel="next"`.
fn next_link(value: &str) -> Option<String> {
    let (target, rest) = value.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| target.to_string())
}

/// Opens the first endpoint that has `name` (a tag or digest), and gives its manifest too.
pub fn first_with<'a>(
    client: &'a mut Client,
    reference: &Reference,
    name: &str,
    auth: Option<&Auth>,
) -> crate::base::Result<(Repository<'a>, ManifestText)> {
    let endpoints = endpoints(reference, &client.settings.mirrors.clone());
    let last = endpoints.len().saturating_sub(1);
    for (nth, endpoint) in endpoints.iter().enumerate() {
        let found = Repository::open(client, endpoint, reference, auth).and_then(|mut r| {
            let manifest = r.manifest(name)?;
            Ok((r.base, r.auth, r.authorization, manifest))
        });
        match found {
            Ok((base, auth, authorization, manifest)) => {
                let repository = Repository { client, base, path: reference.path().to_string(), auth, authorization };
                return Ok((repository, manifest));
            }
            Err(f) if f.error.kind() == canceled().kind() && f.error.to_string().contains("context canceled") => {
                return Err(canceled());
            }
            Err(f) if nth == last => return Err(f.error),
            Err(f) => log::warn!("mirror {endpoint}: {}", f.error),
        }
    }
    Err(Error::new(Kind::Internal, "no registry to ask")).context(|| reference.familiar())
}

/// All tags of a repository, from the first endpoint that answers.
pub fn tags(client: &mut Client, reference: &Reference, auth: Option<&Auth>) -> crate::base::Result<Vec<String>> {
    let endpoints = endpoints(reference, &client.settings.mirrors.clone());
    let mut last = Error::internal("no registry to ask");
    for endpoint in &endpoints {
        match Repository::open(client, endpoint, reference, auth).and_then(|mut r| r.tags()) {
            Ok(tags) => return Ok(tags),
            Err(f) => last = f.error,
        }
    }
    Err(last)
}
