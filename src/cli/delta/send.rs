//! `delta push` and `delta apply`.

use super::meter::Meter;
use super::{credentials, gain, opener};
use crate::base::{Error, Result, size};
use crate::cli::Cx;
use crate::cli::output::line;
use crate::delta::images::{Image, Opener};
use crate::delta::layout;
use crate::delta::make::rebuild;
use crate::delta::saved::{self, Delta};
use crate::image::Reference;
use crate::image::manifest::Document;
use crate::registry::{Repository, Told};
use argh::{ArgsInfo, FromArgs};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// push deltas from a file to the repository of the image that they lead to
#[derive(FromArgs, ArgsInfo)]
pub struct Push {
    /// registry that may be spoken to without TLS, or with any certificate
    #[argh(option, arg_name = "host")]
    insecure_registry: Vec<String>,
    /// show no progress
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// file
    #[argh(positional)]
    file: String,
    /// repository
    #[argh(positional)]
    repository: String,
}

/// make the image that a delta leads to, from the one that it is from
#[derive(FromArgs, ArgsInfo)]
pub struct Apply {
    /// store of an engine in which OLD is looked up first
    #[argh(option, arg_name = "dir", default = "String::new()")]
    data_root: String,
    /// registry that may be spoken to without TLS, or with any certificate
    #[argh(option, arg_name = "host")]
    insecure_registry: Vec<String>,
    /// write the image to a file, for `load`
    #[argh(option, short = 'o')]
    output: String,
    /// platform of the image, if there are several
    #[argh(option, default = "String::new()")]
    platform: String,
    /// show no progress
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// name of the image in the file
    #[argh(option, short = 't', default = "String::new()")]
    tag: String,
    /// image
    #[argh(positional)]
    old: String,
    /// file
    #[argh(positional)]
    file: String,
}

/// `delta push`.
pub fn push(cx: &Cx, args: Push) -> Result<i32> {
    let auth = |reference: &Reference| credentials(cx, reference);
    let mut opener = opener(&auth, &args.insecure_registry, "", "")?;
    let mut meter = Meter::new(args.quiet);
    let reference = Reference::parse(&args.repository)?;
    let deltas = saved::read(Path::new(&args.file)).map_err(|e| e.context(args.file.as_str()))?;
    if reference.tag().is_some() || reference.digest().is_some() {
        check(&mut opener, &reference, &deltas)?;
    }
    for delta in &deltas {
        let pushed = push_one(&mut opener, &reference.repository(), delta, &mut meter)?;
        line(&format!("{}, pushed as {pushed}", gain(delta)))?;
    }
    Ok(0)
}

/// Does the name mean the image that the deltas lead to?
fn check(opener: &mut Opener<'_>, reference: &Reference, deltas: &[Delta]) -> Result<()> {
    let auth = (opener.auth)(reference)?;
    let name = reference.digest().map_or_else(|| reference.tag().unwrap_or("latest").to_string(), |d| d.to_string());
    let mut repository = Repository::to_write(&mut opener.client, reference, auth.as_ref());
    let (text, digest, kind) = repository.manifest(&name).map_err(|f| f.error)?;
    let platforms = match Document::parse(&text, &kind)? {
        Document::Index(entries) => entries.into_iter().map(|entry| entry.digest).collect(),
        Document::Manifest(_) => vec![digest],
    };
    match deltas.iter().find(|d| !platforms.contains(&d.artifact.subject.digest)) {
        Some(other) => Err(Error::invalid(format!(
            "{} is not what the delta leads to: that is the image {}",
            reference.familiar(),
            other.artifact.offer.target
        ))),
        None => Ok(()),
    }
}

/// Pushes one delta; its name there.
pub fn push_one(opener: &mut Opener<'_>, repository: &Reference, delta: &Delta, meter: &mut Meter) -> Result<String> {
    let auth = (opener.auth)(repository)?;
    let shown = Rc::new(RefCell::new((std::mem::replace(meter, Meter::new(true)), 0)));
    let (hears, size) = (shown.clone(), delta.artifact.offer.size);
    let told: Told = Rc::new(move |bytes| {
        let mut shown = hears.borrow_mut();
        shown.1 += bytes;
        let sent = shown.1;
        shown.0.show(&format!("push {}", size::human_digits(size, 3)), sent.min(size), size);
    });
    let pushed = {
        let mut repository = Repository::to_write(&mut opener.client, repository, auth.as_ref());
        delta.push(&mut repository, Some(&told))
    };
    std::mem::swap(meter, &mut shown.borrow_mut().0);
    meter.clear();
    pushed.map_err(|f| f.error)?;
    Ok(repository.with_digest(delta.digest()).familiar())
}

/// `delta apply`.
pub fn apply(cx: &Cx, args: Apply) -> Result<i32> {
    let auth = |reference: &Reference| credentials(cx, reference);
    let mut opener = opener(&auth, &args.insecure_registry, &args.data_root, &args.platform)?;
    let mut meter = Meter::new(args.quiet);
    let name = match args.tag.as_str() {
        "" => None,
        tag => Some(Reference::parse_tagged(tag)?.to_string()),
    };
    let deltas = saved::read(Path::new(&args.file)).map_err(|e| e.context(args.file.as_str()))?;
    let old = opener.open(&args.old)?;
    let delta = suitable(&deltas, &old)?;
    layout::save(Path::new(&args.output), |file| {
        rebuild(&mut opener, &old, delta, name.as_deref(), file, &mut |step, now, all| meter.show(step, now, all))
    })?;
    meter.clear();
    line(&delta.artifact.offer.target.to_string()).map(|()| 0)
}

/// The delta that is from this image, or else one whose base's layers it has.
fn suitable<'a>(deltas: &'a [Delta], old: &Image) -> Result<&'a Delta> {
    let has = |delta: &&Delta| {
        let base = &delta.artifact.offer.base_layers;
        base.iter().all(|layer| old.layers.iter().any(|l| l.diff_id == *layer))
    };
    let exact = deltas.iter().find(|d| d.artifact.offer.base == old.id);
    exact.or_else(|| deltas.iter().filter(has).min_by_key(|d| d.size())).ok_or_else(|| {
        let bases: Vec<String> = deltas.iter().map(|d| d.artifact.offer.base.to_string()).collect();
        Error::invalid(format!("{} is image {}, and the file has deltas from {} only", old.name, old.id, bases.join(", ")))
    })
}
