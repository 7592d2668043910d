//! Pulls by a worker as the daemon runs it, from registries that behave and that do not.

mod harness;

use harness::image::{config, descriptor, gzip, layer, noise, two_layers};
use harness::registry::{Fault, OCI_CONFIG, OCI_GZIP, OCI_INDEX, OCI_MANIFEST, Registry};
use harness::worker::Engine;
use harness::{Temp, set_up};
use prtiql::image::{Digest, Reference};
use prtiql::store;
use prtiql::wire::worker::{Auth, Job, Registries};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn an_image_comes_whole_and_only_once() {
    let (_temp, engine, registry) = set_up();
    let (manifest, blobs) = registry.put_image("me/app", "1", &two_layers());
    let name = format!("{}/me/app:1", registry.host());
    let first = engine.pull(&name).ok();
    let (a, b) = (blobs[0].short(), blobs[1].short());
    let seen: Vec<String> =
        first.statuses().into_iter().filter(|s| !s.ends_with("Downloading") && !s.ends_with("Extracting")).collect();
    assert_eq!(
        seen,
        [
            "1 Pulling from me/app".to_string(),
            format!("{a} Pulling fs layer"),
            format!("{b} Pulling fs layer"),
            format!("{b} Waiting"),
            format!("{a} Verifying Checksum"),
            format!("{a} Download complete"),
            format!("{a} Pull complete"),
            format!("{b} Verifying Checksum"),
            format!("{b} Download complete"),
            format!("{b} Pull complete"),
            format!("Digest: {manifest}"),
            format!("Status: Downloaded newer image for {name}"),
        ]
    );
    let (images, aside) = store::images(&engine.root).unwrap();
    assert_eq!((images.len(), aside.len()), (1, 0));
    assert_eq!(images[0].info.manifest, Some(manifest));
    assert_eq!(images[0].info.sizes, [900_005, 6]);
    let (tags, _) = store::tags(&engine.root).unwrap();
    let names: Vec<String> = tags.iter().map(|t| t.reference.to_string()).collect();
    assert_eq!(names, [name.clone(), format!("{}@{manifest}", name.trim_end_matches(":1"))]);
    assert_eq!(std::fs::read(engine.root.layer_fs(&images[0].layers[1]).join("etc/b")).unwrap(), b"second");
    assert_eq!(engine.verify(), 2);

    let again = engine.pull(&name).ok();
    assert!(again.has("Already exists") && again.has("Status: Image is up to date for"));
    assert_eq!(registry.count(&format!("blobs/{}", blobs[0])), 1);
    assert_eq!(engine.staged(), [""; 0]);
    let by_digest = engine.pull(&format!("{}/me/app@{manifest}", registry.host())).ok();
    assert!(by_digest.has(&format!("{manifest} Pulling from me/app")));
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    let blob = format!("GET /v2/a/blobs/{}", blobs[0]);
    registry.fault(&blob, Fault::Drop(300_000), 1);
    registry.fault(&blob, Fault::Drop(300_000), 1);
    engine.pull(&format!("{}/a:1", registry.host())).ok();
    let ranges: Vec<String> = registry.log().iter().filter(|l| l.starts_with(&blob)).cloned().collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(ranges[1].contains("range=bytes=300000-") && ranges[2].contains("range=bytes=600000-"), "{ranges:?}");
    assert_eq!(engine.verify(), 2);
}

#[test]
fn odd_but_honest_servers_are_understood() {
    let (_temp, engine, registry) = set_up();
    let layers = two_layers();
    let (_, blobs) = registry.put_image("a", "1", &layers);
    registry.fault(&format!("{}", blobs[0]), Fault::Drop(300_000), 1);
    registry.fault(&format!("{}", blobs[0]), Fault::IgnoreRange, 1);
    registry.fault(&format!("{}", blobs[1]), Fault::Chunked, 1);
    registry.fault("manifests/1", Fault::NoLength, 1);
    registry.fault("manifests/1", Fault::Status(503, "Retry-After: 0\r\n".into(), "busy".into()), 1);
    registry.fault("/v2/", Fault::Status(429, "Retry-After: 1\r\n".into(), "{}".into()), 1);
    engine.pull(&format!("{}/a:1", registry.host())).ok();
    assert_eq!(engine.verify(), 2);
}

#[test]
fn lasting_failures_end_at_once_and_passing_ones_after_the_attempts() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    let name = format!("{}/a:1", registry.host());
    let pull = |n| engine.pull_with(&name, "", None, Registries { max_attempts: n, ..Registries::default() }).error;
    let e = engine.pull(&format!("{}/a:2", registry.host())).error;
    assert_eq!(e, format!("manifest for {}/a:2 not found: manifest unknown: manifest unknown", registry.host()));
    assert_eq!(registry.count("manifests/2"), 1);
    for (status, what) in [(401, "unauthorized"), (403, "pull access denied"), (404, "not found")] {
        let before = registry.count("manifests/1");
        registry.fault("manifests/1", Fault::Status(status, String::new(), "{}".into()), 1);
        let e = pull(5);
        assert!(e.contains(what), "{status}: {e}");
        assert_eq!(registry.count("manifests/1"), before + 1, "{status}");
    }
    let denied = "Bearer realm=\"x\",error=\"insufficient_scope\"";
    registry.fault("manifests/1", Fault::Status(401, format!("WWW-Authenticate: {denied}\r\n"), "{}".into()), 1);
    assert!(pull(5).contains("invalid URL"));
    let before = registry.count(&blobs[0].to_string());
    registry.fault(&blobs[0].to_string(), Fault::Status(500, "Retry-After: 0\r\n".into(), String::new()), 9);
    let e = pull(3);
    assert!(e.contains("500") && e.contains(&blobs[0].to_string()), "{e}");
    assert_eq!(registry.count(&blobs[0].to_string()), before + 3);
    let e = engine.pull("127.0.0.1:1/a:1").error;
    assert_eq!(e, "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused");
    engine.assert_empty();
}

#[test]
fn liars_are_found_out_and_leave_nothing() {
    let (_temp, engine, registry) = set_up();
    let layers = two_layers();
    let (_, blobs) = registry.put_image("a", "1", &layers);
    let name = format!("{}/a:1", registry.host());
    let fails = |what: &str| {
        let e = engine.pull(&name).error;
        assert!(e.contains(what), "wanted {what}: {e}");
        engine.assert_empty();
        e
    };
    let first = blobs[0].to_string();
    registry.fault(&first, Fault::Corrupt(400_000), 2);
    let e = fails("invalid");
    assert!(e.contains(&first), "{e}");
    // The gzip header's time is part of the blob but not of its content.
    registry.fault(&first, Fault::Corrupt(5), 2);
    fails(&format!("filesystem layer verification failed for digest {first}"));
    registry.fault(&first, Fault::Longer, 1);
    fails("where the manifest says");
    registry.fault("manifests/1", Fault::Status(200, "Content-Type: text/html\r\n".into(), "<html>login</html>".into()), 1);
    fails("HTML");
    registry.fault("manifests/1", Fault::Status(200, String::new(), "{\"schemaVersion\":2".into()), 1);
    fails("not understood");
    registry.fault("manifests/1", Fault::Status(200, format!("X: {}\r\n", "y".repeat(40_000)), "{}".into()), 1);
    fails("longer than");
    registry.fault("manifests/1", Fault::Status(200, "X: y\r\n".repeat(200), "{}".into()), 1);
    fails("too many headers");
    registry.fault("manifests/1", Fault::Status(200, String::new(), " ".repeat((4 << 20) + 10)), 1);
    fails("longer than");
    registry.fault("/v2/a/blobs", Fault::Redirect(format!("http://{}/v2/a/blobs/x", registry.host())), 50);
    fails("");
}

/// A manifest for parts that do not fit together.
fn put_odd(registry: &Registry, tag: &str, config: &str, blob: &[u8]) {
    registry.put_blob("odd", config.as_bytes());
    registry.put_blob("odd", blob);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        descriptor(OCI_CONFIG, config.as_bytes()),
        descriptor(OCI_GZIP, blob)
    );
    registry.put_manifest("odd", tag, &manifest, OCI_MANIFEST);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let (_temp, engine, registry) = set_up();
    let tar = layer(&[("a", b"x")]);
    let other = layer(&[("b", b"y")]);
    let good = gzip(&tar);
    put_odd(&registry, "diff", &config("amd64", "", &[other]), &good);
    put_odd(&registry, "count", &config("amd64", "", &[tar.clone(), tar.clone()]), &good);
    put_odd(&registry, "cut", &config("amd64", "", std::slice::from_ref(&tar)), &good[..good.len() - 4]);
    put_odd(
        &registry,
        "junk",
        &config("amd64", "", std::slice::from_ref(&tar)),
        b"this is no tar at all, whatever it claims to be",
    );
    put_odd(&registry, "windows", &config("amd64", "", std::slice::from_ref(&tar)).replace("linux", "windows"), &good);
    let evil = {
        let mut evil = layer(&[("xx/escape", b"x")]);
        evil[..2].copy_from_slice(b"..");
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&evil[..512]);
        header.set_cksum();
        evil[..512].copy_from_slice(header.as_bytes());
        evil
    };
    put_odd(&registry, "evil", &config("amd64", "", std::slice::from_ref(&evil)), &gzip(&evil));
    for (tag, what) in [
        ("diff", "the image's config says"),
        ("count", "don't match image configuration"),
        ("cut", "unexpected end"),
        ("junk", "invalid tar"),
        ("windows", "operating system"),
        ("evil", "outside of the root file system"),
    ] {
        let e = engine.pull(&format!("{}/odd:{tag}", registry.host())).error;
        assert!(e.contains(what), "{tag}: {e}");
        if ["diff", "cut", "junk", "evil"].contains(&tag) {
            assert!(e.starts_with("layer sha256:"), "{tag}: {e}");
        }
        engine.assert_empty();
    }
}

#[test]
fn the_best_platform_of_an_index_is_taken() {
    let (_temp, engine, registry) = set_up();
    let mut entries = Vec::new();
    for (arch, variant) in [("amd64", ""), ("arm", "v6"), ("arm", "v7"), ("unknown", "")] {
        let tar = layer(&[("arch", format!("{arch}{variant}").as_bytes())]);
        let (digest, _) = registry.put_image_for("multi", &format!("{arch}{variant}"), arch, variant, &[tar]);
        entries.push((digest, arch, variant));
    }
    let size_of = |digest: &Digest| get(&registry, &format!("/v2/multi/manifests/{digest}")).len();
    let list: Vec<String> = entries
        .iter()
        .map(|(digest, arch, variant)| {
            format!(
                r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"{arch}","variant":"{variant}"}}}}"#,
                size_of(digest)
            )
        })
        .collect();
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, list.join(","));
    registry.put_manifest("multi", "1", &index, OCI_INDEX);
    let name = format!("{}/multi:1", registry.host());
    for (platform, digest) in [
        ("linux/amd64", entries[0].0),
        ("linux/arm/v7", entries[2].0),
        ("linux/arm/v6", entries[1].0),
        ("linux/arm64", entries[2].0),
    ] {
        let before = registry.count(&format!("manifests/{digest}"));
        engine.pull_with(&name, platform, None, Registries::default()).ok();
        assert_eq!(registry.count(&format!("manifests/{digest}")), before + 1, "{platform}");
    }
    let e = engine.pull_with(&name, "linux/riscv64", None, Registries::default()).error;
    assert_eq!(e, "no matching manifest for linux/riscv64 in the manifest list entries");
}

/// The body of a GET.
fn get(registry: &Registry, path: &str) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(registry.host()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut out = Vec::new();
    stream.read_to_end(&mut out).unwrap();
    let at = out.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    out.split_off(at + 4)
}

#[test]
fn credentials_go_to_the_registry_and_nowhere_else() {
    let (_temp, engine, registry) = set_up();
    let cdn = Registry::start();
    let layers = two_layers();
    let (_, blobs) = registry.put_image("a", "1", &layers);
    cdn.put_image("a", "1", &layers);
    let place = format!("http://{}/v2/a/blobs/{}", cdn.host(), blobs[0]);
    registry.fault(&blobs[0].to_string(), Fault::Redirect(place), 1);
    registry.want_auth("Basic bWU6c2VjcmV0", "Basic realm=\"r\"");
    let name = format!("{}/a:1", registry.host());
    let e = engine.pull(&name).error;
    assert!(e.contains("no basic auth credentials"), "{e}");
    let auth = Auth { username: "me".into(), password: "secret".into(), ..Auth::default() };
    engine.pull_with(&name, "", Some(auth.clone()), Registries::default()).ok();
    assert_eq!(cdn.log(), [format!("GET /v2/a/blobs/{} range= auth=", blobs[0])]);

    registry.want_auth("x", "Bearer realm=\"http://192.0.2.1/token\"");
    let e = engine.pull_with(&name, "", Some(auth.clone()), Registries::default()).error;
    assert!(e.contains("not encrypted"), "{e}");

    // A token server on another port.
    let (_temp, engine, registry) = set_up();
    let tokens = Registry::start();
    registry.put_image("a", "1", &layers);
    tokens.put("/token", "application/json", br#"{"access_token":"T0K"}"#);
    registry.want_auth("Bearer T0K", &format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host()));
    let name = format!("{}/a:1", registry.host());
    engine.pull_with(&name, "", Some(auth), Registries::default()).ok();
    let asked = &tokens.log()[0];
    assert!(asked.contains("scope=repository%3Aa%3Apull") && asked.contains("auth=Basic bWU6c2VjcmV0"), "{asked}");
    assert!(registry.log().iter().all(|l| !l.contains("Basic")));
    registry.want_auth("Bearer ID", "Bearer realm=\"http://127.0.0.1:1/\"");
    let bad = Auth { registry_token: "ID\r\nX: y".into(), ..Auth::default() };
    assert!(engine.pull_with(&name, "", Some(bad), Registries::default()).error.contains("line ends"));
    let token = Auth { registry_token: "ID".into(), ..Auth::default() };
    engine.pull_with(&name, "", Some(token), Registries::default()).ok();
}

#[test]
fn mirrors_come_first_and_the_next_one_helps_out() {
    let (_temp, engine, registry) = set_up();
    registry.put_image("library/busybox", "latest", &two_layers());
    let mirrors = vec!["http://127.0.0.1:1".to_string(), format!("http://{}/", registry.host())];
    let registries = Registries { mirrors, ..Registries::default() };
    let outcome = engine.pull_with("docker.io/library/busybox:latest", "", None, registries).ok();
    assert!(outcome.has("latest Pulling from library/busybox") && outcome.has("Downloaded newer image for busybox:latest"));
    assert!(engine.root.tag(&Reference::parse("busybox:latest").unwrap()).exists());
}

#[test]
fn a_job_nobody_waits_for_stops() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    registry.fault(&blobs[0].to_string(), Fault::Stall(100_000), 1);
    let job = Job::Pull {
        reference: format!("{}/a:1", registry.host()),
        all_tags: false,
        platform: String::new(),
        auth: None,
        registries: Registries::default(),
    };
    let (mut child, socket) = engine.start(job, &[]);
    use prtiql::wire::worker::{Answer, Report};
    use std::os::fd::AsFd;
    loop {
        match prtiql::sys::channel::receive_json::<Report>(socket.as_fd(), &mut Vec::new()).unwrap().unwrap() {
            Report::Plan { .. } => prtiql::sys::channel::send_json(socket.as_fd(), &Answer::Go, &[]).unwrap(),
            Report::Progress(p) if p.status == "Downloading" => break,
            _ => {}
        }
    }
    let start = Instant::now();
    drop(socket);
    assert!(!child.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(3));
    engine.assert_empty();
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let temp = Temp::new();
    assert!(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&temp.0).status().unwrap().success());
    let (engine, registry) = (Engine::new(&temp.0), Registry::start());
    registry.put_image("a", "1", &[layer(&[("big", &noise(4_000_000))])]);
    let e = engine.pull(&format!("{}/a:1", registry.host())).error;
    assert!(e.contains("no space left on device"), "{e}");
    engine.assert_empty();
}

#[test]
fn dockers_own_registry_gives_every_kind() {
    if Command::new("docker-registry").arg("--version").output().is_err() {
        return; // without it there is nothing to ask
    }
    let temp = Temp::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = temp.0.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/blobs}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
        temp.0.display()
    );
    std::fs::write(&settings, text).unwrap();
    let mut server =
        Command::new("docker-registry").arg("serve").arg(&settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..50 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let tars = two_layers();
    let config = config("amd64", "", &tars);
    let mut archive = tar::Builder::new(Vec::new());
    let manifest = r#"[{"Config":"config.json","RepoTags":[],"Layers":["0.tar","1.tar"]}]"#;
    for (name, data) in
        [("manifest.json", manifest.as_bytes()), ("config.json", config.as_bytes()), ("0.tar", &tars[0]), ("1.tar", &tars[1])]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, data).unwrap();
    }
    let file = temp.0.join("archive.tar");
    std::fs::write(&file, archive.into_inner().unwrap()).unwrap();
    let mut tried = 0;
    for (nth, options) in
        ["--gzip", "--gzip --oci", "--zstd --oci --index", "--plain", "--gzip --index", "--plain --oci"].iter().enumerate()
    {
        let mut push = Command::new("python3");
        push.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lib/push.py")).args(options.split(' '));
        push.arg(format!("http://127.0.0.1:{port}")).arg(&file).arg(format!("x{nth}:1"));
        // Without zstd that one cannot be made.
        if !push.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() && options.contains("zstd") {
            continue;
        }
        let engine = Engine::new(&temp.0.join(format!("root{nth}")));
        engine.pull(&format!("127.0.0.1:{port}/x{nth}:1")).ok();
        assert_eq!(engine.verify(), 2, "{options}");
        tried += 1;
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(tried >= 5);
}
