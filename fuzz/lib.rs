//! What is fuzzed: each function takes any bytes, and panics only if a promise is broken.

#[path = "codes.rs"]
mod codes;
#[path = "delta.rs"]
mod delta;

use prtiql::base::{Error, Result};
use prtiql::delta::balena::LayerReader;
use prtiql::delta::base::{Base, Origin};
use prtiql::delta::blocks::Blocks;
use prtiql::delta::rsync::Reader;
use prtiql::delta::rsync_create;
use prtiql::delta::suffix::Suffixes;
use prtiql::image::config::ImageConfig;
use prtiql::image::manifest::Document;
use prtiql::image::{Digest, Platform, Reference};
use prtiql::layer::decode::Decoder;
use prtiql::layer::tar::{Event, Parser};
use prtiql::layer::{Apply, Skeleton, checkpoint};
use prtiql::registry::codec::Response;
use prtiql::registry::url::Url;
use prtiql::wire::http;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use codes::{codes, seed as codes_seed};
pub use delta::{apply as delta, seeds as delta_seeds, trees as delta_trees};

/// A target: its name, which is also that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: &[Target] = &[
    ("answer", answer),
    ("checkpoint", checkpoint),
    ("codes", codes),
    ("delta", delta),
    ("delta_trees", delta_trees),
    ("manifest", manifest),
    ("reference", reference),
    ("request", request),
    ("rsync", rsync),
    ("skeleton", skeleton),
    ("tar", tar),
];

/// The most bytes that are taken out of anything: what would go on for ever is not waited for.
const ENOUGH: usize = 1 << 20;

/// Tars and compressed streams: the parser says of each byte what it is, whole or cut anywhere, and the same both times.
pub fn tar(data: &[u8]) {
    let whole = parse_tar(data, data.len().max(1));
    let cut = parse_tar(data, 1 + data.first().map_or(0, |b| usize::from(*b)));
    assert_eq!(whole, cut);
    let mut out = 0;
    let mut sink = |bytes: &[u8]| {
        out += bytes.len();
        if out > ENOUGH { Err(Error::internal("enough")) } else { Ok(()) }
    };
    let mut decoder = Decoder::default();
    let _ = data.chunks(100).try_for_each(|mut part| push_all(&mut decoder, &mut part, &mut sink));
    let _ = decoder.finish(&mut sink);
}

fn push_all(decoder: &mut Decoder, part: &mut &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    while !part.is_empty() {
        decoder.push(part, false, sink)?;
    }
    Ok(())
}

/// Entries' paths, bytes accounted for, and whether it was accepted.
fn parse_tar(data: &[u8], step: usize) -> (Vec<Vec<u8>>, usize, bool) {
    let mut parser = Parser::new();
    let (mut paths, mut total) = (Vec::new(), 0);
    for part in data.chunks(step) {
        let mut input = part;
        loop {
            match parser.next(&mut input) {
                Err(_) => return (paths, 0, false),
                Ok(Event::More) => break,
                Ok(Event::Block(_)) => total += 512,
                Ok(Event::Data(bytes) | Event::Pad(bytes) | Event::Tail(bytes)) => total += bytes.len(),
                Ok(Event::Entry) => {
                    let path = &parser.entry().path;
                    if let Ok(clean) = prtiql::layer::path::clean(path) {
                        assert!(!clean.starts_with(b"/") && !clean.split(|b| *b == b'/').any(|part| part == b".."));
                    }
                    paths.push(path.clone());
                }
                Ok(Event::End) => {}
            }
        }
    }
    assert!(total <= data.len());
    (paths, total, parser.finish().is_ok())
}

/// References: what is accepted prints and parses again to the same, and has a safe file name.
pub fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(reference) = Reference::parse(&text) {
        assert_eq!(Reference::parse(&reference.to_string()).ok().as_ref(), Some(&reference));
        assert_eq!(Reference::parse(&reference.familiar()).ok().as_ref(), Some(&reference));
        let name = prtiql::store::escape(&reference);
        assert!(!name.contains(['/', '\0']) && name.len() < 256 && name != "." && name != "..");
    }
    let _ = Platform::parse(&text, &Platform::host());
    let _ = Digest::parse(&text);
    if let Ok(url) = Url::parse(&text) {
        assert!(url.target.starts_with('/') && !url.host.is_empty());
        let _ = url.join(&text);
    }
}

/// Manifests and configs: nothing is both an image and an index, and what is accepted has layers that can exist.
pub fn manifest(data: &[u8]) {
    for kind in ["", prtiql::image::manifest::OCI_MANIFEST, prtiql::image::manifest::DOCKER_LIST] {
        if let Ok(Document::Manifest(manifest)) = Document::parse(data, kind) {
            assert!(manifest.layers.iter().all(|layer| layer.size > 0));
        }
    }
    let _ = ImageConfig::parse(data);
}

/// Answers of registries: bodies end, and never give more than came.
pub fn answer(data: &[u8]) {
    let Ok(url) = Url::parse("http://registry/v2/") else { return };
    let Ok(mut response) = Response::receive(data, url, "GET") else { return };
    let length = response.length();
    let _ = (response.head.get("content-range"), response.head.all("www-authenticate").count());
    let mut body = Vec::new();
    let end = response.by_ref().take(ENOUGH as u64).read_to_end(&mut body);
    assert!(body.len() <= data.len());
    if let (Some(length), Ok(_), true) = (length, end, body.len() < ENOUGH) {
        assert_eq!(body.len() as u64, length);
    }
    let _ = response.into_reusable();
}

/// Requests of clients: heads, and chunked bodies, whole and byte by byte.
pub fn request(data: &[u8]) {
    let mut rest = data;
    if let Ok(Some((request, length))) = http::parse_head(data) {
        assert!(length <= data.len());
        let _ = (request.flag("all"), request.keep_alive(), request.upgrade());
        rest = &data[length..];
    }
    let whole = unchunk(rest, rest.len().max(1));
    assert_eq!(whole, unchunk(rest, 1));
    let text = String::from_utf8_lossy(data);
    let _ = http::parse_query(&text);
    assert_eq!(http::percent_decode(&http::percent_encode(&text), false), text);
}

/// The body, the bytes used and whether it ended; `None` if it is malformed.
fn unchunk(data: &[u8], step: usize) -> Option<(Vec<u8>, usize, bool)> {
    let (mut chunked, mut body, mut used) = (http::Chunked::default(), Vec::new(), 0);
    for part in data.chunks(step) {
        used += chunked.feed(part, &mut |bytes| body.extend_from_slice(bytes)).ok()?;
    }
    Some((body, used, chunked.is_done()))
}

/// Skeletons: whatever they say, reading ends in bytes or an error.
pub fn skeleton(data: &[u8]) {
    let folder = Folder::new("skeleton");
    let layer = &folder.0;
    let made = std::fs::create_dir_all(layer.join("fs/d"))
        .and_then(|()| std::fs::write(layer.join("fs/d/f"), b"content of a file"))
        .and_then(|()| std::fs::write(layer.join("skeleton"), data));
    made.expect("a folder to work in");
    let Ok(skeleton) = Skeleton::open(layer) else { return };
    let mut buffer = [0; 4096];
    let mut tar = skeleton.tar();
    let mut total = 0;
    while total < ENOUGH {
        match tar.read(&mut buffer) {
            Ok(n) if n > 0 => total += n,
            _ => break,
        }
    }
    for offset in [1, 511, 1 << 20, u64::MAX] {
        let _ = tar.read_at(offset, &mut buffer[..100]);
    }
    let mut files = 0;
    let go_on = || Ok(());
    let _ = skeleton.damaged_files(&go_on, &mut |_, _| files += 1);
    // As the base of a delta, to and fro.
    let Ok(mut base) = Base::new(&[Origin::Layer(&skeleton)]) else { return };
    let size = skeleton.tar_size();
    for offset in [0, 700, 520, 1 << 20, size / 2, size.saturating_sub(100), u64::MAX - 100] {
        let _ = base.read_exact_at(offset, &mut buffer[..100]);
        let _ = base.read_exact_at(offset.saturating_sub(40), &mut buffer);
        let _ = base.file_at(offset);
    }
}

/// Checkpoints, with a checksum that is right: what is accepted goes on or says why not.
pub fn checkpoint(data: &[u8]) {
    let _ = checkpoint::parse(data);
    let file = checkpoint::seal(data);
    let Ok(parsed) = checkpoint::parse(&file) else { return };
    let folder = Folder::new("checkpoint");
    let work = &folder.0;
    let made = std::fs::create_dir_all(work.join("layer/fs"))
        .and_then(|()| std::fs::write(work.join("layer/skeleton"), [7; 600]))
        .and_then(|()| std::fs::write(work.join("made"), [7; 64]))
        .and_then(|()| std::fs::write(work.join("checkpoint.0"), &file));
    made.expect("a folder to work in");
    let Ok(Some(mut apply)) = Apply::resume(work, &Digest(parsed.blob), 1 << 30) else { return };
    apply.limit(ENOUGH as u64);
    let _ = apply.push(&[0; 2048]).and_then(|()| apply.finish(|_| Ok(())).map(drop));
}

/// librsync's deltas, alone and as a layer of a delta image: the same whole or cut anywhere; and of any two texts, a delta makes the
/// second out of the first.
pub fn rsync(data: &[u8]) {
    let folder = Folder::new("rsync");
    let (first, second) = data.split_at(data.len() / 2);
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.0.join(name), bytes)
            .and_then(|()| std::fs::File::open(folder.0.join(name)))
            .expect("a folder to work in")
    };
    let fixed: Vec<u8> = (0..3000u32).map(|i| (i * i / 7) as u8).collect();
    let files = [write("a", &fixed), write("b", &fixed[..777])];
    let origins = [Origin::Tar(&files[0], 3000), Origin::Tar(&files[1], 777)];
    let cut = 1 + data.first().map_or(0, |b| usize::from(*b));
    assert_eq!(patch(data, data.len().max(1), &origins), patch(data, cut, &origins));
    let (mut layer, mut base) = (LayerReader::default(), Blocks::new(Base::new(&origins).expect("a base")));
    let mut made = 0;
    let mut sink = |bytes: &[u8]| {
        made += bytes.len();
        if made > ENOUGH { Err(Error::internal("enough")) } else { Ok(()) }
    };
    let pushed = data.chunks(cut).try_for_each(|part| layer.push(part, &mut base, &mut sink));
    let _ = pushed.and_then(|()| layer.finish());

    let suffixes = Suffixes::new(first.to_vec()).expect("a short text");
    let (mut rest, mut delta) = (second, Vec::new());
    let mut sink = |bytes: &[u8]| {
        delta.extend_from_slice(bytes);
        Ok(())
    };
    let length = rsync_create::create(&suffixes, &mut |buffer| Ok(rest.read(buffer)?), &mut sink).expect("a delta");
    assert_eq!(length, delta.len() as u64);
    let file = write("first", first);
    let old = [Origin::Tar(&file, first.len() as u64)];
    assert_eq!(patch(&delta, cut, &old).as_deref(), Ok(second));
}

/// What a delta gives, or why not.
fn patch(delta: &[u8], step: usize, origins: &[Origin<'_>]) -> std::result::Result<Vec<u8>, String> {
    let mut base = Blocks::new(Base::new(origins).map_err(|e| e.to_string())?);
    let (mut reader, mut out) = (Reader::default(), Vec::new());
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        if out.len() > ENOUGH { Err(Error::internal("enough")) } else { Ok(()) }
    };
    let pushed = delta.chunks(step).try_for_each(|part| reader.push(part, &mut base, &mut sink));
    pushed.and_then(|()| reader.finish()).map_err(|e| e.to_string()).map(|()| out)
}

/// A folder of this process, in memory where possible, that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = base.join(format!("prtiql-fuzz-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder to work in");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
