//! `prtiql delta` as a whole: images from anywhere, deltas into files and registries and back.

mod harness;

use harness::Temp;
use harness::debian::Debian;
use harness::image::{config, descriptor, gzip, layer, noise};
use harness::registry::{OCI_CONFIG, OCI_GZIP, OCI_INDEX, OCI_MANIFEST};
use harness::taker::Taker;
use harness::worker::Engine;
use prtiql::delta::choose;
use prtiql::image::{Digest, Reference};
use prtiql::registry::{Client, Content, Repository};
use prtiql::wire::worker::{Job, Registries};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Ran {
    status: i32,
    out: String,
    err: String,
}

fn prtiql(args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_prtiql"))
        .args(args)
        .env("DOCKER_CONFIG", "/nonexistent")
        .env("DOCKER_HOST", "unix:///nonexistent")
        .env_remove("http_proxy")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

#[track_caller]
fn ok(args: &[&str]) -> String {
    let ran = prtiql(args);
    assert_eq!(ran.status, 0, "{args:?}: {}", ran.err);
    ran.out
}

#[track_caller]
fn fails(args: &[&str], status: i32, what: &str) {
    let ran = prtiql(args);
    assert!(ran.status == status && ran.err.contains(what), "{args:?}: {} {}", ran.status, ran.err);
}

/// A release: a base layer that all have, and one of its own that is much like the others'.
fn release(n: u8) -> Vec<Vec<u8>> {
    let mut data = noise(300_000);
    for at in 0..200 {
        data[at * 1000] = n;
    }
    vec![layer(&[("etc/base", &noise(50_000))]), layer(&[("app/data", &data), ("app/version", &[n; 3])])]
}

/// Pushes an image; the digest of its manifest.
fn publish(host: &str, name: &str, tag: &str, arch: &str, layers: &[Vec<u8>]) -> (Digest, String) {
    let reference = Reference::parse(&format!("{host}/{name}")).unwrap();
    let mut client = Client::new(Registries { max_attempts: 2, ..Registries::default() }, None);
    let mut repository = Repository::to_write(&mut client, &reference, None);
    let config = config(arch, "", layers);
    let blobs: Vec<Vec<u8>> = layers.iter().map(|l| gzip(l)).collect();
    for bytes in blobs.iter().map(Vec::as_slice).chain([config.as_bytes()]) {
        repository.upload(&Digest::of(bytes), &Content::Bytes(bytes.into()), None).unwrap();
    }
    let listed: Vec<String> = blobs.iter().map(|b| descriptor(OCI_GZIP, b)).collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor(OCI_CONFIG, config.as_bytes()),
        listed.join(",")
    );
    let digest = Digest::of(text.as_bytes());
    repository
        .put_manifest(if tag.is_empty() { digest.to_string() } else { tag.into() }.as_str(), text.as_bytes(), OCI_MANIFEST)
        .unwrap();
    (digest, text)
}

/// A docker-archive of an image.
fn archive(path: &Path, tag: &str, layers: &[Vec<u8>]) -> Digest {
    let config = config("amd64", "", layers);
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).to_string();
    let mut files: Vec<(&str, &[u8])> = vec![("manifest.json", manifest.as_bytes()), ("config.json", config.as_bytes())];
    files.extend(names.iter().zip(layers).map(|(name, layer)| (name.as_str(), layer.as_slice())));
    std::fs::write(path, layer(&files)).unwrap();
    Digest::of(config.as_bytes())
}

/// The tars of an archive's layers, by their names in manifest.json, and its config.
fn unpacked(path: &Path) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut members = std::collections::HashMap::new();
    for entry in tar::Archive::new(std::fs::File::open(path).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        members.insert(entry.path().unwrap().to_str().unwrap().to_string(), bytes);
    }
    let item: Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
    let layers = item[0]["Layers"].as_array().unwrap().iter().map(|l| members[l.as_str().unwrap()].clone()).collect();
    (layers, members[item[0]["Config"].as_str().unwrap()].clone())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn from_archives_into_a_file_and_back() {
    let temp = Temp::new();
    let (old, new, delta) = (temp.join("old.tar"), temp.join("new.tar"), temp.join("delta.tar"));
    archive(&old, "a:1", &release(1));
    let id = archive(&new, "a:2", &release(2));
    let said = ok(&["delta", "create", text(&old), text(&new), "-o", text(&delta), "-q"]);
    assert!(said.contains("instead of"), "{said}");
    let first = std::fs::read(&delta).unwrap();
    ok(&["delta", "create", text(&old), text(&new), "-o", text(&delta)]);
    assert_eq!(std::fs::read(&delta).unwrap(), first);
    let shown: Value = serde_json::from_str(&ok(&["delta", "inspect", "--format", "json", text(&delta)])).unwrap();
    assert_eq!((shown["Target"].as_str().unwrap(), shown["Layers"].as_array().unwrap().len()), (id.to_string().as_str(), 2));
    assert!(shown["Layers"][0]["Size"].is_null() && shown["Layers"][1]["Size"].as_u64().unwrap() > 0);
    let table = ok(&["delta", "inspect", text(&delta)]);
    assert!(table.contains("of the base") && table.contains("RATIO") && table.contains(&id.to_string()), "{table}");
    let out = temp.join("out.tar");
    assert_eq!(ok(&["delta", "apply", text(&old), text(&delta), "-o", text(&out), "-t", "a:2"]).trim(), id.to_string());
    let (layers, config) = unpacked(&out);
    assert!(layers == release(2) && Digest::of(&config) == id);
    // What was made is an image again, as an archive and as a layout, plain and compressed.
    let id3 = archive(&temp.join("three.tar"), "a:3", &release(3));
    harness::sh("mkdir dir && tar -xf out.tar -C dir && gzip -k three.tar", &temp.0);
    for from in [out, temp.join("dir")] {
        ok(&["delta", "create", text(&from), text(&temp.join("three.tar.gz")), "-o", text(&delta)]);
        assert_eq!(ok(&["delta", "apply", text(&from), text(&delta), "-o", text(&temp.join("3.tar"))]).trim(), id3.to_string());
        assert_eq!(unpacked(&temp.join("3.tar")).0, release(3));
    }
    let left: Vec<_> = std::fs::read_dir(&temp.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_str().unwrap().contains("part")), "{left:?}");
}

#[test]
fn what_does_not_fit_is_told() {
    let temp = Temp::new();
    let [old, new, other, delta, out] = ["old.tar", "new.tar", "other.tar", "delta.tar", "out.tar"].map(|n| temp.join(n));
    archive(&old, "a:1", &release(1));
    archive(&new, "a:2", &release(2));
    archive(&other, "b:1", &[layer(&[("x", b"y")])]);
    let [old, new, other] = [text(&old), text(&new), text(&other)];
    fails(&["delta", "create", old, new], 125, "say where the delta goes");
    fails(&["delta", "create", old, "-o", "x"], 125, "from which image");
    fails(&["delta", "create", old, new, "-o", "x", "--push"], 125, "either");
    fails(&["delta", "create", old, new, "-o", "x", "--level", "0"], 125, "--level");
    fails(&["delta", "create", old, new, "-o", "x", "--nope"], 125, "unknown flag");
    fails(&["delta", "create"], 1, "requires");
    fails(&["delta", "create", old, new, "--push"], 1, "in no repository");
    fails(&["delta", "create", old, "./nope.tar", "-o", "x"], 1, "no such file");
    fails(&["delta", "create", old, new, "-o", "x", "--platform", "arm"], 1, "not for linux/arm/v7");
    fails(&["delta", "create", &format!("{old}#b"), new, "-o", "x"], 1, "it has a:1");
    fails(&["delta", "create", old, new, "-o", "x", "--data-root", text(&temp.0)], 1, "no data root");
    fails(&["delta", "inspect", old], 1, "index.json");
    let same = prtiql(&["delta", "create", old, old, "-o", text(&delta)]);
    assert!(same.status == 0 && same.err.contains("the same image") && !delta.exists(), "{}", same.err);
    ok(&["delta", "create", &format!("{old}#a:1"), new, "-o", text(&delta)]);
    fails(&["delta", "apply", other, text(&delta), "-o", text(&out)], 1, "has deltas from");
    let bytes = std::fs::read(&delta).unwrap();
    let mut damaged = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        std::fs::write(temp.join("bad.tar"), bad).unwrap();
        let ran = prtiql(&["delta", "apply", old, text(&temp.join("bad.tar")), "-o", text(&out), "-q"]);
        assert!(ran.status == 0 || (ran.status == 1 && !ran.err.is_empty()), "{at}: {} {}", ran.status, ran.err);
        assert_eq!(out.exists(), ran.status == 0);
        if ran.status == 0 {
            assert!(unpacked(&out).0 == release(2));
            std::fs::remove_file(&out).unwrap();
        }
        damaged += ran.status;
        std::fs::write(temp.join("bad.tar"), &bytes[..at.min(bytes.len() - 2048)]).unwrap();
        assert_eq!(prtiql(&["delta", "inspect", text(&temp.join("bad.tar"))]).status, 1, "{at}");
    }
    assert!(damaged > 20, "{damaged}");
}

#[test]
fn through_registries_with_and_without_lists_of_referrers() {
    let temp = Temp::new();
    let (taker, debian) = (Taker::start(), Debian::start());
    taker.with(|s| s.referrers = true);
    for host in [Some(taker.host()), debian.as_ref().map(Debian::host)].into_iter().flatten() {
        publish(&host, "app", "1", "amd64", &release(1));
        let (two, _) = publish(&host, "app", "2", "amd64", &release(2));
        let of = |rest: &str| format!("{host}/app{rest}");
        assert_eq!(ok(&["delta", "list", "-q", &of(":2")]), "");
        fails(&["delta", "inspect", &of(":2")], 1, "there is no delta");
        let said = ok(&["delta", "create", &of(":1"), &of(":2"), "--push"]);
        let digest = said.trim().rsplit('@').next().unwrap().to_string();
        assert!(said.contains(&format!("pushed as {host}/app@sha256:")), "{said}");
        assert_eq!(ok(&["delta", "list", "-q", &of(":2")]).trim(), digest);
        assert_eq!(ok(&["delta", "list", "-q", &of(&format!("@{two}"))]).trim(), digest);
        let listed: Value = serde_json::from_str(&ok(&["delta", "list", "--format", "json", &of(":2")])).unwrap();
        let config = config("amd64", "", &release(1));
        assert_eq!(listed["Base"].as_str().unwrap(), Digest::of(config.as_bytes()).to_string());
        for name in [of(":2"), of(&format!("@{digest}"))] {
            let shown: Value = serde_json::from_str(&ok(&["delta", "inspect", "-f", "json", &name])).unwrap();
            assert_eq!(
                (shown["Digest"].as_str().unwrap(), shown["TargetManifest"].as_str().unwrap()),
                (digest.as_str(), two.to_string().as_str())
            );
        }
        // The same from a file.
        let file = temp.join("delta.tar");
        ok(&["delta", "create", &of(":1"), &of(":2"), "-o", text(&file)]);
        let shown: Value = serde_json::from_str(&ok(&["delta", "inspect", "-f", "json", text(&file)])).unwrap();
        assert_eq!(shown["Digest"].as_str().unwrap(), digest);
        publish(&host, "copy", "2", "amd64", &release(2));
        publish(&host, "copy", "1", "amd64", &release(1));
        fails(&["delta", "push", text(&file), &format!("{host}/copy:1")], 1, "not what the delta leads to");
        if host != taker.host() {
            // The other one has all repositories in one.
            fails(&["delta", "push", text(&file), &format!("{host}/nope")], 1, "push the image first");
        }
        ok(&["delta", "push", text(&file), &format!("{host}/copy:2")]);
        assert_eq!(ok(&["delta", "list", "-q", &format!("{host}/copy:2")]).trim(), digest);
        let out = temp.join("out.tar");
        ok(&["delta", "apply", &of(":1"), text(&file), "-o", text(&out)]);
        assert_eq!(unpacked(&out).0, release(2));
    }
}

#[test]
fn from_the_last_releases() {
    let temp = Temp::new();
    let Some(debian) = Debian::start() else { return };
    let of = |rest: &str| format!("{}/app{rest}", debian.host());
    for (n, tag) in ["1.9.0", "1.10.0", "1.11.0", "latest", "1.11.0-rc1", "1.12.0"].iter().enumerate() {
        publish(&debian.host(), "app", tag, "amd64", &release(n as u8));
    }
    publish(&debian.host(), "app", "1.11.1", "amd64", &release(2));
    let said = ok(&["delta", "create", "--from-last", "2", &of(":1.12.0"), "--push"]);
    let from: Vec<&str> = said.lines().map(|l| l.split(": ").next().unwrap().rsplit(':').next().unwrap()).collect();
    // 1.11.1 and 1.11.0 are one image.
    assert_eq!(from, ["1.11.1"], "{said}");
    let again = prtiql(&["delta", "create", "--from-last", "3", &of(":1.12.0"), "--push"]);
    assert!(again.err.contains("already") && again.out.contains("1.10.0:") && again.status == 0, "{} {}", again.err, again.out);
    assert_eq!(ok(&["delta", "list", "-q", &of(":1.12.0")]).lines().count(), 2);
    let file = temp.join("all.tar");
    ok(&["delta", "create", "--from-last", "9", &of(":1.12.0"), "-o", text(&file)]);
    assert_eq!(ok(&["delta", "inspect", "-f", "{{.Base}}", text(&file)]).lines().count(), 3);
    for tag in [":1.9.0", ":1.11.0"] {
        ok(&["delta", "apply", &of(tag), text(&file), "-o", text(&temp.join("out.tar"))]);
        assert_eq!(unpacked(&temp.join("out.tar")).0, release(5));
    }
    fails(&["delta", "create", "--from-last", "2", &of(":latest"), "--push"], 1, "no number");
    fails(&["delta", "create", "--from-last", "2", &of(":1.9.0"), "--push"], 1, "no tag of the form");
    fails(&["delta", "create", "--from-last", "2", &of(":1.9.0"), &of(":2"), "--push"], 125, "name only the new one");
}

#[test]
fn a_chain_of_two_is_found_from_announced_sizes() {
    let Some(debian) = Debian::start() else { return };
    let of = |n: u8| format!("{}/app:{n}", debian.host());
    let digests: Vec<Digest> = (1..=3).map(|n| publish(&debian.host(), "app", &n.to_string(), "amd64", &release(n)).0).collect();
    ok(&["delta", "create", &of(1), &of(2), "--push", "-q"]);
    ok(&["delta", "create", &of(2), &of(3), "--push", "-q"]);
    let reference = Reference::parse(&of(3)).unwrap();
    let mut client = Client::new(Registries::default(), None);
    let mut repository = Repository::new(&mut client, &reference, None);
    let mut plan = |n: u8, plain: u64| {
        let here: Vec<Digest> = release(n).iter().map(|l| Digest::of(l)).collect();
        choose::find(&mut repository, &digests[2], plain, &mut |layer| here.contains(layer)).unwrap()
    };
    let (one, two) = (plan(2, 1 << 20).unwrap(), plan(1, 1 << 20).unwrap());
    assert_eq!((one.hops.len(), two.hops.len()), (1, 2));
    assert_eq!(two.hops.iter().map(|hop| hop.subject).collect::<Vec<_>>(), digests[1..]);
    assert!(two.size > one.size && two.hops[1] == one.hops[0] && two.written > one.written);
    assert_eq!((plan(2, one.size), plan(1, two.size), plan(9, 1 << 20)), (None, None, None));
}

#[test]
fn of_an_index_the_platform_is_taken_and_its_manifest_referred_to() {
    let taker = Taker::start();
    let host = taker.host();
    for (tag, n) in [("1", 1), ("2", 2)] {
        let platform = |arch: &str, digest: &Digest, text: &str| json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": text.len(), "platform": {"os": "linux", "architecture": arch}});
        let (one, one_text) = publish(&host, "app", "", "arm64", &release(n));
        let (two, two_text) = publish(&host, "app", "", "riscv64", &release(n + 100));
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [platform("arm64", &one, &one_text), platform("riscv64", &two, &two_text)]}).to_string();
        let reference = Reference::parse(&format!("{host}/app")).unwrap();
        let mut client = Client::new(Registries::default(), None);
        Repository::to_write(&mut client, &reference, None).put_manifest(tag, index.as_bytes(), OCI_INDEX).unwrap();
    }
    let of = |rest: &str| format!("{host}/app{rest}");
    fails(&["delta", "create", &of(":1"), &of(":2"), "--push", "--platform", "s390x"], 1, "no matching manifest for linux/s390x");
    ok(&["delta", "create", &of(":1"), &of(":2"), "--push", "--platform", "riscv64"]);
    let list = |platform: &str| ok(&["delta", "list", "-q", "--platform", platform, &of(":2")]).lines().count();
    assert_eq!((list("riscv64"), list("arm64")), (1, 0));
    let shown: Value =
        serde_json::from_str(&ok(&["delta", "inspect", "-f", "json", "--platform", "riscv64", &of(":2")])).unwrap();
    assert_eq!(shown["Target"].as_str().unwrap(), Digest::of(config("riscv64", "", &release(102)).as_bytes()).to_string());
}

#[test]
fn from_the_store_of_an_engine() {
    let temp = Temp::in_memory();
    let taker = Taker::start();
    let engine = Engine::new(&temp.join("root"));
    publish(&taker.host(), "app", "1", "amd64", &release(1));
    let (two, _) = publish(&taker.host(), "app", "2", "amd64", &release(2));
    let (one_name, two_name) = (format!("{}/app:1", taker.host()), format!("{}/app:2", taker.host()));
    engine.pull(&one_name).ok();
    engine.pull(&two_name).ok();
    let asked = taker.count("GET");
    let (root, file): (PathBuf, PathBuf) = (temp.join("root"), temp.join("delta.tar"));
    let stored = ["--data-root", text(&root)];
    ok(&[&["delta", "create", &one_name, &two_name, "-o", text(&file)], &stored[..]].concat());
    assert_eq!(taker.count("GET"), asked);
    let shown: Value = serde_json::from_str(&ok(&["delta", "inspect", "-f", "json", text(&file)])).unwrap();
    assert_eq!(shown["TargetManifest"].as_str().unwrap(), two.to_string());
    let id = shown["Base"].as_str().unwrap().trim_start_matches("sha256:")[..12].to_string();
    let out = temp.join("out.tar");
    ok(&[&["delta", "apply", &id, text(&file), "-o", text(&out)], &stored[..]].concat());
    assert_eq!(unpacked(&out).0, release(2));
    ok(&[&["delta", "create", &one_name, &two_name, "--push"], &stored[..]].concat());
    assert_eq!(ok(&["delta", "list", "-q", &two_name]).lines().count(), 1);
    // What apply made can be loaded, under its name and with its ID.
    ok(&[&["delta", "apply", &id, text(&file), "-o", text(&out), "-t", "made:2"], &stored[..]].concat());
    let other = Engine::new(&temp.join("other"));
    let archive = std::fs::File::open(&out).unwrap();
    let loaded = other.run(Job::Load { prefix: Vec::new(), length: None, chunked: false }, &[archive.as_fd()]).ok();
    assert!(loaded.has("Loaded image: made:2"));
    let made = prtiql::store::tagged(&other.root, &Reference::parse("made:2").unwrap()).unwrap();
    assert_eq!((made.to_string().as_str(), other.verify()), (shown["Target"].as_str().unwrap(), 2));
    // A damaged store is noticed.
    let fs = root.join("layers/sha256").join(Digest::of(&release(1)[1]).hex()).join("fs/app/version");
    std::fs::write(fs, b"bad").unwrap();
    fails(&[&["delta", "apply", &id, text(&file), "-o", text(&out)], &stored[..]].concat(), 1, "damaged");
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let temp = Temp::new();
    let taker = Taker::start();
    publish(&taker.host(), "app", "1", "amd64", &release(1));
    publish(&taker.host(), "app", "2", "amd64", &release(2));
    let (one, two) = (format!("{}/app:1", taker.host()), format!("{}/app:2", taker.host()));
    let out = temp.join("delta.tar");
    let layer = Digest::of(&gzip(&release(1)[1])).to_string();
    taker.with(|s| s.blobs.get_mut(&layer).unwrap()[200_000] ^= 1);
    fails(&["delta", "create", &one, &two, "-o", text(&out)], 1, "does not match its digest");
    taker.with(|s| s.blobs.get_mut(&layer).unwrap()[200_000] ^= 1);
    ok(&["delta", "create", &one, &two, "--push"]);
    let digest = ok(&["delta", "list", "-q", &two]).trim().to_string();
    let name = format!("{}/app@{digest}", taker.host());
    taker.with(|s| {
        let (kind, text) = s.manifests[&digest].clone();
        let text = String::from_utf8(text).unwrap().replace("delta.size\":\"", "delta.size\":\"9");
        s.manifests.insert(digest.clone(), (kind, text.into_bytes()));
    });
    fails(&["delta", "inspect", &name], 1, "manifest verification failed");
    fails(&["delta", "inspect", &two], 1, "manifest verification failed");
    taker.can("HEAD /v2/app/manifests", "403 X", "", 1);
    fails(&["delta", "create", &one, &two, "--push"], 1, "denied");
    assert!(!out.exists());
}
