//! Giving back what nobody needs: the trash, layers that have come in part, layers that no image has.

use crate::base::Result;
use crate::image::Digest;
use crate::store::{self, Root};
use crate::sys::io;
use crate::wire::worker::Report;
use crate::worker::session::Session;

/// What is to be left alone, and how much is to go.
pub struct Wish {
    /// Layers whose replaced copies in the trash are in use.
    pub hold: Vec<String>,
    /// Layers that jobs rely on.
    pub keep: Vec<String>,
    /// Layers that images have.
    pub known: Vec<String>,
    /// Layers in part go too.
    pub partials: bool,
    /// Somebody waits.
    pub urgent: bool,
}

/// Runs the job. Layers without an image are only told of: whether one is wanted now, the daemon knows.
pub fn run(session: &Session, root: &Root, wish: &Wish) -> Result<()> {
    if !wish.urgent {
        io::idle_priority();
    }
    if wish.partials {
        store::discard_partials(root, &wish.keep)?;
    }
    let held = store::empty_trash(root, &wish.hold, &mut || session.check().is_ok())?;
    session.report(&Report::Held(held))?;
    session.report(&Report::Reclaimed { orphans: orphans(root, wish)?, free: store::room(root)? })
}

/// Layers of the data root that belong to no image. While there is an image that cannot be read, nobody knows.
fn orphans(root: &Root, wish: &Wish) -> Result<Vec<String>> {
    let (images, aside) = store::all_images(root)?;
    if !aside.is_empty() {
        return Ok(Vec::new());
    }
    let needed = |layer: &Digest| {
        let text = layer.to_string();
        wish.known.contains(&text) || wish.keep.contains(&text) || images.iter().any(|image| image.layers.contains(layer))
    };
    Ok(store::layers(root)?.into_iter().filter(|layer| !needed(layer)).map(|layer| layer.to_string()).collect())
}
