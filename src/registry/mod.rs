//! Floor 3: registries, as a client that blocks; only workers use it.

mod auth;
mod body;
pub mod codec;
mod errors;
mod failure;
mod fetch;
mod http;
mod pace;
mod repository;
mod referrers;
mod source;
mod trust;
mod upload;
pub mod url;
mod wire;

pub use body::{Content, Told};
pub use errors::of_pull;
pub use failure::Failure;
pub use fetch::Piece;
pub use http::Client;
pub use referrers::{Referrer, fallback_tag};
pub use repository::{ManifestText, Repository, first_with, tags};

#[cfg(test)]
mod tests {
    use super::{auth::parse_challenges, url::Url};

    #[test]
    fn headers_and_urls_may_hold_anything() {
        let seeds = [
            r#"Bearer realm="https://a/token",service="s",scope="x:y:pull", Basic realm=z"#,
            "https://u:p@[fd00::1]:443/v2/?a=b#c",
            "/v2/x",
        ];
        let base = Url::parse("https://h:5000/v2/a/b?q").unwrap();
        let mut seed = 1u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        for _ in 0..30_000 {
            let mut text: Vec<char> = seeds[next(seeds.len())].chars().collect();
            for _ in 0..1 + next(5) {
                let at = next(text.len());
                text[at] = ['"', ',', '=', '\\', ' ', '/', ':', '@', '[', ']', '?', '\0', 'ä', '\n'][next(14)];
            }
            let text: String = text.into_iter().collect();
            parse_challenges(&text);
            if let Ok(url) = base.join(&text) {
                assert!(!url.target.contains(['\n', ' ', '\0']) && url.target.starts_with('/'), "{text}");
                assert!(!url.host.is_empty());
            }
        }
    }
}
