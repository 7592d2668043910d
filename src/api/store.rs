//! What is on disk: verify and repair it; how much was written.

use crate::api::call::{Call, Context, Handled, decoded, ok};
use crate::base::Result;
use crate::engine::Reply;
use crate::engine::jobs::Purpose;
use crate::wire::worker::{Auth, Job as Task, Repair};
use std::collections::BTreeMap;

/// `POST /system/verify?image=…&repair=1`: rebuilds stored layers and compares digests; a line for each.
pub fn verify(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    let mut images = Vec::new();
    for (_, name) in call.request.query.iter().filter(|(k, _)| k == "image") {
        images.push(engine.images.find(name)?.id_text());
    }
    let repair = match call.request.flag("repair") {
        true => {
            engine.root.check_writable()?;
            Some(Repair { registries: engine.registries(), auths: auths(call.request.header("x-registry-config"))? })
        }
        false => None,
    };
    let purpose = Purpose::Verify { repair: repair.is_some() };
    engine.spawn_worker(purpose, Task::Verify { images, repair }, &[], vec![call.conn])?;
    engine.answer(call.conn, Reply::StreamStart);
    Ok(None)
}

/// `GET /system/wear`: what was written, and for what.
pub fn wear(context: &mut Context<'_>, _: Call) -> Handled {
    ok(&context.engine.wear())
}

/// `X-Registry-Config`, as in Docker's build: credentials by registry. They are told to no other.
fn auths(header: Option<&str>) -> Result<BTreeMap<String, Auth>> {
    let Some(text) = header.filter(|h| !h.is_empty()) else { return Ok(BTreeMap::new()) };
    let by_key: BTreeMap<String, Auth> = decoded("X-Registry-Config", text)?;
    Ok(by_key.into_iter().map(|(key, auth)| (domain_of(&key), auth)).collect())
}

/// The domain in references for a key of config.json: `https://index.docker.io/v1/` is docker.io.
fn domain_of(key: &str) -> String {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest).split('/').next().unwrap_or(key);
    if host == "index.docker.io" { "docker.io".into() } else { host.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_by_registry() {
        let text = r#"{"https://index.docker.io/v1/":{"username":"u","password":"p"},"r.x:5000":{"identitytoken":"t"}}"#;
        let auths = auths(Some(&crate::base::base64::encode_url(text.as_bytes()))).unwrap();
        assert_eq!((auths["docker.io"].username.as_str(), auths["r.x:5000"].identity_token.as_str()), ("u", "t"));
        assert!(super::auths(Some("e30=")).unwrap().is_empty() && super::auths(Some("!")).is_err());
    }
}
