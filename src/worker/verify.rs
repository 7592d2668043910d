//! Verify: rebuild every layer's tar from what is on disk, compare its digest with the layer's name, and fetch again what is damaged
//! if that is asked for.

use crate::base::{Error, Result};
use crate::image::Digest;
use crate::layer::Skeleton;
use crate::layer::tar::{Event, Parser};
use crate::store::{self, Root};
use crate::sys::io;
use crate::wire::worker::{Repair, Report, Verified};
use crate::worker::repair;
use crate::worker::session::Session;
use sha2::Digest as _;

/// Bytes read at once.
const BUFFER: usize = 128 * 1024;
/// Damaged files of one layer that are named.
const MOST_NAMED: usize = 16;

/// Runs the job: the layers of the named images (IDs), or all layers.
pub fn run(session: &mut Session, root: &Root, images: &[String], repair: Option<&Repair>) -> Result<()> {
    io::idle_priority();
    let layers = layers_of(root, images)?;
    if repair.is_some() {
        // What is being replaced is not to be removed meanwhile.
        let layers = layers.iter().map(Digest::to_string).collect();
        session.ask(&Report::Plan { layers })?;
    }
    for diff_id in layers {
        let damage = damage_of(session, root, &diff_id)?;
        let mut line = Verified { layer: diff_id.to_string(), damage: damage.unwrap_or_default(), ..Verified::default() };
        if let Some(how) = repair
            && !line.damage.is_empty()
        {
            match repair::run(session, root, &diff_id, how) {
                Ok(()) => line.repaired = true,
                Err(e) => line.reason = e.to_string(),
            }
            session.check()?;
        }
        session.report(&Report::Verified(line))?;
    }
    Ok(())
}

/// What is wrong with a layer, and in which files; `None` if it is whole. An error is that of the job alone.
pub fn damage_of(session: &Session, root: &Root, diff_id: &Digest) -> Result<Option<String>> {
    session.check()?;
    let skeleton = match Skeleton::open(&root.layer(diff_id)) {
        Ok(skeleton) => skeleton,
        Err(e) => return Ok(Some(e.to_string())),
    };
    let info = match store::layer_info(root, diff_id) {
        Ok(info) => info,
        Err(e) => return Ok(Some(e.to_string())),
    };
    let mut missing = Vec::new();
    let found = read_through(session, &skeleton, info.replaced, &mut missing);
    session.check()?;
    if found.as_ref().is_ok_and(|found| found == diff_id) && missing.is_empty() {
        return Ok(None);
    }
    // Which files it is: their own checksums tell.
    let (mut names, mut more) = (missing, 0);
    // (Files without content have none, and what is not a file.)
    let looked = skeleton.damaged_files(&|| session.check(), &mut |path, why| match names.len() < MOST_NAMED {
        true => names.push(format!("file {:?}: {why}", String::from_utf8_lossy(path))),
        false => more += 1,
    });
    session.check()?;
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    Ok(Some(match (names.is_empty(), found, looked) {
        (false, _, _) => names.join("; "),
        (true, Err(e), _) | (true, _, Err(e)) => e.to_string(),
        (true, Ok(found), Ok(())) => format!("the skeleton gives {found}, and no file of it has changed"),
    }))
}

fn layers_of(root: &Root, images: &[String]) -> Result<Vec<Digest>> {
    let (stored, _) = store::all_images(root)?;
    let mut all: Vec<Digest> = Vec::new();
    if images.is_empty() {
        all = store::all_layers(root)?;
        all.extend(stored.iter().flat_map(|image| image.layers.iter()));
    }
    for name in images {
        let id = Digest::parse(name)?;
        let image = stored.iter().find(|i| i.id == id).ok_or_else(|| Error::not_found(format!("no such image: {name}")))?;
        all.extend(image.layers.iter());
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Digest of the tar that a layer gives. Names of the tar that the layer lacks are added to `missing`, unless it has `replaced` some.
fn read_through(session: &Session, skeleton: &Skeleton, replaced: bool, missing: &mut Vec<String>) -> Result<Digest> {
    let mut buffer = vec![0; BUFFER];
    let mut tar = skeleton.tar().forgetful();
    let mut hash = sha2::Sha256::new();
    let mut parser = Parser::new();
    loop {
        let n = tar.read(&mut buffer)?;
        if n == 0 {
            return Ok(Digest::finish(hash));
        }
        hash.update(&buffer[..n]);
        let mut rest = &buffer[..n];
        while let Some(event) = parser.next(&mut rest).ok().filter(|event| *event != Event::More) {
            // Content is looked at elsewhere: this is about links, folders, devices, whiteouts, empty files.
            if event == Event::Entry && parser.entry().stored == 0 && !replaced && missing.len() < MOST_NAMED {
                let path = &parser.entry().path;
                if skeleton.lacks(path) {
                    missing.push(format!("{:?} is missing", String::from_utf8_lossy(path)));
                }
            }
        }
        session.check()?;
    }
}
