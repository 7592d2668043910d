//! Pulls by deltas from registries that break and lie: the image comes by its layers instead, or a pull that requires the delta says
//! why it cannot be.

mod harness;

use harness::Temp;
use harness::image::{gzip, layer, noise};
use harness::registry::{Fault, OCI_INDEX, OCI_MANIFEST, Registry};
use harness::worker::{Engine, Outcome};
use prtiql::delta::artifact::{Artifact, Offer, Part, Subject};
use prtiql::delta::create::{self, Layer, Options};
use prtiql::delta::format::Head;
use prtiql::image::Digest;
use prtiql::wire::worker::{DeltaMode, Registries};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longer than all attempts of a pull take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two releases at a registry, of which the first is here, and the delta between them.
struct Releases {
    _temp: Temp,
    engine: Engine,
    registry: Registry,
    target: Digest,
    app: Vec<u8>,
    base: Vec<u8>,
    delta: Vec<u8>,
}

/// `new` bytes are in no other release.
fn app(release: u8, new: usize) -> Vec<u8> {
    let mut data = noise(400_000);
    (0..200).for_each(|at| data[at * 1000] = release);
    let new: Vec<u8> = noise(new).iter().map(|b| b ^ release).collect();
    layer(&[("app/same", &noise(100_000)), ("app/data", &data), ("app/new", &new)])
}

impl Releases {
    fn new() -> Releases {
        // It is the same each time.
        static DELTA: OnceLock<Vec<u8>> = OnceLock::new();
        Releases::with(60_000, &DELTA)
    }

    /// Whose delta is too large to be kept in memory.
    fn large() -> Releases {
        Releases::with(1_700_000, &OnceLock::new())
    }

    fn with(new: usize, delta: &OnceLock<Vec<u8>>) -> Releases {
        let (_temp, registry) = (Temp::in_memory(), Registry::start());
        let engine = Engine::new(&_temp.0);
        let (shared, base, app) = (layer(&[("etc/base", b"base")]), app(1, new), app(2, new));
        registry.put_image("d", "1", &[shared.clone(), base.clone()]);
        let (target, _) = registry.put_image("d", "2", &[shared, app.clone()]);
        let make = || {
            let made = Layer { base: &base, parts: &[(base.len(), Digest::of(&base))], new: &app, target: Digest::of(&app) };
            create::layer(&made, &Options { level: 1, memory: 1 << 30, processes: 1 }, &mut |_, _, _| {}).unwrap()
        };
        let delta = delta.get_or_init(make).clone();
        let releases = Releases { _temp, engine, registry, target, app, base, delta };
        releases.pull("1", DeltaMode::Never).ok();
        releases
    }

    fn pull(&self, tag: &str, delta: DeltaMode) -> Outcome {
        let registries = Registries { max_attempts: 2, delta, ..Registries::default() };
        self.engine.pull_with(&format!("{}/d:{tag}", self.registry.host()), "", None, registries)
    }

    fn artifact(&self, delta: &[u8]) -> Artifact {
        let (size, written) = (delta.len() as u64, 460_000);
        Artifact {
            subject: Subject { media_type: OCI_MANIFEST.into(), digest: self.target, size: 500 },
            offer: Offer {
                base: Digest::of(b"the first release"),
                base_manifest: None,
                base_layers: vec![Digest::of(&self.base)],
                target: Digest::of(b"the second release"),
                size,
                written,
            },
            parts: vec![Part { blob: Digest::of(delta), size, diff_id: Digest::of(&self.app), written }],
        }
    }

    /// Lists an artifact, and has a manifest for it.
    fn list(&self, artifact: &Artifact, manifest: &[u8]) {
        let own = artifact.manifest().unwrap();
        let digest = Digest::of(&own);
        self.registry.put(&format!("/v2/d/manifests/{digest}"), OCI_MANIFEST, manifest);
        let entry = serde_json::to_string(&artifact.entry(&own)).unwrap();
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#);
        self.registry.put(&format!("/v2/d/referrers/{}", self.target), OCI_INDEX, index.as_bytes());
    }

    fn offer(&self, delta: &[u8]) -> Digest {
        let artifact = self.artifact(delta);
        self.list(&artifact, &artifact.manifest().unwrap());
        self.registry.put_blob("d", delta)
    }

    /// A pull that requires the delta fails with `why`; one that does not says so and brings the layers. Both leave nothing.
    #[track_caller]
    fn falls_back(&self, why: &str) {
        self.falls_back_after(why, false);
    }

    /// The same; after a loss of the `link` what has come by then may stay until the layers come.
    #[track_caller]
    fn falls_back_after(&self, why: &str, link: bool) {
        let started = Instant::now();
        let required = self.pull("2", DeltaMode::Require).error;
        assert!(required.contains("a delta is required, but") && required.contains(why), "{why}: {required}");
        let left = self.engine.staged();
        assert!(left.is_empty() || link, "{why}: {left:?}");
        let pulled = self.pull("2", DeltaMode::Auto).ok();
        assert!(started.elapsed() < PATIENCE, "{why}: {:?}", started.elapsed());
        self.is_whole();
        let said = pulled.statuses().into_iter().find(|s| s.contains("pulling layers instead"));
        assert!(said.as_ref().is_some_and(|s| s.contains(why)), "{why}: {:#?}", pulled.statuses());
        assert!(pulled.has("Status: Downloaded newer image"));
    }

    #[track_caller]
    fn is_whole(&self) {
        assert_eq!(self.engine.staged(), [""; 0]);
        assert_eq!(self.engine.verify(), 3);
        let data = self.engine.root.layer_fs(&Digest::of(&self.app)).join("app/data");
        assert_eq!(std::fs::read(data).unwrap()[..2], [2, noise(2)[1]]);
    }

    /// The delta with another head.
    fn with_head(&self, change: impl Fn(&mut Head)) -> Vec<u8> {
        let mut head = Head::read(&mut &self.delta[..]).unwrap();
        let body = &self.delta[head.start as usize..];
        change(&mut head);
        [&head.write(), body].concat()
    }
}

#[test]
fn a_good_delta_is_taken_and_nothing_else() {
    let releases = Releases::new();
    releases.offer(&releases.delta);
    let blob = format!("blobs/{}", Digest::of(&gzip(&releases.app)));
    let pulled = releases.pull("2", DeltaMode::Require).ok();
    assert!(pulled.has("Delta from") && !pulled.has("instead;"), "{:#?}", pulled.statuses());
    assert_eq!(releases.registry.count(&blob), 0);
    releases.is_whole();
}

#[test]
fn a_pull_without_deltas_asks_for_no_list() {
    let releases = Releases::new();
    releases.offer(&releases.delta);
    let pulled = releases.pull("2", DeltaMode::Never).ok();
    assert!(!pulled.has("Delta"));
    assert_eq!((releases.registry.count("referrers"), releases.registry.count("manifests/sha256-")), (0, 0));
    releases.is_whole();
}

#[test]
fn bad_blobs_end_in_a_pull_of_the_layers() {
    let flipped = |at: usize, releases: &Releases| {
        let mut delta = releases.delta.clone();
        delta[at] ^= 0x10;
        delta
    };
    // The head's length is two bytes here, after which its features come.
    type Make<'a> = &'a dyn Fn(&Releases) -> Vec<u8>;
    let cases: [(Make<'_>, &str); 9] = [
        (&|r| flipped(0, r), "it does not begin as one"),
        (&|r| flipped(7, r), "delta of version 17: a newer engine is needed"),
        (&|r| flipped(if r.delta[8] < 0x80 { 9 } else { 10 }, r), "delta with features 0x10"),
        (&|r| r.with_head(|head| head.tar_size -= 1024), "more than the tar's size"),
        (&|r| r.with_head(|head| head.tar_size = 600), "invalid delta"),
        (&|r| r.with_head(|head| head.tar_size += 1 << 40), "invalid delta"),
        (&|r| r.with_head(|head| head.base[0] = Digest::of(b"elsewhere")), "of the delta's base"),
        (&|r| r.with_head(|head| head.target = Digest::of(b"another")), "the delta makes sha256:"),
        (&|r| r.delta[..r.delta.len() / 2].to_vec(), "invalid delta"),
    ];
    for (make, why) in cases {
        let releases = Releases::new();
        releases.offer(&make(&releases));
        releases.falls_back(why);
    }
}

#[test]
fn blobs_that_do_not_come_end_in_a_pull_of_the_layers() {
    let releases = Releases::new();
    let blob = releases.offer(&releases.delta);
    let path = format!("/v2/d/blobs/{blob}");
    // Shorter than announced, and other bytes of the same length.
    releases.registry.put(&path, "", &releases.delta[..releases.delta.len() - 1]);
    releases.falls_back_after(&format!("layer {}", Digest::of(&releases.app)), true);
    let releases = Releases::new();
    releases.offer(&releases.delta);
    releases.registry.put(&path, "", &vec![7; releases.delta.len()]);
    releases.falls_back("does not match its digest");
    let releases = Releases::new();
    releases.offer(&releases.delta);
    releases.registry.fault(&format!("GET {path}"), Fault::Status(404, String::new(), "{}".into()), u32::MAX);
    releases.falls_back("not found");
}

#[test]
fn a_link_that_breaks_goes_on_where_it_broke() {
    let releases = Releases::new();
    let asked = |of: &Releases, get: &str| of.registry.log().into_iter().filter(|l| l.starts_with(get)).collect::<Vec<_>>();
    let get = format!("GET /v2/d/blobs/{}", releases.offer(&releases.delta));
    releases.registry.fault(&get, Fault::Drop(20_000), 1);
    releases.pull("2", DeltaMode::Require).ok();
    let all = asked(&releases, &get);
    assert!(all.len() == 2 && all[1].contains("range=bytes=20000-"), "{all:?}");
    releases.is_whole();
    // Where all attempts fail, the next pull goes on, if the delta is worth it.
    let releases = Releases::large();
    let get = format!("GET /v2/d/blobs/{}", releases.offer(&releases.delta));
    releases.registry.fault(&get, Fault::Drop(20_000), 1);
    releases.registry.fault(&get, Fault::Status(503, String::new(), "{}".into()), 1);
    let error = releases.pull("2", DeltaMode::Require).error;
    assert!(error.contains("a delta is required, but layer sha256:"), "{error}");
    releases.pull("2", DeltaMode::Require).ok();
    let all = asked(&releases, &get);
    assert!(all.len() == 3 && all[2].contains("range=bytes=20000-"), "{all:?}");
    releases.is_whole();
}

#[test]
fn manifests_that_lie_end_in_a_pull_of_the_layers() {
    type Change<'a> = &'a dyn Fn(&mut Artifact);
    let longer = |artifact: &mut Artifact| {
        artifact.parts[0].size += 100;
        artifact.offer.size += 100;
    };
    let shorter = |artifact: &mut Artifact| {
        artifact.parts[0].size -= 100;
        artifact.offer.size -= 100;
    };
    let changes: [(Change<'_>, &str); 2] = [(&longer, "layer sha256:"), (&shorter, "layer sha256:")];
    for (change, why) in changes {
        let releases = Releases::new();
        releases.offer(&releases.delta);
        let mut artifact = releases.artifact(&releases.delta);
        change(&mut artifact);
        releases.list(&artifact, &artifact.manifest().unwrap());
        releases.falls_back(why);
    }
    // A list that says other than the manifest does, whose digest the registry then has wrong.
    let releases = Releases::new();
    releases.offer(&releases.delta);
    let mut listed = releases.artifact(&releases.delta);
    listed.offer.size -= 100;
    releases.list(&listed, &releases.artifact(&releases.delta).manifest().unwrap());
    releases.falls_back("digest");
    // And one where the registry is consistent: sizes do not add up.
    let releases = Releases::new();
    releases.offer(&releases.delta);
    releases.list(&listed, &listed.manifest().unwrap());
    releases.falls_back("");
}

#[test]
fn lists_that_make_no_sense_end_in_a_pull_of_the_layers() {
    let html = "<!DOCTYPE html><html><body>Sign in</body></html>";
    for (status, text, why) in [
        (500, "{}", "the registry's list of deltas cannot be had"),
        (200, "garbage", "the registry's list of deltas cannot be had"),
        (200, "[]", "the registry's list of deltas cannot be had"),
        (200, r#"{"manifests":[{"digest":7},{}]}"#, "there is none from what is here"),
        (200, html, "there is none from what is here"),
    ] {
        let releases = Releases::new();
        releases.offer(&releases.delta);
        releases.registry.fault("/referrers/", Fault::Status(status, String::new(), text.into()), u32::MAX);
        let started = Instant::now();
        let required = releases.pull("2", DeltaMode::Require).error;
        assert!(required.contains("a delta is required, but") && required.contains(why), "{text}: {required}");
        let pulled = releases.pull("2", DeltaMode::Auto).ok();
        assert!(started.elapsed() < PATIENCE, "{text}: {:?}", started.elapsed());
        assert!(pulled.has("Status: Downloaded newer image"));
        releases.is_whole();
    }
}
