//! The fuzz targets of fuzz/ under plain `cargo test`: each corpus is replayed, and then damaged at random, from a fixed seed.
//! `PRTIQL_SEEDS=fuzz/corpus` writes fresh seeds of what this engine itself writes.

#[path = "../fuzz/lib.rs"]
mod fuzz;
mod harness;

use harness::Temp;
use harness::image::layer;
use prtiql::image::Digest;
use prtiql::layer::Apply;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time for the damaged ones of one target.
const EACH: Duration = Duration::from_millis(700);

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A skeleton, the states of two checkpoints, a delta in two forms, choices for trees, and prefix codes.
fn own() -> Vec<(&'static str, Vec<u8>)> {
    let temp = Temp::new();
    let plain = layer(&[("d/f", b"content of a file"), ("a", b""), ("text", &[b'x'; 9000]), ("a", b"again")]);
    let checkpoint = |name: &str, blob: &[u8], length: usize| {
        let work = temp.0.join(name);
        std::fs::create_dir(&work).unwrap();
        let mut apply = Apply::resumable(&work, &Digest::of(blob), 1).unwrap();
        blob[..length].chunks(100).for_each(|part| apply.push(part).unwrap());
        let file = [1, 0].map(|place| std::fs::read(work.join(format!("checkpoint.{place}")))).into_iter().find_map(Result::ok);
        let file = file.unwrap_or_default();
        let end = file.get(8..12).map_or(0, |n| u32::from_le_bytes(n.try_into().unwrap()) as usize);
        let body = file.get(12..12 + end).unwrap_or_default();
        (work, apply, miniz_oxide::inflate::decompress_to_vec(body).unwrap())
    };
    let (_, _, first) = checkpoint("early", &plain, 1100);
    let (work, mut apply, second) = checkpoint("late", &plain, plain.len() / 2);
    apply.push(&plain[plain.len() / 2..]).unwrap();
    apply.finish(|_| Ok(())).unwrap();
    assert!(!first.is_empty() && !second.is_empty(), "{} {}", first.len(), second.len());
    let mut all =
        vec![("skeleton", std::fs::read(work.join("layer/skeleton")).unwrap()), ("checkpoint", first), ("checkpoint", second)];
    all.extend(fuzz::delta_seeds().map(|seed| ("delta", seed)));
    all.extend([4, 40, 400].map(|length: u32| ("delta_trees", (0..length).map(|i| (i * i / 3) as u8).collect())));
    all.push(("codes", fuzz::codes_seed()));
    all
}

#[test]
fn corpora_and_what_random_damage_makes_of_them() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let own = own();
    if let Ok(folder) = std::env::var("PRTIQL_SEEDS") {
        for (nth, (name, seed)) in own.iter().enumerate() {
            std::fs::create_dir_all(Path::new(&folder).join(name)).unwrap();
            std::fs::write(Path::new(&folder).join(name).join(format!("own-{nth}")), seed).unwrap();
        }
    }
    for (name, target) in fuzz::ALL {
        let mut seeds = files(&corpus.join(name));
        seeds.extend(own.iter().filter(|(of, _)| of == name).map(|(_, seed)| seed.clone()));
        assert!(!seeds.is_empty(), "{name} has no corpus");
        seeds.iter().for_each(|seed| target(seed));
        let mut random = 1u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize % below.max(1)
        };
        let start = Instant::now();
        for round in 0..20_000 {
            if start.elapsed() > EACH {
                break;
            }
            let mut data = seeds[round % seeds.len()].clone();
            let other = &seeds[next(seeds.len())];
            for _ in 0..1 + next(4) {
                let at = next(data.len() + 1);
                match next(5) {
                    0 if at < data.len() => data[at] ^= 1 << next(8),
                    1 if at < data.len() => data[at] = [0, 0xff, 0x7f, b'/', b'"', b'\n', b':', 1][next(8)],
                    2 => drop(data.drain(at..(at + next(64)).min(data.len()))),
                    3 => {
                        let from = next(other.len() + 1);
                        data.splice(at..at, other[from..(from + next(64)).min(other.len())].iter().copied()).for_each(drop);
                    }
                    _ => data.truncate(at.max(data.len() / 2)),
                }
            }
            target(&data);
        }
    }
}
