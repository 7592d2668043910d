//! balenaEngine's delta images: made here, pulled and loaded where only the base is, and what is said when that cannot be.

mod harness;

use harness::image::{gzip, layer, noise};
use harness::registry::{Fault, Registry};
use harness::worker::{Engine, Outcome};
use harness::{Temp, sh};
use prtiql::delta::balena::{EMPTY, layer_around};
use prtiql::image::config::ImageConfig;
use prtiql::image::{Digest, Reference};
use prtiql::layer::Skeleton;
use prtiql::store;
use prtiql::wire::worker::{Job, Report};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// An image and its next release: the first layer stays, the second changes in the middle, the third is new.
fn releases() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let big = noise(700_000);
    let mut changed = big.clone();
    changed.splice(300_001..300_011, *b"something else");
    let old = vec![layer(&[("etc/base", b"base"), ("lib", &big[..200_000])]), layer(&[("app", &big), ("conf", b"1")])];
    let new = vec![old[0].clone(), layer(&[("app", &changed), ("conf", b"2")]), layer(&[("lib2", &big[100_000..200_000])])];
    (old, new)
}

struct Scene {
    _temp: Temp,
    registry: Registry,
    /// Where both releases are, and the delta is made.
    host: Engine,
    /// Where only the old one is.
    device: Engine,
    /// Config and layers of the delta image.
    config: String,
    deltas: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
}

/// The tar of a layer, rebuilt from the store.
fn tar_of(engine: &Engine, layer: &Digest) -> Vec<u8> {
    let skeleton = Skeleton::open(&engine.root.layer(layer)).unwrap();
    let mut out = vec![0; skeleton.tar_size() as usize];
    assert_eq!(skeleton.tar().read(&mut out).unwrap(), out.len());
    out
}

fn image_of(engine: &Engine, name: &str) -> store::StoredImage {
    let id = store::tagged(&engine.root, &Reference::parse_tagged(name).unwrap()).unwrap();
    store::images(&engine.root).unwrap().0.into_iter().find(|image| image.id == id).unwrap()
}

fn scene() -> Scene {
    let temp = Temp::in_memory();
    let engine = |name: &str| {
        std::fs::create_dir(temp.join(name)).unwrap();
        Engine::new(&temp.join(name))
    };
    let (host, device, registry) = (engine("host"), engine("device"), Registry::start());
    let (old, new) = releases();
    registry.put_image("app", "old", &old);
    registry.put_image("app", "new", &new);
    let name = |tag: &str| format!("{}/app:{tag}", registry.host());
    host.pull(&name("old")).ok();
    host.pull(&name("new")).ok();
    device.pull(&name("old")).ok();
    let (a, b) = (image_of(&host, &name("old")).id.to_string(), image_of(&host, &name("new")).id.to_string());
    let made = host.run(Job::MakeDelta { source: a, target: b, name: "old".into(), tag: name("delta") }, &[]).ok();
    let short = |nth: usize| Digest::of(&new[nth]).short();
    let lines = made.statuses();
    assert!(lines.iter().any(|l| l.starts_with("old Fingerprint complete, took ")), "{lines:?}");
    for line in [
        format!("{} Waiting", short(0)),
        format!("{} Skipping common layer", short(0)),
        format!("{} Delta complete", short(1)),
        format!("{} Delta complete", short(2)),
        format!("Successfully tagged {}", name("delta")),
    ] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    assert!(made.has("Normal size: 800kB, Delta size: ") && made.has("x improvement") && made.has("Created delta: sha256:"));
    let image = image_of(&host, &name("delta"));
    let deltas: Vec<Vec<u8>> = image.layers.iter().map(|layer| tar_of(&host, layer)).collect();
    assert_eq!(deltas[0], EMPTY);
    assert!(deltas[1].len() < 5000 && deltas[2].len() < 4000, "{} {}", deltas[1].len(), deltas[2].len());
    assert_eq!((&deltas[1][..7], &deltas[1][100..108]), (&b"delta\0\0"[..], &b"0000600\0"[..]));
    registry.put_blobs("app", "delta", &image.config, &deltas.iter().map(|d| gzip(d)).collect::<Vec<_>>());
    Scene { _temp: temp, registry, host, device, config: image.config, deltas, new }
}

impl Scene {
    fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.registry.host())
    }

    /// The device has exactly what a full pull gives.
    #[track_caller]
    fn assert_whole(&self, name: &str) {
        let made = image_of(&self.device, name);
        let full = image_of(&self.host, &self.name("new"));
        assert_eq!(
            (made.id, &made.config, &made.layers, made.info.sizes),
            (full.id, &full.config, &full.layers, full.info.sizes)
        );
        assert_eq!(made.info.manifest, None);
        assert!(!self.device.root.image(&made.id).join("manifest.json").exists());
        for (layer, tar) in made.layers.iter().zip(&self.new) {
            assert!(tar_of(&self.device, layer) == *tar);
        }
        self.device.verify();
        assert_eq!(self.device.staged(), [""; 0]);
    }

    /// The delta image with another second layer, as the registry and an archive have it.
    fn put_changed(&self, tag: &str, second: &[u8]) {
        let mut deltas = self.deltas.clone();
        deltas[1] = second.to_vec();
        let config = self.config.replace(&Digest::of(&self.deltas[1]).to_string(), &Digest::of(second).to_string());
        self.registry.put_blobs("app", tag, &config, &deltas.iter().map(|d| gzip(d)).collect::<Vec<_>>());
    }

    /// Nothing of the target is there.
    #[track_caller]
    fn assert_nothing(&self) {
        assert!(self.new[1..].iter().all(|layer| !self.device.root.has_layer(&Digest::of(layer))));
        assert_eq!(store::images(&self.device.root).unwrap().0.len(), 1);
        assert_eq!(self.device.staged(), [""; 0]);
    }
}

#[test]
fn a_pulled_delta_is_the_target_and_stands_without_its_base() {
    let scene = scene();
    let blobs: Vec<String> = scene.deltas.iter().map(|d| Digest::of(&gzip(d)).short()).collect();
    let pulled = scene.device.pull(&scene.name("delta")).ok();
    for line in [
        "delta Pulling from app".to_string(),
        format!("{} Already exists", blobs[0]),
        format!("{} Pulling fs layer", blobs[1]),
        format!("{} Download complete", blobs[2]),
        format!("{} Pull complete", blobs[2]),
        format!("Status: Downloaded newer image for {}", scene.name("delta")),
    ] {
        assert!(pulled.statuses().contains(&line), "{line}: {:?}", pulled.statuses());
    }
    // The delta's manifest is no manifest of this image, so there is no digest by which it could be had.
    let new = pulled.reports.iter().find_map(|r| if let Report::Image(image) = r { Some(image.clone()) } else { None }).unwrap();
    assert_eq!((new.manifest.as_str(), new.references), ("", vec![scene.name("delta")]));
    scene.assert_whole(&scene.name("delta"));
    assert!(scene.device.pull(&scene.name("delta")).ok().has("Status: Image is up to date for"));
    // By digest there is no other name for it.
    let digest = pulled.statuses().iter().find_map(|s| s.strip_prefix("Digest: ").map(String::from)).unwrap();
    let by_digest = format!("{}/app@{digest}", scene.registry.host());
    scene.device.pull(&by_digest).ok();
    assert_eq!(image_of(&scene.device, &by_digest).id, image_of(&scene.host, &scene.name("new")).id);
    // Without its base.
    let old = image_of(&scene.device, &scene.name("old"));
    std::fs::remove_file(scene.device.root.tag(&Reference::parse_tagged(&scene.name("old")).unwrap())).unwrap();
    std::fs::remove_dir_all(scene.device.root.image(&old.id)).unwrap();
    std::fs::remove_dir_all(scene.device.root.layer(&old.layers[1])).unwrap();
    scene.assert_whole(&scene.name("delta"));
    assert_eq!(scene.device.verify(), 3);
    // There is nothing to make any more: the base is not missed.
    scene.device.pull(&scene.name("delta")).ok();
}

#[test]
fn whatever_compression_and_entry_name() {
    let scene = scene();
    let mut second = scene.deltas[1].clone();
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&second[..512]);
    header.as_mut_bytes()[..5].copy_from_slice(b"other");
    header.set_cksum();
    second[..512].copy_from_slice(header.as_bytes());
    scene.put_changed("other", &second);
    scene.device.pull(&scene.name("other")).ok();
    scene.assert_whole(&scene.name("other"));
}

#[test]
fn what_cannot_be_applied_is_said_in_balenas_words() {
    let scene = scene();
    let fails = |tag: &str, what: &str| {
        let e = scene.device.pull(&scene.name(tag)).error;
        assert!(e.contains(what), "{tag}: wanted {what}: {e}");
        scene.assert_nothing();
    };
    let around = |delta: &[u8]| {
        let (head, tail) = layer_around(delta.len() as u64);
        [&head[..], delta, &tail].concat()
    };
    let delta = &scene.deltas[1][512..];
    scene.put_changed("magic", &around(&[0xba, 0xaa, 0xaa, 0xad, 0]));
    fails("magic", "Got magic number baaaaaad rather than expected value 72730236");
    scene.put_changed("cut", &around(&delta[..30]));
    fails("cut", "unexpected EOF");
    scene.put_changed("short", &scene.deltas[1][..530]);
    fails("short", "unexpected EOF");
    scene.put_changed("nothing", &EMPTY);
    fails("nothing", "unexpected EOF. Invalid delta tar archive");
    scene.put_changed("beyond", &around(&[0x72, 0x73, 2, 0x36, 0x4f, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0]));
    fails("beyond", "the base has only");
    scene.put_changed("wrong", &around(&[0x72, 0x73, 2, 0x36, 1, b'x', 0]));
    fails("wrong", "invalid tar");
    let length = (scene.new[0].len() as u32).to_be_bytes();
    scene.put_changed("other", &around(&[&[0x72, 0x73, 2, 0x36, 0x47, 0][..], &length, &[0]].concat()));
    fails("other", &format!("the delta makes {}, the target's config says", Digest::of(&scene.new[0])));
    // A base that was changed is named.
    let app = scene.device.root.layer_fs(&image_of(&scene.device, &scene.name("old")).layers[1]).join("app");
    let content = std::fs::read(&app).unwrap();
    let mut bad = content.clone();
    bad[500_000] ^= 1;
    std::fs::write(&app, &bad).unwrap();
    let base = image_of(&scene.host, &scene.name("old")).id;
    fails("delta", &format!("of the delta's base image \"{base}\" is damaged: file \"app\": its content has changed"));
    std::fs::write(&app, &content).unwrap();
    scene.device.pull(&scene.name("delta")).ok();
    scene.assert_whole(&scene.name("delta"));
}

#[test]
fn a_missing_base_is_named() {
    let scene = scene();
    let empty = Engine::new(&{
        let path = scene._temp.join("empty");
        std::fs::create_dir(&path).unwrap();
        path
    });
    let base = image_of(&scene.host, &scene.name("old")).id;
    let e = empty.pull(&scene.name("delta")).error;
    assert!(e.starts_with(&format!("loading delta base image \"{base}\": failed to get digest {base}")), "{e}");
    empty.assert_empty();
    // All of the target's layers are there: nothing is missed.
    empty.pull(&scene.name("new")).ok();
    empty.pull(&scene.name("delta")).ok();
}

#[test]
fn links_that_break_or_lie() {
    let scene = scene();
    let blob = Digest::of(&gzip(&scene.deltas[1])).to_string();
    let gone = Fault::Status(404, String::new(), "{}".into());
    scene.registry.fault(&blob, gone, 1);
    let e = scene.device.pull(&scene.name("delta")).error;
    assert!(e.contains(&blob) && e.contains("not found"), "{e}");
    assert_eq!(scene.registry.count(&blob), 1);
    scene.assert_nothing();
    scene.registry.fault(&blob, Fault::Status(500, "Retry-After: 0\r\n".into(), String::new()), 9);
    assert!(scene.device.pull(&scene.name("delta")).error.contains("500"));
    assert_eq!(scene.registry.count(&blob), 4);
    let scene = self::scene();
    let blob = Digest::of(&gzip(&scene.deltas[1])).to_string();
    scene.registry.fault(&blob, Fault::Corrupt(5), 2);
    let e = scene.device.pull(&scene.name("delta")).error;
    assert!(e.contains("verification failed"), "{e}");
    scene.assert_nothing();
    scene.registry.fault(&blob, Fault::Drop(20), 1);
    scene.registry.fault(&blob, Fault::Corrupt(60), 1);
    scene.device.pull(&scene.name("delta")).ok();
    scene.assert_whole(&scene.name("delta"));
}

fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn load(engine: &Engine, data: Vec<u8>) -> Outcome {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || {
        let _ = writer.write_all(&data);
    });
    let fd = OwnedFd::from(reader);
    let outcome = engine.run(Job::Load { prefix: Vec::new(), length: None, chunked: false }, &[fd.as_fd()]);
    drop(fd);
    feeder.join().unwrap();
    outcome
}

#[test]
fn a_loaded_delta_is_the_target_whatever_the_order() {
    let scene = scene();
    let manifest = r#"[{"Config":"c.json","RepoTags":["app:loaded"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]"#;
    let parts = |second: &[u8]| {
        let d = [&scene.deltas[0][..], second, &scene.deltas[2]].map(<[u8]>::to_vec);
        vec![("1/layer.tar", d[0].clone()), ("2/layer.tar", d[1].clone()), ("3/layer.tar", d[2].clone())]
    };
    let load_of = |second: &[u8], turn: usize| {
        let layers = parts(second);
        let mut all: Vec<(&str, &[u8])> = layers.iter().map(|(name, data)| (*name, &data[..])).collect();
        all.extend([("c.json", scene.config.as_bytes()), ("manifest.json", manifest.as_bytes())]);
        all.rotate_left(turn);
        load(&scene.device, archive(&all))
    };
    let mut bad = scene.deltas[1].clone();
    bad[512..516].copy_from_slice(&[0xba, 0xaa, 0xaa, 0xad]);
    let e = load_of(&bad, 0).error;
    assert!(e.contains("Got magic number baaaaaad rather than expected value 72730236"), "{e}");
    let mut bad = scene.deltas[1].clone();
    bad[329] ^= 1; // a field of the header that means nothing, but is summed
    let sum = sum_of(&bad[..512]);
    bad[148..156].copy_from_slice(&sum);
    let e = load_of(&bad, 0).error;
    assert!(e.contains("its image's config says"), "{e}");
    scene.assert_nothing();
    for turn in 0..5 {
        let loaded = load_of(&scene.deltas[1], turn).ok();
        assert!(loaded.has("Loaded image: app:loaded"));
        assert_eq!(loaded.has("Target image already exists locally, no need to load it."), turn > 0);
        scene.assert_whole("app:loaded");
    }
    let none = Temp::new();
    let none = (Engine::new(&none.0), none);
    let layers = parts(&scene.deltas[1]);
    let mut all: Vec<(&str, &[u8])> = layers.iter().map(|(name, data)| (*name, &data[..])).collect();
    all.extend([("c.json", scene.config.as_bytes()), ("manifest.json", manifest.as_bytes())]);
    let e = load(&none.0, archive(&all)).error;
    assert!(e.starts_with("loading delta base image \"sha256:"), "{e}");
    none.0.assert_empty();
}

fn sum_of(header: &[u8]) -> [u8; 8] {
    let sum: u32 = header.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
    format!("{sum:06o}\0 ").into_bytes().try_into().unwrap()
}

#[test]
fn the_same_delta_again_is_the_same_image_and_a_damaged_layer_makes_none() {
    let scene = scene();
    let of = |tag: &str| image_of(&scene.host, &scene.name(tag)).id.to_string();
    let job = |source: &str, target: &str| Job::MakeDelta {
        source: of(source),
        target: of(target),
        name: source.into(),
        tag: String::new(),
    };
    let again = scene.host.run(job("old", "new"), &[]).ok();
    assert!(again.has(&format!("Created delta: {}", of("delta"))));
    let same = scene.host.run(job("old", "old"), &[]).ok();
    assert!(same.has("Normal size: 0B, Delta size: 0B, 1.00x improvement"));
    scene.host.verify();
    let config = ImageConfig::parse(scene.config.as_bytes()).unwrap();
    assert!(config.os.is_empty() && config.architecture.is_empty());
    let bad = scene.host.root.layer_fs(&Digest::of(&scene.new[2])).join("lib2");
    std::fs::write(bad, vec![0; 100_000]).unwrap();
    let e = scene.host.run(job("old", "new"), &[]).error;
    assert!(e.contains("is damaged") && e.contains(&Digest::of(&scene.new[2]).to_string()), "{e}");
    assert_eq!(scene.host.staged(), [""; 0]);
}

/// Applies a delta to `old`.
fn apply(old: &Path, delta: &[u8]) -> Vec<u8> {
    use prtiql::delta::base::{Base, Origin};
    let file = std::fs::File::open(old).unwrap();
    let size = file.metadata().unwrap().len();
    let mut base = prtiql::delta::blocks::Blocks::new(Base::new(&[Origin::Tar(&file, size)]).unwrap());
    let (mut reader, mut out) = (prtiql::delta::rsync::Reader::default(), Vec::new());
    for part in delta.chunks(4096) {
        reader
            .push(part, &mut base, &mut |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
    }
    reader.finish().unwrap();
    out
}

fn create(old: Vec<u8>, mut new: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let suffixes = prtiql::delta::suffix::Suffixes::new(old).unwrap();
    let mut delta = Vec::new();
    let mut sink = |bytes: &[u8]| {
        delta.extend_from_slice(bytes);
        Ok(())
    };
    prtiql::delta::rsync_create::create(&suffixes, &mut |buffer| Ok(new.read(buffer)?), &mut sink).unwrap();
    delta
}

#[test]
fn librsync_takes_our_deltas_and_we_take_librsyncs() {
    if std::process::Command::new("rdiff").arg("--version").output().is_err() {
        eprintln!("skipped: no rdiff");
        return;
    }
    let temp = Temp::in_memory();
    let (old, new) = releases();
    let pairs = [
        (old.concat(), new[1].clone()),
        (old[1].clone(), new.concat()),
        (Vec::new(), new[2].clone()),
        (old[0].clone(), Vec::new()),
        (vec![0; 100_000], vec![0; 5_000_000]),
    ];
    for (nth, (old, new)) in pairs.iter().enumerate() {
        std::fs::write(temp.join("old"), old).unwrap();
        std::fs::write(temp.join("new"), new).unwrap();
        let ours = create(old.clone(), new);
        std::fs::write(temp.join("ours"), &ours).unwrap();
        sh("rdiff -f patch old ours out; cmp out new", &temp.0);
        assert!(apply(&temp.join("old"), &ours) == *new, "{nth}");
        sh("rdiff -f -b 512 signature old sig; rdiff -f delta sig new theirs", &temp.0);
        let theirs = std::fs::read(temp.join("theirs")).unwrap();
        assert!(apply(&temp.join("old"), &theirs) == *new, "{nth}");
        assert!(ours.len() <= theirs.len(), "{nth}: {} {}", ours.len(), theirs.len());
    }
}

/// What `scripts` leave in the cache; elsewhere there is nothing to measure.
#[test]
fn a_pair_of_the_corpus_is_as_small_as_it_was() {
    let folder = Path::new(&std::env::var("HOME").unwrap_or_default()).join(".cache/prtiql/corpus/python");
    let (Ok(old), Ok(new)) = (std::fs::read(folder.join("old.tar")), std::fs::read(folder.join("new.tar"))) else {
        eprintln!("skipped: no corpus");
        return;
    };
    let temp = Temp::in_memory();
    let delta = create(old, &new);
    std::fs::write(temp.join("delta"), &delta).unwrap();
    let packed: usize = sh("gzip -6 <delta | wc -c", &temp.0).trim().parse().unwrap();
    assert!(packed <= 5534, "{packed}");
    assert!(apply(&folder.join("old.tar"), &delta) == new);
}
