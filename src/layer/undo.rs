//! What an entry replaces moves to extra/. If the layer has a checkpoint that still knows the old name, the move is noted durably
//! before it is made, so that after a crash it can be taken back.

use crate::base::{Context, Error, Result};
use crate::layer::checkpoint;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Each note costs a sync. A layer that replaces its own files more often than this gives up its checkpoints instead.
const MOST: u32 = 16;
/// The longest note: a number and a path.
const LARGEST: usize = 8 * 1024;

/// The notes of one layer.
pub struct Undo {
    path: PathBuf,
    notes: u32,
    /// A checkpoint exists.
    armed: bool,
    /// There were too many.
    pub given_up: bool,
}

impl Undo {
    /// For a layer in the work folder; `armed` if it has a checkpoint already.
    pub fn new(work: &Path, armed: bool) -> Undo {
        Undo { path: path_in(work), notes: 0, armed, given_up: false }
    }

    /// There is a checkpoint now: moves must be noted.
    pub fn arm(&mut self) {
        self.armed = true;
    }

    /// `real` is about to move to `extra/<sequence>`.
    pub fn note(&mut self, sequence: u32, real: &[u8]) -> Result<()> {
        if !self.armed {
            return Ok(());
        }
        let what = || format!("write {}", self.path.display());
        self.notes += 1;
        if self.notes > MOST {
            (self.given_up, self.armed) = (true, false);
            let work = self.path.parent().unwrap_or(Path::new("/"));
            return checkpoint::forget(work);
        }
        let mut bytes = ((real.len() + 4) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(real);
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).context(what)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).context(what)?;
        if self.notes == 1 {
            checkpoint::sync_folder(self.path.parent().unwrap_or(Path::new("/"))).context(what)?;
        }
        Ok(())
    }

    /// Must what is replaced be kept, even if it holds nothing?
    pub fn is_armed(&self) -> bool {
        self.armed
    }
}

/// All moves have been taken back, durably: the notes go.
pub fn clear(work: &Path) -> Result<()> {
    let path = path_in(work);
    std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))
}

/// All notes in the work folder: sequence in extra/, and the name that it had.
pub fn notes(work: &Path) -> Result<Vec<(u32, Vec<u8>)>> {
    let path = path_in(work);
    let what = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(MOST as u64 * 4 * LARGEST as u64).read_to_end(&mut bytes).context(what)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::from(e).context(what())),
    };
    let mut notes = Vec::new();
    let mut rest = &bytes[..];
    // A last note that is cut short was never acted upon.
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((sequence, real)) = more.get(..length).and_then(|note| note.split_first_chunk::<4>()) else { break };
        notes.push((u32::from_le_bytes(*sequence), real.to_vec()));
        rest = &more[length..];
    }
    Ok(notes)
}

fn path_in(work: &Path) -> PathBuf {
    work.join("undo")
}
