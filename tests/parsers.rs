//! The parsers of what comes from outside take anything: random damage gives an error or a value, never a panic, and what is
//! accepted prints and parses again to the same.

mod harness;

use harness::image::gzip;
use prtiql::image::config::ImageConfig;
use prtiql::image::manifest::Document;
use prtiql::image::{Platform, Reference};
use prtiql::layer::decode::Decoder;
use prtiql::layer::tar::{Event, Parser};

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below.max(1)
    }

    /// A few bytes changed, taken out, doubled or taken from `words`.
    fn damage(&mut self, seed: &[u8], words: &[&str]) -> Vec<u8> {
        let mut out = seed.to_vec();
        for _ in 0..1 + self.next(4) {
            let at = self.next(out.len() + 1);
            match self.next(5) {
                0 if at < out.len() => out[at] = self.next(256) as u8,
                1 if at < out.len() => drop(out.remove(at)),
                2 => out.insert(at, b"/:@.-_\"{}[],\\\0 \xff%"[self.next(17)]),
                3 => out.splice(at..at, words[self.next(words.len())].bytes()).for_each(drop),
                _ => out.truncate(out.len() - self.next(out.len() / 4 + 1)),
            }
        }
        out
    }
}

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn references_and_platforms() {
    let mut random = Random(1);
    let seeds = ["busybox", "host:5000/a/b__c:tag", "[::1]:80/x", &format!("a/b@{D}")];
    let words = [D, "library/", "docker.io/", ":latest", "..", "//", "@sha256:", "[", "]", "localhost/", "ä", "A"];
    for _ in 0..60_000 {
        let text = random.damage(seeds[random.0 as usize % seeds.len()].as_bytes(), &words);
        let text = String::from_utf8_lossy(&text);
        if let Ok(reference) = Reference::parse(&text) {
            assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference, "{text}");
            assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference, "{text}");
            let name = prtiql::store::escape(&reference);
            assert!(!name.contains(['/', '\0']) && name.len() < 256 && name != "." && name != "..", "{text}");
        }
        let _ = Platform::parse(&text, &Platform::host());
    }
}

#[test]
fn manifests_and_configs() {
    let descriptor = format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{D}","size":5}}"#);
    let manifest = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[{descriptor}]}}"#);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{D}","size":1,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}}]}}"#
    );
    let config = format!(
        r#"{{"os":"linux","config":{{"Cmd":["sh"],"Env":null}},"rootfs":{{"type":"layers","diff_ids":["{D}"]}},"history":[{{}}]}}"#
    );
    let words = [
        "null",
        "\"layers\":[],",
        "\"manifests\":[],",
        "-1",
        "1e400",
        "99999999999999999999",
        "{",
        "}",
        "[[[[[[",
        "\\u0000",
        "true",
    ];
    let mut random = Random(2);
    for seed in [&manifest, &index, &config] {
        for _ in 0..20_000 {
            let text = random.damage(seed.as_bytes(), &words);
            let _ = Document::parse(&text, "");
            let _ = ImageConfig::parse(&text);
        }
    }
    let deep = "[".repeat(100_000);
    assert!(Document::parse(format!("{{\"config\":{deep}").as_bytes(), "").is_err());
}

#[test]
fn tars_and_compressed_streams() {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, size) in [("a".repeat(150), 700usize), ("b".into(), 0), ("c".into(), 512)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_cksum();
        builder.append_data(&mut header, &name, &vec![7u8; size][..]).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let mut random = Random(3);
    for i in 0..6_000 {
        let mut bad = random.damage(&tar, &["30 mtime=1.5\n", "\0\0\0\0", "7777777", "GNU.sparse.map=1,2"]);
        if i % 2 == 0 {
            // Sums made right, so that the damage gets past them.
            for block in bad.chunks_exact_mut(512).filter(|b| b[257..262] == *b"ustar") {
                block[156] = b"0123567xgLKSA"[random.next(13)];
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let mut parser = Parser::new();
        let mut input = &bad[..];
        let mut total = 0;
        loop {
            match parser.next(&mut input) {
                Ok(Event::More) | Err(_) => break,
                Ok(Event::Block(_)) => total += 512,
                Ok(Event::Data(d) | Event::Pad(d) | Event::Tail(d)) => total += d.len(),
                Ok(Event::Entry | Event::End) => {}
            }
        }
        assert!(total <= bad.len());
        let _ = parser.finish();
    }
    let packed = gzip(&tar);
    let zstd = ruzstd::encoding::compress_to_vec(&tar[..], ruzstd::encoding::CompressionLevel::Fastest);
    for seed in [&packed, &zstd] {
        for _ in 0..1_500 {
            let bad = random.damage(seed, &["\u{1f}\u{8b}", "(\u{b5}/\u{fd}"]);
            let mut decoder = Decoder::default();
            let mut out = 0usize;
            let mut sink = |d: &[u8]| {
                out += d.len();
                if out > 1 << 24 { Err(prtiql::base::Error::internal("enough")) } else { Ok(()) }
            };
            let pushed = bad.chunks(100).try_for_each(|mut c| {
                while !c.is_empty() {
                    decoder.push(&mut c, true, &mut sink)?;
                }
                Ok(())
            });
            let _ = pushed.and_then(|()| decoder.finish(&mut sink));
        }
    }
}
