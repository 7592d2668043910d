//! Pulls over networks as they are: mirrors that are dead, wrong or incomplete, slow and stalling lines, tokens that expire,
//! portals that answer in a registry's place.

mod harness;

use harness::image::{config, descriptor, gzip, layer, noise, two_layers};
use harness::registry::{Fault, OCI_CONFIG, OCI_GZIP, OCI_INDEX, OCI_MANIFEST, Registry};
use harness::set_up;
use prtiql::wire::worker::Registries;
use std::time::{Duration, Instant};

fn settings() -> Registries {
    Registries { max_attempts: 3, stall: 2, ..Registries::default() }
}

#[test]
fn a_mirror_that_lacks_or_damages_a_blob_is_helped_out_by_the_next() {
    let (_temp, engine, origin) = set_up();
    let (lacking, lying, dead) = (Registry::start(), Registry::start(), "http://127.0.0.1:1");
    let (_, blobs) = origin.put_image("a", "1", &two_layers());
    lacking.put_image("a", "1", &two_layers());
    lying.put_image("a", "1", &two_layers());
    lacking.fault(&blobs[0].to_string(), Fault::Status(404, String::new(), "{}".into()), 9);
    lying.fault(&blobs[0].to_string(), Fault::Corrupt(500_000), 9);
    let of = |registry: &Registry| format!("{}=http://{}", origin.host(), registry.host());
    let mirrors = vec![format!("{}={dead}", origin.host()), of(&lacking), of(&lying), dead.to_string()];
    let name = format!("{}/a:1", origin.host());
    engine.pull_with(&name, "", None, Registries { mirrors, ..settings() }).ok();
    let asked = |registry: &Registry| blobs.iter().map(|b| registry.count(&b.to_string())).collect::<Vec<_>>();
    // Twice at the first: the layer was fetched again, after the second one's lie.
    assert_eq!((asked(&lacking), asked(&lying), asked(&origin)), (vec![2, 1], vec![1, 0], vec![1, 0]));
    assert_eq!((engine.verify(), engine.staged()), (2, vec![]));
    assert_eq!(origin.count("manifests"), 0);
}

#[test]
fn a_mirror_that_is_no_registry_or_breaks_off_is_passed_by() {
    let (_temp, engine, origin) = set_up();
    let (portal, broken) = (Registry::start(), Registry::start());
    let (_, blobs) = origin.put_image("a", "1", &two_layers());
    broken.put_image("a", "1", &two_layers());
    let page = Fault::Status(200, "Content-Type: text/html\r\n".into(), "<html>log in</html>".into());
    portal.fault("", page, 99);
    broken.fault(&blobs[0].to_string(), Fault::Drop(400_000), 1);
    broken.fault(&blobs[0].to_string(), Fault::Status(503, String::new(), "{}".into()), 99);
    let mirrors = [&portal, &broken].map(|m| format!("{}=http://{}", origin.host(), m.host())).to_vec();
    let name = format!("{}/a:1", origin.host());
    engine.pull_with(&name, "", None, Registries { mirrors, ..settings() }).ok();
    assert_eq!(portal.log().len(), 1);
    // The layer goes on at the origin where the mirror broke off.
    assert!(origin.log().iter().any(|l| l.contains("range=bytes=400000-")), "{:?}", origin.log());
    assert_eq!(engine.verify(), 2);
}

#[test]
fn one_connection_serves_the_whole_pull() {
    let (_temp, engine, registry) = set_up();
    let layers: Vec<Vec<u8>> = (0..5).map(|i| layer(&[(format!("f{i}").as_str(), &noise(200_000 + i))])).collect();
    registry.put_image("a", "1", &layers);
    engine.pull(&format!("{}/a:1", registry.host())).ok();
    assert_eq!((registry.connections(), registry.log().len()), (1, 8));
}

#[test]
fn downloads_keep_to_their_limit() {
    let (temp, engine, registry) = set_up();
    registry.put_image("a", "1", &two_layers());
    let pace_file = temp.0.join("pace").to_str().unwrap().to_string();
    let start = Instant::now();
    let limited = Registries { rate: 300_000, pace_file, ..settings() };
    engine.pull_with(&format!("{}/a:1", registry.host()), "", None, limited).ok();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2700) && took < Duration::from_secs(9), "{took:?}");
    assert_eq!(engine.verify(), 2);
}

#[test]
fn a_stall_is_noticed_and_gone_on_after() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    registry.fault(&blobs[0].to_string(), Fault::Stall(300_000), 1);
    let start = Instant::now();
    engine.pull_with(&format!("{}/a:1", registry.host()), "", None, settings()).ok();
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(registry.log().iter().any(|l| l.contains("range=bytes=300000-")));
    assert_eq!(engine.verify(), 2);
}

#[test]
fn a_token_that_expires_in_mid_layer_is_renewed() {
    let (_temp, engine, registry) = set_up();
    let tokens = Registry::start();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    tokens.put("/token", "application/json", br#"{"token":"NEW"}"#);
    let blob = blobs[0].to_string();
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n", tokens.host());
    registry.fault(&blob, Fault::Drop(300_000), 1);
    registry.fault(&blob, Fault::Status(401, challenge, "{}".into()), 1);
    engine.pull_with(&format!("{}/a:1", registry.host()), "", None, settings()).ok();
    let asked: Vec<String> =
        registry.log().iter().filter(|l| l.contains(&blob)).map(|l| l[l.find("range").unwrap()..].into()).collect();
    assert_eq!(asked, ["range= auth=", "range=bytes=300000- auth=", "range=bytes=300000- auth=Bearer NEW"]);
    assert_eq!(engine.verify(), 2);
}

#[test]
fn corrupted_bytes_are_fetched_once_more() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    // In the compressed data, and where only the digest shows it.
    registry.fault(&blobs[0].to_string(), Fault::Corrupt(400_000), 1);
    registry.fault(&blobs[1].to_string(), Fault::Corrupt(5), 1);
    engine.pull(&format!("{}/a:1", registry.host())).ok();
    blobs.iter().for_each(|blob| assert_eq!(registry.count(&blob.to_string()), 2));
    assert_eq!((engine.verify(), engine.staged()), (2, vec![]));
}

#[test]
fn portals_are_recognised_wherever_they_answer() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &two_layers());
    let name = format!("{}/a:1", registry.host());
    let page = Fault::Status(200, "Content-Type: text/html\r\n".into(), "\n<!DOCTYPE html><html>log in</html>".into());
    for at in ["/v2/", "manifests/1", &blobs[0].to_string()] {
        registry.fault(at, page.clone(), 1);
        let e = engine.pull_with(&name, "", None, settings()).error;
        assert!(e.contains("captive portal") && e.contains(&registry.host()), "{at}: {e}");
        engine.assert_empty();
    }
}

#[test]
fn a_name_that_no_server_knows_is_told() {
    let (_temp, engine, _) = set_up();
    let once = Registries { max_attempts: 1, ..Registries::default() };
    let e = engine.pull_with("registry.invalid/a:1", "", None, once).error;
    assert!(e.contains("lookup registry.invalid: no"), "{e}");
}

#[test]
fn sizes_and_types_are_what_was_announced() {
    let (_temp, engine, registry) = set_up();
    let tar = layer(&[("a", &noise(5000))]);
    let (blob, config) = (gzip(&tar), config("amd64", "", std::slice::from_ref(&tar)));
    registry.put_blob("odd", config.as_bytes());
    let digest = registry.put_blob("odd", &blob);
    let (of_config, of_layer) = (descriptor(OCI_CONFIG, config.as_bytes()), descriptor(OCI_GZIP, &blob));
    let text = |more: &str, layer: &str| format!(r#"{{"schemaVersion":2,{more}"config":{of_config},"layers":[{layer}]}}"#);
    let size = |n: usize| of_layer.replace(&format!("\"size\":{}", blob.len()), &format!("\"size\":{n}"));
    registry.put_manifest("odd", "both", &text("\"manifests\":[],", &of_layer), OCI_MANIFEST);
    registry.put_manifest("odd", "as-index", &text("", &of_layer), OCI_INDEX);
    registry.put_manifest("odd", "other", &text(&format!("\"mediaType\":\"{OCI_INDEX}\","), &of_layer), OCI_MANIFEST);
    registry.put_manifest("odd", "short", &text("", &size(blob.len() - 100)), OCI_MANIFEST);
    registry.put_manifest("odd", "long", &text("", &size(blob.len() + 100)), OCI_MANIFEST);
    for (tag, what) in [
        ("both", "both layers and manifests"),
        ("as-index", "does not have what its type"),
        ("other", "calls itself"),
        ("short", "where the manifest says"),
        ("long", "where the manifest says"),
    ] {
        let e = engine.pull_with(&format!("{}/odd:{tag}", registry.host()), "", None, settings()).error;
        assert!(e.contains(what), "{tag}: {e}");
        engine.assert_empty();
    }
    // Nothing announced a length: no more is taken than the descriptor says.
    registry.fault(&digest.to_string(), Fault::Chunked, 1);
    let e = engine.pull_with(&format!("{}/odd:short", registry.host()), "", None, settings()).error;
    assert!(e.contains("sends more than"), "{e}");
    engine.assert_empty();
}
