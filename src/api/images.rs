//! Images: list, inspect, history, tag, remove, prune, pull, load, delta.

use crate::api::call::{Call, Context, Handled, ok};
use crate::api::filters::{self, Filters};
use crate::base::time::Time;
use crate::base::{Error, Result};
use crate::engine::images::Image;
use crate::engine::{Engine, Reply};
use crate::image::Reference;
use crate::wire::worker::Auth;
use serde_json::{Value, json};

/// An entry of the list.
pub fn summary(engine: &Engine, image: &Image, shared: bool) -> Value {
    let (tags, digests) = engine.images.names(image.id);
    let users = engine.containers.all().filter(|c| c.image == image.id).count();
    let labels = image.parsed().config.map(|c| c.labels).filter(|l| !l.is_empty());
    let shared_size: i64 = match shared {
        true => image
            .layers
            .iter()
            .zip(&image.sizes)
            .filter(|(l, _)| engine.images.layer_users(l) > 1 || engine.root.store_of(l).is_some())
            .map(|(_, s)| *s as i64)
            .sum(),
        false => -1,
    };
    json!({
        "Id": image.id_text(), "ParentId": "", "RepoTags": tags, "RepoDigests": digests, "Created": image.created.seconds(),
        "Size": image.size(), "VirtualSize": image.size(), "SharedSize": shared_size, "Labels": labels,
        "Containers": if shared { users as i64 } else { -1 },
    })
}

/// `GET /images/json`.
pub fn list(context: &mut Context<'_>, call: Call) -> Handled {
    const KNOWN: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];
    let engine = &*context.engine;
    let filters = filters::parse(call.request.param("filters"), KNOWN)?;
    for name in filters.get("before").into_iter().chain(filters.get("since")).flatten() {
        engine.images.find(name)?;
    }
    let until = super::containers::prune_until(&filters)?;
    let mut wanted: Vec<&Image> = engine.images.by_id.values().filter(|i| wants(engine, &filters, until, i)).collect();
    wanted.sort_by_key(|i| std::cmp::Reverse(i.created));
    let all: Vec<Value> = wanted
        .into_iter()
        .map(|image| {
            let mut entry = summary(engine, image, call.request.flag("shared-size"));
            if let Some(patterns) = filters.get("reference") {
                let keep = |list: &Value| -> Vec<Value> {
                    list.as_array()
                        .into_iter()
                        .flatten()
                        .filter(|n| patterns.iter().any(|p| n.as_str().is_some_and(|n| reference_fits(p, n))))
                        .cloned()
                        .collect()
                };
                entry["RepoTags"] = json!(keep(&entry["RepoTags"]));
                entry["RepoDigests"] = json!(keep(&entry["RepoDigests"]));
            }
            entry
        })
        .collect();
    ok(&json!(all))
}

/// Docker's `reference` filter: a pattern for name, or name and tag.
fn reference_fits(pattern: &str, name: &str) -> bool {
    let without_digest = name.split('@').next().unwrap_or(name);
    let cut = without_digest.rfind(':').filter(|at| !without_digest[*at..].contains('/')).unwrap_or(without_digest.len());
    let repository = &without_digest[..cut];
    [name, without_digest, repository].iter().any(|n| filters::glob(pattern, n))
        || repository.rsplit('/').next().is_some_and(|_| {
            Reference::parse(pattern).is_ok_and(|r| r.familiar() == name || r.with_default_tag().familiar() == name)
        })
}

fn wants(engine: &Engine, filters: &Filters, until: Option<Time>, image: &Image) -> bool {
    let (tags, digests) = engine.images.names(image.id);
    let created = |name: &str| engine.images.find(name).map_or(Time(0), |i| i.created);
    let labels = image.parsed().config.map(|c| c.labels).unwrap_or_default();
    filters::any(filters, "dangling", |v| tags.is_empty() == matches!(v, "true" | "1"))
        && filters::any(filters, "reference", |v| tags.iter().chain(&digests).any(|n| reference_fits(v, n)))
        && filters::any(filters, "before", |v| image.created < created(v))
        && filters::any(filters, "since", |v| image.created > created(v))
        && until.is_none_or(|t| image.created < t)
        && filters::labels(filters, &labels)
}

/// `GET /images/{name}/json`.
pub fn inspect(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &*context.engine;
    let image = engine.images.find(call.name())?;
    let parsed = image.parsed();
    let (tags, digests) = engine.images.names(image.id);
    let lower: Vec<String> = image.layers.iter().rev().map(|l| engine.root.layer_fs(l).to_string_lossy().into_owned()).collect();
    let (upper, lower) = lower.split_first().map_or((String::new(), String::new()), |(u, l)| (u.clone(), l.join(":")));
    let raw: Value = serde_json::from_str(&image.config).unwrap_or_default();
    let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let mut data = json!({"UpperDir": upper, "MergedDir": "", "WorkDir": ""});
    if !lower.is_empty() {
        data["LowerDir"] = json!(lower);
    }
    let mut out = json!({
        "Id": image.id_text(), "RepoTags": tags, "RepoDigests": digests, "Parent": "", "Comment": text("comment"),
        "Created": parsed.created.clone().unwrap_or_else(|| Time(0).rfc3339()), "Container": text("container"), "ContainerConfig": null,
        "DockerVersion": text("docker_version"), "Author": parsed.author, "Config": parsed.config.clone().unwrap_or_default(),
        "Architecture": parsed.architecture, "Os": parsed.os, "Size": image.size(), "VirtualSize": image.size(),
        "GraphDriver": {"Name": "overlay2", "Data": data},
        "RootFS": {"Type": "layers", "Layers": image.layers.iter().map(|l| l.to_string()).collect::<Vec<_>>()},
        "Metadata": {"LastTagTime": Time(0).rfc3339()},
    });
    if !parsed.variant.is_empty() {
        out["Variant"] = json!(parsed.variant);
    }
    ok(&out)
}

/// `GET /images/{name}/history`, newest first.
pub fn history(context: &mut Context<'_>, call: Call) -> Handled {
    let image = context.engine.images.find(call.name())?;
    let mut sizes = image.sizes.iter();
    let mut all: Vec<Value> = image
        .parsed()
        .history
        .iter()
        .flatten()
        .map(|h| {
            let size = if h.empty_layer { 0 } else { sizes.next().copied().unwrap_or(0) };
            let created = h.created.as_deref().and_then(|t| Time::parse_rfc3339(t).ok()).unwrap_or_default();
            json!({"Id": "<missing>", "Created": created.seconds(), "CreatedBy": h.created_by, "Tags": null, "Size": size, "Comment": h.comment})
        })
        .collect();
    // Images without a history still have layers to show.
    all.extend(
        sizes.map(|size| json!({"Id": "<missing>", "Created": 0, "CreatedBy": "", "Tags": null, "Size": size, "Comment": ""})),
    );
    all.reverse();
    if let Some(newest) = all.first_mut() {
        let (tags, _) = context.engine.images.names(image.id);
        newest["Id"] = json!(image.id_text());
        newest["Tags"] = if tags.is_empty() { Value::Null } else { json!(tags) };
    }
    ok(&json!(all))
}

/// `POST /images/{name}/tag`.
pub fn tag(context: &mut Context<'_>, call: Call) -> Handled {
    let (repo, tag) = (call.request.param("repo").unwrap_or_default(), call.request.param("tag").unwrap_or_default());
    context.engine.tag_image(call.conn, call.name(), repo, tag)?;
    Ok(None)
}

/// `DELETE /images/{name}`.
pub fn remove(context: &mut Context<'_>, call: Call) -> Handled {
    let removed = context.engine.remove_image(call.name(), call.request.flag("force"))?;
    context.engine.answer_durably(call.conn, Reply::Json(200, json!(removed).to_string().into_bytes()));
    Ok(None)
}

/// `POST /images/prune`.
pub fn prune(context: &mut Context<'_>, call: Call) -> Handled {
    let filters = filters::parse(call.request.param("filters"), &["dangling", "label", "label!", "until"])?;
    let until = super::containers::prune_until(&filters)?;
    let all = filters.get("dangling").is_some_and(|v| v.iter().any(|v| matches!(v.as_str(), "false" | "0")));
    let wanted = |i: &Image| {
        let labels = i.parsed().config.map(|c| c.labels).unwrap_or_default();
        until.is_none_or(|t| i.created < t) && filters::labels(&filters, &labels)
    };
    let (deleted, freed) = context.engine.prune_images(all, &wanted)?;
    let deleted = if deleted.is_empty() { Value::Null } else { json!(deleted) };
    let body = json!({"ImagesDeleted": deleted, "SpaceReclaimed": freed}).to_string();
    context.engine.answer_durably(call.conn, Reply::Json(200, body.into_bytes()));
    Ok(None)
}

/// `X-Registry-Auth`: base64 (URL alphabet, padding optional) of JSON.
fn auth(header: Option<&str>) -> Result<Option<Auth>> {
    let Some(text) = header.filter(|h| !h.is_empty()) else { return Ok(None) };
    let auth: Auth = super::call::decoded("X-Registry-Auth", text)?;
    let empty = auth.username.is_empty() && auth.identity_token.is_empty() && auth.registry_token.is_empty();
    Ok(if empty { None } else { Some(auth) })
}

/// `POST /images/create`: a pull. Imports come with their issue.
pub fn create(context: &mut Context<'_>, call: Call) -> Handled {
    let param = |name: &str| call.request.param(name).unwrap_or_default();
    if !param("fromSrc").is_empty() {
        return Err(Error::unsupported("import is not part of this version of the engine yet"));
    }
    let (image, tag) = (param("fromImage"), param("tag"));
    if image.is_empty() {
        return Err(Error::invalid("fromImage is missing"));
    }
    let reference = Reference::parse(image).map_err(|e| Error::invalid(e.to_string()))?;
    let reference = match tag {
        "" => reference,
        tag if tag.contains(':') => reference.with_digest(crate::image::Digest::parse(tag)?),
        tag => reference.with_tag(tag)?,
    };
    let all_tags = reference.tag().is_none() && reference.digest().is_none();
    let auth = auth(call.request.header("x-registry-auth"))?;
    context.engine.pull(call.conn, &reference.to_string(), all_tags, param("platform"), param("delta"), auth)?;
    Ok(None)
}

/// `POST /images/load`.
pub fn load(context: &mut Context<'_>, call: Call) -> Handled {
    let quiet = call.request.flag("quiet");
    let prefix = context.conns.take_input(call.conn);
    let Some(socket) = context.conns.fd(call.conn) else { return Ok(None) };
    let socket = socket.try_clone()?;
    context.engine.load(call.conn, &socket, prefix, call.request.body, quiet)?;
    Ok(None)
}

/// `POST /images/delta`: balenaEngine's.
pub fn delta(context: &mut Context<'_>, call: Call) -> Handled {
    let param = |name: &str| call.request.param(name).unwrap_or_default();
    context.engine.make_delta(call.conn, param("src"), param("dest"), param("t"))?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_filters() {
        for (pattern, name, want) in [
            ("busybox", "busybox:latest", true),
            ("busy*", "busybox:latest", true),
            ("busybox:1", "busybox:latest", false),
            ("cc/*", "cc/x:t1", true),
            ("cc/x:t1", "cc/x:t1", true),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:1", true),
        ] {
            assert_eq!(reference_fits(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn registry_auth() {
        let header = "eyJ1c2VybmFtZSI6ICJ1IiwgInBhc3N3b3JkIjogInAifQ==";
        assert_eq!(auth(Some(header)).unwrap().unwrap().username, "u");
        assert!(auth(Some("e30=")).unwrap().is_none() && auth(None).unwrap().is_none());
        assert!(auth(Some("!!")).is_err());
    }
}
