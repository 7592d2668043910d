//! What a request carries: bytes in memory or a part of a file. It can be sent as often as is needed.

use crate::base::part::Part;
use std::fs::File;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a file that are read and written at once.
const CHUNK: usize = 64 * 1024;

/// Where the bytes are.
#[derive(Clone)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file: from where, and how many.
    File(Arc<File>, u64, u64),
}

impl Content {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, _, length) => *length,
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From its start on.
    pub fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Content::Bytes(bytes) => Box::new(&bytes[..]),
            Content::File(file, from, length) => Box::new(Part::new(file, *from, *length)),
        }
    }

    /// The same without its first `n` bytes.
    pub fn after(&self, n: u64) -> Content {
        match self {
            Content::Bytes(bytes) => Content::Bytes(bytes[usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len())..].into()),
            Content::File(file, from, length) => Content::File(file.clone(), from + n.min(*length), length.saturating_sub(n)),
        }
    }
}

/// Told how many bytes of a body are on their way.
pub type Told = Rc<dyn Fn(u64)>;

/// A body of a request.
#[derive(Clone)]
pub struct Body {
    /// `Content-Type`.
    pub kind: String,
    /// The bytes.
    pub content: Content,
    /// `Content-Range`, for a part of something larger.
    pub range: Option<(u64, u64)>,
    /// Hears of progress.
    pub told: Option<Told>,
}

impl Body {
    /// Bytes in memory.
    pub fn bytes(kind: &str, bytes: &[u8]) -> Body {
        Body { kind: kind.into(), content: Content::Bytes(bytes.into()), range: None, told: None }
    }

    /// A form.
    pub fn form(text: &str) -> Body {
        Body::bytes("application/x-www-form-urlencoded", text.as_bytes())
    }

    /// Its lines of the head.
    pub fn head(&self) -> String {
        let mut head = format!("Content-Length: {}\r\n", self.content.len());
        if !self.kind.is_empty() {
            head.push_str(&format!("Content-Type: {}\r\n", self.kind));
        }
        if let Some((first, last)) = self.range {
            head.push_str(&format!("Content-Range: {first}-{last}\r\n"));
        }
        head
    }

    /// Writes it.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Broken> {
        let told = |n: u64| self.told.iter().for_each(|told| told(n));
        let (mut from, mut left, mut buffer) = (self.content.reader(), self.content.len(), vec![0; CHUNK]);
        while left > 0 {
            let n = from.read(&mut buffer).map_err(Broken::Source)?;
            out.write_all(&buffer[..n]).map_err(Broken::Link)?;
            left -= n as u64;
            told(n as u64);
        }
        Ok(())
    }
}

/// What failed while a body was being sent.
pub enum Broken {
    /// The connection.
    Link(io::Error),
    /// The file that the bytes come from.
    Source(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_sent_as_often_as_one_likes() {
        let path = std::env::temp_dir().join(format!("prtiql-body-{}", crate::base::id::random()));
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7 / 3) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let content = Content::File(Arc::new(File::open(&path).unwrap()), 10, 150_000);
        std::fs::remove_file(&path).unwrap();
        for (content, want) in [
            (content.clone(), &bytes[10..150_010]),
            (content.after(70_001), &bytes[70_011..150_010]),
            (content.after(u64::MAX), &[][..]),
            (Content::Bytes(bytes[..9].into()).after(4), &bytes[4..9]),
        ] {
            for _ in 0..2 {
                let mut out = Vec::new();
                let body = Body { content: content.clone(), ..Body::form("") };
                assert!(body.write(&mut out).is_ok() && out == want);
                assert!(body.head().starts_with(&format!("Content-Length: {}\r\n", want.len())));
            }
        }
        let short = Body { content: Content::File(Arc::new(File::open("/dev/null").unwrap()), 0, 5), ..Body::form("") };
        assert!(matches!(short.write(&mut Vec::new()), Err(Broken::Source(_))));
    }
}
