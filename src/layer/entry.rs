//! One entry of a tar, put together from its header block, GNU long names and pax records.

use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest path or link target, in bytes (the kernel's limit).
pub const LONGEST_PATH: usize = 4096;
/// The most extended attributes of one entry.
pub const MOST_XATTRS: usize = 256;

/// What an entry makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// A further name of a file of the same layer.
    Link,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A folder.
    Dir,
    /// A named pipe.
    Fifo,
}

/// One entry. Reused from entry to entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// What it makes.
    pub kind: Kind,
    /// Its name as the tar has it.
    pub path: Vec<u8>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes in the tar.
    pub stored: u64,
    /// Bytes of the file; differs from `stored` for sparse files.
    pub size: u64,
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanos: u32,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Name and value of extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored bytes of a sparse file belong: offset and length, ascending.
    pub sparse: Option<Vec<(u64, u64)>>,
}

/// What pax records and GNU long names say about the next entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub time: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: SparseRecords,
}

/// GNU's sparse records in pax headers, versions 0.0, 0.1 and 1.0.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseRecords {
    pub major: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    pub map: Vec<(u64, u64)>,
    offset: Option<u64>,
}

/// The most pieces of a sparse file.
pub(super) const MOST_PIECES: usize = 16 * 1024;

impl Extra {
    /// Nothing is said about the next entry.
    pub fn is_empty(&self) -> bool {
        let sparse = &self.sparse;
        let numbers = [self.size, sparse.major, sparse.real_size, sparse.offset];
        let names = [&self.path, &self.link, &sparse.name];
        names.iter().all(|n| n.is_none())
            && numbers.iter().all(|n| n.is_none())
            && self.uid.or(self.gid).is_none()
            && self.time.is_none()
            && self.xattrs.is_empty()
            && sparse.map.is_empty()
    }

    /// Takes in the records of a pax header. Global headers give only times and owners.
    pub fn add_records(&mut self, mut data: &[u8], global: bool) -> Result<()> {
        while !data.is_empty() {
            // Padding with zeros after the last record is seen in the wild.
            if data.iter().all(|b| *b == 0) {
                break;
            }
            let (key, value, rest) = split_record(data).ok_or_else(|| Error::invalid("invalid tar: malformed pax header"))?;
            data = rest;
            if !global || matches!(key, b"mtime" | b"uid" | b"gid") {
                self.add_record(key, value)?;
            }
        }
        Ok(())
    }

    fn add_record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bad = || Error::invalid(format!("invalid tar: bad value of pax record {}", String::from_utf8_lossy(key)));
        let number = || std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok()).ok_or_else(bad);
        let id = || number().and_then(|n| u32::try_from(n).map_err(|_| bad()));
        // An empty value takes back what an earlier record said.
        let empty = value.is_empty();
        match key {
            b"path" => self.path = if empty { None } else { Some(checked_path(value)?) },
            b"linkpath" => self.link = if empty { None } else { Some(checked_path(value)?) },
            b"size" => self.size = if empty { None } else { Some(number()?) },
            b"uid" => self.uid = if empty { None } else { Some(id()?) },
            b"gid" => self.gid = if empty { None } else { Some(id()?) },
            b"mtime" => self.time = if empty { None } else { Some(parse_time(value).ok_or_else(bad)?) },
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = Some(checked_path(value)?),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.offset" => self.sparse.offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().ok_or_else(bad)?;
                self.sparse.push(offset, number()?)?;
            }
            b"GNU.sparse.map" => {
                let text = std::str::from_utf8(value).map_err(|_| bad())?;
                let mut numbers = text.split(',').map(|n| n.parse::<u64>().map_err(|_| bad()));
                while let Some(offset) = numbers.next() {
                    let length = numbers.next().ok_or_else(bad)??;
                    self.sparse.push(offset?, length)?;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) || name.len() > 255 {
                        return Err(bad());
                    }
                    if self.xattrs.len() >= MOST_XATTRS {
                        return Err(Error::invalid("invalid tar: an entry has too many extended attributes"));
                    }
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

impl SparseRecords {
    pub fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.map.len() >= MOST_PIECES {
            return Err(Error::unsupported("sparse file of more than 16384 pieces"));
        }
        self.map.push((offset, length));
        Ok(())
    }
}

/// Checks a sparse file's map against its sizes: pieces ascend, do not overlap, and fill the stored bytes.
pub(super) fn check_sparse(map: &[(u64, u64)], real: u64, stored: u64) -> Result<()> {
    let bad = || Error::invalid("invalid tar: the map of a sparse file contradicts its size");
    let (mut end, mut sum) = (0u64, 0u64);
    for (offset, length) in map {
        if *offset < end {
            return Err(bad());
        }
        end = offset.checked_add(*length).ok_or_else(bad)?;
        sum += length;
    }
    if end > real || sum != stored { Err(bad()) } else { Ok(()) }
}

/// Refuses what no file system takes.
pub(super) fn checked_path(path: &[u8]) -> Result<Vec<u8>> {
    if path.len() > LONGEST_PATH {
        return Err(Error::invalid(format!("invalid tar: a name of {} bytes", path.len())));
    }
    if path.contains(&0) {
        return Err(Error::invalid("invalid tar: a name with a zero byte"));
    }
    Ok(path.to_vec())
}

/// `"<length> <key>=<value>\n"`: key, value and what follows.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let record = data.get(space + 1..length)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    if equals == 0 {
        return None;
    }
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

/// `1700000000.123456789`, also negative; digits past the ninth are dropped.
fn parse_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = if whole.is_empty() || whole == "-" { 0 } else { whole.parse().ok()? };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{:0<9}", &fraction[..fraction.len().min(9)]).parse().ok()?;
    Some(match negative && nanos > 0 {
        true => (seconds.checked_sub(1)?, 1_000_000_000 - nanos),
        false => (seconds, nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_are_read_exactly() {
        let mut extra = Extra::default();
        extra
            .add_records(b"20 path=a/long/name\n28 SCHILY.xattr.user.a=1\n2\n\n24 mtime=1.123456789999\n".as_slice(), false)
            .unwrap();
        assert_eq!(extra.path.as_deref(), Some(b"a/long/name".as_slice()));
        assert_eq!(extra.xattrs, [(b"user.a".to_vec(), b"1\n2\n".to_vec())]);
        assert_eq!(extra.time, Some((1, 123_456_789)));
        for bad in [
            "x",
            "5 a=b\n",
            "6 a=b",
            "999 a=b\n",
            "6 =bc\n",
            "6 abc\n",
            "12 mtime=1.x\n",
            "10 uid=-1\n",
            "18446744073709551615 a=b\n",
        ] {
            assert!(Extra::default().add_records(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_before_1970_and_after_2038() {
        assert_eq!(parse_time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(parse_time(b"4102444800.000000001"), Some((4_102_444_800, 1)));
        assert_eq!(parse_time(b"5"), Some((5, 0)));
        assert_eq!(parse_time(b"five"), None);
    }

    #[test]
    fn sparse_maps_must_fit() {
        assert!(check_sparse(&[(0, 5), (10, 5)], 20, 10).is_ok());
        assert!(check_sparse(&[(0, 5), (4, 5)], 20, 10).is_err());
        assert!(check_sparse(&[(0, 5), (u64::MAX, 5)], 20, 10).is_err());
        assert!(check_sparse(&[(0, 5)], 4, 5).is_err());
    }
}
