//! Deltas in a pull: if the registry has one from what is here to what is wanted, its layers are made by it, and not fetched. What cannot
//! be made so is left to the plain way, one layer at a time.

use crate::base::{Context, Error, Result, size};
use crate::delta::apply::{Out, apply};
use crate::delta::artifact::{Artifact, Part};
use crate::delta::base::{Base, Origin};
use crate::delta::choose::{self, Listed, Plan};
use crate::delta::format;
use crate::image::Digest;
use crate::layer::{Applied, Apply, Skeleton};
use crate::registry::{Failure, Piece, Repository};
use crate::store::{self, LayerInfo, Partial, Root};
use crate::wire::worker::{DeltaMode, Report};
use crate::worker::fetch::{self, Wanted};
use crate::worker::plan::Need;
use crate::worker::session::Session;
use crate::worker::staged_image::StagedImage;
use crate::worker::{room, verify};
use rustix::fs::MemfdFlags;
use sha2::Digest as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The delta in the work folder of the layer that it makes.
const DELTA: &str = "delta";
/// A delta up to this size is kept in memory, not on the device: an update of a few files would write as much again. After a power cut it
/// is fetched anew.
const IN_MEMORY: u64 = 3 << 19;
/// Bytes made between two checkpoints, the fewest and the most.
const INTERVAL: (u64, u64) = (16 << 20, 64 << 20);
/// Bytes made between two looks at what is free.
const LOOK: u64 = 4 << 20;
/// What a layer takes beside its files.
const OVERHEAD: u64 = 256 << 10;

/// What a pull lacks.
pub struct Target<'a> {
    /// The platform manifest.
    pub manifest: &'a Digest,
    /// Diff IDs of all its layers.
    pub layers: &'a [Digest],
    /// The layers that are to be brought.
    pub wanted: &'a [Wanted],
    /// The image that they are of.
    pub image: &'a StagedImage<'a>,
}

/// What deltas have done.
#[derive(Default)]
pub struct Done {
    /// The image that layers were made from.
    pub base: Option<Digest>,
    /// Layers of the base that were found damaged.
    pub damaged: Vec<Digest>,
    /// They have been looked at.
    examined: bool,
    /// Bytes of files that were linked, that share their blocks, and that were written.
    files: (u64, u64, u64),
}

/// Makes layers of the target by the cheapest deltas that there are. Not being able to is no error, unless deltas are required.
pub fn bring(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    target: &Target<'_>,
    mode: DeltaMode,
) -> Result<Done> {
    let missing = || target.wanted.iter().filter(|wanted| !wanted.replace);
    let mut done = Done::default();
    if mode == DeltaMode::Never || missing().next().is_none() {
        return Ok(done);
    }
    let required = |why: String, done: Done| match mode {
        DeltaMode::Require => Err(Error::not_found(format!("a delta is required, but {why}"))),
        _ => Ok(done),
    };
    let plain = missing().map(|wanted| wanted.size).sum();
    // Without a layer here there is nothing that a delta could be from.
    let found = match store::all_layers(root)?.is_empty() {
        true => Ok(None),
        false => choose::find(repository, target.manifest, plain, &mut |layer| root.has_layer(layer)),
    };
    let plan = match found {
        Ok(Some(plan)) => plan,
        Ok(None) => return required("there is none from what is here that is smaller than the layers".into(), done),
        Err(failure) => {
            session.check()?; // nobody may wait any more
            log::info!("deltas to {}: {}", target.manifest, failure.error);
            return required(format!("the registry's list of deltas cannot be had: {}", failure.error), done);
        }
    };
    if let Err(e) = follow(session, root, repository, target, (&plan, plain), &mut done) {
        session.check()?;
        log::warn!("delta to {}: {e}; its layers are pulled instead", target.manifest);
        session.status("", format!("Delta: {e}; pulling layers instead"))?;
        return required(e.to_string(), done);
    }
    let (linked, cloned, written) = done.files;
    let human = size::human;
    session.status("", format!("Delta: {} linked, {} shared, {} written", human(linked), human(cloned), human(written)))?;
    Ok(done)
}

fn follow(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    target: &Target<'_>,
    (plan, plain): (&Plan, u64),
    done: &mut Done,
) -> Result<()> {
    let from = plan.hops.first().map(|hop| hop.offer.base.short()).unwrap_or_default();
    let text = format!("Delta from {from}: {} instead of {}", size::human(plan.size), size::human(plain));
    log::info!("{}: {text}", target.manifest);
    session.status("", text)?;
    let mut failed = None;
    for (nth, hop) in plan.hops.iter().enumerate() {
        let artifact = artifact(repository, hop)?;
        // Neither what is copied from nor what is made on the way may be removed meanwhile.
        let made = artifact.parts.iter().map(|part| &part.diff_id);
        let pinned = target.layers.iter().chain(&hop.offer.base_layers).chain(made).map(Digest::to_string).collect();
        session.ask(&Report::Plan { layers: pinned })?;
        let last = nth + 1 == plan.hops.len();
        let needed = |part: &&Part| !root.has_layer(&part.diff_id) && (!last || target.layers.contains(&part.diff_id));
        let parts: Vec<&Part> = artifact.parts.iter().filter(needed).collect();
        let bytes = parts.iter().map(|part| part.written + part.size + OVERHEAD).sum();
        room::make(session, root, Need { bytes, inodes: 0 })?;
        for part in parts {
            let id = target.wanted.iter().find(|w| w.diff_id == part.diff_id).map_or(part.blob, |w| w.blob);
            let base = &hop.offer.base_layers;
            match layer(session, root, repository, (part, base, target.image), &id.short(), done) {
                Ok(()) => done.base = Some(plan.hops[0].offer.base),
                Err(e) => {
                    session.check()?;
                    let e = e.context(format!("layer {}", part.diff_id));
                    // The others may do without it; on the way to the target every layer is needed.
                    if !last || e.is_of_machine() {
                        return Err(e);
                    }
                    failed = failed.or(Some(e));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn artifact(repository: &mut Repository<'_>, hop: &Listed) -> Result<Artifact> {
    let (text, ..) = repository.any_manifest(&hop.manifest.to_string(), |_, _| Ok(())).map_err(|f| f.error)?;
    let artifact = Artifact::parse(&text)?;
    match artifact.offer == hop.offer && artifact.subject.digest == hop.subject {
        true => Ok(artifact),
        false => Err(Error::invalid("the delta is not what the registry's list says of it")),
    }
}

/// Makes one layer, or waits until another process has. `id` is what its progress is told by.
fn layer(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    (part, base, image): (&Part, &[Digest], &StagedImage<'_>),
    id: &str,
    done: &mut Done,
) -> Result<()> {
    let wanted = Wanted { blob: part.blob, size: part.size, diff_id: part.diff_id, replace: false, gzip: false };
    let Some(partial) = fetch::hold(session, root, &wanted)? else { return Ok(()) };
    if root.has_layer(&part.diff_id) {
        return partial.discard(root); // it was completed while the lock was waited for
    }
    let mut link = false;
    let made = make(session, root, repository, part, id, &partial, &mut link);
    let staged = partial.path().join("layer");
    let applied = match made.and_then(|layer| complete(part, layer, &staged, image)) {
        Ok(applied) => applied,
        Err(e) => {
            session.check()?;
            // What a lost link or a full disk has cut short is gone on with; what a liar has made is not.
            if !link && !e.is_of_machine() {
                partial.discard(root)?;
            }
            return Err(if link { e } else { explain(session, root, base, e, done) });
        }
    };
    done.files.0 += applied.linked;
    done.files.1 += applied.cloned;
    done.files.2 += applied.size.saturating_sub(applied.linked + applied.cloned);
    store::commit_layer(root, &staged, &part.diff_id)?;
    partial.discard(root)?;
    session.status(id, "Pull complete")
}

/// `link` is set where it was the link that failed.
fn make(
    session: &mut Session,
    root: &Root,
    repository: &mut Repository<'_>,
    part: &Part,
    id: &str,
    partial: &Partial,
    link: &mut bool,
) -> Result<Apply> {
    let interval = (part.written / 8).clamp(INTERVAL.0, INTERVAL.1);
    let resumed = Apply::resume(partial.path(), &part.diff_id, interval).unwrap_or_else(|e| {
        log::warn!("layer {} starts anew: {e}", part.diff_id);
        None
    });
    // Without a layer to go on with, only a delta that has come in part may be there.
    if resumed.is_none() && std::fs::exists(partial.path().join("layer")).unwrap_or(true) {
        partial.empty(root)?;
    }
    let delta = bring_delta(session, repository, part, id, &partial.path().join(DELTA), link)?;
    let mut layer = match resumed {
        Some(layer) => {
            log::info!("layer {} goes on at byte {}", part.diff_id, layer.compressed());
            layer
        }
        None => Apply::resumable(partial.path(), &part.diff_id, interval)?.plain(),
    };
    let head = format::read_head(&delta)?;
    if head.target != part.diff_id {
        return Err(Error::invalid(format!("the delta makes {}", head.target)));
    }
    layer.limit(head.tar_size.saturating_sub(layer.compressed()));
    run(session, root, &delta, &head, &mut layer, id)?;
    session.status(id, "Verifying Checksum")?;
    Ok(layer)
}

/// The delta has been applied: compares what came out with what it should be, and makes it durable.
fn complete(part: &Part, layer: Apply, staged: &Path, image: &StagedImage<'_>) -> Result<Applied> {
    let applied = layer.finish(|applied| {
        if applied.diff_id != part.diff_id {
            return Err(Error::internal(format!("the delta makes {}", applied.diff_id)));
        }
        LayerInfo::write(applied, staged)?;
        image.before_sync(applied)
    })?;
    image.synced();
    Ok(applied)
}

/// Applies the delta from where the layer is.
fn run(session: &mut Session, root: &Root, delta: &File, head: &format::Head, layer: &mut Apply, id: &str) -> Result<()> {
    let open =
        |layer: &Digest| Skeleton::open(&root.layer(layer)).map_err(|e| e.context(format!("layer {layer} of the delta's base")));
    let skeletons = head.base.iter().map(open).collect::<Result<Vec<_>>>()?;
    let origins: Vec<Origin<'_>> = skeletons.iter().map(Origin::Layer).collect();
    let (mut made, done, mut unlooked) = (0u64, layer.compressed(), 0);
    apply(delta, &mut Base::new(&origins)?, &mut |out| {
        let bytes = match out {
            Out::Bytes(bytes) => bytes,
            Out::Whole(file) => {
                if let Some(file) = file.filter(|_| made >= done) {
                    layer.twin(file);
                }
                return Ok(());
            }
        };
        // What is durable is made again, which is cheap, and passed over.
        let known = done.saturating_sub(made).min(bytes.len() as u64) as usize;
        made += bytes.len() as u64;
        unlooked += bytes.len() as u64;
        if unlooked > LOOK {
            store::check_left(root, std::mem::take(&mut unlooked))?;
            session.check()?;
        }
        layer.push(&bytes[known..])?;
        session.progress(id, "Extracting", made, head.tar_size)
    })
}

/// The delta as a file, verified; it goes on with what has come before.
fn bring_delta(
    session: &mut Session,
    repository: &mut Repository<'_>,
    part: &Part,
    id: &str,
    path: &Path,
    link: &mut bool,
) -> Result<File> {
    let what = || format!("write {}", path.display());
    let in_memory = match part.size <= IN_MEMORY {
        true => rustix::fs::memfd_create(DELTA, MemfdFlags::CLOEXEC).ok(),
        false => None,
    };
    let mut file = match in_memory {
        Some(memory) => File::from(memory),
        None => OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).context(what)?,
    };
    for again in [true, false] {
        let (mut hash, mut have) = (sha2::Sha256::new(), 0u64);
        let mut buffer = vec![0; 64 << 10];
        file.seek(SeekFrom::Start(0)).context(what)?;
        while have < part.size {
            let most = usize::try_from(part.size - have).unwrap_or(usize::MAX).min(buffer.len());
            let n = file.read(&mut buffer[..most]).context(what)?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            have += n as u64;
        }
        file.set_len(have).context(what)?;
        let fetched = repository.blob(&part.blob, part.size, have, |piece| {
            if let Piece::Data(bytes) = piece {
                file.write_all(bytes).context(what)?;
                hash.update(bytes);
                have += bytes.len() as u64;
            }
            session.progress(id, "Downloading", have, part.size)
        });
        match fetched {
            Err(Failure { restart: true, .. }) if again => {}
            Err(f) => {
                *link = f.passing;
                return Err(f.error);
            }
            Ok(()) if Digest::finish(hash) == part.blob => {
                session.status(id, "Download complete")?;
                return Ok(file);
            }
            Ok(()) if again => drop(repository.distrust(&part.blob)),
            Ok(()) => break,
        }
        file.set_len(0).context(what)?;
    }
    file.set_len(0).context(what)?;
    Err(Error::internal(format!("content of delta {} does not match its digest", part.blob)))
}

/// Something else came out, or nothing: either the delta is bad, or the base is not what it was. That is looked at once.
fn explain(session: &Session, root: &Root, base: &[Digest], e: Error, done: &mut Done) -> Error {
    if e.is_of_machine() || std::mem::replace(&mut done.examined, true) {
        return e;
    }
    let mut why = e;
    for layer in base {
        if let Ok(Some(damage)) = verify::damage_of(session, root, layer) {
            done.damaged.push(*layer);
            why = Error::internal(format!("layer {layer} of the delta's base is damaged: {damage}"));
        }
    }
    why
}
