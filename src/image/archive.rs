//! Images in archives and folders: the documents of docker-archives and OCI layouts that name their parts.

use crate::image::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// An image of a docker-archive: an entry of its manifest.json.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Item {
    /// The member that is its config.
    pub config: String,
    /// References.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The members that are its layers, bottom first.
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

/// The index.json of an OCI layout.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// Images, and indexes of such.
    pub manifests: Vec<IndexEntry>,
}

/// An entry of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexEntry {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl IndexEntry {
    /// The whole reference, as containerd notes it.
    pub fn containerd_name(&self) -> Option<&String> {
        self.annotations.as_ref()?.get("io.containerd.image.name")
    }

    /// The specification's own annotation; it may be just a tag.
    pub fn ref_name(&self) -> Option<&String> {
        self.annotations.as_ref()?.get("org.opencontainers.image.ref.name")
    }
}

/// Where an OCI layout has a blob.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
