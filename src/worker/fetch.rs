//! One layer from a registry into the store: the same for a pull, for its helpers, and for a repair.

use crate::base::{Error, Result};
use crate::image::manifest::Descriptor;
use crate::image::{Digest, Reference};
use crate::layer::{Applied, Apply, checkpoint};
use crate::registry::{self, Client, Piece, Repository};
use crate::store::{self, LayerInfo, Partial, Root};
use crate::wire::worker::{Auth, Layer, Registries};
use crate::worker::session::Session;
use crate::worker::staged_image::StagedImage;
use sha2::Digest as _;
use std::path::Path;
use std::time::Duration;

/// The fewest compressed bytes between two checkpoints, and the most.
const INTERVAL: (u64, u64) = (8 << 20, 15 << 20);
/// Compressed bytes between two looks at what is free.
const LOOK: usize = 4 << 20;
/// How often a lock is tried that another process has.
const RETRY: Duration = Duration::from_millis(100);

/// A layer that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Digest of the blob at the registry.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The layer is there already, but damaged.
    pub replace: bool,
    /// The blob is said to be gzip.
    pub gzip: bool,
}

impl Wanted {
    /// As an image's manifest and config have it.
    pub fn new(blob: &Descriptor, diff_id: &Digest, replace: bool) -> Wanted {
        let gzip = blob.media_type.ends_with("gzip");
        Wanted { blob: blob.digest, size: blob.size, diff_id: *diff_id, replace, gzip }
    }

    /// From a message.
    pub fn of(layer: &Layer) -> Result<Wanted> {
        let (blob, diff_id) = (Digest::parse(&layer.blob)?, Digest::parse(&layer.diff_id)?);
        Ok(Wanted { blob, size: layer.size, diff_id, replace: layer.replace, gzip: false })
    }

    /// For a message.
    pub fn message(&self) -> Layer {
        Layer { blob: self.blob.to_string(), size: self.size, diff_id: self.diff_id.to_string(), replace: self.replace }
    }
}

/// The job of a pull's helper: fetches whichever layer nobody else has, one after the other.
pub fn help(
    session: &mut Session,
    root: &Root,
    reference: &str,
    auth: Option<&Auth>,
    registries: Registries,
    layers: &[Layer],
) -> Result<()> {
    let reference = Reference::parse(reference)?;
    let manifest = reference.digest().ok_or_else(|| Error::internal("a helper wants the manifest's digest"))?.to_string();
    let mut client = Client::new(registries, Some(session.watch()));
    let (mut repository, _) = registry::first_with(&mut client, &reference, &manifest, auth)?;
    for message in layers {
        let wanted = Wanted::of(message)?;
        if !wanted.replace && root.has_layer(&wanted.diff_id) {
            continue;
        }
        if let Some(partial) = Partial::lock(root, &wanted.diff_id)? {
            locked(session, root, &mut repository, &wanted, partial, None).map_err(|e| named(&wanted, e))?;
        }
    }
    Ok(())
}

fn named(wanted: &Wanted, e: Error) -> Error {
    e.context(format!("layer {}", wanted.blob))
}

/// Fetches a layer, of an image that it may be the last one of, or waits until another process has.
pub fn layer(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    wanted: &Wanted,
    image: Option<&StagedImage<'_>>,
) -> Result<()> {
    match hold(session, root, wanted)? {
        Some(partial) => locked(session, root, repository, wanted, partial, image).map_err(|e| named(wanted, e)),
        None => Ok(()),
    }
}

/// The work folder of a layer, as soon as no other process has it; `None` if the layer is there by then.
pub fn hold(session: &mut Session, root: &Root, wanted: &Wanted) -> Result<Option<Partial>> {
    let mut waits = false;
    loop {
        if !wanted.replace && root.has_layer(&wanted.diff_id) {
            if waits {
                session.status(&wanted.blob.short(), "Pull complete")?;
            }
            return Ok(None);
        }
        if let Some(partial) = Partial::lock(root, &wanted.diff_id)? {
            return Ok(Some(partial));
        }
        if !std::mem::replace(&mut waits, true) {
            session.status(&wanted.blob.short(), "Waiting")?;
        }
        session.pause(RETRY)?;
    }
}

fn locked(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    wanted: &Wanted,
    partial: Partial,
    image: Option<&StagedImage<'_>>,
) -> Result<()> {
    if !wanted.replace && root.has_layer(&wanted.diff_id) {
        return partial.discard(root); // it was completed while the lock was waited for
    }
    let mut again = true;
    let staged = partial.path().join("layer");
    loop {
        let apply = start(root, wanted, &partial)?;
        let resumed = apply.compressed() > 0;
        let mut fault = Fault::Link;
        let brought = bring(session, root, repository, wanted, apply, &mut fault);
        match brought.and_then(|apply| complete(wanted, apply, &staged, image, &mut fault)) {
            Ok(()) => break,
            // What was gone on with may have been a lie from the beginning, and any line may flip a bit: from there once more,
            // at the next source if there is one.
            Err(e)
                if fault == Fault::Bytes
                    && (resumed || repository.distrust(&wanted.blob) || std::mem::replace(&mut again, false)) =>
            {
                log::warn!("layer {} starts anew: {e}", wanted.blob);
                partial.empty(root)?;
            }
            Err(e) => {
                // What a liar sent is not gone on with; what a lost link or a full disk has cut short is.
                if fault != Fault::Link || !checkpoint::exists(partial.path()) {
                    partial.discard(root)?;
                }
                return Err(e);
            }
        }
    }
    let id = wanted.blob.short();
    session.status(&id, "Download complete")?;
    session.progress(&id, "Extracting", wanted.size, wanted.size)?;
    match wanted.replace {
        true => store::replace_layer(root, &staged, &wanted.diff_id)?,
        false => store::commit_layer(root, &staged, &wanted.diff_id)?,
    }
    partial.discard(root)?;
    session.status(&id, "Pull complete")
}

/// What made a layer fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The way that the bytes come, or this machine.
    Link,
    /// The bytes, which may be others than those that the registry has.
    Bytes,
    /// The image: these are its bytes.
    Image,
}

impl Fault {
    /// Something was wrong with what came, if this is not the machine's own trouble.
    fn blame(&mut self, e: &Error) {
        if !e.is_of_machine() {
            *self = Fault::Bytes;
        }
    }
}

/// Where the last checkpoint was, or at the start.
fn start(root: &Root, wanted: &Wanted, partial: &Partial) -> Result<Apply> {
    // Each costs the journal about as much as its own 20 kB: a large layer has fewer than it could.
    let interval = (wanted.size / 8).clamp(INTERVAL.0, INTERVAL.1);
    match Apply::resume(partial.path(), &wanted.blob, interval) {
        Ok(Some(apply)) => {
            log::info!("layer {} goes on at byte {} of {}", wanted.blob, apply.compressed(), wanted.size);
            return Ok(apply);
        }
        Ok(None) => {}
        Err(e) if e.is_of_machine() => return Err(e),
        Err(e) => log::warn!("layer {} starts anew: {e}", wanted.blob),
    }
    partial.empty(root)?;
    Apply::resumable(partial.path(), &wanted.blob, interval)
}

/// Streams the rest of the blob into the layer.
fn bring(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    wanted: &Wanted,
    mut apply: Apply,
    fault: &mut Fault,
) -> Result<Apply> {
    apply.limit(store::room(root)?);
    let id = wanted.blob.short();
    let from = apply.compressed();
    let (mut prefix, mut passed, mut unlooked) = (sha2::Sha256::new(), 0, 0);
    let fetched = repository.blob(&wanted.blob, wanted.size, from, |piece| {
        match piece {
            // From a registry that knows no ranges: it must be what the checkpoint has seen.
            Piece::Prefix(bytes) => {
                prefix.update(bytes);
                passed += bytes.len() as u64;
                if passed == from && Digest::finish(prefix.clone()) != apply.digest_so_far() {
                    *fault = Fault::Bytes;
                    return Err(Error::internal("the registry sends another beginning than it did before"));
                }
            }
            Piece::Data(bytes) => {
                unlooked += bytes.len();
                if unlooked > LOOK {
                    store::check_left(root, std::mem::take(&mut unlooked) as u64)?; // others write there too
                }
                apply.push(bytes).inspect_err(|e| fault.blame(e))?;
            }
        }
        session.progress(&id, "Downloading", apply.compressed(), wanted.size)
    });
    fetched.map_err(|f| {
        if f.restart {
            *fault = Fault::Bytes;
        }
        f.error
    })?;
    session.status(&id, "Verifying Checksum")?;
    Ok(apply)
}

/// All has come: compares what came out with what it should be, and makes it durable.
fn complete(wanted: &Wanted, apply: Apply, staged: &Path, image: Option<&StagedImage<'_>>, fault: &mut Fault) -> Result<()> {
    let right = apply.digest_so_far() == wanted.blob;
    let finished = apply.finish(|applied| {
        check(wanted, applied)?;
        LayerInfo::write(applied, staged)?;
        image.map_or(Ok(()), |image| image.before_sync(applied))
    });
    finished.map(|_| image.into_iter().for_each(StagedImage::synced)).inspect_err(|e| {
        fault.blame(e);
        if right && *fault == Fault::Bytes {
            *fault = Fault::Image;
        }
    })
}

fn check(wanted: &Wanted, applied: &Applied) -> Result<()> {
    if applied.digest != wanted.blob {
        return Err(Error::internal(format!("filesystem layer verification failed for digest {}", wanted.blob)));
    }
    if applied.diff_id != wanted.diff_id {
        return Err(Error::internal(format!("its content is {}, the image's config says {}", applied.diff_id, wanted.diff_id)));
    }
    Ok(())
}
