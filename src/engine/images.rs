//! Images and the references that name them.

use crate::base::time::Time;
use crate::base::{Error, Result};
use crate::engine::jobs::Purpose;
use crate::engine::{ConnId, Engine, Reply};
use crate::image::config::ImageConfig;
use crate::image::{Digest, Reference};
use crate::reactor::now_ms;
use crate::store;
use crate::wire::commit::Change;
use crate::wire::worker::NewImage;
use serde_json::json;
use std::collections::BTreeMap;

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the config.
    pub id: Digest,
    /// The config's exact text.
    pub config: String,
    /// Diff IDs, bottom first.
    pub layers: Vec<Digest>,
    /// Bytes of files of each layer.
    pub sizes: Vec<u64>,
    /// When its config says it was made.
    pub created: Time,
    /// When it came here, nanoseconds since 1970.
    pub pulled: i64,
    /// When it was last used, by the clock that never jumps; `None` if not since the daemon started.
    pub used_ms: Option<u64>,
    /// It lies in a read-only store.
    pub in_store: bool,
}

impl Image {
    /// From what a worker or the store tells.
    pub fn new(id: Digest, config: String, layers: Vec<Digest>, sizes: Vec<u64>) -> Result<Image> {
        let parsed = ImageConfig::parse(config.as_bytes())?;
        let created = parsed.created.as_deref().and_then(|t| Time::parse_rfc3339(t).ok()).unwrap_or_default();
        Ok(Image { id, config, layers, sizes, created, pulled: 0, used_ms: None, in_store: false })
    }

    /// The config, parsed anew: it is looked at rarely, and kept as text.
    pub fn parsed(&self) -> ImageConfig {
        ImageConfig::parse(self.config.as_bytes()).unwrap_or_default()
    }

    /// Bytes of files.
    pub fn size(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// `sha256:…`.
    pub fn id_text(&self) -> String {
        self.id.to_string()
    }
}

/// All images and references.
#[derive(Default)]
pub struct Images {
    /// By ID.
    pub by_id: BTreeMap<Digest, Image>,
    /// Tags and digests.
    pub tags: BTreeMap<Reference, Digest>,
    /// Those that read-only stores set. One of the data root goes before it.
    store_tags: BTreeMap<Reference, Digest>,
}

impl Images {
    /// By reference, ID, or unique beginning of an ID (Docker's order: ID, reference, beginning).
    pub fn find(&self, name: &str) -> Result<&Image> {
        if let Some(image) = Digest::parse(name).ok().and_then(|id| self.by_id.get(&id)) {
            return Ok(image);
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if let Some(image) = Digest::from_hex(hex).ok().and_then(|id| self.by_id.get(&id)) {
            return Ok(image);
        }
        let reference = Reference::parse_tagged(name);
        if let Ok(reference) = &reference
            && let Some(image) = self.by_reference(reference)
        {
            return Ok(image);
        }
        if !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut found = self.by_id.values().filter(|i| i.id.hex().starts_with(hex));
            if let (Some(image), None) = (found.next(), found.next()) {
                return Ok(image);
            }
        }
        match reference {
            Ok(reference) => Err(Error::not_found(format!("No such image: {}", reference.familiar()))),
            Err(e) if name.contains(char::is_uppercase) => Err(e),
            Err(_) => Err(Error::not_found(format!("No such image: {name}"))),
        }
    }

    /// By exact reference; one with tag and digest is found by its digest.
    pub fn by_reference(&self, reference: &Reference) -> Option<&Image> {
        let id = self.tags.get(reference).or_else(|| {
            let digest = reference.digest()?;
            self.tags.get(&reference.repository().with_digest(digest))
        })?;
        self.by_id.get(id)
    }

    /// References to an image: tags first, then digests, as text for people.
    pub fn names(&self, id: Digest) -> (Vec<String>, Vec<String>) {
        let (mut tags, mut digests) = (Vec::new(), Vec::new());
        for (reference, _) in self.tags.iter().filter(|(_, to)| **to == id) {
            if reference.digest().is_some() {
                digests.push(reference.familiar());
            } else {
                tags.push(reference.familiar());
            }
        }
        (tags, digests)
    }

    /// A reference that a read-only store sets; it counts where there is no other.
    pub fn add_store_tag(&mut self, reference: Reference, id: Digest) {
        self.tags.entry(reference.clone()).or_insert(id);
        self.store_tags.entry(reference).or_insert(id);
    }

    /// How many images have that layer.
    pub fn layer_users(&self, layer: &Digest) -> usize {
        self.by_id.values().filter(|i| i.layers.contains(layer)).count()
    }
}

impl Engine {
    /// An image that a worker has committed; sets its references.
    pub fn add_image(&mut self, new: &NewImage) -> Result<Digest> {
        let id = Digest::parse(&new.id)?;
        let layers = new.layers.iter().map(|l| Digest::parse(l)).collect::<Result<Vec<_>>>()?;
        let mut image = Image::new(id, new.config.clone(), layers, new.sizes.clone())?;
        image.used_ms = Some(now_ms());
        image.in_store = self.images.by_id.get(&id).is_some_and(|known| known.in_store);
        self.images.by_id.insert(id, image);
        // An image without its layers would do no harm; a reference to what a power cut has taken back would.
        for folder in store::NAMED {
            self.committer.change(Change::Names { path: folder.into() });
        }
        for text in &new.references {
            self.set_reference(&Reference::parse(text)?, id);
        }
        Ok(id)
    }

    /// Sets a tag or digest, durably by the next answer.
    pub fn set_reference(&mut self, reference: &Reference, id: Digest) {
        if self.images.tags.get(reference) == Some(&id) {
            return;
        }
        self.committer.write(format!("tags/{}", store::escape(reference)), store::tag_text(&id, reference));
        self.images.tags.insert(reference.clone(), id);
    }

    fn drop_reference(&mut self, reference: &Reference) {
        self.committer.change(Change::Remove { path: format!("tags/{}", store::escape(reference)) });
        self.images.tags.remove(reference);
        if let Some(id) = self.images.store_tags.get(reference) {
            self.images.tags.insert(reference.clone(), *id);
        }
    }

    /// `POST /images/{name}/tag`.
    pub fn tag_image(&mut self, conn: ConnId, name: &str, repo: &str, tag: &str) -> Result<()> {
        self.root.check_writable()?;
        let id = self.images.find(name)?.id;
        let reference = Reference::parse(repo)?;
        if reference.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let reference = match tag {
            "" => reference.with_default_tag(),
            tag => reference.with_tag(tag)?,
        };
        self.set_reference(&reference, id);
        self.emit("image", "tag", &id.to_string(), vec![("name".into(), reference.familiar())]);
        self.answer_durably(conn, Reply::Empty(201));
        Ok(())
    }

    /// `DELETE /images/{name}`: what was untagged and deleted, as Docker lists it.
    pub fn remove_image(&mut self, name: &str, force: bool) -> Result<Vec<serde_json::Value>> {
        let image = self.images.find(name)?;
        self.root.check_writable()?;
        let id = image.id;
        let by_id = Reference::parse_tagged(name).ok().is_none_or(|r| self.images.by_reference(&r).is_none());
        let (tags, _) = self.images.names(id);
        let short = &id.hex()[..12];
        let repositories: std::collections::BTreeSet<String> =
            self.images.tags.iter().filter(|(_, to)| **to == id).map(|(r, _)| r.name()).collect();
        let mut out = Vec::new();
        if image.in_store {
            // Only a name of the data root's own can be taken from it.
            let own = Reference::parse_tagged(name).ok().filter(|r| self.images.store_tags.get(r) != Some(&id));
            let Some(reference) = own.filter(|_| !by_id) else {
                let store =
                    image.layers.iter().find_map(|l| self.root.store_of(l)).unwrap_or(std::path::Path::new("image-stores"));
                let why = format!("conflict: unable to delete {short} - it is in the read-only image store {}", store.display());
                return Err(Error::conflict(why));
            };
            self.untag(&reference, id, &mut out);
            return Ok(out);
        }
        if by_id {
            if repositories.len() > 1 && !force {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
                )));
            }
            self.check_image_unused(id, short, force)?;
        } else {
            let reference = Reference::parse_tagged(name)?;
            let last_tag = tags.len() <= 1 || reference.digest().is_some() && tags.is_empty();
            if last_tag
                && !force
                && let Some(user) = self.container_of_image(id)
            {
                return Err(Error::conflict(format!(
                    "conflict: unable to remove repository reference \"{}\" (must force) - container {} is using its referenced image {short}",
                    name,
                    &user[..12]
                )));
            }
            if !last_tag {
                self.untag(&reference, id, &mut out);
                return Ok(out);
            }
            if self.container_of_image(id).is_some() {
                // Forced: the name goes, the image stays for its containers.
                self.check_not_running(id, short)?;
                self.untag(&reference, id, &mut out);
                return Ok(out);
            }
        }
        let references: Vec<Reference> = self.images.tags.iter().filter(|(_, to)| **to == id).map(|(r, _)| r.clone()).collect();
        for reference in references {
            self.untag(&reference, id, &mut out);
        }
        if self.container_of_image(id).is_none() {
            self.delete_image(id, &mut out);
        }
        Ok(out)
    }

    fn untag(&mut self, reference: &Reference, id: Digest, out: &mut Vec<serde_json::Value>) {
        self.drop_reference(reference);
        out.push(json!({"Untagged": reference.familiar()}));
        self.emit("image", "untag", &id.to_string(), vec![("name".into(), reference.familiar())]);
    }

    fn check_image_unused(&self, id: Digest, short: &str, force: bool) -> Result<()> {
        self.check_not_running(id, short)?;
        match self.container_of_image(id) {
            Some(user) if !force => Err(Error::conflict(format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
                &user[..12]
            ))),
            _ => Ok(()),
        }
    }

    fn check_not_running(&self, id: Digest, short: &str) -> Result<()> {
        match self.containers.all().find(|c| c.image == id && c.is_running()) {
            Some(c) => Err(Error::conflict(format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
                &c.id[..12]
            ))),
            None => Ok(()),
        }
    }

    fn container_of_image(&self, id: Digest) -> Option<String> {
        self.containers.all().find(|c| c.image == id).map(|c| c.id.clone())
    }

    /// Drops an image that nothing names or uses, and its layers as far as no other image or running pull needs them.
    pub fn delete_image(&mut self, id: Digest, out: &mut Vec<serde_json::Value>) {
        let Some(image) = self.images.by_id.remove(&id) else { return };
        self.committer.change(Change::Trash { path: format!("images/sha256/{}", id.hex()) });
        out.push(json!({"Deleted": id.to_string()}));
        self.emit("image", "delete", &id.to_string(), vec![("name".into(), id.to_string())]);
        for layer in image.layers.iter().rev() {
            if self.images.layer_users(layer) == 0 && !self.layer_is_pinned(layer) && self.root.store_of(layer).is_none() {
                self.committer.change(Change::Trash { path: format!("layers/sha256/{}", layer.hex()) });
                out.push(json!({"Deleted": layer.to_string()}));
            }
        }
        self.empty_trash_soon();
    }

    /// `POST /images/prune`: dangling images, or (with `all`) those no container uses.
    pub fn prune_images(&mut self, all: bool, wanted: &dyn Fn(&Image) -> bool) -> Result<(Vec<serde_json::Value>, u64)> {
        self.root.check_writable()?;
        let ids: Vec<Digest> = self.images.by_id.keys().copied().collect();
        let (mut out, mut freed) = (Vec::new(), 0);
        for id in ids {
            let named = !self.images.names(id).0.is_empty();
            let in_store = self.images.by_id.get(&id).is_some_and(|i| i.in_store);
            if in_store
                || self.container_of_image(id).is_some()
                || (named && !all)
                || !self.images.by_id.get(&id).is_some_and(wanted)
            {
                continue;
            }
            let own = |image: &Image| -> u64 {
                image.layers.iter().zip(&image.sizes).filter(|(l, _)| self.images.layer_users(l) == 1).map(|(_, s)| s).sum()
            };
            freed += self.images.by_id.get(&id).map_or(0, own);
            self.drop_image(id, &mut out);
        }
        self.reclaim(Purpose::Prune { all });
        Ok((out, freed))
    }

    /// Takes all names from an image, and deletes it.
    pub fn drop_image(&mut self, id: Digest, out: &mut Vec<serde_json::Value>) {
        let references: Vec<Reference> = self.images.tags.iter().filter(|(_, to)| **to == id).map(|(r, _)| r.clone()).collect();
        for reference in references {
            self.untag(&reference, id, out);
        }
        self.delete_image(id, out);
    }
}
