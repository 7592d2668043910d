//! What refers to a manifest: by the registry's own list, or, where it keeps none, by the tag that the specification has for that.

use crate::base::{Error, id};
use crate::image::Digest;
use crate::image::manifest::{LARGEST_MANIFEST, OCI_INDEX};
use crate::registry::errors::is_html;
use crate::registry::failure::Failure;
use crate::registry::http::{Request, Response};
use crate::registry::repository::{Repository, next_link};
use crate::registry::url::Url;
use crate::registry::wire::pause;
use crate::wire::http::percent_encode as encode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

/// The most pages of one list.
const MOST_PAGES: usize = 32;
/// The most entries that are looked at.
const MOST_ENTRIES: usize = 10_000;
/// Longest time for one list, however slowly it comes.
const LONGEST: Duration = Duration::from_secs(60);
/// How often an entry is put into the tag's list before others are left to it.
const ATTEMPTS: u32 = 8;

/// An entry of such a list: a manifest that refers to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Its media type.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What kind of thing it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Copied from the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index, its entries not yet looked into.
struct Index {
    fields: BTreeMap<String, Box<RawValue>>,
    entries: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    digest: Option<Digest>,
}

impl Index {
    fn parse(text: &[u8]) -> Result<Index, Failure> {
        let bad =
            |why: &str| Failure::lasting(Error::invalid(format!("the registry's list of referrers is not understood: {why}")));
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("it is no JSON object"));
        }
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).map_err(|e| bad(&e.to_string()))?;
        let kind = fields.get("mediaType").map_or("", |kind| kind.get());
        if !kind.is_empty() && kind != format!("{OCI_INDEX:?}") {
            return Err(bad(&format!("it is of type {}", kind.chars().take(100).collect::<String>())));
        }
        let entries = fields.remove("manifests").ok_or_else(|| bad("it has no manifests"))?;
        let entries: Option<Vec<Box<RawValue>>> = serde_json::from_str(entries.get()).map_err(|e| bad(&e.to_string()))?;
        Ok(Index { fields, entries: entries.unwrap_or_default() })
    }

    fn empty() -> Index {
        Index { fields: BTreeMap::new(), entries: Vec::new() }
    }

    fn has(&self, entry: &Referrer) -> bool {
        self.entries.iter().any(|raw| serde_json::from_str::<Referrer>(raw.get()).is_ok_and(|e| e == *entry))
    }

    fn names(raw: &RawValue) -> Option<Digest> {
        serde_json::from_str::<Named>(raw.get()).ok()?.digest
    }

    /// The index's text with the entry in it, once.
    fn with(mut self, entry: &Referrer) -> crate::base::Result<Vec<u8>> {
        self.entries.retain(|raw| Index::names(raw) != Some(entry.digest));
        self.entries.push(serde_json::value::to_raw_value(entry)?);
        self.fields.insert("schemaVersion".into(), serde_json::value::to_raw_value(&2)?);
        self.fields.insert("mediaType".into(), serde_json::value::to_raw_value(OCI_INDEX)?);
        self.fields.insert("manifests".into(), serde_json::value::to_raw_value(&self.entries)?);
        Ok(serde_json::to_vec(&self.fields)?)
    }
}

/// The tag under which a registry without such lists has that of a manifest.
pub fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

impl Repository<'_> {
    /// What of that type refers to a manifest. Entries that make no sense are passed over.
    pub fn referrers(&mut self, subject: &Digest, artifact_type: &str) -> Result<Vec<Referrer>, Failure> {
        let first = format!("/v2/{}/referrers/{subject}?artifactType={}", self.path, encode(artifact_type));
        let end = Instant::now() + LONGEST;
        let found = self.each(None, |this| {
            let mut found = Vec::new();
            let mut look = |index: Index| {
                let read =
                    index.entries.iter().take(MOST_ENTRIES).filter_map(|raw| serde_json::from_str::<Referrer>(raw.get()).ok());
                for entry in read.filter(|e| e.artifact_type == artifact_type) {
                    if found.len() < MOST_ENTRIES && !found.iter().any(|f: &Referrer| f.digest == entry.digest) {
                        found.push(entry);
                    }
                }
            };
            if !this.listed(&first, end, &mut look)? {
                look(this.by_tag(subject, end)?);
            }
            // A mirror may not know what the registry itself does.
            match found.is_empty() && !this.at_origin() {
                true => Err(Failure { status: 404, ..Failure::lasting(Error::not_found("it knows no referrers")) }),
                false => Ok(found),
            }
        });
        found.map_err(|f| f.context(format!("referrers of {subject}")))
    }

    /// The registry's own list, page by page; false if it keeps none.
    fn listed(&mut self, first: &str, end: Instant, look: &mut impl FnMut(Index)) -> Result<bool, Failure> {
        let mut url = self.url(first)?;
        let mut seen: Vec<Url> = Vec::new();
        loop {
            let page = self.retried(|this| {
                let request = Request { accept: OCI_INDEX, ..Request::get(url.clone()) };
                let mut response = match this.call(request, |status| status == 200) {
                    Err(f) if matches!(f.status, 400 | 404 | 405 | 406 | 501) => return Ok(None),
                    other => other?,
                };
                let text = read_within(&mut response, end)?;
                let link = response.head.all("link").find_map(next_link);
                let at = response.url.clone();
                this.client.keep(response);
                Ok((!is_html(&text)).then_some((text, link, at)))
            })?;
            let Some((text, link, at)) = page else {
                return match seen.is_empty() {
                    true => Ok(false),
                    false => Err(Failure::lasting(Error::internal("the registry's list of referrers breaks off"))),
                };
            };
            look(Index::parse(&text)?);
            let Some(link) = link else { return Ok(true) };
            let next = at.join(&link).map_err(Failure::lasting)?;
            if !next.same_server(&at) {
                return Err(Failure::lasting(Error::internal("the registry's list of referrers goes on at another server")));
            }
            if seen.len() >= MOST_PAGES || next == url || seen.contains(&next) {
                let text = "the registry's list of referrers goes in a circle, or never ends";
                return Err(Failure::lasting(Error::internal(text)));
            }
            seen.push(std::mem::replace(&mut url, next));
        }
    }

    /// The list of the fallback tag; empty if there is none.
    fn by_tag(&mut self, subject: &Digest, end: Instant) -> Result<Index, Failure> {
        let target = format!("/v2/{}/manifests/{}", self.path, fallback_tag(subject));
        let text = self.retried(|this| {
            let request = Request { accept: OCI_INDEX, ..Request::get(this.url(&target)?) };
            let mut response = match this.call(request, |status| status == 200) {
                Err(f) if f.status == 404 => return Ok(None),
                other => other?,
            };
            let text = read_within(&mut response, end)?;
            this.client.keep(response);
            Ok(Some(text))
        })?;
        text.map_or_else(|| Ok(Index::empty()), |text| Index::parse(&text))
    }

    /// Pushes a manifest that refers to `subject`, and sees that lists of referrers have it. All that it names must be there already.
    pub fn put_referrer(&mut self, text: &[u8], subject: &Digest, entry: &Referrer) -> Result<(), Failure> {
        let noted = self.put_manifest(&entry.digest.to_string(), text, &entry.media_type)?;
        if noted == Some(*subject) {
            return Ok(());
        }
        let what = format!("list it under the tag {}", fallback_tag(subject));
        self.each(None, |this| this.add_to_tag(subject, entry)).map_err(|f| f.context(what))
    }

    /// Adds an entry to the list of the fallback tag. Registries have no way to change it in one step: whoever wrote at the same time
    /// may have put back what was there before, so it is looked at again.
    fn add_to_tag(&mut self, subject: &Digest, entry: &Referrer) -> Result<(), Failure> {
        let tag = fallback_tag(subject);
        for attempt in 0..ATTEMPTS {
            let end = Instant::now() + LONGEST;
            let index = self.by_tag(subject, end)?;
            if index.has(entry) {
                return Ok(());
            }
            match self.write_tag(&tag, index, entry) {
                // It does not take a list with something in it that is gone.
                Err(f) if f.status == 400 => {
                    let mut index = self.by_tag(subject, end)?;
                    self.drop_lost(&mut index)?;
                    self.write_tag(&tag, index, entry)?;
                }
                other => other?,
            }
            let mut random = [0; 1];
            id::fill(&mut random);
            pause(Duration::from_millis(50 + u64::from(random[0]) * u64::from(attempt + 1)), self.client.watch)?;
            if self.by_tag(subject, end)?.has(entry) {
                return Ok(());
            }
        }
        Err(Failure::passing(Error::conflict("others write the same list all the time")))
    }

    fn write_tag(&mut self, tag: &str, index: Index, entry: &Referrer) -> Result<(), Failure> {
        let text = index.with(entry).map_err(Failure::lasting)?;
        match text.len() as u64 > LARGEST_MANIFEST {
            true => Err(Failure::lasting(Error::invalid("the list is full: remove old entries"))),
            false => self.put_manifest(tag, &text, OCI_INDEX).map(drop),
        }
    }

    /// Leaves out entries whose manifests are not there any more.
    fn drop_lost(&mut self, index: &mut Index) -> Result<(), Failure> {
        let mut kept = Vec::new();
        for raw in index.entries.drain(..) {
            let Some(digest) = Index::names(&raw) else { continue };
            if self.has_manifest(&digest.to_string())? {
                kept.push(raw);
            }
        }
        index.entries = kept;
        Ok(())
    }
}

/// A document that has come whole before `end`.
fn read_within(response: &mut Response, end: Instant) -> Result<Vec<u8>, Failure> {
    let (mut text, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let n = response.read(&mut buffer).map_err(|e| Failure::of_io(&e))?;
        if n == 0 {
            return Ok(text);
        }
        text.extend_from_slice(&buffer[..n]);
        if text.len() as u64 > LARGEST_MANIFEST {
            return Err(Failure::lasting(Error::invalid(format!("the list is longer than {LARGEST_MANIFEST} bytes"))));
        }
        if Instant::now() > end {
            return Err(Failure::lasting(Error::internal("the list comes too slowly")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8) -> Referrer {
        Referrer {
            media_type: "m".into(),
            digest: Digest::of(&[n]),
            size: 5,
            artifact_type: "a/b".into(),
            annotations: [("k".to_string(), "v".to_string())].into(),
        }
    }

    #[test]
    fn what_others_have_put_into_a_list_stays() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","annotations":{{"x":"y"}},"manifests":[{{"digest":"{}","size":1,"odd":[1]}},7,{{}}]}}"#,
            Digest::of(b"x")
        );
        let text = Index::parse(text.as_bytes()).unwrap().with(&entry(1)).unwrap();
        let text = Index::parse(&text).unwrap().with(&entry(2)).unwrap();
        let index = Index::parse(&Index::parse(&text).unwrap().with(&entry(1)).unwrap()).unwrap();
        assert_eq!(index.entries.len(), 5);
        assert!(index.has(&entry(1)) && index.has(&entry(2)) && !index.has(&entry(3)));
        assert!(index.entries[0].get().contains("odd") && index.fields["annotations"].get().contains("y"));
        assert!(Index::parse(br#"{"manifests":null}"#).unwrap().entries.is_empty());
        for bad in ["", "[]", "{", "{}", r#"{"manifests":{}}"#, r#"{"mediaType":"x","manifests":[]}"#] {
            assert!(Index::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
