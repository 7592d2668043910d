//! Pull: resolve the reference, fetch what layers are missing straight into files, commit the image.

use crate::base::{Error, Result, time::Time};
use crate::image::config::ImageConfig;
use crate::image::manifest::{Descriptor, Document, Manifest, choose};
use crate::image::{Digest, Platform, Reference};
use crate::layer::Apply;
use crate::registry::{self, Client, Repository};
use crate::store::{self, ImageInfo, LayerInfo, Root};
use crate::wire::worker::{Auth, NewImage, Registries, Report};
use crate::worker::session::Session;

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
    config_text: Vec<u8>,
    diff_ids: Vec<Digest>,
}

/// Runs the job.
pub fn run(session: &mut Session, root: &Root, job: &str, wish: &Wish, registries: Registries) -> Result<()> {
    let reference = Reference::parse(&wish.reference)?;
    let host = Platform::host();
    let platform = if wish.platform.is_empty() { host } else { Platform::parse(&wish.platform, &host)? };
    let mut client = Client::new(registries, Some(session.watch()));
    let work = Work { root, job, platform, explicit: !wish.platform.is_empty() };
    let result = if wish.all_tags {
        work.all_tags(session, &mut client, &reference, wish.auth.as_ref())
    } else {
        work.one(session, &mut client, &reference.with_default_tag(), wish.auth.as_ref())
    };
    let staging = root.staging(job);
    if staging.exists() {
        store::discard(root, &staging)?;
    }
    result
}

struct Work<'a> {
    root: &'a Root,
    job: &'a str,
    platform: Platform,
    explicit: bool,
}

impl Work<'_> {
    fn all_tags(&self, session: &mut Session, client: &mut Client, reference: &Reference, auth: Option<&Auth>) -> Result<()> {
        let translate = |e: Error| registry::of_pull(e, &reference.familiar(), &reference.familiar_name());
        let mut tags = registry::tags(client, reference, auth).map_err(translate)?;
        tags.sort();
        for tag in tags {
            self.one(session, client, &reference.repository().with_tag(&tag)?, auth)?;
        }
        Ok(())
    }

    fn one(&self, session: &mut Session, client: &mut Client, reference: &Reference, auth: Option<&Auth>) -> Result<()> {
        let translate = |e: Error| registry::of_pull(e, &reference.familiar(), &reference.familiar_name());
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_string(),
        };
        let (mut repository, top) = registry::first_with(client, reference, &name, auth).map_err(translate)?;
        session.status(&name, format!("Pulling from {}", reference.path()))?;
        let found = self.resolve(&mut repository, reference, top).map_err(translate)?;
        let sizes = self.layers(session, &mut repository, &found)?;
        self.commit(session, &found, sizes)
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
        let config = ImageConfig::parse(&config_text)?;
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
        })
    }

    /// Fetches the missing layers. Returns the size of each.
    fn layers(&self, session: &mut Session, repository: &mut Repository<'_>, found: &Found) -> Result<Vec<u64>> {
        let layers: Vec<(&Descriptor, &Digest)> = found.manifest.layers.iter().zip(&found.diff_ids).collect();
        let mut missing: Vec<(&Descriptor, &Digest)> = Vec::new();
        for (blob, diff_id) in &layers {
            if self.root.has_layer(diff_id) {
                session.status(&blob.digest.short(), "Already exists")?;
            } else if !missing.iter().any(|(_, seen)| seen == diff_id) {
                session.status(&blob.digest.short(), "Pulling fs layer")?;
                missing.push((blob, diff_id));
            }
        }
        session.ask(&Report::Plan {
            layers: found.diff_ids.iter().map(Digest::to_string).collect(),
            download: missing.iter().map(|(blob, _)| blob.size).sum(),
            unpacked: 0,
        })?;
        for (blob, _) in missing.iter().skip(1) {
            session.status(&blob.digest.short(), "Waiting")?;
        }
        for (blob, diff_id) in missing {
            // Another pull may have brought it meanwhile.
            if !self.root.has_layer(diff_id) {
                self.layer(session, repository, blob, diff_id).map_err(|e| e.context(format!("layer {}", blob.digest)))?;
            }
            session.status(&blob.digest.short(), "Pull complete")?;
        }
        layers.iter().map(|(_, diff_id)| Ok(store::layer_info(self.root, diff_id)?.size)).collect()
    }

    fn layer(&self, session: &mut Session, repository: &mut Repository<'_>, blob: &Descriptor, diff_id: &Digest) -> Result<()> {
        let staged = self.root.staging(self.job).join(diff_id.hex());
        std::fs::create_dir_all(&staged)?;
        let id = blob.digest.short();
        let mut apply = Apply::new(&staged)?;
        repository
            .blob(&blob.digest, blob.size, |bytes| {
                apply.push(bytes)?;
                session.progress(&id, "Downloading", apply.compressed(), blob.size)
            })
            .map_err(|f| f.error)?;
        session.status(&id, "Verifying Checksum")?;
        let applied = apply.finish()?;
        if applied.digest != blob.digest {
            return Err(Error::internal(format!("filesystem layer verification failed for digest {}", blob.digest)));
        }
        session.status(&id, "Download complete")?;
        if applied.diff_id != *diff_id {
            return Err(Error::internal(format!("its content is {}, the image's config says {diff_id}", applied.diff_id)));
        }
        session.progress(&id, "Extracting", blob.size, blob.size)?;
        store::commit_layer(self.root, &staged, &LayerInfo::of(&applied))
    }

    fn commit(&self, session: &mut Session, found: &Found, sizes: Vec<u64>) -> Result<()> {
        let info = ImageInfo { manifest: Some(found.manifest_digest), sizes: sizes.clone(), pulled: Time::now().0 };
        let id = store::commit_image(self.root, self.job, &found.config_text, Some(&found.manifest_text), &info)?;
        let by_digest = found.reference.with_digest(found.top);
        let tagged = found.reference.digest().is_none();
        let references =
            if tagged { vec![found.reference.to_string(), by_digest.to_string()] } else { vec![by_digest.to_string()] };
        let known = if tagged { &found.reference } else { &by_digest };
        let same = store::read_tag(&self.root.tag(known)).is_ok_and(|tag| tag.image == id);
        let config =
            String::from_utf8(found.config_text.clone()).map_err(|_| Error::invalid("the image's config is not text"))?;
        session.ask(&Report::Image(NewImage {
            id: id.to_string(),
            config,
            manifest: found.manifest_digest.to_string(),
            layers: found.diff_ids.iter().map(Digest::to_string).collect(),
            sizes,
            references,
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
