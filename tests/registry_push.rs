//! Pushes: blobs and manifests into registries as they are, and lists of what refers to a manifest.

mod harness;

use harness::debian::Debian;
use harness::image::noise;
use harness::taker::Taker;
use prtiql::image::{Digest, Reference};
use prtiql::registry::{Client, Content, Referrer, Repository, fallback_tag};
use prtiql::wire::worker::{Auth, Registries};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const KIND: &str = "application/vnd.example.thing.v1";

fn client() -> Client {
    Client::new(Registries { max_attempts: 3, stall: 2, ..Registries::default() }, None)
}

fn named(host: &str) -> Reference {
    Reference::parse(&format!("{host}/a/b")).unwrap()
}

fn content(bytes: &[u8]) -> (Digest, Content) {
    (Digest::of(bytes), Content::Bytes(bytes.into()))
}

fn file(bytes: &[u8]) -> (Digest, Content) {
    let temp = harness::Temp::new();
    std::fs::write(temp.join("x"), bytes).unwrap();
    (Digest::of(bytes), Content::File(Arc::new(File::open(temp.join("x")).unwrap()), 0, bytes.len() as u64))
}

/// A manifest of that subject, and the entry that lists have of it.
fn artifact(subject: &[u8], name: &str, kind: &str) -> (Vec<u8>, Referrer) {
    let empty = Digest::of(b"{}");
    let of = |kind: &str, digest: &Digest, size: usize| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"{kind}","config":{},"layers":[{}],"subject":{},"annotations":{{"name":"{name}"}}}}"#,
        of("application/vnd.oci.empty.v1+json", &empty, 2),
        of("application/octet-stream", &empty, 2),
        of(MANIFEST, &Digest::of(subject), subject.len())
    );
    let entry = Referrer {
        media_type: MANIFEST.into(),
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        artifact_type: kind.into(),
        annotations: [("name".to_string(), name.to_string())].into(),
    };
    (text.into_bytes(), entry)
}

fn subject(repository: &mut Repository<'_>) -> Vec<u8> {
    let (digest, bytes) = content(b"{}");
    repository.upload(&digest, &bytes, None).unwrap();
    let text = artifact(b"?", "subject", "x").0;
    let text = String::from_utf8(text).unwrap();
    let text = text[..text.find(",\"subject\"").unwrap()].to_string() + "}";
    repository.put_manifest("1", text.as_bytes(), MANIFEST).unwrap();
    text.into_bytes()
}

fn names(list: Vec<Referrer>) -> Vec<String> {
    let mut names: Vec<String> = list.into_iter().map(|r| r.annotations["name"].clone()).collect();
    names.sort();
    names
}

#[test]
fn what_is_there_is_not_sent_again_and_what_breaks_goes_on() {
    let taker = Taker::start();
    let (mut client, reference) = (client(), named(&taker.host()));
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let (small, large) = (content(b"hello"), file(&noise(6_000_000)));
    assert!(repository.upload(&small.0, &small.1, None).unwrap());
    assert!(!repository.upload(&small.0, &small.1, None).unwrap());
    assert_eq!((taker.count("POST"), taker.count("PATCH"), taker.count("PUT")), (1, 0, 1));
    taker.with(|s| s.cut = (2_500_000, 2));
    let told = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = told.clone();
    assert!(repository.upload(&large.0, &large.1, Some(std::rc::Rc::new(move |n| count.set(count.get() + n)))).unwrap());
    assert!(told.get() >= 6_000_000);
    assert_eq!(taker.count("range=2500000-5999999"), 1);
    assert_eq!((taker.count("range=5000000-5999999"), taker.count("POST")), (1, 2));
    taker.with(|s| assert_eq!(s.blobs[&large.0.to_string()].len(), 6_000_000));
}

#[test]
fn a_registry_that_forgets_or_takes_no_parts_gets_the_whole() {
    let taker = Taker::start();
    let (mut client, reference) = (client(), named(&taker.host()));
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let (one, two) = (file(&noise(5_000_000)), file(&noise(5_000_001)));
    taker.with(|s| (s.forgets, s.cut) = (true, (2_000_000, 1)));
    assert!(repository.upload(&one.0, &one.1, None).unwrap());
    assert_eq!((taker.count("POST"), taker.count("PATCH")), (2, 2));
    taker.with(|s| s.whole_only = true);
    assert!(repository.upload(&two.0, &two.1, None).unwrap());
    assert_eq!(taker.count("length=5000001"), 2);
    taker.with(|s| assert!(s.blobs.contains_key(&one.0.to_string()) && s.blobs.contains_key(&two.0.to_string())));
}

#[test]
fn failures_are_told_without_secrets_and_lasting_ones_at_once() {
    let taker = Taker::start();
    let (mut client, reference) = (client(), named(&taker.host()));
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let (digest, bytes) = content(b"hello");
    let denied = r#"{"errors":[{"code":"DENIED","message":"not you"}]}"#;
    taker.can("POST", "403 X", denied, 9);
    let e = repository.upload(&digest, &bytes, None).unwrap_err().error.to_string();
    assert!(e.contains(&digest.to_string()) && e.ends_with("denied: not you"), "{e}");
    assert_eq!(taker.count("POST"), 1);
    taker.with(|s| s.canned.clear());
    taker.can("PUT", "503 X", "", 2);
    assert!(repository.upload(&digest, &bytes, None).unwrap());
    let (digest, bytes) = content(b"others");
    taker.can("SECRET", "503 X", "", 9);
    let e = repository.upload(&digest, &bytes, None).unwrap_err().error.to_string();
    assert!(e.contains("503") && !e.contains("SECRET"), "{e}");
    taker.with(|s| s.canned.clear());
    taker.can("SECRET", "307 X\r\nLocation: http://127.0.0.1:1/x?sig=SECRET", "", 9);
    let e = repository.upload(&digest, &bytes, None).unwrap_err().error.to_string();
    assert!(e.contains("127.0.0.1:1/x") && !e.contains("SECRET"), "{e}");
    taker.with(|s| s.canned.clear());
    taker.can("POST", "202 X", "", 1);
    let e = repository.upload(&digest, &bytes, None).unwrap_err().error.to_string();
    assert!(e.contains("does not say where"), "{e}");
    taker.can("PUT", &format!("201 X\r\nDocker-Content-Digest: {}", Digest::of(b"!")), "", 1);
    let e = repository.upload(&digest, &bytes, None).unwrap_err().error.to_string();
    assert!(e.contains("the registry calls it"), "{e}");
}

#[test]
fn a_token_is_asked_for_that_allows_pushing() {
    let (taker, tokens) = (Taker::start(), harness::registry::Registry::start());
    tokens.put("/token", "application/json", br#"{"token":"T0KEN"}"#);
    let challenge = format!("401 X\r\nWWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host());
    taker.can("POST", &challenge, "{}", 1);
    let auth = Auth { username: "me".into(), password: "hunter2".into(), ..Auth::default() };
    let (mut client, reference) = (client(), named(&taker.host()));
    let mut repository = Repository::to_write(&mut client, &reference, Some(&auth));
    let (digest, bytes) = content(b"hello");
    assert!(repository.upload(&digest, &bytes, None).unwrap());
    assert!(tokens.log().iter().any(|l| l.contains("scope=repository%3Aa%2Fb%3Apull%2Cpush")), "{:?}", tokens.log());
    let (digest, bytes) = content(b"others");
    taker.can("POST", &challenge, "{}", 2);
    let e = repository.upload(&digest, &bytes, None).unwrap_err().error.to_string();
    assert!(!e.contains("T0KEN") && !e.contains("hunter2"), "{e}");
}

#[test]
fn lists_of_referrers_are_read_page_by_page_and_filtered() {
    let taker = Taker::start();
    taker.with(|s| s.referrers = true);
    let (mut client, reference) = (client(), named(&taker.host()));
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let subject = subject(&mut repository);
    let of = Digest::of(&subject);
    assert_eq!(repository.referrers(&of, KIND).unwrap(), []);
    for (name, kind) in [("a", KIND), ("b", KIND), ("c", "other/kind"), ("d", KIND), ("e", KIND), ("f", KIND)] {
        let (text, entry) = artifact(&subject, name, kind);
        repository.put_referrer(&text, &of, &entry).unwrap();
    }
    assert_eq!(names(repository.referrers(&of, KIND).unwrap()), ["a", "b", "d", "e", "f"]);
    assert!(taker.count("GET /v2/a/b/referrers/") == 4 && taker.count("sha256-") == 0);
}

#[test]
fn without_such_lists_a_tag_has_them() {
    let taker = Taker::start();
    let debian = Debian::start();
    for host in [Some(taker.host()), debian.as_ref().map(Debian::host)].into_iter().flatten() {
        let (mut client, reference) = (client(), named(&host));
        let mut repository = Repository::to_write(&mut client, &reference, None);
        let subject = subject(&mut repository);
        let of = Digest::of(&subject);
        assert_eq!(repository.referrers(&of, KIND).unwrap(), []);
        for name in ["a", "b", "b", "c"] {
            let (text, entry) = artifact(&subject, name, KIND);
            repository.put_referrer(&text, &of, &entry).unwrap();
            assert!(repository.has_manifest(&entry.digest.to_string()).unwrap());
        }
        assert_eq!(names(repository.referrers(&of, KIND).unwrap()), ["a", "b", "c"]);
        assert_eq!(repository.referrers(&of, "other/kind").unwrap(), []);
        let large = file(&noise(9_000_000));
        assert!(repository.upload(&large.0, &large.1, None).unwrap() && repository.has_blob(&large.0).unwrap());
    }
}

#[test]
fn an_entry_that_somebody_overwrites_is_put_there_again() {
    let taker = Taker::start();
    let host = taker.host();
    let (mut client, reference) = (client(), named(&host));
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let subject = subject(&mut repository);
    let of = Digest::of(&subject);
    // The first two writes are lost: somebody else puts an older list back.
    taker.can(&format!("PUT /v2/a/b/manifests/{}", fallback_tag(&of)), "201 X", "", 2);
    let (text, entry) = artifact(&subject, "a", KIND);
    repository.put_referrer(&text, &of, &entry).unwrap();
    assert_eq!(names(repository.referrers(&of, KIND).unwrap()), ["a"]);
    // Four at once.
    let all: Vec<_> = (0..4)
        .map(|n| {
            let (host, subject) = (host.clone(), subject.clone());
            std::thread::spawn(move || {
                let (mut client, reference) = (self::client(), named(&host));
                let mut repository = Repository::to_write(&mut client, &reference, None);
                let (text, entry) = artifact(&subject, &format!("t{n}"), KIND);
                repository.put_referrer(&text, &Digest::of(&subject), &entry).unwrap();
            })
        })
        .collect();
    all.into_iter().for_each(|t| t.join().unwrap());
    let found = names(repository.referrers(&of, KIND).unwrap());
    assert!(found.len() >= 2 && found.contains(&"a".to_string()), "{found:?}");
}

#[test]
fn a_list_that_does_not_take_what_is_gone_is_cleaned() {
    let Some(debian) = Debian::start() else { return };
    let (mut client, reference) = (client(), named(&debian.host()));
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let subject = subject(&mut repository);
    let of = Digest::of(&subject);
    let (text, entry) = artifact(&subject, "a", KIND);
    repository.put_referrer(&text, &of, &entry).unwrap();
    let url = format!("http://{}/v2/a/b/manifests/{}", debian.host(), entry.digest);
    harness::sh(&format!("curl -fsS -X DELETE {url}"), std::path::Path::new("/"));
    let (text, entry) = artifact(&subject, "b", KIND);
    repository.put_referrer(&text, &of, &entry).unwrap();
    assert_eq!(names(repository.referrers(&of, KIND).unwrap()), ["b"]);
}

#[test]
fn hostile_lists_end_soon() {
    let taker = Taker::start();
    let (mut client, reference) = (client(), named(&taker.host()));
    let mut repository = Repository::new(&mut client, &reference, None);
    let of = Digest::of(b"subject");
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let path = format!("/v2/a/b/referrers/{of}");
    let html = "<html>log in</html>";
    let huge = format!(r#"{{"schemaVersion":2,"manifests":[{}7]}}"#, "7,".repeat(3 << 20));
    let many = format!(r#"{{"schemaVersion":2,"manifests":[{}7]}}"#, "7,".repeat(100_000));
    for (head, body, want) in [
        (format!("200 X\r\nLink: <{path}?n=1>; rel=\"next\""), index, "goes in a circle"),
        (format!("200 X\r\nLink: <{path}?artifactType=x>; rel=\"next\""), index, "goes in a circle"),
        ("200 X\r\nLink: <http://127.0.0.1:1/x>; rel=\"next\"".into(), index, "at another server"),
        ("200 X".into(), huge.as_str(), "longer than"),
        ("200 X".into(), many.as_str(), ""),
        ("200 X".into(), r#"{"schemaVersion":2,"mediaType":"x/y","manifests":[]}"#, "of type"),
        ("200 X".into(), "[]", "no JSON object"),
        ("200 X".into(), r#"{"manifests":[{"digest":"sha256:1"},{"digest":5},[],null]}"#, ""),
        ("200 X\r\nContent-Type: text/html".into(), html, ""),
        ("404 X\r\nContent-Type: text/plain".into(), "404 page not found", ""),
        ("401 X".into(), "{}", "unauthorized"),
    ] {
        taker.with(|s| s.canned.clear());
        taker.can("/referrers/", &head, body, 1000);
        let start = Instant::now();
        let found = repository.referrers(&of, KIND);
        match (found, want) {
            (Ok(list), "") => assert!(list.is_empty()),
            (Err(f), want) if !want.is_empty() => assert!(f.error.to_string().contains(want), "{want}: {}", f.error),
            (other, want) => panic!("{want}: {other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{want}");
        assert!(taker.count("/referrers/") < 200);
    }
}
