//! An image archive as it streams by: documents are put aside, layers are extracted at once, and what belongs together is
//! decided when all has passed. Nothing is unpacked first. What is held in memory is the list of members (at most
//! [`MOST_MEMBERS`] names); what waits on disk is in the job's staging folder.

use crate::base::{Context, Error, Kind, Result};
use crate::image::Digest;
use crate::layer::entry;
use crate::layer::path;
use crate::layer::tar::{Event, Parser};
use crate::layer::{Applied, Apply};
use crate::store::{self, LayerInfo, Root};
use sha2::Digest as _;
use std::collections::HashMap;
use std::path::PathBuf;

/// The most members of an archive.
const MOST_MEMBERS: usize = 20_000;
/// The largest document (manifest, config, …).
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// What is looked at to tell a layer from a document.
const PEEK: usize = 512;

/// What a member of the archive turned out to be.
pub enum Member {
    /// A JSON text, in this file.
    Document(PathBuf),
    /// A layer, extracted here.
    Layer(Box<Applied>, PathBuf),
    /// A layer that the store has already.
    Known(Digest),
    /// Neither; or a layer with this fault.
    Other(Option<Error>),
    /// A link to another member.
    Link(Vec<u8>),
}

/// What is being done with the member that is passing.
enum Current {
    Skip,
    /// The first bytes, not enough yet to tell.
    Peek(Vec<u8>),
    Document(Vec<u8>),
    Layer(Box<Apply>, PathBuf),
    /// Named by the diff ID of a layer in the store: only its hash is taken.
    Known(Box<sha2::Sha256>, Digest),
    Broken(Error),
}

/// The reader of an archive.
pub struct Archive<'a> {
    root: &'a Root,
    staging: PathBuf,
    parser: Parser,
    members: HashMap<Vec<u8>, Member>,
    name: Vec<u8>,
    size: u64,
    current: Current,
    files: usize,
}

impl<'a> Archive<'a> {
    /// Works in `staging`, which is made.
    pub fn new(root: &'a Root, staging: PathBuf) -> Result<Archive<'a>> {
        std::fs::create_dir_all(&staging).context(|| format!("create {}", staging.display()))?;
        Ok(Archive {
            root,
            staging,
            parser: Parser::new(),
            members: HashMap::new(),
            name: Vec::new(),
            size: 0,
            current: Current::Skip,
            files: 0,
        })
    }

    /// The next bytes of the archive, uncompressed.
    pub fn push(&mut self, mut data: &[u8]) -> Result<()> {
        loop {
            match self.parser.next(&mut data).map_err(|e| e.context("image archive"))? {
                Event::More => return Ok(()),
                Event::Entry => self.begin()?,
                Event::Data(part) => self.data(part)?,
                Event::End => self.end()?,
                Event::Block(_) | Event::Pad(_) | Event::Tail(_) => {}
            }
        }
    }

    /// The archive has ended.
    pub fn finish(self) -> Result<Members> {
        self.parser.finish().map_err(|e| e.context("image archive"))?;
        Ok(Members(self.members))
    }

    fn begin(&mut self) -> Result<()> {
        let entry = self.parser.entry();
        self.name = path::clean(&entry.path)?;
        self.size = entry.size;
        self.current = Current::Skip;
        if self.members.len() >= MOST_MEMBERS {
            return Err(Error::new(Kind::TooLarge, format!("image archive of more than {MOST_MEMBERS} members")));
        }
        let link = match entry.kind {
            entry::Kind::File if entry.sparse.is_some() => return Err(Error::unsupported("image archive with a sparse member")),
            entry::Kind::File => {
                self.current = Current::Peek(Vec::new());
                return Ok(());
            }
            entry::Kind::Link => path::clean(&entry.link)?,
            entry::Kind::Symlink => path::clean(&[path::split(&self.name).0, b"/", &entry.link].concat())?,
            _ => {
                self.name.clear();
                return Ok(());
            }
        };
        self.members.insert(std::mem::take(&mut self.name), Member::Link(link));
        Ok(())
    }

    fn data(&mut self, part: &[u8]) -> Result<()> {
        match &mut self.current {
            Current::Skip | Current::Broken(_) => {}
            Current::Document(text) => text.extend_from_slice(part),
            Current::Known(hash, _) => hash.update(part),
            Current::Layer(apply, _) => {
                if let Err(e) = apply.push(part) {
                    self.fail(e)?;
                }
            }
            Current::Peek(seen) => {
                let n = part.len().min(PEEK - seen.len());
                seen.extend_from_slice(&part[..n]);
                if seen.len() == PEEK {
                    self.decide()?;
                    self.data(&part[n..])?;
                }
            }
        }
        Ok(())
    }

    /// A layer that does not extract is the archive's fault only if an image needs it; a full disk is ours.
    fn fail(&mut self, e: Error) -> Result<()> {
        if e.is_of_machine() {
            return Err(e);
        }
        self.current = Current::Broken(e);
        Ok(())
    }

    fn decide(&mut self) -> Result<()> {
        let Current::Peek(seen) = std::mem::replace(&mut self.current, Current::Skip) else { return Ok(()) };
        let packed = seen.starts_with(&[0x1f, 0x8b]) || seen.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        let tar = seen.len() == PEEK && (&seen[257..262] == b"ustar" || seen.iter().all(|b| *b == 0));
        let json = matches!(seen.trim_ascii_start().first(), Some(b'{' | b'['));
        if packed || tar || (self.name.ends_with(b".tar") && !json) {
            let in_store = digest_of_name(&self.name).filter(|d| !packed && self.root.has_layer(d));
            self.current = match in_store {
                Some(diff_id) => Current::Known(Box::default(), diff_id),
                None => {
                    let staged = self.next_file("layer");
                    std::fs::create_dir_all(&staged).context(|| format!("create {}", staged.display()))?;
                    let mut apply = Apply::new(&staged)?;
                    apply.limit(store::room(self.root)?);
                    Current::Layer(Box::new(apply), staged)
                }
            };
        } else if json && self.size <= LARGEST_DOCUMENT {
            self.current = Current::Document(Vec::new());
        }
        self.data(&seen)
    }

    /// A fresh name in the staging folder.
    fn next_file(&mut self, kind: &str) -> PathBuf {
        self.files += 1;
        self.staging.join(format!("{kind}-{}", self.files))
    }

    fn end(&mut self) -> Result<()> {
        if let Current::Peek(_) = self.current {
            self.decide()?;
        }
        let member = match std::mem::replace(&mut self.current, Current::Skip) {
            Current::Document(text) => {
                let file = self.next_file("document");
                std::fs::write(&file, text).context(|| format!("write {}", file.display()))?;
                Member::Document(file)
            }
            Current::Layer(apply, staged) => match apply.finish(|applied| LayerInfo::write(applied, &staged.join("layer"))) {
                Ok(applied) => Member::Layer(Box::new(applied), staged),
                Err(e) => {
                    self.fail(e)?;
                    match std::mem::replace(&mut self.current, Current::Skip) {
                        Current::Broken(e) => Member::Other(Some(e)),
                        _ => Member::Other(None),
                    }
                }
            },
            Current::Known(hash, diff_id) => match Digest::finish(*hash) == diff_id {
                true => Member::Known(diff_id),
                false => Member::Other(Some(Error::invalid("its content does not match its digest"))),
            },
            Current::Broken(e) => Member::Other(Some(e)),
            Current::Skip if self.name.is_empty() => return Ok(()), // a folder or a link
            Current::Skip | Current::Peek(_) => Member::Other(None),
        };
        self.members.insert(std::mem::take(&mut self.name), member);
        Ok(())
    }
}

/// `blobs/sha256/<hex>`.
fn digest_of_name(name: &[u8]) -> Option<Digest> {
    Digest::from_hex(std::str::from_utf8(path::split(name).1).ok()?).ok()
}

/// The members of an archive that has passed.
pub struct Members(HashMap<Vec<u8>, Member>);

impl Members {
    /// A member by its name, links followed.
    pub fn get(&self, name: &str) -> Option<&Member> {
        let mut name = path::clean(name.as_bytes()).ok()?;
        for _ in 0..10 {
            match self.0.get(&name)? {
                Member::Link(target) => name = target.clone(),
                member => return Some(member),
            }
        }
        None
    }

    /// The bytes of a document.
    pub fn document(&self, name: &str) -> Result<Vec<u8>> {
        match self.get(name) {
            Some(Member::Document(file)) => std::fs::read(file).context(|| format!("read {}", file.display())),
            Some(_) => Err(Error::invalid(format!("{name} in the image archive is no JSON"))),
            None => Err(Error::invalid(format!("the image archive has no {name}"))),
        }
    }
}
