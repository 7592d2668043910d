//! Pull: resolve the reference, fetch what layers are missing straight into files, commit the image.

use crate::base::{Error, Result};
use crate::delta::balena::DeltaImage;
use crate::image::config::ImageConfig;
use crate::image::manifest::{Descriptor, Document, Manifest, choose};
use crate::image::{Digest, Platform, Reference};
use crate::registry::{self, Client, Repository};
use crate::store::{self, Root};
use crate::wire::worker::{Auth, Job, NewImage, Place, Registries, Repair, Report};
use crate::worker::fetch::{self, Wanted};
use crate::worker::plan::Need;
use crate::worker::session::Session;
use crate::worker::staged_image::StagedImage;
use crate::worker::{crew, delta, delta_image, plan, repair, room, verify};

/// Layers rarely unpack to more than so many times their size: with more room than that nothing is asked.
const MOST_EXPANSION: u64 = 8;

/// What is wanted.
pub struct Wish {
    /// Normalised reference.
    pub reference: String,
    /// All tags of its repository.
    pub all_tags: bool,
    /// `os/arch/variant`, or empty for the host's.
    pub platform: String,
    /// Credentials.
    pub auth: Option<Auth>,
}

/// An image as the registry describes it.
struct Found {
    reference: Reference,
    /// Digest of what the reference names: an index, or the manifest itself.
    top: Digest,
    manifest_text: Vec<u8>,
    manifest_digest: Digest,
    manifest: Manifest,
    /// Of a delta image it is the target's.
    config_text: Vec<u8>,
    diff_ids: Vec<Digest>,
    /// The manifest's layers are balenaEngine's deltas.
    delta: Option<DeltaImage>,
}

/// Runs the job.
pub fn run(session: &mut Session, root: &Root, place: &Place, wish: &Wish, registries: Registries) -> Result<()> {
    let reference = Reference::parse(&wish.reference)?;
    let host = Platform::host();
    let platform = if wish.platform.is_empty() { host } else { Platform::parse(&wish.platform, &host)? };
    let mut client = Client::new(registries.clone(), Some(session.watch()));
    let work = Work { root, place, platform, explicit: !wish.platform.is_empty(), auth: wish.auth.as_ref(), registries };
    let result = if wish.all_tags {
        work.all_tags(session, &mut client, &reference)
    } else {
        work.one(session, &mut client, &reference.with_default_tag())
    };
    let staging = root.staging(&place.job);
    if staging.exists() {
        store::discard(root, &staging)?;
    }
    result
}

struct Work<'a> {
    root: &'a Root,
    place: &'a Place,
    platform: Platform,
    explicit: bool,
    auth: Option<&'a Auth>,
    registries: Registries,
}

impl Work<'_> {
    fn all_tags(&self, session: &mut Session, client: &mut Client, reference: &Reference) -> Result<()> {
        let translate = |e: Error| registry::of_pull(e, &reference.familiar(), &reference.familiar_name());
        let mut tags = registry::tags(client, reference, self.auth).map_err(translate)?;
        tags.sort();
        for tag in tags {
            self.one(session, client, &reference.repository().with_tag(&tag)?)?;
        }
        Ok(())
    }

    fn one(&self, session: &mut Session, client: &mut Client, reference: &Reference) -> Result<()> {
        let translate = |e: Error| registry::of_pull(e, &reference.familiar(), &reference.familiar_name());
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_string(),
        };
        let (mut repository, top) = registry::first_with(client, reference, &name, self.auth).map_err(translate)?;
        session.status(&name, format!("Pulling from {}", reference.path()))?;
        let found = self.resolve(&mut repository, reference, top).map_err(translate)?;
        // A delta's manifest is that of another image: neither a push nor a repair may take it for this one's.
        let manifest = found.delta.is_none().then_some(&found.manifest_text[..]);
        let staged = self.root.staging(&self.place.job);
        let image = StagedImage::new(self.root, staged, &found.config_text, manifest, &found.diff_ids);
        let base = match &found.delta {
            Some(delta) => {
                delta_image::pull(session, self.root, &mut repository, &found.manifest.layers, delta)?;
                Some(delta.base)
            }
            None => self.layers(session, &mut repository, &found, &image)?,
        };
        self.commit(session, &found, image, base)
    }

    /// From what the reference names down to one manifest and its config.
    fn resolve(&self, repository: &mut Repository<'_>, reference: &Reference, top: registry::ManifestText) -> Result<Found> {
        let (mut text, top_digest, mut content_type) = top;
        let mut digest = top_digest;
        let mut document = Document::parse(&text, &content_type)?;
        if let Document::Index(entries) = &document {
            let entry = choose(entries, &self.platform)?.clone();
            (text, digest, content_type) = repository.manifest(&entry.digest.to_string()).map_err(|f| f.error)?;
            if text.len() as u64 != entry.size {
                return Err(Error::invalid(format!("manifest {digest} has {} bytes, the index says {}", text.len(), entry.size)));
            }
            document = Document::parse(&text, &content_type)?;
        }
        let Document::Manifest(manifest) = document else {
            return Err(Error::invalid(format!("index {top_digest} points at another index, which is refused")));
        };
        let config_text =
            repository.small_blob(&manifest.config.digest, manifest.config.size).map_err(|f| f.error.context("image config"))?;
        let own = ImageConfig::parse(&config_text)?;
        let delta = DeltaImage::of(&own)?;
        let (config, config_text) = match &delta {
            Some(delta) => (&delta.target, delta.config.clone().into_bytes()),
            None => (&own, config_text),
        };
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != manifest.layers.len() {
            return Err(Error::invalid(format!(
                "layers from manifest don't match image configuration: {} and {}",
                manifest.layers.len(),
                diff_ids.len()
            )));
        }
        let made_for = config.platform();
        if made_for.os != "linux" {
            return Err(Error::unsupported(format!("operating system {:?} is not supported", made_for.os)));
        }
        if self.explicit && self.platform.rank(&made_for).is_none() {
            return Err(Error::not_found(format!(
                "image with reference {} was found but does not match the specified platform: wanted {}, actual: {made_for}",
                reference.familiar(),
                self.platform
            )));
        }
        Ok(Found {
            reference: reference.clone(),
            top: top_digest,
            manifest_text: text,
            manifest_digest: digest,
            manifest,
            config_text,
            diff_ids,
            delta,
        })
    }

    /// Fetches the layers that are missing or damaged, or makes them from others. Returns the base that some were made from.
    fn layers(
        &self,
        session: &mut Session,
        repository: &mut Repository<'_>,
        found: &Found,
        image: &StagedImage<'_>,
    ) -> Result<Option<Digest>> {
        let layers: Vec<(&Descriptor, &Digest)> = found.manifest.layers.iter().zip(&found.diff_ids).collect();
        let mut wanted: Vec<Wanted> = Vec::new();
        for (blob, diff_id) in &layers {
            let id = blob.digest.short();
            let here = self.root.has_layer(diff_id);
            let replace = here && self.is_damaged(session, diff_id)?;
            if here && !replace {
                session.status(&id, "Already exists")?;
            } else if !wanted.iter().any(|seen| seen.diff_id == **diff_id) {
                session.status(&id, if replace { "Damaged: pulling again" } else { "Pulling fs layer" })?;
                wanted.push(Wanted::new(blob, diff_id, replace));
            }
        }
        // From then on nobody removes what the pull relies on.
        session.ask(&Report::Plan { layers: found.diff_ids.iter().map(Digest::to_string).collect() })?;
        // What was removed while nobody knew that it is wanted comes too.
        for (blob, diff_id) in &layers {
            if !self.root.has_layer(diff_id) && !wanted.iter().any(|seen| seen.diff_id == **diff_id) {
                wanted.push(Wanted::new(blob, diff_id, false));
            }
        }
        let target = delta::Target { manifest: &found.manifest_digest, layers: &found.diff_ids, wanted: &wanted, image };
        let done = delta::bring(session, self.root, repository, &target, self.registries.delta)?;
        wanted.retain(|w| w.replace || !self.root.has_layer(&w.diff_id));
        room::make(session, self.root, self.need(repository, &wanted)?)?;
        for waiting in wanted.iter().skip(self.registries.max_downloads.max(1) as usize) {
            session.status(&waiting.blob.short(), "Waiting")?;
        }
        let helpers = wanted.len().min(self.registries.max_downloads.min(self.place.processes) as usize);
        if helpers > 1 {
            let job = Job::Layers {
                reference: found.reference.with_digest(found.manifest_digest).to_string(),
                auth: self.auth.cloned(),
                registries: self.registries.clone(),
                layers: wanted.iter().map(Wanted::message).collect(),
            };
            crew::run(session, self.place, &job, helpers)?;
            // What another pull was fetching is waited for below; what was damaged is whole now.
            wanted.iter_mut().for_each(|w| w.replace = false);
        }
        for wanted in &wanted {
            fetch::layer(session, self.root, repository, wanted, Some(image))?;
        }
        self.repair(session, found, &done.damaged)?;
        Ok(done.base)
    }

    /// Layers of a delta's base that turned out to be damaged come again, as those do that the image shares with others. The image
    /// itself is complete: a failure is none of the pull.
    fn repair(&self, session: &mut Session, found: &Found, damaged: &[Digest]) -> Result<()> {
        let auths = self.auth.map(|auth| (found.reference.domain().to_string(), auth.clone()));
        let how = Repair { registries: self.registries.clone(), auths: auths.into_iter().collect() };
        for layer in damaged {
            session.status(&layer.short(), "Damaged: pulling again")?;
            if let Err(e) = repair::run(session, self.root, layer, &how) {
                session.check()?;
                log::warn!("layer {layer} is damaged and could not be repaired: {e}");
            }
        }
        Ok(())
    }

    /// What is needed on disk, found out the more closely the less room there is.
    fn need(&self, repository: &mut Repository<'_>, wanted: &[Wanted]) -> Result<Need> {
        let need = plan::least(self.root, wanted);
        let ample = store::room(self.root)? / MOST_EXPANSION >= need.bytes;
        Ok(if ample { need } else { plan::closely(self.root, repository, wanted) })
    }

    /// Is a layer that is there not what it was? Shared layers are what an update stands on.
    fn is_damaged(&self, session: &mut Session, diff_id: &Digest) -> Result<bool> {
        let damage = verify::damage_of(session, self.root, diff_id)?;
        if let Some(damage) = &damage {
            log::warn!("layer {diff_id} is damaged: {damage}");
        }
        Ok(damage.is_some())
    }

    fn commit(&self, session: &mut Session, found: &Found, image: StagedImage<'_>, base: Option<Digest>) -> Result<()> {
        let (id, sizes) = image.commit()?;
        let by_digest = found.reference.with_digest(found.top);
        let tagged = found.reference.digest().is_none();
        let references = match (tagged, &found.delta) {
            (true, None) => vec![found.reference.to_string(), by_digest.to_string()],
            (true, Some(_)) => vec![found.reference.to_string()],
            // The only name by which it can be asked for.
            (false, _) => vec![by_digest.to_string()],
        };
        let known = if tagged { &found.reference } else { &by_digest };
        let same = store::tagged(self.root, known) == Some(id);
        let config =
            String::from_utf8(found.config_text.clone()).map_err(|_| Error::invalid("the image's config is not text"))?;
        session.ask(&Report::Image(NewImage {
            id: id.to_string(),
            config,
            manifest: if found.delta.is_none() { found.manifest_digest.to_string() } else { String::new() },
            layers: found.diff_ids.iter().map(Digest::to_string).collect(),
            sizes,
            references,
            base: base.map(|base| base.to_string()).unwrap_or_default(),
        }))?;
        session.status("", format!("Digest: {}", found.top))?;
        let name = found.reference.familiar();
        session.status(
            "",
            match same {
                true => format!("Status: Image is up to date for {name}"),
                false => format!("Status: Downloaded newer image for {name}"),
            },
        )
    }
}
