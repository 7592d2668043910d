//! Archives of every layout go through `load`, in any order, compressed or not, as a file or as a chunked body.

mod harness;

use harness::Temp;
use harness::image::{config, descriptor, gzip, layer, noise};
use harness::registry::{OCI_CONFIG, OCI_GZIP, OCI_MANIFEST};
use harness::worker::{Engine, Outcome};
use prtiql::image::{Digest, Reference};
use prtiql::store;
use prtiql::wire::worker::{Job, Place};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

enum Part<'a> {
    File(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
}

fn archive(parts: &[Part<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for part in parts {
        let mut header = tar::Header::new_ustar();
        match part {
            Part::File(name, data) => {
                header.set_size(data.len() as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, name, *data).unwrap();
            }
            Part::Link(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn load(engine: &Engine, data: &[u8]) -> Outcome {
    load_as(engine, data.to_vec(), Vec::new(), None, false)
}

fn load_as(engine: &Engine, data: Vec<u8>, prefix: Vec<u8>, length: Option<u64>, chunked: bool) -> Outcome {
    load_in(engine, Place::default(), data, prefix, length, chunked)
}

/// Through a pipe, so that nothing can be read twice.
fn load_in(engine: &Engine, limits: Place, data: Vec<u8>, prefix: Vec<u8>, length: Option<u64>, chunked: bool) -> Outcome {
    let (reader, writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || {
        let mut writer = writer;
        let _ = writer.write_all(&data);
    });
    let fd = OwnedFd::from(reader);
    let outcome = engine.run_as(limits, Job::Load { prefix, length, chunked }, &[fd.as_fd()]);
    drop(fd);
    feeder.join().unwrap();
    outcome
}

fn layers() -> Vec<Vec<u8>> {
    vec![layer(&[("a", &noise(300_000))]), layer(&[("b", b"second")])]
}

fn new_engine() -> (Temp, Engine) {
    let temp = Temp::new();
    let engine = Engine::new(&temp.0);
    (temp, engine)
}

#[track_caller]
fn assert_image(engine: &Engine, reference: &str, layers: &[Vec<u8>]) {
    let (images, aside) = store::images(&engine.root).unwrap();
    assert!(aside.is_empty(), "{aside:?}");
    let tag = store::read_tag(&engine.root.tag(&Reference::parse_tagged(reference).unwrap())).unwrap();
    let image = images.iter().find(|i| i.id == tag.image).unwrap();
    let want: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
    assert_eq!(image.layers, want);
    engine.verify();
    assert_eq!(engine.staged(), [""; 0]);
}

#[test]
fn old_docker_archives_in_any_order() {
    let l = layers();
    let config = config("amd64", "", &l);
    let manifest = r#"[{"Config":"c.json","RepoTags":["x:1","x:2"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let mut parts = vec![
        Part::File("one/layer.tar", &l[0]),
        Part::File("one/VERSION", b"1.0"),
        Part::File("one/json", b"{}"),
        Part::File("two/layer.tar", &l[1]),
        Part::File("c.json", config.as_bytes()),
        Part::File("repositories", b"{}"),
        Part::File("manifest.json", manifest.as_bytes()),
    ];
    for _ in 0..parts.len() {
        parts.rotate_left(1);
        let (_temp, engine) = new_engine();
        let outcome = load(&engine, &archive(&parts)).ok();
        assert!(outcome.has("Loaded image: x:1") && outcome.has("Loaded image: x:2"), "{:?}", outcome.statuses());
        assert_image(&engine, "x:2", &l);
    }
    // Compressed, in a chunked body whose start was read already, and again over what is there.
    let (_temp, engine) = new_engine();
    let packed = gzip(&archive(&parts));
    for _ in 0..2 {
        let mut body = Vec::new();
        for chunk in packed.chunks(10_000) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let rest = body.split_off(5003);
        load_as(&engine, rest, body, None, true).ok();
        assert_image(&engine, "x:1", &l);
    }
}

#[test]
fn links_between_layers_and_images_without_a_name() {
    let l = layer(&[("same", b"same")]);
    let twice = [l.clone(), l.clone()];
    let config = config("amd64", "", &twice);
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let (_temp, engine) = new_engine();
    let outcome = load(
        &engine,
        &archive(&[
            Part::File("manifest.json", manifest.as_bytes()),
            Part::Link("two/layer.tar", "../one/layer.tar"),
            Part::File("c.json", config.as_bytes()),
            Part::File("one/layer.tar", &l),
        ]),
    )
    .ok();
    assert!(outcome.has(&format!("Loaded image ID: {}", Digest::of(config.as_bytes()))));
    assert_eq!(engine.verify(), 1);
}

#[test]
fn oci_layouts_and_mixed_archives() {
    let l = layers();
    let config = config("amd64", "", &l);
    let blobs: Vec<Vec<u8>> = l.iter().map(|l| gzip(l)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{},{}]}}"#,
        descriptor(OCI_CONFIG, config.as_bytes()),
        descriptor(OCI_GZIP, &blobs[0]),
        descriptor(OCI_GZIP, &blobs[1])
    );
    let entry = descriptor(OCI_MANIFEST, manifest.as_bytes());
    let named = entry.replacen('{', r#"{"annotations":{"io.containerd.image.name":"docker.io/library/oci:1"},"#, 1);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#);
    let path = |data: &[u8]| format!("blobs/sha256/{}", Digest::of(data).hex());
    let (c, m, a, b) = (path(config.as_bytes()), path(manifest.as_bytes()), path(&blobs[0]), path(&blobs[1]));
    let docker = format!(r#"[{{"Config":"{c}","RepoTags":["mixed:1"],"Layers":["{a}","{b}"]}}]"#);
    let mut parts = vec![
        Part::File(&a, &blobs[0]),
        Part::File(&b, &blobs[1]),
        Part::File(&c, config.as_bytes()),
        Part::File(&m, manifest.as_bytes()),
        Part::File("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        Part::File("index.json", index.as_bytes()),
    ];
    let (_temp, engine) = new_engine();
    assert!(load(&engine, &archive(&parts)).ok().has("Loaded image: oci:1"));
    assert_image(&engine, "oci:1", &l);
    let (images, _) = store::images(&engine.root).unwrap();
    assert_eq!(images[0].info.manifest, Some(Digest::of(manifest.as_bytes())));
    parts.push(Part::File("manifest.json", docker.as_bytes()));
    assert!(load(&engine, &archive(&parts)).ok().has("Loaded image: mixed:1"));
    assert_image(&engine, "mixed:1", &l);

    // Uncompressed blobs are named by their diff ID: those the store has are not extracted again.
    let (u, v) = (path(&l[0]), path(&l[1]));
    let docker = format!(r#"[{{"Config":"{c}","RepoTags":["plain:1"],"Layers":["{u}","{v}"]}}]"#);
    let parts = [
        Part::File(&u, &l[0]),
        Part::File(&v, &l[1]),
        Part::File(&c, config.as_bytes()),
        Part::File("manifest.json", docker.as_bytes()),
    ];
    let outcome = load(&engine, &archive(&parts)).ok();
    assert!(!outcome.has("Loading layer"));
    assert_image(&engine, "plain:1", &l);
    // A tag that moves tells of it.
    let other = [layer(&[("new", b"new")])];
    let config = harness::image::config("amd64", "", &other);
    let docker = r#"[{"Config":"c.json","RepoTags":["plain:1"],"Layers":["l.tar"]}]"#;
    let parts =
        [Part::File("l.tar", &other[0]), Part::File("c.json", config.as_bytes()), Part::File("manifest.json", docker.as_bytes())];
    assert!(load(&engine, &archive(&parts)).ok().has("The image plain:1 already exists, renaming the old one with ID sha256:"));
}

#[test]
fn bad_archives_are_refused_clearly() {
    let l = layers();
    let text = config("amd64", "", &l);
    let manifest = r#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["0.tar","1.tar"]}]"#;
    let good = [
        Part::File("0.tar", &l[0]),
        Part::File("1.tar", &l[1]),
        Part::File("c.json", text.as_bytes()),
        Part::File("manifest.json", manifest.as_bytes()),
    ];
    let whole = archive(&good);
    let evil = manifest.replace("0.tar", "../../etc/shadow");
    let broken = &l[0][..l[0].len() - 1600];
    let swapped = config("amd64", "", &[l[1].clone(), l[0].clone()]);
    let tag = manifest.replace("x:1", "X:1");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"this is no archive".to_vec(), "unexpected end"),
        (vec![b'x'; 2000], "invalid tar"),
        (Vec::new(), "neither a manifest.json nor an index.json"),
        (archive(&good[..3]), "neither a manifest.json nor an index.json"),
        (archive(&[Part::File("manifest.json", b"{")]), "not understood"),
        (archive(&good[2..]), "it is missing"),
        (archive(&[Part::File("manifest.json", manifest.as_bytes())]), "has no c.json"),
        (whole[..whole.len() / 2].to_vec(), "unexpected end"),
        (gzip(&whole)[..5000].to_vec(), "unexpected end"),
        (
            archive(&[
                Part::File("0.tar", broken),
                Part::File("1.tar", &l[1]),
                Part::File("c.json", text.as_bytes()),
                Part::File("manifest.json", manifest.as_bytes()),
            ]),
            "layer 0.tar of the image archive: invalid tar",
        ),
        (
            archive(&[
                Part::File("0.tar", &l[0]),
                Part::File("1.tar", &l[1]),
                Part::File("c.json", swapped.as_bytes()),
                Part::File("manifest.json", manifest.as_bytes()),
            ]),
            "the image's config says",
        ),
        (archive(&[Part::File("c.json", text.as_bytes()), Part::File("manifest.json", evil.as_bytes())]), "it is missing"),
        (
            archive(&[
                Part::File("0.tar", &l[0]),
                Part::File("c.json", text.as_bytes()),
                Part::File("manifest.json", tag.as_bytes()),
            ]),
            "must be lowercase",
        ),
    ];
    for (nth, (data, what)) in cases.into_iter().enumerate() {
        let (_temp, engine) = new_engine();
        let e = load(&engine, &data).error;
        assert!(e.contains(what), "{nth}: wanted {what:?}: {e}");
        let left: Vec<_> = std::fs::read_dir(engine.root.path().join("images/sha256")).unwrap().collect();
        assert!(left.is_empty() && engine.staged().is_empty());
    }
    let (_temp, engine) = new_engine();
    let e = load_as(&engine, whole[..3000].to_vec(), Vec::new(), Some(whole.len() as u64), false).error;
    assert!(e.contains("unexpected end of the request's body"), "{e}");
    // An entry that is a bad layer but that nobody needs is no matter.
    let spare = archive(&[
        Part::File("spare.tar", &vec![b'?'; 3000]),
        Part::File("0.tar", &l[0]),
        Part::File("1.tar", &l[1]),
        Part::File("c.json", text.as_bytes()),
        Part::File("manifest.json", manifest.as_bytes()),
    ]);
    load(&engine, &spare).ok();
}

/// A zstd window of 8 MiB does not fit in a limit of 3 MB: one that the engine has chosen is raised, a user's is not.
#[test]
fn a_large_window_raises_the_limit_of_memory() {
    let packer =
        std::process::Command::new("zstd").args(["-q", "--long=23"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let (Ok(mut packer), true) = (packer, has_memory_controller()) else {
        return println!("skip: needs zstd and a memory controller");
    };
    let l = layer(&[("noise", &noise(20 << 20))]);
    let (mut to, content) = (packer.stdin.take().unwrap(), l.clone());
    let feeder = std::thread::spawn(move || to.write_all(&content).unwrap());
    let packed = packer.wait_with_output().unwrap().stdout;
    feeder.join().unwrap();
    let config = config("amd64", "", std::slice::from_ref(&l));
    let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["layer.tar"]}]"#;
    let data = archive(&[
        Part::File("manifest.json", manifest),
        Part::File("c.json", config.as_bytes()),
        Part::File("layer.tar", &packed),
    ]);
    for fixed in [true, false] {
        let (_temp, engine) = new_engine();
        let limits = Place { memory: 3 << 20, fixed, processes: 1, ..Place::default() };
        let outcome = load_in(&engine, limits, data.clone(), Vec::new(), None, false);
        assert_eq!(outcome.error.is_empty(), !fixed, "{}", outcome.error);
        if !fixed {
            assert_image(&engine, "x:1", std::slice::from_ref(&l));
        }
        prtiql::worker::memory::clear();
    }
}

fn has_memory_controller() -> bool {
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    std::path::Path::new("/sys/fs/cgroup/memory").exists() || v2.split_whitespace().any(|c| c == "memory")
}
