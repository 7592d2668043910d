//! Making a delta image of balenaEngine's kind: each layer of the target that the source does not have in the same place becomes a
//! librsync delta against all of the source's layers. The source is held in memory, with the order of its suffixes.

use crate::base::{Context, Error, Kind, Result, size::human, time::Time};
use crate::delta::balena::{self, EMPTY};
use crate::delta::rsync_create;
use crate::delta::suffix::Suffixes;
use crate::image::{Digest, Reference};
use crate::layer::{Applied, Apply, Skeleton};
use crate::store::{self, ImageInfo, LayerInfo, Root, StoredImage};
use crate::wire::worker::{NewImage, Report};
use crate::worker::session::Session;
use sha2::Digest as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Memory for each byte of the source: the byte, its place in the order, and what sorting and the rest take.
const MEMORY_EACH: u64 = 6;
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// Bytes written between two looks at what is free.
const LOOK: u64 = 4 << 20;

/// What is wanted.
pub struct Wish {
    /// ID of the image that the delta is from.
    pub source: String,
    /// ID of the image that it makes.
    pub target: String,
    /// How the client called the first.
    pub name: String,
    /// Normalised reference for the delta image, or empty.
    pub tag: String,
}

/// A delta layer, complete but for its name.
struct Made {
    diff_id: Digest,
    /// Bytes of the delta.
    size: u64,
    /// Its work folder; none if the store has the layer.
    staged: Option<PathBuf>,
}

/// Runs the job.
pub fn run(session: &mut Session, root: &Root, job: &str, wish: &Wish) -> Result<()> {
    let staging = root.staging(job);
    let result = make(session, root, &staging, wish);
    if staging.exists() {
        store::discard(root, &staging)?;
    }
    result
}

fn make(session: &mut Session, root: &Root, staging: &Path, wish: &Wish) -> Result<()> {
    let (images, _) = store::images(root)?;
    let find = |id: &str| -> Result<&StoredImage> {
        let digest = Digest::parse(id)?;
        images.iter().find(|image| image.id == digest).ok_or_else(|| Error::not_found(format!("no such image: {id}")))
    };
    let (source, target) = (find(&wish.source)?, find(&wish.target)?);
    let pinned = || source.layers.iter().chain(&target.layers);
    session.ask(&Report::Plan { layers: pinned().map(Digest::to_string).collect() })?;
    std::fs::create_dir_all(staging).context(|| format!("create {}", staging.display()))?;
    // Layers of the same chain are not in the delta.
    let common = source.layers.iter().zip(&target.layers).take_while(|(a, b)| a == b).count();
    let text = if common < target.layers.len() { fingerprint(session, root, source, &wish.name)? } else { Vec::new() };
    let start = Instant::now();
    let suffixes = Suffixes::new(text)?;
    session.status(&wish.name, format!("Fingerprint complete, took {:.3}s", start.elapsed().as_secs_f64()))?;
    for layer in &target.layers {
        session.status(&layer.short(), "Waiting")?;
    }
    let (mut made, mut normal): (Vec<Made>, u64) = (Vec::new(), 0);
    for (nth, layer) in target.layers.iter().enumerate() {
        let work = staging.join(format!("layer-{nth}"));
        std::fs::create_dir(&work).context(|| format!("create {}", work.display()))?;
        if nth < common {
            made.push(package(root, &work, 0, &[&EMPTY], None)?);
            session.status(&layer.short(), "Skipping common layer")?;
        } else {
            normal += store::layer_info(root, layer)?.size;
            let file = staging.join(format!("delta-{nth}"));
            let length = delta(session, root, &suffixes, layer, &file)?;
            let (head, tail) = balena::layer_around(length);
            made.push(package(root, &work, length, &[&head, &tail], Some(&file))?);
            std::fs::remove_file(&file).context(|| format!("remove {}", file.display()))?;
            session.status(&layer.short(), "Delta complete")?;
        }
    }
    drop(suffixes);
    let id = commit(session, root, staging, wish, &made, source, target)?;
    let size: u64 = made.iter().map(|made| made.size).sum();
    let ratio = if normal == 0 { 1.0 } else { normal as f64 / size as f64 };
    let (normal, size) = (human(normal), human(size));
    session.status("", format!("Normal size: {normal}, Delta size: {size}, {ratio:.2}x improvement\n"))?;
    session.status("", format!("Created delta: {id}\n"))?;
    match wish.tag.as_str() {
        "" => Ok(()),
        tag => session.status("", format!("Successfully tagged {}\n", Reference::parse(tag)?.familiar())),
    }
}

/// All of the source's layers, one after the other.
fn fingerprint(session: &mut Session, root: &Root, source: &StoredImage, name: &str) -> Result<Vec<u8>> {
    let open = |layer: &Digest| Skeleton::open(&root.layer(layer));
    let skeletons = source.layers.iter().map(open).collect::<Result<Vec<_>>>()?;
    let size: u64 = skeletons.iter().map(Skeleton::tar_size).sum();
    check_memory(size)?;
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    for (skeleton, layer) in skeletons.iter().zip(&source.layers) {
        read_layer(skeleton, layer, &mut |bytes| {
            session.check()?;
            text.extend_from_slice(bytes);
            session.progress(name, "Fingerprinting", text.len() as u64, size)
        })?;
    }
    Ok(text)
}

/// Fails if the machine has too little memory for a source of that size. Three quarters of it are as much as a job may take.
fn check_memory(size: u64) -> Result<()> {
    let system = rustix::system::sysinfo();
    let machine = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit.max(1)));
    let need = size.saturating_mul(MEMORY_EACH);
    log::info!("a delta from an image of {} takes {} of memory", human(size), human(need));
    if need <= machine / 4 * 3 {
        return Ok(());
    }
    let (size, need, machine) = (human(size), human(need), human(machine));
    let text = format!(
        "the source image is too large: a delta from {size} takes {need} of memory, and this machine has {machine}: make it on a larger one"
    );
    Err(Error::new(Kind::TooLarge, text))
}

/// Gives a layer's tar to `sink`; fails in the end if it is not what its name says: a delta of damaged layers would be of no use.
fn read_layer(skeleton: &Skeleton, layer: &Digest, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut reader = LayerReading::new(skeleton, layer);
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            n => sink(&buffer[..n])?,
        }
    }
}

struct LayerReading<'a> {
    tar: crate::layer::TarReader<'a>,
    hash: sha2::Sha256,
    layer: &'a Digest,
}

impl<'a> LayerReading<'a> {
    fn new(skeleton: &'a Skeleton, layer: &'a Digest) -> LayerReading<'a> {
        LayerReading { tar: skeleton.tar().forgetful(), hash: sha2::Sha256::new(), layer }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let layer = self.layer;
        let what = || format!("layer {layer} is damaged (prtiql system verify --repair)");
        let n = self.tar.read(buffer).context(what)?;
        self.hash.update(&buffer[..n]);
        if n == 0 && !buffer.is_empty() && Digest::finish(self.hash.clone()) != *layer {
            return Err(Error::internal(what()));
        }
        Ok(n)
    }
}

/// Writes a layer's delta to a file. Returns its length.
fn delta(session: &mut Session, root: &Root, suffixes: &Suffixes, layer: &Digest, path: &Path) -> Result<u64> {
    let what = || format!("write {}", path.display());
    let skeleton = Skeleton::open(&root.layer(layer))?;
    let mut reading = LayerReading::new(&skeleton, layer);
    let (id, size, mut done) = (layer.short(), skeleton.tar_size(), 0);
    let mut out = std::io::BufWriter::with_capacity(CHUNK, File::create(path).context(what)?);
    let mut unlooked = 0;
    let mut read = |buffer: &mut [u8]| {
        session.check()?;
        let most = buffer.len().min(CHUNK);
        let n = reading.read(&mut buffer[..most])?;
        done += n as u64;
        session.progress(&id, "Computing delta", done, size)?;
        Ok(n)
    };
    let length = rsync_create::create(suffixes, &mut read, &mut |bytes| {
        unlooked += bytes.len() as u64;
        if unlooked > LOOK {
            store::check_left(root, std::mem::take(&mut unlooked))?;
        }
        out.write_all(bytes).context(what)
    })?;
    out.flush().context(what)?;
    Ok(length)
}

/// Makes a layer of `around` and the file that goes after its first part.
fn package(root: &Root, work: &Path, size: u64, around: &[&[u8]], file: Option<&Path>) -> Result<Made> {
    let mut apply = Apply::new(work)?.plain();
    apply.limit(store::room(root)?);
    let mut around = around.iter();
    if let Some(head) = around.next() {
        apply.push(head)?;
    }
    if let Some(path) = file {
        let what = || format!("read {}", path.display());
        let (mut file, mut buffer) = (File::open(path).context(what)?, vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer).context(what)? {
                0 => break,
                n => apply.push(&buffer[..n])?,
            }
        }
    }
    around.try_for_each(|tail| apply.push(tail))?;
    let Applied { diff_id, .. } = apply.finish(|applied| LayerInfo::write(applied, &work.join("layer")))?;
    let staged = (!root.has_layer(&diff_id)).then(|| work.join("layer"));
    Ok(Made { diff_id, size, staged })
}

/// Gives the delta layers their names, and makes an image of them.
fn commit(
    session: &mut Session,
    root: &Root,
    staging: &Path,
    wish: &Wish,
    made: &[Made],
    source: &StoredImage,
    target: &StoredImage,
) -> Result<Digest> {
    let deltas: Vec<Digest> = made.iter().map(|made| made.diff_id).collect();
    session.ask(&Report::Plan { layers: deltas.iter().map(Digest::to_string).collect() })?;
    for made in made {
        match &made.staged {
            Some(staged) => store::commit_layer(root, staged, &made.diff_id)?,
            // It was there, and may have been removed before the plan was known.
            None if root.has_layer(&made.diff_id) => {}
            None => return Err(Error::conflict(format!("layer {} was removed meanwhile: try again", made.diff_id))),
        }
    }
    let parsed = crate::image::config::ImageConfig::parse(target.config.as_bytes())?;
    let config = balena::config(&source.id, &target.config, parsed.created.as_deref(), &deltas)?;
    let sizes: Vec<u64> = made.iter().map(|made| made.size).collect();
    let info = ImageInfo { manifest: None, sizes: sizes.clone(), pulled: Time::now().0 };
    let id = store::add_image(root, &staging.join("image"), config.as_bytes(), None, &info)?;
    session.ask(&Report::Image(NewImage {
        id: id.to_string(),
        config,
        manifest: String::new(),
        layers: deltas.iter().map(Digest::to_string).collect(),
        sizes,
        references: Some(&wish.tag).filter(|tag| !tag.is_empty()).into_iter().cloned().collect(),
        base: String::new(),
    }))?;
    Ok(id)
}
