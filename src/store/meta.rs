//! `meta.json`: which format the data root has, so that an older engine after an OS rollback knows what it may do.

use crate::base::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The format that this engine writes.
pub const FORMAT: u32 = 1;

/// Features this engine knows of each kind; anything else in the file is unknown.
const KNOWN: &[&str] = &[];

/// Format number and features of a data root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Changes only if nothing older can use the root at all.
    pub format: u32,
    /// Unknown ones do no harm.
    pub compatible: Vec<String>,
    /// With unknown ones the root may be used, but not added to.
    pub read_only_compatible: Vec<String>,
    /// With unknown ones the root may not be used.
    pub incompatible: Vec<String>,
}

/// Checks the file, or writes it into a fresh data root. Returns the unknown features because of which nothing may be added.
pub(super) fn check_or_make(root: &Path) -> Result<Vec<String>> {
    let file = root.join("meta.json");
    if let Err(rustix::io::Errno::NOENT) = rustix::fs::stat(&file) {
        make(root, &file).context(|| format!("write {}", file.display()))?;
    }
    check(root)
}

/// Reads and checks the file.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let file = root.join("meta.json");
    let text = std::fs::read(&file).context(|| format!("read {}", file.display()))?;
    let meta: Meta = serde_json::from_slice(&text).map_err(|e| {
        Error::internal(format!("{} is damaged: {e}: restore it, or start with another --data-root", file.display()))
    })?;
    let unknown = |set: &[String]| -> Vec<String> { set.iter().filter(|f| !KNOWN.contains(&f.as_str())).cloned().collect() };
    let refused = |why: String| {
        let why =
            format!("data root {} has {why}: another version of prtiql made it, and this one cannot use it", root.display());
        Err(Error::unsupported(format!("{why}: install that version again, or start with another --data-root")))
    };
    if meta.format != FORMAT {
        return refused(format!("format {}, not {FORMAT}", meta.format));
    }
    let strange = unknown(&meta.incompatible);
    if !strange.is_empty() {
        return refused(format!("unknown features [{}]", strange.join(", ")));
    }
    Ok(unknown(&meta.read_only_compatible))
}

fn make(root: &Path, file: &Path) -> Result<()> {
    let meta = Meta { format: FORMAT, ..Meta::default() };
    let fresh = root.join("meta.json.new");
    let mut out = std::fs::File::create(&fresh)?;
    out.write_all(&serde_json::to_vec(&meta)?)?;
    out.sync_all()?;
    std::fs::rename(&fresh, file)?;
    Ok(std::fs::File::open(root)?.sync_all()?)
}
