//! Additional image stores: folders with the layout of a data root (`layers/`, `images/`, `tags/`) that are read in place and never
//! written, such as images that come with the operating system.

use crate::base::{Error, Result};
use crate::image::Digest;
use crate::store::{Root, list, meta};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The stores of a root.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    paths: Vec<PathBuf>,
    /// Which store has which layer that the data root has not: known to the daemon, which looks once; workers look each time.
    placed: Option<BTreeMap<Digest, usize>>,
}

impl Stores {
    /// For a worker, which looks at the disk.
    pub fn new(paths: &[String]) -> Stores {
        Stores { paths: paths.iter().map(PathBuf::from).collect(), placed: None }
    }

    /// Where they are.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The store's folder of a layer that the data root, in `own`, has not.
    pub(super) fn layer(&self, own: &Path, diff_id: &Digest) -> Option<PathBuf> {
        match &self.placed {
            Some(placed) => placed.get(diff_id).and_then(|nth| self.paths.get(*nth)).map(|path| layer_in(path, diff_id)),
            None if self.paths.is_empty() || rustix::fs::stat(own).is_ok() => None,
            None => self.paths.iter().map(|path| layer_in(path, diff_id)).find(|path| rustix::fs::stat(path).is_ok()),
        }
    }
}

fn layer_in(root: &Path, diff_id: &Digest) -> PathBuf {
    root.join("layers/sha256").join(diff_id.hex())
}

impl Root {
    /// Opens additional stores for the daemon. One that cannot be used is left out, and told of with its reason.
    pub fn add_stores(&mut self, wanted: &[String]) -> Vec<Error> {
        let (mut stores, mut placed, mut refused) = (Vec::new(), BTreeMap::new(), Vec::new());
        for path in wanted.iter().map(PathBuf::from) {
            match self.look_into(&path) {
                Ok(layers) => {
                    let nth = stores.len();
                    layers.into_iter().for_each(|layer| {
                        placed.entry(layer).or_insert(nth);
                    });
                    stores.push(path);
                }
                Err(e) => refused.push(e.context(format!("image store {} is left out", path.display()))),
            }
        }
        self.stores = Stores { paths: stores, placed: Some(placed) };
        refused
    }

    /// The layers that are in the store and not in the data root.
    fn look_into(&self, store: &Path) -> Result<Vec<Digest>> {
        if !store.is_absolute() {
            return Err(Error::invalid("it is not an absolute path"));
        }
        meta::check(store)?;
        let all = list::layers_in(store)?;
        Ok(all.into_iter().filter(|layer| rustix::fs::stat(self.own_layer(layer)).is_err()).collect())
    }

    /// The read-only store that has the layer; none if it is in the data root, or nowhere.
    pub fn store_of(&self, diff_id: &Digest) -> Option<&Path> {
        let found = self.stores.layer(&self.own_layer(diff_id), diff_id)?;
        self.stores.paths.iter().map(PathBuf::as_path).find(|store| found.starts_with(store))
    }
}
