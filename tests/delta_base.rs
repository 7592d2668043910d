//! The base of a delta, read from a store's files: in any order, with few bytes in the page cache.

mod harness;

use harness::image::{layer, noise};
use harness::{Temp, sh};
use prtiql::delta::base::{Base, Origin};
use prtiql::layer::{Apply, Skeleton};
use std::os::fd::AsFd;

/// A layer's files in a folder of that name.
fn stored(temp: &Temp, name: &str, tar: &[u8]) -> Skeleton {
    let staged = temp.join(name);
    std::fs::create_dir(&staged).unwrap();
    let mut layer = Apply::new(&staged).unwrap();
    layer.push(tar).unwrap();
    layer.finish(|_| Ok(())).unwrap();
    Skeleton::open(&staged.join("layer")).unwrap()
}

#[test]
fn it_gives_the_tars_bytes_in_any_order() {
    let temp = Temp::in_memory();
    let data = noise(400_000);
    let sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 9000, 70_000, 131_072, 400_000];
    let names: Vec<String> = (0..300).map(|nth| format!("folder{}/file{nth}", nth % 7)).collect();
    let files = |from: usize| -> Vec<(&str, &[u8])> {
        let of = |nth: usize| sizes[(nth * 7 + from) % sizes.len()];
        names.iter().enumerate().map(|(nth, name)| (name.as_str(), &data[nth.min(data.len() - of(nth))..][..of(nth)])).collect()
    };
    let tars = [layer(&files(0)), layer(&files(5))];
    let (one, two) = (stored(&temp, "one", &tars[0]), stored(&temp, "two", &tars[1]));
    let all = tars.concat();
    let mut base = Base::new(&[Origin::Layer(&one), Origin::Layer(&two)]).unwrap();
    assert_eq!(base.size(), all.len() as u64);
    let (mut seed, mut near) = (7u64, 0);
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % n
    };
    for round in 0..20_000 {
        // Anywhere, or not far from where it was.
        let at = if round % 5 == 0 { below(all.len()) } else { (near + below(6000)).saturating_sub(3000).min(all.len() - 1) };
        let length = [1, 20, 300, 3000, 70_000][below(5)].min(all.len() - at);
        let mut buffer = vec![1; length];
        base.read_exact_at(at as u64, &mut buffer).unwrap();
        assert!(buffer == all[at..at + length], "{length} bytes at {at}");
        near = at;
    }
    assert!(base.read_exact_at(all.len() as u64 - 3, &mut [0; 4]).unwrap_err().to_string().contains("beyond the end"));
    // A file is where its content begins, and nowhere else.
    let nth = (0..300).find(|nth| sizes[nth * 7 % sizes.len()] == 9000).unwrap();
    let name = format!("{}\0", names[nth]);
    let start = 512 + tars[0].windows(name.len()).position(|part| part == name.as_bytes()).unwrap() as u64;
    let file = base.file_at(start).unwrap().unwrap();
    assert_eq!(rustix::fs::fstat(file.as_fd()).unwrap().st_size, 9000);
    assert!(base.file_at(start + 1).unwrap().is_none() && base.file_at(start - 1).unwrap().is_none());
    // No file was accessed for that, as far as its times say: that would be written.
    let touched = sh("find one/layer/fs two/layer/fs -type f -newerat @1700000000 | wc -l", &temp.0);
    assert_eq!(touched.trim(), "0");
    // One that has lost its end is named.
    let name = &names[(0..300).find(|nth| sizes[nth * 7 % sizes.len()] == 400_000).unwrap()];
    std::fs::OpenOptions::new().write(true).open(temp.join("one/layer/fs").join(name)).unwrap().set_len(1000).unwrap();
    let mut base = Base::new(&[Origin::Layer(&one)]).unwrap();
    let said = base.read_exact_at(0, &mut vec![0; tars[0].len()]).unwrap_err().to_string();
    assert!(said.contains(name) && said.contains("shorter than it was"), "{said}");
}

#[test]
fn the_page_cache_does_not_grow_with_its_files() {
    let temp = Temp::new();
    let tar = layer(&[("large", &noise(70 << 20)), ("small", b"here")]);
    let skeleton = stored(&temp, "one", &tar);
    sh("sync -f .; dd if=one/layer/fs/large iflag=nocache count=0 status=none", &temp.0);
    let cached = || sh("fincore -n -b -o RES one/layer/fs/large", &temp.0).trim().parse::<u64>().unwrap();
    assert_eq!(cached(), 0);
    let mut base = Base::new(&[Origin::Layer(&skeleton)]).unwrap();
    let (mut buffer, mut most) = (vec![0; 64 << 10], 0);
    for (nth, part) in tar.chunks(buffer.len()).enumerate() {
        let read = &mut buffer[..part.len()];
        base.read_exact_at((nth << 16) as u64, read).unwrap();
        assert!(read == part);
        if nth % 50 == 0 {
            most = most.max(cached());
        }
    }
    // 16 MiB, and what the kernel reads ahead on disks that like it.
    assert!((1..32 << 20).contains(&most), "{most}");
    drop(base);
    assert_eq!(cached(), 0);
}

/// Calls of this thread that read, in any way but together.
fn reads() -> u64 {
    let said = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    said.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

#[test]
fn small_files_are_read_together() {
    let temp = Temp::new();
    let data = noise(60_000);
    let names: Vec<String> = (0..200).map(|nth| format!("file{nth:03}")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().enumerate().map(|(nth, name)| (name.as_str(), &data[nth..nth + 1 + nth * nth])).collect();
    let tar = layer(&files);
    let skeleton = stored(&temp, "one", &tar);
    sh("sync -f .; for f in one/layer/fs/*; do dd if=$f iflag=nocache count=0 status=none; done", &temp.0);
    let starts: Vec<usize> =
        names.iter().map(|name| tar.windows(8).position(|part| part[..7] == *name.as_bytes()).unwrap() + 512).collect();
    let take = |base: &mut Base<'_>, nth: usize| {
        let file = base.file_at(starts[nth] as u64).unwrap();
        let mut buffer = vec![0; files[nth].1.len()];
        let done = base.read_exact_at(starts[nth] as u64, &mut buffer);
        assert!(done.is_err() || buffer == files[nth].1, "{}", names[nth]);
        assert!(file.is_some(), "{}", names[nth]);
        done.map_err(|e| e.to_string())
    };
    let mut base = Base::new(&[Origin::Layer(&skeleton)]).unwrap();
    let before = reads();
    assert!((0..names.len()).all(|nth| take(&mut base, nth) == Ok(())));
    let direct = std::os::unix::fs::OpenOptionsExt::custom_flags(std::fs::OpenOptions::new().read(true), libc::O_DIRECT)
        .open(temp.join("one/layer/fs/file100"));
    if direct.is_ok() {
        // Only the skeleton was read otherwise; nothing came to the page cache.
        assert!(reads() - before < 20, "{}", reads() - before);
        let cached = sh("fincore -n -b -o RES one/layer/fs/*", &temp.0);
        assert!(cached.lines().count() == 200 && cached.lines().all(|line| line.trim() == "0"), "{cached}");
    }
    // To and fro, and only some of those in between.
    let mut base = Base::new(&[Origin::Layer(&skeleton)]).unwrap();
    for nth in (0..400).map(|nth| if nth % 50 < 25 { nth * 7 % 200 } else { nth % 200 }).chain((0..200).step_by(3)) {
        assert_eq!(take(&mut base, nth), Ok(()), "{}", names[nth]);
    }
    // Each that is not as it was is named when it is asked for, not before.
    std::fs::OpenOptions::new().write(true).open(temp.join("one/layer/fs/file120")).unwrap().set_len(10_000).unwrap();
    std::fs::remove_file(temp.join("one/layer/fs/file140")).unwrap();
    let mut base = Base::new(&[Origin::Layer(&skeleton)]).unwrap();
    for nth in 0..140 {
        match take(&mut base, nth) {
            Ok(()) => assert!(nth != 120),
            Err(said) => assert!(nth == 120 && said.contains("file120") && said.contains("shorter than it was"), "{nth}: {said}"),
        }
    }
    assert!(base.file_at(starts[140] as u64).unwrap_err().to_string().contains("file140"));
}
