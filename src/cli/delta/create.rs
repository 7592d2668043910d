//! `delta create`.

use super::meter::Meter;
use super::{credentials, gain, opener, send, usage};
use crate::base::{Error, Result, size};
use crate::cli::Cx;
use crate::cli::output::line;
use crate::delta::images::{Image, Opener};
use crate::delta::make::make;
use crate::delta::saved::{self, Delta};
use crate::delta::{choose, create as format, layout, releases};
use crate::image::{Digest, Reference};
use crate::registry::{self, Repository};
use argh::{ArgsInfo, FromArgs};
use std::path::Path;

/// make a delta from one image to another, or from the last releases to a new one
#[derive(FromArgs, ArgsInfo)]
pub struct Create {
    /// store of an engine in which names are looked up first
    #[argh(option, arg_name = "dir", default = "String::new()")]
    data_root: String,
    /// make deltas from the last so many releases: the tags of the form of REPO:TAG with the next lower numbers
    #[argh(option, arg_name = "n", default = "0")]
    from_last: u32,
    /// registry that may be spoken to without TLS, or with any certificate
    #[argh(option, arg_name = "host")]
    insecure_registry: Vec<String>,
    /// how much time is spent on making the deltas small, from 1 to 9
    #[argh(option, arg_name = "n", default = "9")]
    level: u32,
    /// most memory to use, such as 2g (default: what is free); about 7 times the old image and 4 times a layer are needed
    #[argh(option, arg_name = "size", default = "String::new()")]
    memory: String,
    /// write the deltas to a file, as an OCI layout
    #[argh(option, short = 'o', default = "String::new()")]
    output: String,
    /// platform of the images, if there are several
    #[argh(option, default = "String::new()")]
    platform: String,
    /// push the deltas to the repository of the new image
    #[argh(switch)]
    push: bool,
    /// show no progress
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// images
    #[argh(positional)]
    images: Vec<String>,
}

/// `delta create`.
pub fn create(cx: &Cx, args: Create) -> Result<i32> {
    let why = match (args.output.is_empty(), args.push, args.images.len(), args.from_last) {
        (true, false, ..) => "say where the delta goes: -o FILE or --push",
        (false, true, ..) => "a delta goes either to a file or to a registry: -o or --push",
        (_, _, 1, 0) => "say from which image: OLD NEW, or --from-last N REPO:TAG",
        (_, _, 2, 1..) => "--from-last finds the old images by itself: name only the new one",
        _ if !(1..=9).contains(&args.level) => "--level is from 1 to 9",
        _ => "",
    };
    if !why.is_empty() {
        return usage(cx, "create", why);
    }
    let memory = if args.memory.is_empty() { free_memory() } else { size::parse(&args.memory)? };
    let processes = std::thread::available_parallelism().map_or(1, usize::from);
    let options = format::Options { level: args.level, memory, processes };
    let auth = |reference: &Reference| credentials(cx, reference);
    let mut opener = opener(&auth, &args.insecure_registry, &args.data_root, &args.platform)?;
    let mut meter = Meter::new(args.quiet);
    let mut status = 0;
    let (name, olds) = match args.images.as_slice() {
        [old, new] => (new, vec![old.clone()]),
        [new] => (new, before(&mut opener, new)?),
        _ => return Err(Error::internal("neither one image nor two")),
    };
    let new = opener.open(name)?;
    let target = if args.push { Some(repository_of(&new)?) } else { None };
    let mut seen = match (args.from_last, &target) {
        (1.., Some(reference)) => offered(&mut opener, &new, reference)?,
        _ => Vec::new(),
    };
    let mut done: Vec<Delta> = Vec::new();
    let mut left = args.from_last.max(1);
    for old in olds {
        if left == 0 {
            break;
        }
        let made = one(&mut opener, &old, &new, &mut seen, &mut left, &options, &mut meter);
        meter.clear();
        opener.keep_only(&new);
        match made {
            Ok(Some(delta)) if args.push && delta.size() >= delta.plain() => {
                meter.say(&format!("{old}: not pushed, as no device would take it: {}", gain(&delta)));
            }
            Ok(Some(delta)) => {
                if let Some(reference) = &target {
                    let pushed = send::push_one(&mut opener, reference, &delta, &mut meter)?;
                    line(&format!("{old}: {}, pushed as {pushed}", gain(&delta)))?;
                } else {
                    line(&format!("{old}: {}", gain(&delta)))?;
                    done.push(delta);
                }
            }
            Ok(None) => {}
            Err(e) if args.from_last == 0 => return Err(e),
            Err(e) => {
                meter.say(&format!("{old}: {e}"));
                status = 1;
            }
        }
    }
    if target.is_none() && !done.is_empty() {
        layout::save(Path::new(&args.output), |file| saved::write(&done, file))?;
    } else if target.is_none() && status == 0 {
        meter.say(&format!("there is nothing to write to {}", args.output));
    }
    Ok(status)
}

/// Bytes of memory that can be had without pushing others out.
fn free_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(u64::MAX, |kb| kb * 1024)
}

/// The tags before a reference's, each as a reference.
fn before(opener: &mut Opener<'_>, name: &str) -> Result<Vec<String>> {
    let reference = Reference::parse_tagged(name)?;
    let tag = reference.tag().ok_or_else(|| Error::invalid("--from-last wants a tag: REPO:TAG"))?;
    let auth = (opener.auth)(&reference)?;
    let tags = registry::tags(&mut opener.client, &reference, auth.as_ref())
        .map_err(|e| e.context(format!("tags of {}", reference.familiar_name())))?;
    let found = releases::before(&tags, tag)?;
    if found.is_empty() {
        let text = format!("{} has no tag of the form of {tag:?} with lower numbers", reference.familiar_name());
        return Err(Error::not_found(text));
    }
    found.iter().map(|tag| Ok(reference.with_tag(tag)?.familiar())).collect()
}

/// The images that deltas to this one are from already.
fn offered(opener: &mut Opener<'_>, new: &Image, reference: &Reference) -> Result<Vec<Digest>> {
    let Some(manifest) = &new.manifest else { return Ok(Vec::new()) };
    let auth = (opener.auth)(reference)?;
    let mut repository = Repository::to_write(&mut opener.client, reference, auth.as_ref());
    let offers = choose::offers(&mut repository, &manifest.digest).map_err(|f| f.error)?;
    Ok(offers.into_iter().map(|listed| listed.offer.base).collect())
}

/// The repository that an image is from.
fn repository_of(image: &Image) -> Result<Reference> {
    if image.is_on_disk() {
        return Err(Error::invalid(format!("{} is in no repository that could be pushed to: write to a file by -o", image.name)));
    }
    Ok(Reference::parse(&image.name)?.repository())
}

/// The delta from one image; none if there is none to make, which is said.
fn one(
    opener: &mut Opener<'_>,
    old: &str,
    new: &Image,
    seen: &mut Vec<Digest>,
    left: &mut u32,
    options: &format::Options,
    meter: &mut Meter,
) -> Result<Option<Delta>> {
    let image = opener.open(old)?;
    if image.id == new.id {
        meter.say(&format!("{old}: it is the same image"));
        return Ok(None);
    }
    *left -= 1;
    if seen.contains(&image.id) {
        meter.say(&format!("{old}: there is a delta from it already"));
        return Ok(None);
    }
    seen.push(image.id);
    let made = make(opener, &image, new, options, &mut |step, now, all| meter.show(&format!("{old}: {step}"), now, all))?;
    if made.is_none() {
        meter.say(&format!("{old}: it has all layers of {} already", new.name));
    }
    Ok(made)
}
