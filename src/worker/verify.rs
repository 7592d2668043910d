//! Verify: rebuild every layer's tar from what is on disk and compare its digest with the layer's name.

use crate::base::{Error, Result};
use crate::image::Digest;
use crate::layer::Skeleton;
use crate::store::{self, Root};
use crate::sys::io;
use crate::wire::worker::Report;
use crate::worker::session::Session;
use sha2::Digest as _;

/// Bytes read at once.
const BUFFER: usize = 128 * 1024;

/// Runs the job: the layers of the named images (IDs), or all layers.
pub fn run(session: &Session, root: &Root, images: &[String]) -> Result<()> {
    io::idle_priority();
    let mut buffer = vec![0; BUFFER];
    for diff_id in layers_of(root, images)? {
        session.check()?;
        let damage = match check(session, root, &diff_id, &mut buffer) {
            Ok(found) if found == diff_id => String::new(),
            Ok(found) => format!("the files and the skeleton together give {found}"),
            Err(e) => {
                session.check()?;
                e.to_string()
            }
        };
        session.report(&Report::Verified { layer: diff_id.to_string(), damage })?;
    }
    Ok(())
}

fn layers_of(root: &Root, images: &[String]) -> Result<Vec<Digest>> {
    if images.is_empty() {
        return store::layers(root);
    }
    let (stored, _) = store::images(root)?;
    let mut all: Vec<Digest> = Vec::new();
    for name in images {
        let id = Digest::parse(name)?;
        let image = stored.iter().find(|i| i.id == id).ok_or_else(|| Error::not_found(format!("no such image: {name}")))?;
        all.extend(image.layers.iter());
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn check(session: &Session, root: &Root, diff_id: &Digest, buffer: &mut [u8]) -> Result<Digest> {
    let skeleton = Skeleton::open(&root.layer(diff_id))?;
    let mut tar = skeleton.tar().forgetful();
    let mut hash = sha2::Sha256::new();
    loop {
        let n = tar.read(buffer)?;
        if n == 0 {
            return Ok(Digest::finish(hash));
        }
        hash.update(&buffer[..n]);
        session.check()?;
    }
}
