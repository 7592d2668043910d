//! The files of an image that is being pulled. They are written when its last layer is complete, right before that layer's sync, which makes
//! them durable too: a sync of their own would cost as much beside an update of a few files.

use crate::base::Result;
use crate::base::time::Time;
use crate::image::Digest;
use crate::layer::Applied;
use crate::store::{self, ImageInfo, Root};
use std::cell::Cell;
use std::path::PathBuf;

/// The image, as far as it is known before its layers are there.
pub struct StagedImage<'a> {
    root: &'a Root,
    id: Digest,
    /// Where its files wait for its name.
    folder: PathBuf,
    config: &'a [u8],
    manifest: Option<&'a [u8]>,
    layers: &'a [Digest],
    state: Cell<State>,
}

/// The sizes of the layers, as they are in the image's files.
enum State {
    Missing,
    Written(Vec<u64>),
    Durable(Vec<u64>),
}

impl<'a> StagedImage<'a> {
    /// Nothing is written yet.
    pub fn new(
        root: &'a Root,
        folder: PathBuf,
        config: &'a [u8],
        manifest: Option<&'a [u8]>,
        layers: &'a [Digest],
    ) -> StagedImage<'a> {
        StagedImage { root, id: Digest::of(config), folder, config, manifest, layers, state: Cell::new(State::Missing) }
    }

    /// A layer is complete and about to be made durable. If no other is missing, the image's files are written.
    pub fn before_sync(&self, layer: &Applied) -> Result<()> {
        self.state.set(State::Missing);
        if self.is_there() {
            return Ok(());
        }
        let size = |diff_id: &Digest| match *diff_id == layer.diff_id {
            true => Some(layer.size),
            false => store::layer_info(self.root, diff_id).ok().map(|info| info.size),
        };
        let Some(sizes) = self.layers.iter().map(size).collect::<Option<Vec<_>>>() else { return Ok(()) };
        self.write(&sizes)?;
        self.state.set(State::Written(sizes));
        Ok(())
    }

    /// The layer is durable, and so is what was written with it.
    pub fn synced(&self) {
        let state = match self.state.replace(State::Missing) {
            State::Written(sizes) => State::Durable(sizes),
            other => other,
        };
        self.state.set(state);
    }

    /// All layers are there: gives the image its name. Returns its ID, and the sizes of its layers.
    pub fn commit(self) -> Result<(Digest, Vec<u64>)> {
        let sizes = self.layers.iter().map(|layer| Ok(store::layer_info(self.root, layer)?.size)).collect::<Result<Vec<_>>>()?;
        let durable = matches!(self.state.replace(State::Missing), State::Durable(written) if written == sizes);
        if !durable && !self.is_there() {
            self.write(&sizes)?;
            store::sync(&self.folder)?;
        }
        store::commit_image(self.root, &self.folder, &self.id)?;
        Ok((self.id, sizes))
    }

    fn is_there(&self) -> bool {
        self.root.image(&self.id).exists()
    }

    fn write(&self, sizes: &[u64]) -> Result<()> {
        let info = ImageInfo { manifest: self.manifest.map(Digest::of), sizes: sizes.to_vec(), pulled: Time::now().0 };
        store::stage_image(&self.folder, self.config, self.manifest, &info)
    }
}
