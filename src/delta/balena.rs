//! balenaEngine's delta images: ordinary images whose labels name a base and hold another image's config, and whose layers each hold
//! one file, a librsync delta of that image's layer against all layers of the base, one after the other.

use crate::base::{Error, Result};
use crate::delta::blocks::Blocks;
use crate::delta::rsync::{Reader, Sink, unexpected_end};
use crate::image::Digest;
use crate::image::config::ImageConfig;
use crate::layer::entry::Kind;
use crate::layer::tar::{BLOCK, Event, Parser};
use sha2::Digest as _;
use std::collections::BTreeMap;

/// The label with the ID of the base.
pub const BASE: &str = "io.resin.delta.base";
/// The label with the exact config of the image that comes out.
pub const CONFIG: &str = "io.resin.delta.config";
/// A tar of nothing. It stands for a layer that the base has in the same place.
pub const EMPTY: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A delta image, as its config tells.
#[derive(Clone, Debug)]
pub struct DeltaImage {
    /// ID of the base.
    pub base: Digest,
    /// The config of the image that comes out, its exact text: its digest is that image's ID.
    pub config: String,
    /// The same, understood.
    pub target: ImageConfig,
    /// Diff IDs of the delta layers, one for each layer of the target.
    pub deltas: Vec<Digest>,
}

impl DeltaImage {
    /// `None` if the config is that of any other image.
    pub fn of(config: &ImageConfig) -> Result<Option<DeltaImage>> {
        let label = |name| config.config.as_ref().and_then(|c| c.labels.get(name));
        let (base, text) = match (label(BASE), label(CONFIG)) {
            (None, None) => return Ok(None),
            (Some(base), Some(text)) => (base, text),
            (Some(_), None) => return Err(Error::invalid(format!("the image is a delta, but has no label {CONFIG}"))),
            (None, Some(_)) => return Err(Error::invalid(format!("the image is a delta, but has no label {BASE}"))),
        };
        let base = Digest::parse(base).map_err(|e| e.context(format!("parsing base image {base:?}")))?;
        let target = ImageConfig::parse(text.as_bytes()).map_err(|e| e.context(format!("label {CONFIG}")))?;
        let deltas = config.rootfs.diff_ids.clone();
        if deltas.len() != target.rootfs.diff_ids.len() {
            let (deltas, layers) = (deltas.len(), target.rootfs.diff_ids.len());
            return Err(Error::invalid(format!("the delta image has {deltas} layers, its target {layers}")));
        }
        Ok(Some(DeltaImage { base, config: text.clone(), target, deltas }))
    }

    /// ID of the image that comes out.
    pub fn id(&self) -> Digest {
        Digest::of(self.config.as_bytes())
    }
}

/// The config of a delta image. It says the same time as its target does: a delta made twice is the same image.
pub fn config(base: &Digest, target: &str, created: Option<&str>, deltas: &[Digest]) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Out<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<&'a str>,
        config: Inner<'a>,
        rootfs: RootFs<'a>,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inner<'a> {
        labels: BTreeMap<&'a str, &'a str>,
    }
    #[derive(serde::Serialize)]
    struct RootFs<'a> {
        r#type: &'a str,
        diff_ids: &'a [Digest],
    }
    let base = base.to_string();
    let labels = BTreeMap::from([(BASE, base.as_str()), (CONFIG, target)]);
    let rootfs = RootFs { r#type: "layers", diff_ids: deltas };
    Ok(serde_json::to_string(&Out { created, config: Inner { labels }, rootfs })?)
}

/// What goes before a delta of that length, and what after it, to make a layer of it.
pub fn layer_around(length: u64) -> (Vec<u8>, Vec<u8>) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..5].copy_from_slice(b"delta");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(length);
    header.set_cksum();
    let pad = (BLOCK - (length % BLOCK as u64) as usize) % BLOCK;
    (header.as_bytes().to_vec(), vec![0; pad + EMPTY.len()])
}

/// From a delta layer's tar, as it comes, to the tar that it stands for.
#[derive(Default)]
pub struct LayerReader {
    parser: Parser,
    hash: sha2::Sha256,
    delta: Option<Reader>,
    /// The first entry is over: nothing that follows counts.
    over: bool,
}

impl LayerReader {
    /// The next bytes of the delta layer's tar.
    pub fn push(&mut self, mut bytes: &[u8], base: &mut Blocks<'_>, sink: Sink<'_>) -> Result<()> {
        self.hash.update(bytes);
        while !self.over {
            match self.parser.next(&mut bytes)? {
                Event::More => break,
                Event::Entry if self.parser.entry().kind != Kind::File || self.parser.entry().sparse.is_some() => {
                    return Err(Error::invalid("invalid delta tar archive: its first entry is no file"));
                }
                Event::Entry => self.delta = Some(Reader::default()),
                Event::Data(part) => {
                    if let Some(delta) = &mut self.delta {
                        delta.push(part, base, sink)?;
                    }
                }
                Event::End | Event::Tail(_) => self.over = true,
                Event::Block(_) | Event::Pad(_) => {}
            }
        }
        Ok(())
    }

    /// Nothing more comes. Returns the diff ID of the delta layer.
    pub fn finish(self) -> Result<Digest> {
        match &self.delta {
            None if self.over => return Err(Error::invalid("unexpected EOF. Invalid delta tar archive")),
            None => return Err(unexpected_end()),
            Some(delta) => delta.finish()?,
        }
        Ok(Digest::finish(self.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::base::Base;

    fn read(tar: &[u8], step: usize) -> Result<(Digest, Vec<u8>)> {
        let (mut reader, mut out) = (LayerReader::default(), Vec::new());
        let mut base = Blocks::new(Base::new(&[])?);
        for part in tar.chunks(step) {
            reader.push(part, &mut base, &mut |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        Ok((reader.finish()?, out))
    }

    #[test]
    fn a_layer_of_one_entry() {
        let delta = [0x72, 0x73, 2, 0x36, 3, b'a', b'b', b'c', 0];
        let (head, tail) = layer_around(delta.len() as u64);
        let tar = [&head[..], &delta, &tail].concat();
        assert_eq!(tar.len(), 4 * BLOCK);
        assert_eq!(Digest::of(&EMPTY).hex(), "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
        for step in [1, 511, 10_000] {
            assert_eq!(read(&tar, step).unwrap(), (Digest::of(&tar), b"abc".to_vec()));
            assert_eq!(read(&tar[..BLOCK + 8], step).unwrap_err().to_string(), "unexpected EOF");
            assert_eq!(read(&tar[..100], step).unwrap_err().to_string(), "unexpected EOF");
            assert_eq!(read(&EMPTY, step).unwrap_err().to_string(), "unexpected EOF. Invalid delta tar archive");
        }
    }

    #[test]
    fn configs_say_what_they_are() {
        let id = Digest::of(b"base");
        let target =
            format!(r#"{{"os":"linux","created":"2024-01-01T00:00:00Z","rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#);
        let text = config(&id, &target, Some("2024-01-01T00:00:00Z"), &[Digest::of(&EMPTY)]).unwrap();
        let parsed = ImageConfig::parse(text.as_bytes()).unwrap();
        assert!(parsed.os.is_empty() && parsed.architecture.is_empty());
        let delta = DeltaImage::of(&parsed).unwrap().unwrap();
        assert_eq!((delta.base, delta.id(), delta.deltas), (id, Digest::of(target.as_bytes()), vec![Digest::of(&EMPTY)]));
        assert!(DeltaImage::of(&delta.target).unwrap().is_none());
        let fails = |text: &str| DeltaImage::of(&ImageConfig::parse(text.as_bytes()).unwrap()).unwrap_err().to_string();
        assert!(fails(&text.replace(CONFIG, "x")).contains("no label"));
        assert!(fails(&text.replace(BASE, "x")).contains("no label"));
        assert!(fails(&text.replace(&format!("\"{id}\""), "\"sha256:0\"")).contains("parsing base image"));
        assert_eq!(fails(&config(&id, &target, None, &[]).unwrap()), "the delta image has 0 layers, its target 1");
    }
}
