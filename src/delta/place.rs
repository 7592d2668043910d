//! Where the documents and blobs of an image on disk are: in a folder, or in a tar, which may be compressed.

use crate::base::{Context, Error, Kind, Result, id};
use crate::image::Digest;
use crate::image::archive::blob_name;
use crate::layer::decode::Decoder;
use crate::registry::Content;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The most members of an archive.
const MOST_MEMBERS: usize = 20_000;
/// The largest document (manifest, config, …).
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// Links followed to one member.
const MOST_LINKS: usize = 10;
const CHUNK: usize = 64 * 1024;

/// All of a file.
fn whole(file: File) -> Result<Content> {
    let length = file.metadata()?.len();
    Ok(Content::File(Arc::new(file), 0, length))
}

fn is_packed(content: &Content) -> Result<bool> {
    let mut start = Vec::new();
    content.reader().take(4).read_to_end(&mut start)?;
    Ok(start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd])
}

enum Member {
    Data(u64, u64),
    Link(String),
}

/// A folder or an archive.
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A tar.
    Tar(Archive),
}

/// A tar whose members are known.
pub struct Archive {
    file: Arc<File>,
    members: HashMap<String, Member>,
}

impl Place {
    /// Opens it; what is compressed is unpacked into a temporary file first.
    pub fn open(path: &Path) -> Result<Place> {
        let what = || format!("open {}", path.display());
        if path.is_dir() {
            return Ok(Place::Folder(path.to_path_buf()));
        }
        let mut content = File::open(path).map_err(Error::from).and_then(whole).context(what)?;
        if is_packed(&content).context(what)? {
            let mut spool = Spool::new()?;
            unpack(&mut *content.reader(), &mut |data| spool.push(data)).context(|| format!("unpack {}", path.display()))?;
            content = whole(spool.finish()?)?;
        }
        let Content::File(file, ..) = content else { return Err(Error::internal("no file").context(what())) };
        index(file).map(Place::Tar).context(|| path.display().to_string())
    }

    /// A member, links followed.
    pub fn find(&self, name: &str) -> Result<Option<Content>> {
        let mut name = clean(name)?;
        let archive = match self {
            Place::Folder(folder) => {
                let path = folder.join(&name);
                return match File::open(&path) {
                    Ok(file) if file.metadata()?.is_file() => whole(file).map(Some),
                    Ok(_) => Ok(None),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(Error::from(e).context(format!("open {}", path.display()))),
                };
            }
            Place::Tar(archive) => archive,
        };
        for _ in 0..MOST_LINKS {
            match archive.members.get(&name) {
                Some(Member::Link(target)) => name = target.clone(),
                Some(Member::Data(from, length)) => {
                    return Ok(Some(Content::File(archive.file.clone(), *from, *length)));
                }
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// A member that must be there.
    pub fn get(&self, name: &str) -> Result<Content> {
        self.find(name)?.ok_or_else(|| Error::invalid(format!("it has no {name}")))
    }

    /// The bytes of a document.
    pub fn document(&self, name: &str) -> Result<Vec<u8>> {
        let content = self.get(name)?;
        if content.len() > LARGEST_DOCUMENT {
            return Err(Error::new(Kind::TooLarge, format!("{name} has {} bytes", content.len())));
        }
        let mut text = Vec::new();
        content.reader().read_to_end(&mut text).context(|| format!("read {name}"))?;
        Ok(text)
    }

    /// A small blob of an OCI layout, its digest verified.
    pub fn blob_text(&self, digest: &Digest) -> Result<Vec<u8>> {
        let text = self.document(&blob_name(digest))?;
        match Digest::of(&text) == *digest {
            true => Ok(text),
            false => Err(Error::invalid(format!("{} does not match its digest", blob_name(digest)))),
        }
    }
}

/// Finds the members of a tar.
fn index(file: Arc<File>) -> Result<Archive> {
    let mut archive = tar::Archive::new(&*file);
    let mut members = HashMap::new();
    for entry in archive.entries_with_seek().context(|| "read the archive")? {
        let entry = entry.context(|| "read the archive")?;
        if members.len() >= MOST_MEMBERS {
            return Err(Error::new(Kind::TooLarge, format!("an archive of more than {MOST_MEMBERS} members")));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Ok(name) = clean(&text(&entry.path_bytes())) else { continue };
        let link = entry.link_name_bytes().map(|bytes| text(&bytes)).unwrap_or_default();
        let member = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => Member::Data(entry.raw_file_position(), entry.size()),
            tar::EntryType::Link => match clean(&link) {
                Ok(target) => Member::Link(target),
                Err(_) => continue,
            },
            tar::EntryType::Symlink => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                match resolve(folder, &link) {
                    Some(target) => Member::Link(target),
                    None => continue,
                }
            }
            _ => continue,
        };
        members.insert(name, member);
    }
    Ok(Archive { file, members })
}

/// A name that stays below where it is looked up.
fn clean(name: &str) -> Result<String> {
    let parts = Path::new(name).components().filter(|part| *part != Component::CurDir);
    let parts = parts.map(|part| match part {
        Component::Normal(part) => Ok(part.to_string_lossy().into_owned()),
        _ => Err(Error::invalid(format!("the name {name:?} leads out of the image"))),
    });
    Ok(parts.collect::<Result<Vec<_>>>()?.join("/"))
}

/// What a symbolic link in a folder means.
fn resolve(folder: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    (!link.starts_with('/')).then(|| parts.join("/"))
}

/// A temporary file without a name: it goes away by itself, however the process ends. It is where `TMPDIR` says.
pub struct Spool {
    file: File,
    pending: Vec<u8>,
}

impl Spool {
    /// An empty one.
    pub fn new() -> Result<Spool> {
        let path = std::env::temp_dir().join(format!("prtiql-{}", &id::random()[..24]));
        let what = || format!("create {} (TMPDIR says where temporary files go)", path.display());
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).context(what)?;
        std::fs::remove_file(&path).context(what)?;
        Ok(Spool { file, pending: Vec::new() })
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        self.file.write_all(&self.pending).context(|| "write a temporary file (TMPDIR says where it is)")?;
        self.pending.clear();
        Ok(())
    }

    /// The file, to be read from its start.
    pub fn finish(mut self) -> Result<File> {
        self.spill()?;
        self.file.rewind()?;
        Ok(self.file)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.push(bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Decodes what may be compressed into `sink`.
pub fn unpack(from: &mut dyn Read, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (mut decoder, mut buffer) = (Decoder::default(), vec![0; CHUNK]);
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return decoder.finish(sink);
        }
        decoder.push(&mut &buffer[..n], false, sink)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(clean("./a/./b").unwrap(), "a/b");
        assert!(clean("../a").is_err() && clean("/a").is_err() && clean("a/../../b").is_err());
        assert_eq!(resolve("x/y", "../z/layer.tar").as_deref(), Some("x/z/layer.tar"));
        assert_eq!(resolve("x", "../../z"), None);
        assert_eq!(resolve("x", "/z"), None);
    }

    #[test]
    fn members_are_found_whatever_the_archive_is_packed_in() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        builder.append_data(&mut header, "a/data", &b"hello"[..]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "b/link", "../a/data").unwrap();
        builder.append_link(&mut header, "loop", "loop").unwrap();
        let tar = builder.into_inner().unwrap();
        let path = std::env::temp_dir().join(format!("prtiql-place-{}", id::random()));
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        packed.extend(miniz_oxide::deflate::compress_to_vec(&tar, 6));
        packed.extend(crc32fast::hash(&tar).to_le_bytes());
        packed.extend((tar.len() as u32).to_le_bytes());
        for bytes in [&tar, &packed] {
            std::fs::write(&path, bytes).unwrap();
            let place = Place::open(&path).unwrap();
            assert_eq!(place.document("./b/link").unwrap(), b"hello");
            assert!(place.find("loop").unwrap().is_none() && place.find("nope").unwrap().is_none());
            assert!(place.document("../x").unwrap_err().to_string().contains("leads out"));
        }
        for cut in [0, 100, 513, 700, tar.len() - 600] {
            std::fs::write(&path, &tar[..cut]).unwrap();
            let _ = Place::open(&path).map(|place| place.document("a/data"));
        }
        std::fs::remove_file(&path).unwrap();
    }
}
