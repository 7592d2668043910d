//! Layers cut short at any byte and gone on with: whatever the interrupted process had done after its last checkpoint, lies
//! included, leaves no trace. Needs root, as the engine does, and GNU tar and Python.

mod harness;

use harness::{Temp, sh};
use prtiql::image::Digest;
use prtiql::layer::{Applied, Apply, MASKED, Skeleton, checkpoint};
use sha2::Digest as _;
use std::path::Path;

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below.max(1)
    }
}

/// A tar with everything that a checkpoint can fall into: large files, many small ones, links, devices, sparse files,
/// attributes, whiteouts, long names, and files, folders and links that later entries replace.
const LAYER: &str = r#"
mkdir -p t/a t/b/c t/many t/late; cd t
python3 - <<'P'
import random
r = random.Random(5)
words = [bytes(r.choices(b"abcdefghijklmnop", k=r.randint(2, 9))) for _ in range(4000)]
text = lambda n: b" ".join(r.choices(words, k=n // 6))[:n]
open("a/large", "wb").write(text(2_500_000)); open("late/large", "wb").write(text(1_500_000))
open("b/noise", "wb").write(r.randbytes(700_000))
for i in range(600): open(f"many/f{i}", "wb").write(text(r.randint(0, 4000)))
P
ln many/f1 b/hard; ln -s ../many/f2 b/soft; mknod b/null c 1 3; mkfifo b/pipe; chmod 4711 many/f3; chmod 1777 b/c
setfattr -n user.note -v hello b b/noise; truncate -s 4M late/hole; printf x | dd of=late/hole bs=1 seek=3000000 conv=notrunc status=none
python3 -c "open('late/' + 'n' * 200, 'w').write('long')"
touch -d '2001-02-03 04:05:06 UTC' a b b/c many late .
cd ..
tar -C t --numeric-owner --format=posix --xattrs --xattrs-include='*' -cSf base.tar .
python3 - <<'P'
import io, tarfile
src = tarfile.open("base.tar"); out = tarfile.open("layer.tar", "w", format=tarfile.PAX_FORMAT)
def add(name, kind=tarfile.REGTYPE, data=b"", **more):
    t = tarfile.TarInfo(name); t.type = kind; t.size = len(data); t.mode = 0o750; t.mtime = 1234567890
    for key, value in more.items(): setattr(t, key, value)
    out.addfile(t, io.BytesIO(data))
add("d", tarfile.DIRTYPE); add("d/.wh..wh..opq"); add("d/.wh.gone"); add("d/s", tarfile.SYMTYPE, linkname="a"); add("d/e", tarfile.DIRTYPE)
add("d/empty"); add("d/full", data=b"first" * 100); add("lib", tarfile.SYMTYPE, linkname="usr/lib"); add("lib/x", data=b"through a link")
for m in tarfile.open("base.tar"):
    if not m.issparse(): out.addfile(m, src.extractfile(m) if m.isfile() else None)
for name in ("d/s", "d/e", "d/empty", "d/full", "d/gone"): add(name, data=b"replaced " + name.encode())
add("a", tarfile.DIRTYPE, mode=0o700, mtime=99); add("usr/lib/x", data=b"again"); add("b/.wh..wh..opq")
add("many/f9", tarfile.DIRTYPE); add("many/f9/in", data=b"deep")
for i in range(300): add(f"tail/{i}", data=bytes([i % 251]) * (i * 37 % 9000))
out.close()
P
"#;

fn listing(work: &Path) -> String {
    let fs = work.join("layer/fs");
    // Of folders that have no entry of their own the time is anybody's.
    let names = sh(
        "find . ! -type d -printf '%P|%y|%m|%U|%G|%s|%T@|%l|%n\n' | LC_ALL=C sort
         find . -type d ! -newermt 2020-01-01 -printf '%P|%m|%U|%G|%T@\n' | LC_ALL=C sort
         find . -type d -newermt 2020-01-01 -printf '%P|%m|%U|%G\n' | LC_ALL=C sort",
        &fs,
    );
    let sums = sh("find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum", &fs);
    let attributes = sh("getfattr -dhRm - . 2>/dev/null | grep -v '^$' || true", &fs);
    format!("{names}{sums}{attributes}")
}

fn rebuilt(work: &Path) -> Digest {
    let skeleton = Skeleton::open(&work.join("layer")).unwrap();
    let (mut tar, mut hash, mut buffer) = (skeleton.tar(), sha2::Sha256::new(), vec![0; 70_000]);
    loop {
        match tar.read(&mut buffer).unwrap() {
            0 => return Digest::finish(hash),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn fresh(work: &Path) {
    let _ = std::fs::remove_dir_all(work);
    std::fs::create_dir(work).unwrap();
}

/// Applies the blob with a stop at random places. Some of the interrupted ones were fed lies after a while.
fn interrupted(blob: &[u8], work: &Path, interval: u64, random: &mut Random) -> (Applied, usize) {
    let digest = Digest::of(blob);
    fresh(work);
    let mut resumed = 0;
    for attempt in 0.. {
        let found = Apply::resume(work, &digest, interval).unwrap_or_else(|e| panic!("attempt {attempt}: {e}"));
        resumed += usize::from(found.is_some());
        let mut apply = found.unwrap_or_else(|| {
            fresh(work);
            Apply::resumable(work, &digest, interval).unwrap()
        });
        let mut at = apply.compressed() as usize;
        let stop = if attempt > 40 { blob.len() } else { at + random.below((interval * 3) as usize) };
        let lie = (random.below(3) == 0).then(|| at + random.below((interval * 2) as usize));
        let mut alive = true;
        while alive && at < blob.len().min(stop) {
            let mut part = blob[at..blob.len().min(at + 1 + random.below(30_000))].to_vec();
            at += part.len();
            if let Some(from) = lie.filter(|from| *from < at && stop < blob.len()) {
                let first = from.saturating_sub(at - part.len());
                part[first..].iter_mut().for_each(|b| *b = b.wrapping_add(random.below(3) as u8));
            }
            // A liar who is found out ends the attempt as a crash does; one who is not goes on lying until the crash.
            alive = apply.push(&part).is_ok();
            if lie.is_some_and(|from| from < at) && checkpoint_is_later(work, &digest, lie) {
                // The lie has become part of a checkpoint: only the digest at the end would tell. Not what is tested here.
                fresh(work);
                break;
            }
        }
        if alive && at == blob.len() {
            let applied = apply.finish(|applied| {
                assert_eq!(applied.digest, digest);
                Ok(())
            });
            return (applied.unwrap(), resumed);
        }
    }
    unreachable!()
}

fn checkpoint_is_later(work: &Path, blob: &Digest, lie: Option<usize>) -> bool {
    let saved = checkpoint::load(work, blob).ok().flatten();
    saved.is_some_and(|(saved, _)| lie.is_some_and(|from| saved.compressed as usize > from))
}

fn blobs(dir: &Path) -> Vec<(&'static str, Vec<u8>)> {
    sh(LAYER, dir);
    sh(
        "for t in base layer; do gzip -6nk $t.tar; python3 - $t <<'P'
import sys, gzip
d = open(sys.argv[1] + '.tar', 'rb').read(); n = 300_000
open(sys.argv[1] + '.members', 'wb').write(b''.join(gzip.compress(d[i:i+n], 6) for i in range(0, len(d), n)))
P
done",
        dir,
    );
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let mut all = vec![
        ("gzip", read("layer.tar.gz")),
        ("gzip of sparse files", read("base.tar.gz")),
        ("many gzip members", read("layer.members")),
        ("plain", read("layer.tar")),
    ];
    // Frames of their own, as zstd:chunked has them.
    let frames: Vec<u8> = read("layer.tar")
        .chunks(200_000)
        .flat_map(|part| ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest))
        .collect();
    all.push(("zstd frames", frames));
    all
}

#[test]
fn a_layer_cut_short_anywhere_comes_out_the_same() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(MASKED));
    let temp = Temp::in_memory();
    let (straight, work) = (temp.0.join("straight"), temp.0.join("work"));
    let mut random = Random(11);
    for (name, blob) in blobs(&temp.0) {
        fresh(&straight);
        let mut apply = Apply::new(&straight).unwrap();
        apply.push(&blob).unwrap();
        let want = apply.finish(|_| Ok(())).unwrap();
        assert_eq!(rebuilt(&straight), want.diff_id, "{name}");
        let listed = listing(&straight);
        let mut resumed = 0;
        for round in 0..4 {
            let (applied, times) = interrupted(&blob, &work, 60_000, &mut random);
            resumed += times;
            assert_eq!(applied, want, "{name}, round {round}");
            let now = listing(&work);
            if let Some((a, b)) = now.lines().zip(listed.lines()).find(|(a, b)| a != b) {
                panic!("{name}, round {round}:\n{a}\n{b}");
            }
            assert_eq!(now.len(), listed.len(), "{name}, round {round}");
            assert_eq!(rebuilt(&work), want.diff_id, "{name}, round {round}");
        }
        assert!(resumed > 12, "{name}: resumed {resumed} times only");
    }
}

#[test]
fn a_damaged_checkpoint_is_an_error_and_never_a_wrong_layer() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(MASKED));
    let temp = Temp::in_memory();
    sh(LAYER, &temp.0);
    let blob = std::fs::read(temp.0.join("layer.tar")).unwrap();
    let (digest, work) = (Digest::of(&blob), temp.0.join("work"));
    fresh(&work);
    let mut apply = Apply::resumable(&work, &digest, 100_000).unwrap();
    blob[..3_000_000].chunks(50_000).for_each(|part| apply.push(part).unwrap());
    drop(apply);
    let last = checkpoint::load(&work, &digest).unwrap().unwrap();
    let [path, other] = [last.1, last.1 + 1].map(|place| work.join(format!("checkpoint.{}", place % 2)));
    let good = std::fs::read(&path).unwrap();
    assert!(good.len() < 100_000, "{} bytes", good.len());
    assert!(checkpoint::load(&work, &Digest::of(b"another blob")).unwrap().is_none());
    // The last one is torn: the one before it counts.
    let length = u32::from_le_bytes(good[8..12].try_into().unwrap()) as usize;
    std::fs::write(&path, &good[..length / 2]).unwrap();
    let before = checkpoint::load(&work, &digest).unwrap().unwrap();
    assert!(before.1 != last.1 && before.0.compressed < last.0.compressed);
    std::fs::remove_file(other).unwrap();
    let mut random = Random(3);
    for _ in 0..300 {
        let mut bad = good.clone();
        match random.below(3) {
            0 => bad.truncate(random.below(12 + length)),
            _ => {
                let at = random.below(12 + length);
                bad[at] ^= 1 << random.below(8);
            }
        }
        std::fs::write(&path, &bad).unwrap();
        assert!(Apply::resume(&work, &digest, 100_000).is_err());
        // Past the checksum too: what is in it is not believed either.
        let mut body = good[12..12 + length].to_vec();
        for _ in 0..1 + random.below(4) {
            let at = random.below(body.len());
            body[at] = random.below(256) as u8;
        }
        let forged = [&good[..12], &body, &Digest::of(&body).0].concat();
        let _ = checkpoint::parse(&forged).map(|saved| saved.compressed);
    }
    std::fs::write(&path, &good).unwrap();
    for lost in ["made", "layer/skeleton"] {
        std::fs::rename(work.join(lost), work.join("away")).unwrap();
        assert!(Apply::resume(&work, &digest, 100_000).is_err(), "{lost}");
        std::fs::rename(work.join("away"), work.join(lost)).unwrap();
    }
    assert!(Apply::resume(&work, &digest, 100_000).unwrap().is_some());
}
