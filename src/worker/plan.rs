//! Is there room for what a pull is about to bring? Looked at before the first byte of a layer is asked for.

use crate::base::{Error, Result};
use crate::registry::{Piece, Repository};
use crate::store::{Partial, Root};
use crate::worker::fetch::Wanted;

/// What a layer takes beside its files' bytes, at the least.
const OVERHEAD: u64 = 64 << 10;
/// A layer has at least so many inodes of its own.
const INODES: u64 = 4;

/// What is needed on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// The least that the layers can need: what is compressed never needs less when it is unpacked.
pub fn least(root: &Root, wanted: &[Wanted]) -> Need {
    sum(root, wanted, |w| w.size)
}

/// What the layers need as far as their ends tell: gzip notes there how long its content is. Costs a small request a layer, so it
/// is asked for only when room is short. A layer that has come in part counts nothing: what is left of it is not known.
pub fn closely(root: &Root, repository: &mut Repository<'_>, wanted: &[Wanted]) -> Need {
    sum(root, wanted, |w| if w.gzip { w.size.max(content_length(repository, w)) } else { w.size })
}

fn sum(root: &Root, wanted: &[Wanted], mut bytes: impl FnMut(&Wanted) -> u64) -> Need {
    let mut need = Need::default();
    for w in wanted.iter().filter(|w| !Partial::exists(root, &w.diff_id)) {
        need.bytes += bytes(w) + OVERHEAD;
        need.inodes += INODES;
    }
    need
}

/// The last four bytes of a gzip stream: its length, as far as that is below 4 GiB and it has one member; else too little.
fn content_length(repository: &mut Repository<'_>, w: &Wanted) -> u64 {
    let mut end = Vec::new();
    let Some(offset) = w.size.checked_sub(4) else { return 0 };
    let asked = repository.blob(&w.blob, w.size, offset, |piece| -> Result<()> {
        match piece {
            Piece::Data(bytes) => end.extend_from_slice(bytes),
            // Not for this are whole layers fetched.
            Piece::Prefix(_) => return Err(Error::unsupported("the registry knows no ranges")),
        }
        Ok(())
    });
    match (asked, <[u8; 4]>::try_from(end)) {
        (Ok(()), Ok(length)) => u64::from(u32::from_le_bytes(length)),
        _ => 0,
    }
}
