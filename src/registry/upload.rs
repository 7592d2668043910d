//! The way into a registry: blobs and manifests. What is there already is not sent again; a large blob goes on where a connection broke, if
//! the registry remembers how far it came.

use crate::base::{Error, Kind};
use crate::image::Digest;
use crate::registry::body::{Body, Content, Told};
use crate::registry::failure::Failure;
use crate::registry::http::{Request, Response};
use crate::registry::repository::Repository;
use crate::registry::url::Url;
use crate::wire::http::percent_encode as encode;

/// Up to so many bytes a blob goes in one request with its digest.
const WHOLE: u64 = 4 << 20;
/// A blob that has come this far since the last break starts counting attempts anew.
const PROGRESS: u64 = 256 * 1024;

/// A blob on its way.
struct Upload<'a> {
    digest: &'a Digest,
    content: &'a Content,
    told: Option<Told>,
    /// Where its bytes go; none before the registry has said.
    place: Option<Url>,
    /// Bytes that the registry has.
    at: u64,
    /// It is sent in parts that can be gone on with.
    parts: bool,
    /// The connection broke: how far it came is to be asked.
    broken: bool,
}

impl Repository<'_> {
    /// Does the registry have that blob?
    pub fn has_blob(&mut self, digest: &Digest) -> Result<bool, Failure> {
        let target = format!("/v2/{}/blobs/{digest}", self.path);
        self.each(None, |this| this.retried(|this| this.is_there(&target)))
    }

    /// Does the registry have a manifest of that tag or digest?
    pub fn has_manifest(&mut self, name: &str) -> Result<bool, Failure> {
        let target = format!("/v2/{}/manifests/{name}", self.path);
        self.each(None, |this| this.retried(|this| this.is_there(&target)))
    }

    fn is_there(&mut self, target: &str) -> Result<bool, Failure> {
        let accept = crate::image::manifest::ACCEPT;
        let request = Request { method: "HEAD", accept, ..Request::get(self.url(target)?) };
        match self.call(request, |status| matches!(status, 200 | 404)) {
            Ok(response) => {
                let there = response.head.status == 200;
                self.client.keep(response);
                Ok(there)
            }
            // Some registries have no HEAD.
            Err(f) if matches!(f.status, 400 | 405 | 501) => Ok(false),
            Err(f) => Err(f),
        }
    }

    /// Sends a blob, unless the registry has it. Says whether it was sent.
    pub fn upload(&mut self, digest: &Digest, content: &Content, told: Option<Told>) -> Result<bool, Failure> {
        let target = format!("/v2/{}/blobs/{digest}", self.path);
        let parts = content.len() > WHOLE;
        let mut upload = Upload { digest, content, told, place: None, at: 0, parts, broken: false };
        let sent = self.each(None, |this| {
            let (mut attempt, mut begun) = (1, false);
            loop {
                // Also after a break: the last answer may be all that was lost.
                let from = upload.at;
                // If it may not be looked at, what follows tells better why.
                let there = match this.is_there(&target) {
                    Err(f) if matches!(f.status, 401 | 403) => Ok(false),
                    other => other,
                };
                let failure = match there {
                    Ok(true) => return Ok(begun),
                    Ok(false) => match upload.go_on(this) {
                        Ok(()) => return Ok(true),
                        Err(f) => f,
                    },
                    Err(f) => f,
                };
                begun = true;
                if upload.at - from.min(upload.at) >= PROGRESS {
                    attempt = 1;
                }
                if !failure.passing || attempt >= this.attempts() {
                    return Err(failure);
                }
                this.wait(&failure, attempt)?;
                attempt += 1;
            }
        });
        sent.map_err(|f| f.context(format!("push blob {digest}")))
    }

    /// Puts a manifest there by a tag or its digest. Gives the subject that the registry says it has noted, if it notes subjects.
    pub fn put_manifest(&mut self, name: &str, text: &[u8], kind: &str) -> Result<Option<Digest>, Failure> {
        let target = format!("/v2/{}/manifests/{name}", self.path);
        let digest = Digest::of(text);
        let put = self.each(None, |this| {
            this.retried(|this| {
                let body = Some(Body::bytes(kind, text));
                let request = Request { method: "PUT", body, ..Request::get(this.url(&target)?) };
                let response = this.call(request, |status| matches!(status, 200..=202))?;
                let subject = response.head.get("oci-subject").and_then(|s| Digest::parse(s.trim()).ok());
                this.taken(response, &digest)?;
                Ok(subject)
            })
        });
        put.map_err(|f| f.context(format!("push manifest {name} of {}", self.path)))
    }

    /// The answer to something that was sent: reads it to its end, and sees that the registry has got what was meant.
    fn taken(&mut self, mut response: Response, digest: &Digest) -> Result<(), Failure> {
        let named = response.head.get("docker-content-digest").map(|d| d.trim().to_string());
        if response.read_all(64 * 1024).is_ok() {
            self.client.keep(response);
        }
        match named {
            Some(named) if named.starts_with("sha256:") && named != digest.to_string() => {
                Err(Failure::lasting(Error::internal(format!("the registry calls it {named:?}, its digest is {digest}"))))
            }
            _ => Ok(()),
        }
    }
}

impl Upload<'_> {
    fn go_on(&mut self, repository: &mut Repository<'_>) -> Result<(), Failure> {
        if std::mem::take(&mut self.broken) {
            self.ask(repository);
        }
        let place = match &self.place {
            Some(place) => place.clone(),
            None => self.begin(repository)?,
        };
        let sent = match self.parts {
            true => self.part(repository, place).and_then(|place| self.end(repository, place, None)),
            false => self.end(repository, place, Some(self.content.clone())),
        };
        let Err(failure) = sent else { return Ok(()) };
        let refused = matches!(failure.status, 400 | 405 | 411 | 413 | 415 | 416 | 501);
        if self.parts && refused {
            // This registry wants no parts: once more, as a whole.
            (self.parts, self.place, self.at) = (false, None, 0);
            return Err(Failure { passing: true, retry_after: Some(0), ..failure });
        }
        match failure.status {
            // The registry does not know the upload any more.
            404 => {
                (self.place, self.at) = (None, 0);
                Err(Failure { passing: true, ..failure })
            }
            _ => {
                self.broken = true;
                Err(failure)
            }
        }
    }

    /// A new upload.
    fn begin(&mut self, repository: &mut Repository<'_>) -> Result<Url, Failure> {
        self.at = 0;
        let url = repository.url(&format!("/v2/{}/blobs/uploads/", repository.path()))?;
        let request = Request { method: "POST", body: Some(Body::bytes("", b"")), ..Request::get(url) };
        let response = repository.call(request, |status| status == 202)?;
        let place = place_of(&response)?;
        drain(repository, response);
        self.place = Some(place.clone());
        Ok(place)
    }

    /// How far an upload came that broke off. If the registry cannot tell, it begins anew.
    fn ask(&mut self, repository: &mut Repository<'_>) {
        let known = self.place.take().filter(|_| self.parts);
        self.at = 0;
        let Some(place) = known else { return };
        let Ok(response) = repository.call(Request::get(place), |status| status == 204) else { return };
        let has = match response.head.get("range").map(str::trim) {
            // This is how a registry says that it has one byte, and how it says that it has none.
            None | Some("" | "0-0") => Some(0),
            Some(range) => {
                range.trim_start_matches("bytes=").strip_prefix("0-").and_then(|last| last.parse::<u64>().ok()).map(|n| n + 1)
            }
        };
        if let (Some(has), Ok(place)) = (has.filter(|n| *n > 0 && *n < self.content.len()), place_of(&response)) {
            (self.at, self.place) = (has, Some(place));
        }
        drain(repository, response);
    }

    /// All that the registry does not have yet; returns where the upload is ended.
    fn part(&mut self, repository: &mut Repository<'_>, place: Url) -> Result<Url, Failure> {
        let length = self.content.len();
        if self.at >= length {
            return Ok(place);
        }
        let body = Body {
            kind: "application/octet-stream".into(),
            content: self.content.after(self.at),
            range: Some((self.at, length - 1)),
            told: self.told.clone(),
        };
        let response =
            repository.call(Request { method: "PATCH", body: Some(body), ..Request::get(place) }, |status| status == 202)?;
        let place = place_of(&response)?;
        drain(repository, response);
        (self.at, self.place) = (length, Some(place.clone()));
        Ok(place)
    }

    /// The last request, with the digest.
    fn end(&self, repository: &mut Repository<'_>, place: Url, whole: Option<Content>) -> Result<(), Failure> {
        let separator = if place.target.contains('?') { '&' } else { '?' };
        let url = place.with_target(&format!("{}{separator}digest={}", place.target, encode(&self.digest.to_string())));
        let body = match whole {
            Some(content) => Body { kind: "application/octet-stream".into(), content, range: None, told: self.told.clone() },
            None => Body::bytes("", b""),
        };
        let request = Request { method: "PUT", body: Some(body), ..Request::get(url) };
        let response = repository.call(request, |status| matches!(status, 200 | 201 | 204))?;
        repository.taken(response, self.digest)
    }
}

/// Where an upload goes on, as the answer says.
fn place_of(response: &Response) -> Result<Url, Failure> {
    let missing = || Failure::lasting(Error::new(Kind::Internal, "the registry does not say where the upload goes"));
    let location = response.head.get("location").filter(|l| !l.trim().is_empty()).ok_or_else(missing)?;
    // Not the URL: it may have secrets in it.
    let unclear = |_| Failure::lasting(Error::internal("the registry says in no clear way where the upload goes"));
    let place = response.url.join(location.trim()).map_err(unclear)?;
    match response.url.tls && !place.tls {
        true => Err(Failure::lasting(Error::internal("the registry wants the upload to go on without TLS"))),
        false => Ok(place),
    }
}

/// Reads what is left of a small answer, so that its connection can be used again.
fn drain(repository: &mut Repository<'_>, mut response: Response) {
    if response.read_all(64 * 1024).is_ok() {
        repository.client.keep(response);
    }
}
