//! Images made by hand.

use prtiql::image::Digest;

/// A tar of files.
pub fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Bytes that do not compress.
pub fn noise(size: usize) -> Vec<u8> {
    let mut seed = 1u64;
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Layers of a small image.
pub fn two_layers() -> Vec<Vec<u8>> {
    vec![layer(&[("etc/a", b"first"), ("big", &noise(900_000))]), layer(&[("etc/b", b"second")])]
}

/// One gzip member.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut crc = !0u32;
    for b in data {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(data, 1));
    out.extend_from_slice(&(!crc).to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out
}

/// A config for layers given as tars.
pub fn config(architecture: &str, variant: &str, layers: &[Vec<u8>]) -> String {
    let ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", Digest::of(l))).collect();
    format!(
        r#"{{"architecture":"{architecture}","variant":"{variant}","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
}

/// `{"mediaType":…,"digest":…,"size":…}`.
pub fn descriptor(media_type: &str, data: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::of(data), data.len())
}
