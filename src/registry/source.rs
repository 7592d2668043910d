//! Where a repository is to be had: mirrors in their order, then the registry itself.

use crate::base::Error;
use crate::image::{Reference, reference};
use crate::registry::failure::Failure;
use crate::registry::trust::is_insecure;
use crate::registry::url::Url;
use crate::wire::worker::{Auth, Registries};

/// One of them, and what is known of it.
#[derive(Debug)]
pub struct Source {
    /// A host with a port, or a mirror's URL.
    pub endpoint: String,
    /// Credentials: the registry's own are for no mirror.
    pub auth: Option<Auth>,
    /// The header that answers what it asks for.
    pub authorization: Option<String>,
    /// How it is spoken to, once it has answered.
    pub base: Option<Url>,
    /// It does not answer, or not as a registry: it is not asked again.
    pub dead: bool,
}

/// The sources of a reference.
pub fn sources(reference: &Reference, settings: &Registries, auth: Option<&Auth>) -> Vec<Source> {
    let source = |endpoint: &str, auth: Option<&Auth>| Source {
        endpoint: endpoint.to_string(),
        auth: auth.cloned(),
        authorization: None,
        base: None,
        dead: false,
    };
    let mirrors = settings.mirrors.iter().map(|mirror| split_mirror(mirror)).filter(|(of, _)| *of == reference.domain());
    let mut all: Vec<Source> = mirrors.map(|(_, url)| source(url.trim_end_matches('/'), None)).collect();
    let origin = if reference.domain() == reference::DEFAULT_DOMAIN { "registry-1.docker.io" } else { reference.domain() };
    all.push(source(origin, auth));
    all
}

/// `https://mirror` is one of Docker Hub, `registry=https://mirror` one of that registry.
fn split_mirror(text: &str) -> (&str, &str) {
    match text.split_once('=') {
        Some((registry, url)) if !registry.contains('/') => (registry, url),
        _ => (reference::DEFAULT_DOMAIN, text),
    }
}

impl Source {
    /// The ways of speaking to it, in the order in which they are tried. Plain http first where it is allowed: a TLS greeting can
    /// leave a plain server waiting for a line that never ends.
    pub fn bases(&self, settings: &Registries) -> Result<Vec<Url>, Failure> {
        let parse = |text: &str| Url::parse(text).map_err(Failure::lasting);
        if self.endpoint.contains("://") {
            return Ok(vec![parse(&self.endpoint)?]);
        }
        let schemes: &[&str] = if is_insecure(&self.endpoint, settings) { &["http", "https"] } else { &["https"] };
        schemes.iter().map(|scheme| parse(&format!("{scheme}://{}", self.endpoint))).collect()
    }

    /// The URL of a path at it.
    pub fn url(&self, target: &str) -> Result<Url, Failure> {
        let base =
            self.base.as_ref().ok_or_else(|| Failure::lasting(Error::internal(format!("{} was not asked", self.endpoint))))?;
        Ok(base.with_target(&format!("{}{target}", base.target.trim_end_matches('/'))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_of_one_registry_each() {
        let mirrors = ["https://hub.local/", "ghcr.io=http://m:5000/p", "https://x/?a=b"].map(String::from).to_vec();
        let settings = Registries { mirrors, ..Registries::default() };
        let of = |name: &str| {
            let all = sources(&Reference::parse(name).unwrap(), &settings, Some(&Auth::default()));
            all.iter().map(|s| format!("{} {}", s.endpoint, s.auth.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(of("busybox"), ["https://hub.local false", "https://x/?a=b false", "registry-1.docker.io true"]);
        assert_eq!(of("ghcr.io/a/b"), ["http://m:5000/p false", "ghcr.io true"]);
        assert_eq!(of("quay.io/a/b"), ["quay.io true"]);
    }
}
