//! Writes OCI layouts as tars: the same content gives the same bytes.

use crate::base::{Context, Error, Result};
use crate::image::Digest;
use crate::image::archive::blob_name;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

/// A layout that is being written.
pub struct Layout {
    tar: tar::Builder<BufWriter<File>>,
    blobs: BTreeSet<Digest>,
}

impl Layout {
    /// An empty one.
    pub fn new(file: File) -> Result<Layout> {
        let mut layout = Layout { tar: tar::Builder::new(BufWriter::new(file)), blobs: BTreeSet::new() };
        layout.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }

    /// A file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.member(name, bytes.len() as u64, &mut &bytes[..])
    }

    /// A blob, unless it is there already.
    pub fn blob(&mut self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()> {
        if self.blobs.insert(*digest) { self.member(&blob_name(digest), size, from) } else { Ok(()) }
    }

    fn member(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, from.take(size)).context(|| format!("write {name}"))
    }

    /// The end.
    pub fn finish(self) -> Result<()> {
        let what = || "write the archive";
        self.tar.into_inner().context(what)?.flush().context(what)
    }
}

/// Makes a file by `write`: it is there whole or not at all.
pub fn save(path: &Path, write: impl FnOnce(File) -> Result<()>) -> Result<()> {
    let what = || format!("write {}", path.display());
    let name = path.file_name().ok_or_else(|| Error::invalid("this names no file").context(what()))?.to_string_lossy();
    let part = path.with_file_name(format!("{name}.part{}", std::process::id()));
    let done = File::create(&part).context(what).and_then(write).and_then(|()| std::fs::rename(&part, path).context(what));
    if done.is_err() {
        _ = std::fs::remove_file(&part);
    }
    done
}
