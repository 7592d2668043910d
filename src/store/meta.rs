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

/// Reads and checks the file, or writes it into a fresh data root. Returns whether things may be added.
pub(super) fn check_or_make(root: &Path) -> Result<bool> {
    let file = root.join("meta.json");
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            make(root, &file).context(|| format!("write {}", file.display()))?;
            return Ok(true);
        }
        Err(e) => return Err(Error::from(e).context(format!("read {}", file.display()))),
    };
    let meta: Meta = serde_json::from_slice(&text).map_err(|e| Error::internal(format!("{} is damaged: {e}", file.display())))?;
    let unknown = |set: &[String]| -> Vec<String> { set.iter().filter(|f| !KNOWN.contains(&f.as_str())).cloned().collect() };
    let strange = unknown(&meta.incompatible);
    if meta.format != FORMAT || !strange.is_empty() {
        return Err(Error::unsupported(format!(
            "data root {} has format {} with features [{}]: a newer prtiql made it, and this one cannot use it",
            root.display(),
            meta.format,
            strange.join(", ")
        )));
    }
    Ok(unknown(&meta.read_only_compatible).is_empty())
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
