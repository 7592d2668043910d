//! Layers in and out: tars of every make are extracted, compared with what GNU tar extracts, and rebuilt bit for bit; hostile
//! ones escape nowhere. Needs root, as the engine does, and GNU tar, bsdtar and Python.

mod harness;

use harness::{Temp, sh};
use prtiql::base::Result;
use prtiql::layer::{Applied, Apply, Skeleton};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn apply(data: &[u8], staged: &Path, step: usize) -> Result<Applied> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(prtiql::layer::MASKED));
    std::fs::create_dir_all(staged)?;
    let mut apply = Apply::new(staged)?;
    for chunk in data.chunks(step) {
        apply.push(chunk)?;
    }
    apply.finish(|_| Ok(()))
}

/// The tar that the folder gives back; and the same bytes at odd offsets.
fn rebuild(staged: &Path) -> Result<Vec<u8>> {
    let skeleton = Skeleton::open(&staged.join("layer"))?;
    let mut out = Vec::new();
    let mut tar = skeleton.tar();
    let mut buf = vec![0; 70_000];
    loop {
        let n = tar.read(&mut buf)?;
        if n == 0 {
            break;
        }
        out.extend_from_slice(&buf[..n]);
    }
    assert_eq!(out.len() as u64, skeleton.tar_size());
    let mut seed = 7u64;
    for _ in 0..60 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (seed >> 33) as usize % (out.len() + 1);
        let want = &out[at..out.len().min(at + 3000)];
        let mut buf = vec![0; want.len()];
        assert_eq!(tar.read_at(at as u64, &mut buf)?, want.len());
        assert!(buf == want, "wrong bytes at {at}");
    }
    Ok(out)
}

fn assert_round_trip(tar: &[u8], staged: &Path, what: &str) {
    let applied = apply(tar, staged, 65_536).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(applied.tar_size, tar.len() as u64, "{what}");
    let out = rebuild(staged).unwrap_or_else(|e| panic!("{what}: {e}"));
    if out != tar {
        let at = out.iter().zip(tar).position(|(a, b)| a != b);
        panic!("{what}: rebuilt tar differs at {at:?}, {} and {} bytes", out.len(), tar.len());
    }
}

const TREE: &str = r#"
mkdir -p t/d/e t/empty t/l; cd t
long=$(printf 'n%.0s' $(seq 90)); mkdir -p l/$long/$long/$long
echo deep > l/$long/$long/$long/file; printf '%0110d' 0 > l/$(printf 'x%.0s' $(seq 120))
for s in 0 1 511 512 513 1024 100000 3000000; do head -c $s /dev/urandom > d/size$s; done
echo a > d/e/a; ln d/e/a d/e/b; ln d/size513 l/hard; ln -s ../d/e/a l/soft; ln -s /$(printf 'y%.0s' $(seq 150)) l/longlink
mkfifo d/pipe; mknod d/null c 1 3; mknod d/disk b 259 70000
chmod 4755 d/size1; chmod 2750 d/e; chmod 1777 empty; chmod 0 d/size511
touch -d '2040-02-29 01:02:03.123456789 UTC' d/size512; touch -d '1955-11-05 06:00:00 UTC' d/size0
chown 3000000:3000001 d/size1024; chown -h 7:8 l/soft; touch -h -d '2001-01-01 UTC' l/soft
setfattr -n user.note -v 'some value' d/e/a; setcap cap_net_raw+ep d/size100000
echo ünï > 'd/ü name with spaces'; printf 'x' > "$(printf 'd/new\nline')"
truncate -s 5M d/hole; printf end | dd of=d/hole bs=1 seek=3000000 conv=notrunc status=none
touch -d '2011-11-11 11:11:11 UTC' d/e d empty l .
"#;

/// Everything that `tar x` and we must agree on.
fn listing(dir: &Path, times: bool) -> String {
    let time = if times { " %T@" } else { "" };
    let format = format!("%P|%y|%m|%U|%G|%s{time}|%l|%n\\n");
    let files = sh(&format!("find . ! -type d -printf '{format}' | LC_ALL=C sort"), dir);
    let folders = sh(&format!("find . -type d -printf '%P|%m|%U|%G{time}\\n' | LC_ALL=C sort"), dir);
    let sums = sh(
        "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; find . -type b -o -type c | LC_ALL=C sort | xargs -r stat -c '%n %t %T'",
        dir,
    );
    let attributes = sh("getfattr -dhRm '^(user|security.cap)' . 2>/dev/null | grep -v '^$' || true", dir);
    format!("{files}{folders}{sums}{attributes}")
}

#[test]
fn tars_of_every_make_are_extracted_right_and_rebuilt_exactly() {
    let temp = Temp::in_memory();
    sh(TREE, &temp.0);
    sh(
        r#"
gnu() { tar -C t --numeric-owner "$@" . ; }
plain="--exclude=./l/n* --exclude=./l/x* --exclude=./l/longlink --exclude=./d/size1024 --exclude=./d/size0 --exclude=./d/disk"
gnu -cf gnu.tar --format=gnu; gnu -cf posix.tar --format=posix --xattrs --xattrs-include='*'
gnu -cf oldgnu.tar --format=oldgnu; gnu -cf ustar.tar --format=ustar $plain; gnu -cf v7.tar --format=v7 $plain --exclude=./d/null --exclude=./d/pipe
gnu -Scf gnu-sparse.tar --format=gnu; for v in 0.0 0.1 1.0; do gnu -Scf posix-sparse-$v.tar --format=posix --sparse-version=$v; done
gnu -cf blocking1.tar -b 1 --format=gnu; gnu -cf global.tar --format=posix --pax-option=globexthdr.name=g,comment=hello
bsdtar -C t --numeric-owner -cf bsd-pax.tar --format=pax .; bsdtar -C t --numeric-owner -cf bsd-gnu.tar --format=gnutar .
bsdtar -C t -cf bsd-ustar.tar --format=ustar $plain .
python3 - <<'E'
import tarfile
for name, fmt in (("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)):
    with tarfile.open(f"py-{name}.tar", "w", format=fmt) as t:
        t.add("t", ".")
E
{ cat gnu.tar; echo trailing garbage; } > garbage.tar
head -c -10240 gnu.tar > /dev/null; python3 -c "
d=open('blocking1.tar','rb').read()
open('no-end.tar','wb').write(d.rstrip(b'\0') + bytes(-len(d.rstrip(b'\0')) % 512))"
"#,
        &temp.0,
    );
    let mut tars: Vec<PathBuf> = std::fs::read_dir(&temp.0)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "tar"))
        .collect();
    tars.sort();
    assert!(tars.len() >= 17, "{tars:?}");
    for tar in tars {
        let name = tar.file_stem().unwrap().to_str().unwrap();
        let staged = temp.join(&format!("ours-{name}"));
        let data = std::fs::read(&tar).unwrap();
        assert_round_trip(&data, &staged, name);
        let theirs = temp.join(&format!("theirs-{name}"));
        std::fs::create_dir(&theirs).unwrap();
        let to = theirs.display();
        // GNU tar stumbles over bsdtar's idea of its own format; bsdtar does not set the root's time.
        let tool = if name.starts_with("bsd") { "bsdtar" } else { "tar --xattrs --xattrs-include='*'" };
        sh(&format!("{tool} -C {to} --numeric-owner -xpf {} 2>/dev/null || true", tar.display()), &temp.0);
        let (ours, theirs) = (listing(&staged.join("layer/fs"), true), listing(&theirs, true));
        if let Some((a, b)) = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b && !(a.starts_with('|') && tool == "bsdtar"))
        {
            panic!("{name}: ours and tar's differ:\n{a}\n{b}");
        }
        assert_eq!(ours.lines().count(), theirs.lines().count(), "{name}");
    }
}

/// Hand-made tars.
#[derive(Default)]
struct Maker(Vec<u8>);

impl Maker {
    fn entry(mut self, kind: u8, name: &str, link: &str, data: &[u8]) -> Maker {
        let mut h = tar::Header::new_gnu();
        h.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        h.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        h.set_entry_type(tar::EntryType::new(kind));
        h.set_size(data.len() as u64);
        h.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        h.set_uid(0);
        h.set_gid(0);
        h.set_mtime(1_700_000_000);
        if kind == b'3' || kind == b'4' {
            h.set_device_major(1).unwrap();
            h.set_device_minor(5).unwrap();
        }
        h.set_cksum();
        self.0.extend_from_slice(h.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    fn file(self, name: &str, data: &str) -> Maker {
        self.entry(b'0', name, "", data.as_bytes())
    }
    fn dir(self, name: &str) -> Maker {
        self.entry(b'5', name, "", b"")
    }
    fn link(self, name: &str, target: &str) -> Maker {
        self.entry(b'1', name, target, b"")
    }
    fn symlink(self, name: &str, target: &str) -> Maker {
        self.entry(b'2', name, target, b"")
    }
    fn pax(self, records: &[(&str, &[u8])]) -> Maker {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..).map(|digits| rest + digits).find(|n| n.to_string().len() + rest == *n).unwrap();
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b'x', "pax", "", &data)
    }
    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn usrmerge_links_are_followed_inside_the_root() {
    let temp = Temp::in_memory();
    for (nth, target) in ["usr/bin", "/usr/bin", "../../usr/bin", "./usr/../usr/bin"].iter().enumerate() {
        let staged = temp.join(&nth.to_string());
        let tar = Maker::default()
            .dir("usr/")
            .dir("usr/bin/")
            .symlink("bin", target)
            .file("bin/cat", "meow")
            .file("usr/bin/ls", "l")
            .end();
        assert_round_trip(&tar, &staged, target);
        assert_eq!(read(staged.join("layer/fs/usr/bin/cat")), "meow", "{target}");
        assert!(staged.join("layer/fs/bin").symlink_metadata().unwrap().is_symlink(), "{target}");
    }
    // The link points at nothing yet: the folder is made where it points, not in its place.
    let tar = Maker::default().symlink("bin", "usr/bin").file("bin/cat", "meow").end();
    assert_round_trip(&tar, &temp.join("dangling"), "dangling");
    assert_eq!(read(temp.join("dangling/layer/fs/usr/bin/cat")), "meow");
    // An absolute link that names a folder of the host means the layer's own.
    let tar = Maker::default().symlink("t", "/tmp").file("t/prtiql-was-here", "no").end();
    assert_round_trip(&tar, &temp.join("absolute"), "absolute");
    assert_eq!(read(temp.join("absolute/layer/fs/tmp/prtiql-was-here")), "no");
    assert!(!Path::new("/tmp/prtiql-was-here").exists());
}

#[test]
fn nothing_escapes() {
    let temp = Temp::in_memory();
    let canary = temp.join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("file"), "safe").unwrap();
    let to = canary.display().to_string();
    let up = format!("../../../../../../../../../../{to}");
    let m = Maker::default;
    let refused = [
        ("dotdot", m().file("../escape", "x")),
        ("dotdot inside", m().dir("a/").file("a/../../escape", "x")),
        ("hardlink out", m().link("h", "../../etc/passwd")),
        ("hardlink absolute", m().link("h", &format!("{to}/file")).file("h", "overwritten")),
        ("hardlink through link", m().symlink("s", &to).link("h", "s/file")),
        ("file over root", m().file("./", "x").file("/", "y")),
        ("link over root", m().symlink(".", &to)),
        ("hardlink to folder", m().dir("d").link("h", "d")),
        ("file as folder", m().file("f", "x").file("f/g", "y")),
        ("loop", m().symlink("a", "b").symlink("b", "a").file("a/x", "y")),
        ("whiteout of nothing", m().file(".wh.", "")),
        ("whiteout of dot", m().file(".wh...", "")),
        ("unknown type", m().entry(b'M', "x", "", b"")),
        ("name too long", m().pax(&[("path", &[b'a'; 5000])]).file("x", "y")),
        ("component too long", m().pax(&[("path", &[b'a'; 300])]).file("x", "y")),
        ("zero in name", m().pax(&[("path", b"a\0b")]).file("x", "y")),
        ("pax bomb", m().entry(b'x', "p", "", &vec![b'1'; (1 << 20) + 1]).file("x", "y")),
    ];
    for (what, tar) in refused {
        let staged = temp.join(&what.replace(' ', "-"));
        let e = apply(&tar.end(), &staged, 1000).expect_err(what);
        assert!(e.to_string().len() < 12_000, "{what}");
    }
    let contained = [
        ("absolute name", m().file("/abs/file", "x"), "abs/file"),
        ("write through link", m().symlink("s", &to).file("s/file", "x"), "canary/file"),
        ("write through dotdot link", m().symlink("s", &up).file("s/new", "x"), "canary/new"),
        ("write onto link", m().symlink("s", &format!("{to}/file")).file("s", "x"), "s"),
        ("folder onto link", m().symlink("s", &to).dir("s/").file("s/f", "x"), "s/f"),
        ("link chain", m().symlink("a", "b").symlink("b", &up).file("a/f", "x"), "canary/f"),
        ("replace by device", m().file("d", "x").entry(b'3', "d", "", b""), "d"),
    ];
    for (what, tar, made) in contained {
        let staged = temp.join(&what.replace(' ', "-"));
        assert_round_trip(&tar.end(), &staged, what);
        let found = sh(&format!("find . -path './*{made}' | head -1"), &staged.join("layer/fs"));
        assert!(!found.is_empty(), "{what}: {}", sh("find .", &staged.join("layer/fs")));
    }
    let whiteout = m().symlink("s", &to).file("s/.wh.file", "").file("s/.wh..wh..opq", "").end();
    assert_round_trip(&whiteout, &temp.join("wh"), "whiteout through link");
    assert_eq!(read(canary.join("file")), "safe");
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    assert!(!temp.join("escape").exists() && !temp.0.parent().unwrap().join("escape").exists());
}

#[test]
fn whiteouts_become_overlayfs_own() {
    let temp = Temp::in_memory();
    let tar = Maker::default()
        .dir("d/")
        .file("d/.wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .file("d/kept", "x")
        .file("d/.wh.kept", "")
        .file(".wh.e", "")
        .dir("e/")
        .file(".wh..wh.aufs", "")
        .file("late/.wh.x", "content that nobody reads")
        .end();
    let staged = temp.join("l");
    assert_round_trip(&tar, &staged, "whiteouts");
    let fs = staged.join("layer/fs");
    let gone = fs.join("d/gone").symlink_metadata().unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(read(fs.join("d/kept")), "x");
    let opaque = |dir: &str| sh(&format!("getfattr --only-values -n trusted.overlay.opaque {dir} 2>/dev/null || true"), &fs);
    assert_eq!((opaque("d"), opaque("e"), opaque("late")), ("y".into(), "y".into(), String::new()));
    assert!(!fs.join(".wh..wh.aufs").exists());
}

#[test]
fn replaced_entries_are_rebuilt_too() {
    let temp = Temp::in_memory();
    let m = Maker::default;
    let cases = [
        ("file twice", m().file("a", "first").file("a", "second").file("a", "third")),
        ("file by folder", m().file("a", "first").dir("a").file("a/b", "x")),
        ("folder by file", m().dir("a").file("a/b", "x").file("a/c/d", "y").file("a", "now a file").file("z", "z")),
        ("folder by link", m().dir("a").file("a/b", "x").dir("c").symlink("a", "c").file("a/b", "through").file("c/b", "again")),
        ("hardlinked", m().file("a", "first").link("b", "a").file("a", "second").link("b", "a")),
        ("to itself", m().file("a", "first").link("a", "a").link("a", "./a")),
        ("through link", m().dir("d").symlink("l", "d").file("l/f", "one").file("d/f", "two").file("l/f", "three")),
        ("empty", m().file("a", "").file("a", "x").file("a", "")),
        ("whiteout then file", m().file(".wh.a", "").file("a", "x").file(".wh.a", "")),
        (
            "nested",
            m().file("a/b/c", "1")
                .file("a/b", "2")
                .file("a", "3")
                .dir("a")
                .file("a/b", "4")
                .dir("a/b")
                .file("a/b/c", "5")
                .file("a/b", "6"),
        ),
    ];
    for (what, tar) in cases {
        assert_round_trip(&tar.end(), &temp.join(&what.replace(' ', "-")), what);
    }
    let last = read(temp.join("file-twice/layer/fs/a"));
    assert_eq!(last, "third");
    assert_eq!(read(temp.join("hardlinked/layer/fs/b")), "second");
    // Many, so that the table is searched.
    let mut many = m();
    for i in 0..3000 {
        many = many.file(&format!("f{}", i % 700), &format!("content {i}"));
    }
    assert_round_trip(&many.end(), &temp.join("many"), "many");
}

#[test]
fn overlayfs_private_attributes_are_not_taken_from_images() {
    let temp = Temp::in_memory();
    let tar = Maker::default()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/other"),
            ("SCHILY.xattr.user.x", b"\0\n=1"),
            ("mtime", b"4102444800.5"),
        ])
        .dir("d/")
        .end();
    let staged = temp.join("l");
    assert_round_trip(&tar, &staged, "xattrs");
    let found = sh("getfattr -dm - -e hex d | grep = | sort", &staged.join("layer/fs"));
    assert_eq!(found, "user.x=0x000a3d31\n");
    assert_eq!(staged.join("layer/fs/d").metadata().unwrap().mtime(), 4_102_444_800);
}

#[test]
fn big_numbers_and_modes() {
    let temp = Temp::in_memory();
    let tar = Maker::default().pax(&[("size", b"5"), ("uid", b"4294967294")]).entry(b'0', "f", "", b"12345").end();
    assert_round_trip(&tar, &temp.join("l"), "pax numbers");
    let meta = temp.join("l/layer/fs/f").metadata().unwrap();
    assert_eq!((meta.uid(), meta.len(), meta.permissions().mode() & 0o7777), (4_294_967_294, 5, 0o644));
    // 10 GiB said, 5 bytes there.
    let mut tar = Maker::default();
    let mut header = tar::Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(10 << 30);
    header.set_cksum();
    tar.0.extend_from_slice(header.as_bytes());
    let e = apply(&tar.end(), &temp.join("huge"), 100).unwrap_err();
    assert!(e.to_string().contains("unexpected end"), "{e}");
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

/// A tar of few names and all kinds, so that they collide in every way.
fn random_tar(random: &mut Random) -> Vec<u8> {
    let mut tar = Maker::default();
    for _ in 0..random.next(120) {
        let depth = 1 + random.next(3);
        let mut name = (0..depth)
            .map(|_| ["a", "b", "c", "..", "l"][random.next(if depth == 1 { 3 } else { 5 }) as usize])
            .collect::<Vec<_>>()
            .join("/");
        if random.next(12) == 0 {
            name = name.rsplit_once('/').map_or(".wh.a".to_string(), |(d, _)| format!("{d}/.wh.b"));
        }
        let other = ["a", "b/c", "/c", "../a", "l", "a/b", "/", "."][random.next(8) as usize];
        let size = [0, 3, 512, 2000][random.next(4) as usize];
        let fill = random.next(200) as u8;
        tar = match random.next(10) {
            0..4 => tar.entry(b'0', &name, "", &vec![fill; size]),
            4 | 5 => tar.dir(&name),
            6 => tar.symlink(&name, other),
            7 => tar.link(&name, other),
            8 => tar.pax(&[("path", format!("{name}/long").as_bytes()), ("mtime", b"5.5")]).file("x", "paxed"),
            _ => tar.entry(b'6', &name, "", b""),
        };
    }
    tar.end()
}

#[test]
fn random_collisions_either_fail_clearly_or_rebuild() {
    let temp = Temp::in_memory();
    let mut random = Random(42);
    let mut good = 0;
    for i in 0..250 {
        let mut tar = random_tar(&mut random);
        // Fewer entries, better chances: cut it down until it applies.
        for attempt in 0..8 {
            let staged = temp.join(&format!("{i}-{attempt}"));
            match apply(&tar, &staged, 1 + random.next(5000) as usize) {
                Ok(_) => {
                    good += 1;
                    assert!(rebuild(&staged).unwrap() == tar, "{i}");
                    break;
                }
                Err(e) => assert!(!e.to_string().is_empty()),
            }
            let _ = std::fs::remove_dir_all(&staged);
            tar.truncate(tar.len() / 2 / 512 * 512);
        }
        assert_eq!(
            std::fs::read_dir(&temp.0)
                .unwrap()
                .filter(|e| !e.as_ref().unwrap().file_name().to_string_lossy().contains('-'))
                .count(),
            0
        );
    }
    assert!(good > 120, "{good}");
}

#[test]
fn damaged_tars_and_skeletons_are_errors_not_panics() {
    let temp = Temp::in_memory();
    sh(TREE, &temp.0);
    sh("rm -f t/d/size3000000; tar -C t --format=posix --xattrs --xattrs-include='*' -Scf x.tar .", &temp.0);
    let tar = std::fs::read(temp.join("x.tar")).unwrap();
    let mut random = Random(1);
    for i in 0..120 {
        let mut bad = tar.clone();
        for _ in 0..1 + random.next(4) {
            let at = random.next(bad.len() as u64) as usize / 512 * 512 + random.next(512) as usize;
            bad[at] = random.next(256) as u8;
            // Make the sum right again, so that the damage gets past it.
            let block = &mut bad[at / 512 * 512..at / 512 * 512 + 512];
            if block[257..262] == *b"ustar" {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let staged = temp.join(&format!("t{i}"));
        if apply(&bad, &staged, 10_000).is_ok() {
            assert!(rebuild(&staged).unwrap() == bad, "{i}");
        }
        let _ = std::fs::remove_dir_all(&staged);
    }
    let staged = temp.join("good");
    apply(&tar, &staged, 10_000).unwrap();
    let skeleton = std::fs::read(staged.join("layer/skeleton")).unwrap();
    for _ in 0..1500 {
        let mut bad = skeleton.clone();
        for _ in 0..1 + random.next(3) {
            let at = random.next(bad.len() as u64) as usize;
            bad[at] = random.next(256) as u8;
        }
        if random.next(5) == 0 {
            bad.truncate(random.next(bad.len() as u64) as usize);
        }
        std::fs::write(staged.join("layer/skeleton"), &bad).unwrap();
        let Ok(open) = Skeleton::open(&staged.join("layer")) else { continue };
        let mut reader = open.tar();
        let mut buf = vec![0; 50_000];
        let mut total = 0u64;
        while let Ok(n) = reader.read(&mut buf) {
            total += n as u64;
            if n == 0 || total > 64 << 20 {
                break;
            }
        }
        for at in [0, 1000, 100_000, u64::MAX / 2] {
            let _ = reader.read_at(at, &mut buf);
        }
    }
}

/// A damaged one may claim any length: whoever reads at its end must be able to count on from there.
#[test]
fn a_skeleton_as_long_as_can_be_counted_is_read() {
    let temp = Temp::in_memory();
    std::fs::create_dir(temp.join("fs")).unwrap();
    let mut bytes = [b"PRTQSKEL".to_vec(), vec![2, 0, 0, 0, 0, 0, 0, 0]].concat();
    bytes.push(4); // zeros, u64::MAX of them
    bytes.extend_from_slice(&[0xff; 9]);
    bytes.push(1);
    let end = bytes.len() as u64;
    bytes.push(0);
    for number in [u64::MAX, 0, 0, end, end + 1, 0, end + 1, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(b"LEKSQTRP");
    std::fs::write(temp.join("skeleton"), bytes).unwrap();
    let skeleton = Skeleton::open(&temp.0).unwrap();
    let mut tar = skeleton.tar();
    let mut buffer = [1; 8];
    assert_eq!(tar.read_at(u64::MAX - 8, &mut buffer).unwrap(), 8);
    assert_eq!(buffer, [0; 8]);
    assert!(tar.is_near(u64::MAX) && !tar.is_near(7));
}
