//! Applying balenaEngine's delta images, by a pull and by a load: each delta layer passes through as it comes, and what it makes goes
//! the way of any layer's tar. What comes out is the target's image; the delta is kept nowhere.
//!
//! A delta layer that is cut starts anew: it is small, and what it makes is not gone on with.

use crate::base::{Error, Result};
use crate::delta::balena::{DeltaImage, EMPTY, LayerReader};
use crate::delta::base::{Base, Origin};
use crate::delta::blocks::Blocks;
use crate::image::Digest;
use crate::image::manifest::Descriptor;
use crate::layer::decode::Decoder;
use crate::layer::{Apply, Skeleton};
use crate::registry::{Piece, Repository};
use crate::store::{self, LayerInfo, Partial, Root};
use crate::wire::worker::Report;
use crate::worker::fetch::{self, Wanted};
use crate::worker::session::Session;
use crate::worker::{plan, room, verify};
use sha2::Digest as _;
use std::path::{Path, PathBuf};

/// Bytes made between two looks at what is free.
const LOOK: u64 = 4 << 20;
/// Bytes read at once of a delta that is on disk.
const CHUNK: usize = 64 * 1024;

/// The base of a delta image.
struct BaseImage {
    id: Digest,
    layers: Vec<Digest>,
}

impl BaseImage {
    /// If it is in the store with all its layers.
    fn find(root: &Root, id: &Digest) -> Result<Option<BaseImage>> {
        let (images, _) = store::images(root)?;
        Ok(images.into_iter().find(|image| image.id == *id).map(|image| BaseImage { id: *id, layers: image.layers }))
    }

    /// The layers' skeletons, bottom first.
    fn open(&self, root: &Root) -> Result<Vec<Skeleton>> {
        let open = |layer: &Digest| Skeleton::open(&root.layer(layer)).map_err(|e| loading(&self.id, e));
        self.layers.iter().map(open).collect()
    }

    /// Something else came out than should, or nothing: if a layer of the base is damaged, that is why.
    fn explain(&self, session: &Session, root: &Root, e: Error) -> Error {
        if e.is_of_machine() {
            return e;
        }
        for layer in &self.layers {
            match verify::damage_of(session, root, layer) {
                Ok(None) => {}
                Ok(Some(damage)) => {
                    let how = "repair it (prtiql system verify --repair)";
                    let id = &self.id;
                    return Error::internal(format!(
                        "layer {layer} of the delta's base image \"{id}\" is damaged: {damage}: {how}"
                    ));
                }
                Err(_) => return e, // nobody waits any more
            }
        }
        e
    }
}

fn loading(id: &Digest, e: Error) -> Error {
    e.context(format!("loading delta base image \"{id}\""))
}

/// balenaEngine's words for a base that is not there, and what to do.
fn no_base(id: &Digest) -> Error {
    let what = "no such image: pull it first, or pull the target itself";
    loading(id, Error::not_found(format!("failed to get digest {id}: {what}")))
}

/// One layer of the target being made.
struct Making<'a, 'b> {
    root: &'a Root,
    base: &'a mut Blocks<'b>,
    reader: LayerReader,
    apply: Apply,
    unlooked: u64,
}

impl<'a, 'b> Making<'a, 'b> {
    /// In the folder `work`, which is empty.
    fn new(root: &'a Root, base: &'a mut Blocks<'b>, work: &Path) -> Result<Making<'a, 'b>> {
        let mut apply = Apply::new(work)?.plain();
        apply.limit(store::room(root)?);
        Ok(Making { root, base, reader: LayerReader::default(), apply, unlooked: 0 })
    }

    /// The next bytes of the delta layer's tar.
    fn push(&mut self, session: &Session, bytes: &[u8]) -> Result<()> {
        let (root, apply, unlooked) = (self.root, &mut self.apply, &mut self.unlooked);
        self.reader.push(bytes, self.base, &mut |made| {
            *unlooked += made.len() as u64;
            if *unlooked > LOOK {
                // A short delta can make much: meanwhile others write, too, or nobody waits any more.
                store::check_left(root, std::mem::take(unlooked))?;
                session.check()?;
            }
            apply.push(made)
        })
    }

    /// The delta layer has ended: compares what it was and what it has made with what both should be.
    fn finish(self, delta: &Digest, diff_id: &Digest, work: &Path) -> Result<()> {
        let found = self.reader.finish()?;
        if found != *delta {
            return Err(Error::internal(format!("the delta's content is {found}, its image's config says {delta}")));
        }
        let check = |applied: &crate::layer::Applied| match applied.diff_id == *diff_id {
            true => LayerInfo::write(applied, &work.join("layer")),
            false => Err(Error::internal(format!("the delta makes {}, the target's config says {diff_id}", applied.diff_id))),
        };
        self.apply.finish(check).map(drop)
    }
}

/// Pulls the layers of the target that are missing or damaged. `blobs` are the delta layers at the registry.
pub fn pull(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    blobs: &[Descriptor],
    delta: &DeltaImage,
) -> Result<()> {
    let layers = &delta.target.rootfs.diff_ids;
    let mut wanted: Vec<(Wanted, Digest)> = Vec::new();
    let parts = || blobs.iter().zip(&delta.deltas).zip(layers);
    for ((blob, of), diff_id) in parts() {
        let id = blob.digest.short();
        let damage = if root.has_layer(diff_id) { verify::damage_of(session, root, diff_id)? } else { None };
        match damage {
            Some(damage) if *of == Digest::of(&EMPTY) => {
                let how = "the delta does not have it: repair it first (prtiql system verify --repair)";
                return Err(Error::internal(format!("layer {diff_id} is damaged: {damage}: {how}")));
            }
            None if root.has_layer(diff_id) => session.status(&id, "Already exists")?,
            _ if wanted.iter().any(|(seen, _)| seen.diff_id == *diff_id) => {}
            damage => {
                if let Some(damage) = &damage {
                    log::warn!("layer {diff_id} is damaged: {damage}");
                }
                session.status(&id, if damage.is_some() { "Damaged: pulling again" } else { "Pulling fs layer" })?;
                wanted.push((Wanted::new(blob, diff_id, damage.is_some()), *of));
            }
        }
    }
    let base = BaseImage::find(root, &delta.base)?;
    let both = layers.iter().chain(base.iter().flat_map(|base| &base.layers));
    session.ask(&Report::Plan { layers: both.map(Digest::to_string).collect() })?;
    // What was removed while nobody knew that it is wanted comes too.
    for ((blob, of), diff_id) in parts() {
        if !root.has_layer(diff_id) && !wanted.iter().any(|(seen, _)| seen.diff_id == *diff_id) {
            wanted.push((Wanted::new(blob, diff_id, false), *of));
        }
    }
    if !wanted.is_empty() {
        let base = base.ok_or_else(|| no_base(&delta.base))?;
        make_room(session, root, &base, layers, &wanted)?;
        let skeletons = base.open(root)?;
        let origins: Vec<Origin<'_>> = skeletons.iter().map(Origin::Layer).collect();
        let mut pull = Pull { root, repository, image: &base, base: Blocks::new(Base::new(&origins)?) };
        for waiting in wanted.iter().skip(1) {
            session.status(&waiting.0.blob.short(), "Waiting")?;
        }
        for (wanted, of) in &wanted {
            if let Some(partial) = fetch::hold(session, root, wanted)? {
                pull.layer(session, wanted, of, partial).map_err(|e| e.context(format!("layer {}", wanted.blob)))?;
            }
        }
    }
    Ok(())
}

/// What the target's layers take is not said anywhere: as much as those of the base that they replace, most likely. At the least it
/// is what the deltas take.
fn make_room(session: &mut Session, root: &Root, base: &BaseImage, layers: &[Digest], wanted: &[(Wanted, Digest)]) -> Result<()> {
    if root.space().frees {
        let replaced = base.layers.iter().filter(|layer| !layers.contains(layer));
        let likely: u64 = replaced.filter_map(|layer| store::layer_info(root, layer).ok()).map(|info| info.size).sum();
        let missing = likely.saturating_add(root.space().spare).saturating_sub(store::room(root)?);
        if missing > 0 {
            session.ask_for_room(missing)?;
        }
    }
    let wanted: Vec<Wanted> = wanted.iter().map(|(wanted, _)| wanted.clone()).collect();
    room::make(session, root, plan::least(root, &wanted))
}

/// What made a delta layer fail.
#[derive(PartialEq, Eq)]
enum Fault {
    /// The way that the bytes come, or this machine.
    Link,
    /// The bytes, which may be others than those that the registry has.
    Bytes,
    /// The delta or its base: these are the registry's bytes.
    Delta,
}

impl Fault {
    /// Something was wrong with what came, if this is not the machine's own trouble.
    fn blame(&mut self, e: &Error) {
        if !e.is_of_machine() {
            *self = Fault::Bytes;
        }
    }
}

/// A pull with its base open.
struct Pull<'a, 'r> {
    root: &'a Root,
    repository: &'a mut Repository<'r>,
    image: &'a BaseImage,
    base: Blocks<'a>,
}

impl Pull<'_, '_> {
    /// Brings one layer of the target, whose work folder is ours. `of` is the diff ID of its delta.
    fn layer(&mut self, session: &mut Session, wanted: &Wanted, of: &Digest, partial: Partial) -> Result<()> {
        if !wanted.replace && self.root.has_layer(&wanted.diff_id) {
            return partial.discard(self.root); // it was completed while the lock was waited for
        }
        let mut again = true;
        loop {
            partial.empty(self.root)?;
            let mut fault = Fault::Link;
            let Err(e) = self.bring(session, wanted, of, partial.path(), &mut fault) else { break };
            // Any line may flip a bit: once more, at the next source if there is one.
            if fault == Fault::Bytes && (self.repository.distrust(&wanted.blob) || std::mem::replace(&mut again, false)) {
                log::warn!("layer {} starts anew: {e}", wanted.blob);
                continue;
            }
            partial.discard(self.root)?;
            return Err(if fault == Fault::Link { e } else { self.image.explain(session, self.root, e) });
        }
        let staged = partial.path().join("layer");
        match wanted.replace {
            true => store::replace_layer(self.root, &staged, &wanted.diff_id)?,
            false => store::commit_layer(self.root, &staged, &wanted.diff_id)?,
        }
        partial.discard(self.root)?;
        session.status(&wanted.blob.short(), "Pull complete")
    }

    /// Streams a delta layer into the layer that it makes.
    fn bring(&mut self, session: &mut Session, wanted: &Wanted, of: &Digest, work: &Path, fault: &mut Fault) -> Result<()> {
        let mut making = Making::new(self.root, &mut self.base, work)?;
        let (mut decoder, mut hash, mut taken) = (Decoder::default(), sha2::Sha256::new(), 0);
        let id = wanted.blob.short();
        let fetched = self.repository.blob(&wanted.blob, wanted.size, 0, |piece| {
            let Piece::Data(mut bytes) = piece else { return Ok(()) };
            hash.update(bytes);
            taken += bytes.len() as u64;
            while !bytes.is_empty() {
                let pushed = decoder.push(&mut bytes, false, &mut |tar| making.push(session, tar));
                pushed.inspect_err(|e| fault.blame(e))?;
            }
            session.progress(&id, "Downloading", taken, wanted.size)
        });
        fetched.map_err(|f| {
            if f.restart {
                *fault = Fault::Bytes;
            }
            f.error
        })?;
        session.status(&id, "Verifying Checksum")?;
        if Digest::finish(hash) != wanted.blob {
            *fault = Fault::Bytes;
            return Err(Error::internal(format!("filesystem layer verification failed for digest {}", wanted.blob)));
        }
        session.status(&id, "Download complete")?;
        session.progress(&id, "Extracting", wanted.size, wanted.size)?;
        let ended = decoder.finish(&mut |tar| making.push(session, tar));
        ended.and_then(|()| making.finish(of, &wanted.diff_id, work)).inspect_err(|e| {
            if !e.is_of_machine() {
                *fault = Fault::Delta;
            }
        })
    }
}

/// Makes the layers of the target that are missing out of delta layers that an archive had. `source` gives the folder of each,
/// extracted as any layer is.
pub fn load(
    session: &mut Session,
    root: &Root,
    staging: &Path,
    delta: &DeltaImage,
    source: &dyn Fn(usize) -> Result<PathBuf>,
) -> Result<()> {
    let layers = &delta.target.rootfs.diff_ids;
    let base = BaseImage::find(root, &delta.base)?;
    let all = layers.iter().chain(&delta.deltas).chain(base.iter().flat_map(|base| &base.layers));
    session.ask(&Report::Plan { layers: all.map(Digest::to_string).collect() })?;
    if layers.iter().all(|layer| root.has_layer(layer)) {
        return Ok(());
    }
    let base = base.ok_or_else(|| no_base(&delta.base))?;
    let skeletons = base.open(root)?;
    let origins: Vec<Origin<'_>> = skeletons.iter().map(Origin::Layer).collect();
    let mut stream = Blocks::new(Base::new(&origins)?);
    for (nth, (of, diff_id)) in delta.deltas.iter().zip(layers).enumerate() {
        if root.has_layer(diff_id) {
            continue;
        }
        session.status(&diff_id.short(), "Loading layer")?;
        let work = staging.join(format!("made-{nth}-{}", diff_id.short()));
        std::fs::create_dir_all(&work)?;
        let made = source(nth).and_then(|folder| load_layer(session, root, &folder, of, diff_id, &mut stream, &work));
        made.map_err(|e| base.explain(session, root, e).context(format!("layer {of} of the image archive")))?;
        store::commit_layer(root, &work.join("layer"), diff_id)?;
    }
    Ok(())
}

fn load_layer(
    session: &Session,
    root: &Root,
    folder: &Path,
    of: &Digest,
    diff_id: &Digest,
    base: &mut Blocks<'_>,
    work: &Path,
) -> Result<()> {
    let skeleton = Skeleton::open(folder)?;
    let mut tar = skeleton.tar().forgetful();
    let mut making = Making::new(root, base, work)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = tar.read(&mut buffer)?;
        if n == 0 {
            return making.finish(of, diff_id, work);
        }
        making.push(session, &buffer[..n])?;
    }
}
