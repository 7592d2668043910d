//! One repository: its manifests and blobs, from mirrors and the registry itself, with authentication, retries, and blobs that go
//! on where a connection broke.

use crate::base::{Error, Kind};
use crate::image::manifest::{ACCEPT, Document, LARGEST_MANIFEST};
use crate::image::{Digest, Reference};
use crate::registry::auth::{Challenge, answer, parse_challenges};
use crate::registry::errors;
use crate::registry::failure::Failure;
use crate::registry::fetch::{Fetch, Piece};
use crate::registry::http::{Client, Request, Response};
use crate::registry::source::{Source, sources};
use crate::registry::url::Url;
use crate::registry::wire::pause;
use crate::wire::worker::Auth;
use std::time::Duration;

/// Longest wait before another attempt, in seconds, whatever the server asks for.
const LONGEST_WAIT: u64 = 60;
/// Attempts at a mirror.
const MIRROR_ATTEMPTS: u32 = 2;
/// A blob that has come this far since the last break starts counting attempts anew.
const PROGRESS: u64 = 256 * 1024;
/// The largest list of tags.
const LARGEST_LIST: u64 = 4 << 20;

/// Bytes of one read from a connection.
const CHUNK: usize = 64 * 1024;

/// A manifest or index: its bytes, digest and content type.
pub type ManifestText = (Vec<u8>, Digest, String);

/// A repository, wherever it is to be had.
pub struct Repository<'a> {
    pub(super) client: &'a mut Client,
    pub(super) path: String,
    /// `pull`, or `pull,push`: what tokens are asked for.
    actions: &'static str,
    /// The registry itself is the last one.
    sources: Vec<Source>,
    /// The one being asked.
    at: usize,
    /// Sources that sent other bytes for a blob than its digest says.
    distrusted: Vec<(usize, Digest)>,
}

impl<'a> Repository<'a> {
    /// The repository of a reference; nothing is asked yet.
    pub fn new(client: &'a mut Client, reference: &Reference, auth: Option<&Auth>) -> Repository<'a> {
        let sources = sources(reference, &client.settings, auth);
        Repository { client, path: reference.path().to_string(), actions: "pull", sources, at: 0, distrusted: Vec::new() }
    }

    /// The same to write to: no mirror is asked, and tokens are asked for that allow it.
    pub fn to_write(client: &'a mut Client, reference: &Reference, auth: Option<&Auth>) -> Repository<'a> {
        let mut repository = Repository::new(client, reference, auth);
        repository.sources.drain(..repository.sources.len().saturating_sub(1));
        Repository { actions: "pull,push", ..repository }
    }

    /// Its name at the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Asks one source after the other until one answers. What it lacks may be at the next one.
    pub(super) fn each<T>(
        &mut self,
        blob: Option<&Digest>,
        mut act: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let last = self.sources.len().saturating_sub(1);
        let mut failure = Failure::lasting(Error::internal("there is no registry left to ask"));
        for nth in 0..=last {
            let distrusted = blob.is_some_and(|blob| self.distrusted.contains(&(nth, *blob)));
            if distrusted || self.sources[nth].dead {
                continue;
            }
            self.at = nth;
            let answered = self.ready();
            let dead = answered.is_err();
            failure = match answered.and_then(|()| act(self)) {
                Err(f) if nth < last && !f.local => f,
                other => return other,
            };
            log::warn!("mirror {}: {}", self.sources[nth].endpoint, failure.error);
            // One that has used up its attempts is not waited for again.
            self.sources[nth].dead = dead || failure.passing;
        }
        Err(failure)
    }

    /// The bytes that came for a blob were not of its digest: says whether another source is left to
    /// ask for it, which then is asked instead.
    pub fn distrust(&mut self, blob: &Digest) -> bool {
        let left = |nth: usize| nth != self.at && !self.sources[nth].dead && !self.distrusted.contains(&(nth, *blob));
        let others = (0..self.sources.len()).any(left);
        if others {
            self.distrusted.push((self.at, *blob));
        }
        others
    }

    /// Finds out how the source wants to be spoken to, if that is not known yet.
    fn ready(&mut self) -> Result<(), Failure> {
        if self.sources[self.at].base.is_some() {
            return Ok(());
        }
        let mut result = Ok(());
        for base in self.sources[self.at].bases(&self.client.settings)? {
            self.sources[self.at].base = Some(base);
            result = match (result, self.ping()) {
                (Err(first), Err(f)) if f.wrong_scheme => Err(first),
                (_, now) => now,
            };
            if !result.as_ref().is_err_and(|f| f.wrong_scheme) {
                break;
            }
        }
        if result.is_err() {
            self.sources[self.at].base = None;
        }
        result
    }

    /// `GET /v2/`: is it a registry, and what does it ask for?
    fn ping(&mut self) -> Result<(), Failure> {
        let url = self.url("/v2/")?;
        self.retried(|this| {
            let mut response = this.client.send(Request::get(url.clone()))?;
            let status = response.head.status;
            let body = response.read_all(64 * 1024);
            if status == 400 && !url.tls {
                let error = Error::internal("the server speaks https");
                return Err(Failure { wrong_scheme: true, ..Failure::lasting(error) });
            }
            let challenges = challenges_of(&response);
            this.client.keep(response);
            let body = body.unwrap_or_default();
            match status {
                200 if errors::is_html(&body) => Err(errors::portal(&url)),
                200 | 404 => Ok(()),
                401 => {
                    let scope = this.scope();
                    let auth = this.sources[this.at].auth.clone();
                    this.sources[this.at].authorization = answer(this.client, &challenges, auth.as_ref(), &scope)
                        .map_err(|f| f.context(format!("Get \"{url}\"")))?;
                    Ok(())
                }
                _ => Err(errors::of_answer(status, None, &body).context(format!("Get \"{url}\""))),
            }
        })
    }

    /// The manifest or index of an image by tag or digest: its bytes, digest and content type.
    pub fn manifest(&mut self, name: &str) -> Result<ManifestText, Failure> {
        // One that is not understood is no reason not to ask the next source.
        self.any_manifest(name, |text, content_type| Document::parse(text, content_type).map(drop))
    }

    /// A manifest of any kind that suits `check`, which is given its bytes and content type.
    pub fn any_manifest(
        &mut self,
        name: &str,
        check: impl Fn(&[u8], &str) -> crate::base::Result<()>,
    ) -> Result<ManifestText, Failure> {
        let target = format!("/v2/{}/manifests/{name}", self.path);
        let wanted = name.contains(':').then(|| Digest::parse(name)).transpose().map_err(Failure::lasting)?;
        let what = format!("manifest {name} of {}", self.path);
        self.each(None, |this| {
            let found = this.retried(|this| {
                let mut response = this.get(&target, ACCEPT, 0)?;
                let content_type = response.head.get("content-type").unwrap_or("").to_string();
                let text = response.read_all(LARGEST_MANIFEST)?;
                if errors::is_html(&text) {
                    return Err(errors::portal(&response.url));
                }
                this.client.keep(response);
                let digest = Digest::of(&text);
                if let Some(wanted) = wanted.filter(|w| *w != digest) {
                    let text = format!("manifest verification failed for digest {wanted}: the registry sent {digest}");
                    return Err(Failure::passing(Error::internal(text)));
                }
                check(&text, &content_type).map_err(Failure::lasting)?;
                Ok((text, digest, content_type))
            });
            found.map_err(|f| f.context(what.as_str()))
        })
    }

    /// A small blob as a whole, its digest and size verified.
    pub fn small_blob(&mut self, digest: &Digest, size: u64) -> Result<Vec<u8>, Failure> {
        let mut again = true;
        loop {
            let mut text = Vec::new();
            self.blob(digest, size, 0, |piece| {
                if let Piece::Data(bytes) = piece {
                    text.extend_from_slice(bytes);
                }
                Ok(())
            })?;
            if Digest::of(&text) == *digest {
                return Ok(text);
            }
            if !self.distrust(digest) && !std::mem::replace(&mut again, false) {
                return Err(Failure::lasting(Error::internal(format!("content of blob {digest} does not match its digest"))));
            }
        }
    }

    /// Streams a blob of `size` bytes, from `offset` on, into `sink`, whose errors end it. When the connection breaks, a new one
    /// goes on from there, at the next source if need be. The caller verifies the digest ([`Repository::distrust`]). A failure with `restart` says that the server's blob does not fit the
    /// part that is here already: it can only be fetched from its start.
    pub fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        offset: u64,
        mut sink: impl FnMut(Piece<'_>) -> crate::base::Result<()>,
    ) -> Result<(), Failure> {
        let target = format!("/v2/{}/blobs/{digest}", self.path);
        let chunk = self.client.pace.chunk(CHUNK);
        let mut fetch = Fetch { size, offset, at: offset, prefix: 0, buffer: vec![0; chunk] };
        self.each(Some(digest), |this| {
            let (mut broken_at, mut attempt) = (fetch.at, 1);
            while fetch.at < size {
                let failure = match fetch.part(this, &target, &mut sink) {
                    Ok(()) => return Ok(()),
                    Err(f) => f,
                };
                if fetch.at - broken_at >= PROGRESS {
                    attempt = 1;
                }
                broken_at = fetch.at;
                if !failure.passing || attempt >= this.attempts() {
                    return Err(failure.context(format!("blob {digest}")));
                }
                this.wait(&failure, attempt)?;
                attempt += 1;
            }
            Ok(())
        })
    }

    /// All tags of the repository.
    pub fn tags(&mut self) -> Result<Vec<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct List {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let first = format!("/v2/{}/tags/list", self.path);
        self.each(None, |this| {
            let (mut target, mut tags) = (first.clone(), Vec::new());
            loop {
                let (text, link) = this.retried(|this| {
                    let mut response = this.get(&target, "application/json", 0)?;
                    let link = response.head.get("link").and_then(next_link);
                    let text = response.read_all(LARGEST_LIST)?;
                    if errors::is_html(&text) {
                        return Err(errors::portal(&response.url));
                    }
                    this.client.keep(response);
                    Ok((text, link))
                })?;
                let list: List = serde_json::from_slice(&text).map_err(|e| {
                    Failure::lasting(Error::invalid(format!("the registry's list of tags is not understood: {e}")))
                })?;
                tags.extend(list.tags.unwrap_or_default());
                match link {
                    Some(link) if tags.len() < 100_000 => {
                        target = this.url("/")?.join(&link).map_err(Failure::lasting)?.target;
                    }
                    _ => return Ok(tags),
                }
            }
        })
    }

    /// A GET with authentication; any status but success is an error.
    pub(super) fn get(&mut self, target: &str, accept: &'static str, range_from: u64) -> Result<Response, Failure> {
        let url = self.url(target)?;
        self.call(Request { accept, range_from, ..Request::get(url) }, |status| matches!(status, 200 | 206))
    }

    /// A request with authentication; a status that is not wanted is an error.
    pub(super) fn call(&mut self, request: Request, wanted: impl Fn(u16) -> bool) -> Result<Response, Failure> {
        let mut fresh = false;
        // Uploads may go to another server than the registry's.
        let own = self.url("/")?.same_server(&request.url);
        loop {
            let source = &self.sources[self.at];
            let auth = source.auth.clone().filter(|_| own);
            let authorization = source.authorization.clone().filter(|_| own);
            let mut response = self.client.send(Request { authorization, ..request.clone() })?;
            let status = response.head.status;
            if wanted(status) {
                return Ok(response);
            }
            let body = response.read_all(64 * 1024).unwrap_or_default();
            let challenges = challenges_of(&response);
            let retry_after = response.head.get("retry-after").and_then(|v| v.trim().parse().ok());
            self.client.keep(response);
            // Once: a token may have expired, or the registry asks for one only here.
            if status == 401 && own && !fresh && !challenges.is_empty() {
                fresh = true;
                let scope = self.scope();
                if let Some(authorization) = answer(self.client, &challenges, auth.as_ref(), &scope)? {
                    self.sources[self.at].authorization = Some(authorization);
                    continue;
                }
                if auth.is_none() {
                    let error = Error::new(Kind::Unauthorized, "no basic auth credentials");
                    return Err(Failure::lasting(error).context(format!("{} \"{}\"", request.verb(), request.url.public())));
                }
            }
            let bearer = challenges.iter().find(|c| c.scheme == "bearer");
            return Err(Failure { retry_after, ..errors::of_answer(status, bearer, &body) });
        }
    }

    pub(super) fn retried<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut attempt = 1;
        loop {
            match act(self) {
                Err(failure) if failure.passing && attempt < self.attempts() => self.wait(&failure, attempt)?,
                other => return other,
            }
            attempt += 1;
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        let most = match self.client.settings.max_attempts {
            0 => 5,
            n => n,
        };
        // A mirror that fails has a next one behind it.
        if self.at + 1 < self.sources.len() { most.min(MIRROR_ATTEMPTS) } else { most }
    }

    /// 1, 2, 4, 8 … seconds, or what the server asked for.
    pub(super) fn wait(&self, failure: &Failure, attempt: u32) -> Result<(), Failure> {
        let seconds = failure.retry_after.unwrap_or(1 << (attempt - 1).min(5)).min(LONGEST_WAIT);
        log::info!("trying again in {seconds} s: {}", failure.error);
        pause(Duration::from_secs(seconds), self.client.watch)
    }

    /// Is the registry itself the one being asked?
    pub(super) fn at_origin(&self) -> bool {
        self.at + 1 >= self.sources.len()
    }

    fn scope(&self) -> String {
        format!("repository:{}:{}", self.path, self.actions)
    }

    pub(super) fn url(&self, target: &str) -> Result<Url, Failure> {
        self.sources[self.at].url(target)
    }
}

fn challenges_of(response: &Response) -> Vec<Challenge> {
    response.head.all("www-authenticate").flat_map(parse_challenges).collect()
}

/// The target of `Link: <…>; rel="next"`.
pub(super) fn next_link(value: &str) -> Option<String> {
    let (target, rest) = value.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| target.to_string())
}

/// Asks the sources of a repository for `name` (a tag or digest): the repository, and the manifest.
pub fn first_with<'a>(
    client: &'a mut Client,
    reference: &Reference,
    name: &str,
    auth: Option<&Auth>,
) -> crate::base::Result<(Repository<'a>, ManifestText)> {
    let mut repository = Repository::new(client, reference, auth);
    let manifest = repository.manifest(name).map_err(|f| f.error)?;
    Ok((repository, manifest))
}

/// All tags of a repository, from the first source that answers.
pub fn tags(client: &mut Client, reference: &Reference, auth: Option<&Auth>) -> crate::base::Result<Vec<String>> {
    Repository::new(client, reference, auth).tags().map_err(|f| f.error)
}
