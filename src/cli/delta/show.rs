//! `delta inspect` and `delta list`.

use super::{credentials, opener, ratio};
use crate::base::{Error, Result, size};
use crate::cli::Cx;
use crate::cli::output::{Layout, object, say};
use crate::cli::tabs;
use crate::cli::value::Json;
use crate::delta::artifact::Artifact;
use crate::delta::choose::{Listed, offers};
use crate::delta::images::{Opener, name_of, platform_manifest};
use crate::delta::saved::{self, Delta};
use crate::image::manifest::Document;
use crate::image::{Digest, Reference};
use crate::registry::Repository;
use argh::{ArgsInfo, FromArgs};
use serde_json::json;
use std::path::Path;

/// show what deltas are from and to, and what each of their layers takes
#[derive(FromArgs, ArgsInfo)]
pub struct Inspect {
    /// format the output: `json`, or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
    /// registry that may be spoken to without TLS, or with any certificate
    #[argh(option, arg_name = "host")]
    insecure_registry: Vec<String>,
    /// platform of the image, if there are several
    #[argh(option, default = "String::new()")]
    platform: String,
    /// file or reference
    #[argh(positional)]
    name: String,
}

/// list the deltas to an image that a registry has
#[derive(FromArgs, ArgsInfo)]
pub struct List {
    /// format the output: `table`, `json`, or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// registry that may be spoken to without TLS, or with any certificate
    #[argh(option, arg_name = "host")]
    insecure_registry: Vec<String>,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// platform of the image, if there are several
    #[argh(option, default = "String::new()")]
    platform: String,
    /// only display digests
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// reference
    #[argh(positional)]
    reference: String,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("Digest", "DIGEST"),
        ("Base", "BASE IMAGE"),
        ("BaseManifest", "BASE MANIFEST"),
        ("Target", "TARGET IMAGE"),
        ("Size", "SIZE"),
        ("Written", "WRITTEN"),
        ("SizeBytes", "BYTES"),
        ("WrittenBytes", "WRITTEN BYTES"),
    ],
    table: "{{.Digest}}\t{{.Base}}\t{{.Size}}\t{{.Written}}",
    quiet: "{{.Digest}}",
};

/// `delta list`.
pub fn list(cx: &Cx, args: List) -> Result<i32> {
    let auth = |reference: &Reference| credentials(cx, reference);
    let mut opener = opener(&auth, &args.insecure_registry, "", &args.platform)?;
    let reference = Reference::parse_tagged(&args.reference)?;
    let mut found = deltas_of(&mut opener, &reference)?;
    found.sort_by_key(|l| (l.offer.size, l.manifest));
    let cut = |digest: &Digest| if args.no_trunc || !args.format.is_empty() { digest.to_string() } else { digest.short() };
    let row = |l: &Listed| {
        let row = json!({
            "Digest": if args.quiet { l.manifest.to_string() } else { cut(&l.manifest) },
            "Base": cut(&l.offer.base),
            "BaseManifest": l.offer.base_manifest.as_ref().map(&cut).unwrap_or_default(),
            "Target": cut(&l.offer.target),
            "Size": size::human_digits(l.offer.size, 3),
            "Written": size::human_digits(l.offer.written, 3),
            "SizeBytes": l.offer.size,
            "WrittenBytes": l.offer.written,
        });
        Json::parse(row.to_string().as_bytes())
    };
    let rows = found.iter().map(row).collect::<Result<Vec<_>>>()?;
    LAYOUT.print(&args.format, args.quiet, &rows).map(|()| 0)
}

/// What a registry offers for the image of a reference.
fn deltas_of(opener: &mut Opener<'_>, reference: &Reference) -> Result<Vec<Listed>> {
    let auth = (opener.auth)(reference)?;
    let mut repository = Repository::new(&mut opener.client, reference, auth.as_ref());
    let top = repository.manifest(&name_of(reference)).map_err(|f| f.error)?;
    let (manifest, _) = platform_manifest(&mut repository, top, opener.platform.as_ref())?;
    offers(&mut repository, &manifest.digest).map_err(|f| f.error)
}

/// `delta inspect`.
pub fn inspect(cx: &Cx, args: Inspect) -> Result<i32> {
    let auth = |reference: &Reference| credentials(cx, reference);
    let mut opener = opener(&auth, &args.insecure_registry, "", &args.platform)?;
    let deltas = match Path::new(&args.name).exists() || args.name.starts_with(['/', '.']) {
        true => saved::read(Path::new(&args.name)).map_err(|e| e.context(args.name.as_str()))?,
        false => remote(&mut opener, &Reference::parse_tagged(&args.name)?)?,
    };
    for (nth, delta) in deltas.iter().enumerate() {
        match args.format.as_str() {
            "" if nth > 0 => say(&format!("\n{}", text(delta)))?,
            "" => say(&text(delta))?,
            format => object(format, &fields(delta)?)?,
        }
    }
    Ok(0)
}

/// The delta of that name in a registry, or all that lead to the image of that name.
fn remote(opener: &mut Opener<'_>, reference: &Reference) -> Result<Vec<Delta>> {
    let auth = (opener.auth)(reference)?;
    let mut repository = Repository::new(&mut opener.client, reference, auth.as_ref());
    let whole = |repository: &mut Repository<'_>, text: Vec<u8>| -> Result<Delta> {
        let artifact = Artifact::parse(&text)?;
        let (target, _, kind) = repository.manifest(&artifact.subject.digest.to_string()).map_err(|f| f.error)?;
        let Document::Manifest(manifest) = Document::parse(&target, &kind)? else {
            return Err(Error::invalid("the delta's target is no image"));
        };
        let config = repository.small_blob(&manifest.config.digest, manifest.config.size).map_err(|f| f.error)?;
        Delta::new(text, Vec::new(), target, config)
    };
    let top = repository.any_manifest(&name_of(reference), |_, _| Ok(())).map_err(|f| f.error)?;
    if Artifact::is_one(&top.0) {
        return Ok(vec![whole(&mut repository, top.0)?]);
    }
    let (manifest, _) = platform_manifest(&mut repository, top, opener.platform.as_ref())?;
    let listed = offers(&mut repository, &manifest.digest).map_err(|f| f.error)?;
    if listed.is_empty() {
        return Err(Error::not_found(format!("there is no delta to {}", reference.familiar())));
    }
    let mut found = Vec::new();
    for entry in listed {
        let (text, ..) = repository.any_manifest(&entry.manifest.to_string(), |_, _| Ok(())).map_err(|f| f.error)?;
        found.push(whole(&mut repository, text)?);
    }
    Ok(found)
}

fn fields(delta: &Delta) -> Result<Json> {
    let offer = &delta.artifact.offer;
    let layer = |layer: &saved::TargetLayer| {
        let part = delta.artifact.parts.iter().find(|part| part.diff_id == layer.diff_id);
        json!({
            "DiffID": layer.diff_id,
            "Plain": layer.plain,
            "Delta": part.map(|p| p.blob),
            "Size": part.map(|p| p.size),
            "Written": part.map(|p| p.written),
        })
    };
    let all = json!({
        "Digest": delta.digest(),
        "Base": offer.base,
        "BaseManifest": offer.base_manifest,
        "BaseLayers": offer.base_layers,
        "Target": offer.target,
        "TargetManifest": delta.artifact.subject.digest,
        "Size": offer.size,
        "Written": offer.written,
        "Plain": delta.plain(),
        "Layers": delta.layers.iter().map(layer).collect::<Vec<_>>(),
    });
    Json::parse(all.to_string().as_bytes())
}

fn text(delta: &Delta) -> String {
    let offer = &delta.artifact.offer;
    let human = |n: u64| size::human_digits(n, 3);
    let mut out = format!(
        "Delta:    {}\nBase:     {}\nTarget:   {}\nManifest: {}\n\n",
        delta.digest(),
        offer.base,
        offer.target,
        delta.artifact.subject.digest
    );
    let mut rows = String::from("LAYER\tSIZE\tPLAIN\tRATIO\tWRITTEN\n");
    for layer in &delta.layers {
        let short = layer.diff_id.short();
        rows.push_str(&match delta.artifact.parts.iter().find(|part| part.diff_id == layer.diff_id) {
            Some(p) => {
                format!(
                    "{short}\t{}\t{}\t{}\t{}\n",
                    human(p.size),
                    human(layer.plain),
                    ratio(p.size, layer.plain),
                    human(p.written)
                )
            }
            None => format!("{short}\tof the base\t{}\t\t\n", human(layer.plain)),
        });
    }
    let plain = delta.plain();
    rows.push_str(&format!(
        "all\t{}\t{}\t{}\t{}\n",
        human(offer.size),
        human(plain),
        ratio(offer.size, plain),
        human(offer.written)
    ));
    out.push_str(&tabs::show(&rows));
    out
}
