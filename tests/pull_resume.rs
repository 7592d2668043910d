//! Pulls that are cut short, by whatever: the next one goes on from the last checkpoint. Pulls at the same time share what they
//! fetch. Damaged layers are fetched again, and only those.

mod harness;

use harness::image::{gzip, layer, noise};
use harness::registry::{Fault, Registry};
use harness::worker::Engine;
use harness::{Temp, set_up};
use prtiql::image::Digest;
use prtiql::sys::channel;
use prtiql::wire::worker::{Answer, Job, Registries, Report};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};

/// Bytes of the checkpoint's interval, and what may pass until a place for one is found.
const INTERVAL: usize = (8 << 20) + 300_000;

fn job(registry: &Registry, tag: &str, downloads: u32) -> Job {
    Job::Pull {
        reference: format!("{}/a:{tag}", registry.host()),
        all_tags: false,
        platform: String::new(),
        auth: None,
        registries: Registries { max_downloads: downloads, ..Registries::default() },
    }
}

/// A layer of many files and one large one, `megabytes` in all, that does not compress.
fn big_layer(megabytes: usize) -> Vec<u8> {
    let data = noise(megabytes << 20);
    let (first, rest) = data.split_at(data.len() / 3);
    let names: Vec<String> = (0..200).map(|i| format!("many/{i}")).collect();
    let size = first.len() / names.len();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().enumerate().map(|(i, name)| (name.as_str(), &first[i * size..(i + 1) * size])).collect();
    files.push(("large", rest));
    layer(&files)
}

/// Plays the daemon until the download has begun.
fn listen_until_it_comes(socket: &OwnedFd) {
    loop {
        match channel::receive_json::<Report>(socket.as_fd(), &mut Vec::new()).unwrap().unwrap() {
            Report::Plan { .. } => channel::send_json(socket.as_fd(), &Answer::Go, &[]).unwrap(),
            Report::Progress(p) if p.status == "Downloading" => return,
            Report::Failed { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
}

fn start_and_stall(engine: &Engine, registry: &Registry, blob: &Digest, tag: &str, at: usize) -> (Child, OwnedFd) {
    registry.fault(&blob.to_string(), Fault::Stall(at), 1);
    let (child, socket) = engine.start(job(registry, tag, 1), &[]);
    listen_until_it_comes(&socket);
    // Then nothing comes any more: as soon as the worker sleeps it has done what it can.
    let stat = format!("/proc/{}/stat", child.id());
    let mut quiet = 0;
    while quiet < 10 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        quiet = if std::fs::read_to_string(&stat).unwrap().contains(") S ") { quiet + 1 } else { 0 };
    }
    (child, socket)
}

/// Where requests for a blob began.
fn offsets(registry: &Registry, blob: &Digest) -> Vec<usize> {
    let log = registry.log();
    let all = log.iter().filter(|line| line.contains(&blob.to_string()));
    all.map(|l| l.split("range=bytes=").nth(1).and_then(|r| r.split('-').next()?.parse().ok()).unwrap_or(0)).collect()
}

#[test]
fn a_killed_pull_goes_on_from_its_last_checkpoint() {
    let (_temp, mut engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &[big_layer(30)]);
    for (nth, at) in [(1, 9 << 20), (2, 12 << 20), (3, 5 << 20)] {
        let (mut child, _socket) = start_and_stall(&engine, &registry, &blobs[0], "1", at);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(offsets(&registry, &blobs[0]).len(), nth);
        engine = engine.restarted(); // as a new daemon does
    }
    // 9 MiB were stalled at; of the first 8 at least there is a checkpoint; and so on.
    let from = offsets(&registry, &blobs[0]);
    assert!(from[1] > 8 << 20 && from[2] > from[1] + (8 << 20) && from[2] <= from[1] + (12 << 20), "{from:?}");
    engine.pull(&format!("{}/a:1", registry.host())).ok();
    let from = offsets(&registry, &blobs[0]);
    assert!(from[3] == from[2], "{from:?}");
    assert_eq!((engine.verify(), engine.staged()), (1, vec![]));
}

#[test]
fn a_lost_link_and_a_cancelled_pull_lose_no_more_than_an_interval_either() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &[big_layer(24)]);
    registry.fault(&blobs[0].to_string(), Fault::Drop(20 << 20), 1);
    registry.fault(&blobs[0].to_string(), Fault::Status(404, String::new(), "{}".into()), 1);
    let e = engine.pull(&format!("{}/a:1", registry.host())).error;
    assert!(e.contains("not found"), "{e}");
    assert_eq!(engine.staged().len(), 1);
    // Another tag that has the layer: it comes from where the first stopped, also if the registry knows no ranges.
    registry.put_image("a", "2", &[big_layer(24)]);
    registry.fault(&blobs[0].to_string(), Fault::IgnoreRange, 1);
    engine.pull(&format!("{}/a:2", registry.host())).ok();
    let from = offsets(&registry, &blobs[0]);
    assert!(from[1] == 20 << 20 && from[2] + INTERVAL > 20 << 20, "{from:?}");
    assert_eq!((engine.verify(), engine.staged()), (1, vec![]));
}

#[test]
fn what_a_liar_sent_is_not_gone_on_with() {
    let (_temp, engine, registry) = set_up();
    let (_, blobs) = registry.put_image("a", "1", &[big_layer(24)]);
    let name = format!("{}/a:1", registry.host());
    registry.fault(&blobs[0].to_string(), Fault::Corrupt(3 << 20), 2);
    let e = engine.pull(&name).error;
    assert!(e.contains("checksum"), "{e}");
    engine.assert_empty();
    // A lie that has become part of a checkpoint shows at the end; then the layer starts anew.
    let path = format!("/v2/a/blobs/{}", blobs[0]);
    let good = gzip(&big_layer(24));
    let mut bad = good.clone();
    bad[3 << 20] ^= 0x55;
    registry.put(&path, "application/octet-stream", &bad);
    let (mut child, _socket) = start_and_stall(&engine, &registry, &blobs[0], "1", 10 << 20);
    child.kill().unwrap();
    child.wait().unwrap();
    registry.put(&path, "application/octet-stream", &good);
    engine.pull(&name).ok();
    let from = offsets(&registry, &blobs[0]);
    assert!(from[from.len() - 2] > 8 << 20 && from[from.len() - 1] == 0, "{from:?}");
    assert_eq!((engine.verify(), engine.staged()), (1, vec![]));
}

#[test]
fn helpers_fetch_side_by_side_and_pulls_share_what_they_fetch() {
    let (_temp, engine, registry) = set_up();
    let layers: Vec<Vec<u8>> = (0..6).map(|i| layer(&[(format!("f{i}").as_str(), &noise(400_000 + i))])).collect();
    let (_, blobs) = registry.put_image("a", "1", &layers);
    registry.put_image("a", "2", &layers[..4]);
    let (first, one) = engine.start(job(&registry, "1", 3), &[]);
    let (second, two) = engine.start(job(&registry, "2", 2), &[]);
    for (mut child, socket) in [(first, one), (second, two)] {
        loop {
            match channel::receive_json::<Report>(socket.as_fd(), &mut Vec::new()).unwrap().unwrap() {
                Report::Plan { .. } | Report::Image(_) => channel::send_json(socket.as_fd(), &Answer::Go, &[]).unwrap(),
                Report::Failed { message, .. } => panic!("{message}"),
                Report::Done => break,
                _ => {}
            }
        }
        assert!(child.wait().unwrap().success());
    }
    blobs.iter().for_each(|blob| assert_eq!(registry.count(&blob.to_string()), 1, "{blob}"));
    assert_eq!((engine.verify(), engine.staged()), (6, vec![]));
}

#[test]
fn one_helper_that_fails_fails_the_pull_and_keeps_what_is_complete() {
    let (_temp, engine, registry) = set_up();
    let layers: Vec<Vec<u8>> = (0..4).map(|i| layer(&[(format!("f{i}").as_str(), &noise(300_000 + i))])).collect();
    let (_, blobs) = registry.put_image("a", "1", &layers);
    registry.fault(&blobs[3].to_string(), Fault::Corrupt(1000), 2);
    let e = engine.run(job(&registry, "1", 2), &[]).error;
    assert!(e.contains(&blobs[3].to_string()) && e.contains("checksum"), "{e}");
    engine.run(job(&registry, "1", 2), &[]).ok();
    assert_eq!(registry.count(&blobs[3].to_string()), 3);
    assert_eq!((engine.verify(), engine.staged()), (4, vec![]));
}

#[test]
fn a_full_disk_is_gone_on_with_when_there_is_room_again() {
    let temp = Temp::new();
    let mount = |options: &str| {
        assert!(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&temp.0).status().unwrap().success());
    };
    mount("size=20m");
    let (engine, registry) = (Engine::new(&temp.0), Registry::start());
    let (_, blobs) = registry.put_image("a", "1", &[big_layer(24)]);
    let name = format!("{}/a:1", registry.host());
    let e = engine.pull(&name).error;
    assert!(e.contains("25.34MB are needed, 20.97MB are free") && e.ends_with("no space left on device"), "{e}");
    assert_eq!(registry.count(&format!("{} range= ", blobs[0])), 0); // before the first byte
    engine.assert_empty();
    // What has come in part is tried: how much is left of it is not known.
    mount("remount,size=512m");
    registry.fault(&blobs[0].to_string(), Fault::Drop(9 << 20), 1);
    registry.fault(&blobs[0].to_string(), Fault::Status(404, String::new(), "{}".into()), 1);
    assert!(engine.pull(&name).error.contains("not found"));
    mount("remount,size=20m");
    let e = engine.pull(&name).error;
    assert!(e.contains("no space left on device") && e.contains("blob sha256"), "{e}"); // in its middle
    mount("remount,size=64m");
    engine.pull(&name).ok();
    let from = offsets(&registry, &blobs[0]);
    assert!(*from.last().unwrap() > 8 << 20, "{from:?}");
    assert_eq!((engine.verify(), engine.staged()), (1, vec![]));
}

#[test]
fn room_is_looked_at_by_the_length_that_gzip_tells_and_by_the_quota() {
    let temp = Temp::new();
    assert!(Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m", "none"]).arg(&temp.0).status().unwrap().success());
    let (engine, registry) = (Engine::new(&temp.0), Registry::start());
    let (_, blobs) = registry.put_image("a", "1", &[layer(&[("noise", &noise(6 << 20)), ("zeros", &vec![0; 54 << 20])])]);
    let e = engine.pull(&format!("{}/a:1", registry.host())).error;
    assert!(e.contains("62.98MB are needed"), "{e}");
    assert_eq!(offsets(&registry, &blobs[0]).len(), 1); // its last four bytes
    engine.assert_empty();
    registry.put_image("b", "1", &[layer(&[("noise", &noise(5 << 20))])]);
    engine.pull(&format!("{}/b:1", registry.host())).ok();
    registry.put_image("b", "2", &[layer(&[("noise", &noise(6 << 20))])]);
    let limited = |reserve, quota| engine.run_in(reserve, quota, &format!("{}/b:2", registry.host())).error;
    let e = limited(0, 10_000_000);
    assert!(e.contains("layers occupy 5.243MB of storage-quota 10MB"), "{e}");
    let e = limited(30_000_000, 0);
    assert!(e.contains("30MB are kept by storage-reserve") && e.ends_with("no space left on device"), "{e}");
    assert_eq!(limited(10_000_000, 20_000_000), "");
}

#[test]
fn a_bomb_ends_where_the_room_ends() {
    let temp = Temp::new();
    assert!(Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m", "none"]).arg(&temp.0).status().unwrap().success());
    let (engine, registry) = (Engine::new(&temp.0), Registry::start());
    // Two members: the length at the end is that of the second.
    let tar = layer(&[("zeros", &vec![0; 60 << 20])]);
    let (first, second) = tar.split_at(tar.len() - 1000);
    let blob = [gzip(first), gzip(second)].concat();
    registry.put_image_of("a", "1", &tar, &blob);
    let e = engine.run_in(10 << 20, 0, &format!("{}/a:1", registry.host())).error;
    assert!(e.contains("it unpacks to more than there is room for: no space left on device"), "{e}");
    let free = rustix::fs::statvfs(&temp.0).unwrap();
    assert!(free.f_bavail * free.f_frsize >= 9 << 20);
}

#[test]
fn a_pull_that_meets_a_damaged_layer_repairs_it() {
    let (_temp, engine, registry) = set_up();
    let layers = [layer(&[("a", b"first"), ("b/c", &noise(100_000)), ("empty", b"")]), layer(&[("d", b"second")])];
    let (_, blobs) = registry.put_image("a", "1", &layers);
    let name = format!("{}/a:1", registry.host());
    engine.pull(&name).ok();
    let folder = engine.root.layer_fs(&Digest::of(&layers[0]));
    for damage in 0..5 {
        let before: Vec<usize> = blobs.iter().map(|b| registry.count(&b.to_string())).collect();
        let file = folder.join("b/c");
        match damage {
            0 => std::fs::write(&file, noise(100_000).iter().map(|b| b ^ 1).collect::<Vec<u8>>()).unwrap(),
            1 => std::fs::write(&file, b"short").unwrap(),
            2 => std::fs::remove_file(&file).unwrap(),
            3 => std::fs::remove_file(folder.join("empty")).unwrap(),
            _ => std::fs::write(folder.join("../skeleton"), b"nonsense").unwrap(),
        }
        let outcome = engine.pull(&name).ok();
        assert!(outcome.has("Damaged: pulling again") && outcome.has("Already exists"), "{:?}", outcome.statuses());
        let after: Vec<usize> = blobs.iter().map(|b| registry.count(&b.to_string())).collect();
        assert_eq!((after[0], after[1]), (before[0] + 1, before[1]), "{damage}");
        assert_eq!((engine.verify(), engine.staged()), (2, vec![]));
    }
}
