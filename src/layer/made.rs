//! Which names a resumable layer has made, in a work file: eight bytes of a keyed hash each. After a crash it tells what of the
//! folder a checkpoint knows; whatever else lies there came later and goes.

use crate::base::{Context, Error, Result};
use crate::layer::spool::{self, Spool};
use sha2::Digest as _;
use std::io::Read;
use std::path::Path;

/// Bytes of one name.
pub const NAME: u64 = 8;
/// The most names that are looked up again, which is memory: a layer of more starts anew after a crash.
const MOST: u64 = 256 * 1024;

/// A layer's own secret, so that no name can be made to look like another.
pub type Key = [u8; 16];

/// The short hash of a name (its path below the layer's root, without symbolic links).
pub fn hash(key: &Key, real: &[u8]) -> u64 {
    let digest = sha2::Sha256::new().chain_update(key).chain_update(real).finalize();
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(short)
}

/// The list being written.
pub struct Made {
    /// See [`Key`].
    pub key: Key,
    spool: Spool,
}

impl Made {
    /// On a spool, empty or resumed.
    pub fn new(key: Key, spool: Spool) -> Made {
        Made { key, spool }
    }

    /// A name has been made.
    pub fn add(&mut self, real: &[u8]) -> Result<()> {
        self.spool.push(&hash(&self.key, real).to_le_bytes())
    }

    /// Bytes in the work file, after all has been written there.
    pub fn spill(&mut self) -> Result<u64> {
        self.spool.spill()?;
        Ok(self.spool.length())
    }
}

/// The names that a checkpoint knows.
pub struct Known {
    key: Key,
    sorted: Vec<u64>,
}

impl Known {
    /// From the first `length` bytes of the work file.
    pub fn read(path: &Path, key: Key, length: u64) -> Result<Known> {
        if length / NAME > MOST {
            return Err(Error::unsupported(format!("a layer of more than {MOST} names is not resumed after a crash")));
        }
        let mut sorted = Vec::with_capacity((length / NAME) as usize);
        if length > 0 {
            let mut from = spool::reader(path, length)?;
            let mut bytes = [0; NAME as usize];
            for _ in 0..length / NAME {
                from.read_exact(&mut bytes).context(|| format!("read {}", path.display()))?;
                sorted.push(u64::from_le_bytes(bytes));
            }
        }
        sorted.sort_unstable();
        Ok(Known { key, sorted })
    }

    /// Is the name among them?
    pub fn has(&self, real: &[u8]) -> bool {
        self.sorted.binary_search(&hash(&self.key, real)).is_ok()
    }
}
