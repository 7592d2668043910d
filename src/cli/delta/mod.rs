//! `prtiql delta`: makes and distributes deltas between images. It needs neither the engine nor root, so it is no client of one.

mod create;
mod meter;
mod send;
mod show;

pub use create::{Create, create};
pub use send::{Apply, Push, apply, push};
pub use show::{Inspect, List, inspect, list};

use crate::base::{Error, Result, size};
use crate::cli::Cx;
use crate::cli::auth::{ConfigFile, registry_of};
use crate::delta::images::{Credentials, Opener};
use crate::delta::saved::Delta;
use crate::image::{Platform, Reference};
use crate::registry::Client;
use crate::store::Root;
use crate::wire::worker::{Auth, Registries};
use std::path::Path;

/// Certificates of registries, as the engine has them.
const CERTS: &str = "/etc/prtiql/certs.d";

/// A client for registries, with the proxies that the environment names.
fn client(insecure: &[String]) -> Client {
    let from = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let settings = Registries {
        insecure: insecure.to_vec(),
        certs_dir: CERTS.into(),
        http_proxy: from(["HTTP_PROXY", "http_proxy"]),
        https_proxy: from(["HTTPS_PROXY", "https_proxy"]),
        no_proxy: from(["NO_PROXY", "no_proxy"]),
        ..Registries::default()
    };
    Client::new(settings, None)
}

/// The credentials that `login` has stored for a reference's registry.
fn credentials(cx: &Cx, reference: &Reference) -> Result<Option<Auth>> {
    let found = ConfigFile::load(&cx.config)?.credentials(registry_of(&reference.name()))?;
    Ok(found.map(|(username, secret)| match username.as_str() {
        "<token>" => Auth { identity_token: secret, ..Auth::default() },
        _ => Auth { username, password: secret, ..Auth::default() },
    }))
}

/// What opens images as the flags say.
fn opener<'a>(auth: Credentials<'a>, insecure: &[String], data_root: &str, platform: &str) -> Result<Opener<'a>> {
    let store = match data_root {
        "" => None,
        path if Path::new(path).join("layers/sha256").is_dir() => Some(Root::attach(Path::new(path))),
        path => return Err(Error::not_found(format!("{path} is no data root: it has no layers"))),
    };
    let platform = match platform {
        "" => None,
        text => Some(Platform::parse(text, &Platform::host())?),
    };
    Ok(Opener::new(client(insecure), auth, store, platform))
}

/// A mistake in how the command was called.
fn usage(cx: &Cx, verb: &str, why: &str) -> Result<i32> {
    eprintln!("{why}\nSee '{} delta {verb} --help'.", cx.program);
    Ok(125)
}

/// `1.2MB instead of 30MB (4%)`.
fn gain(delta: &Delta) -> String {
    let (size, plain) = (delta.size(), delta.plain());
    format!("{} instead of {} ({})", size::human_digits(size, 3), size::human_digits(plain, 3), ratio(size, plain))
}

/// A part of a whole in percent, with two digits that count.
fn ratio(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    match percent {
        p if p >= 10.0 => format!("{p:.0}%"),
        p if p >= 1.0 => format!("{p:.1}%"),
        p if p >= 0.01 || part == 0 => format!("{p:.2}%"),
        _ => "<0.01%".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::ratio;

    #[test]
    fn ratios_have_two_digits() {
        assert_eq!(
            [ratio(1, 8), ratio(1, 80), ratio(1, 8000), ratio(1, 80000), ratio(5, 0)],
            ["12%", "1.2%", "0.01%", "<0.01%", "500%"]
        );
    }
}
