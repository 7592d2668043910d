//! One blob on its way: how far it has come, and what an answer with a part of it must look like to go on from there.

use crate::base::Error;
use crate::registry::codec::Head;
use crate::registry::errors;
use crate::registry::failure::Failure;
use crate::registry::http::Response;
use crate::registry::repository::Repository;
use std::io::Read;

/// Bytes of a blob.
pub enum Piece<'a> {
    /// From before the offset that was asked for: the server knows no ranges and sends all of it. In order, each byte at most
    /// once, and whole before the first [`Piece::Data`] unless a later answer spared the rest.
    Prefix(&'a [u8]),
    /// From the offset on, in order, each byte once.
    Data(&'a [u8]),
}

/// A blob's state between two connections.
pub struct Fetch {
    /// The blob's size, as its descriptor says.
    pub size: u64,
    /// Where the caller wants to begin.
    pub offset: u64,
    /// The next byte to hand on as data.
    pub at: u64,
    /// Bytes of the prefix that were handed on.
    pub prefix: u64,
    /// For one read.
    pub buffer: Vec<u8>,
}

impl Fetch {
    /// One request, and what comes of it; the state then says how far.
    pub fn part(
        &mut self,
        repository: &mut Repository<'_>,
        target: &str,
        sink: &mut impl FnMut(Piece<'_>) -> crate::base::Result<()>,
    ) -> Result<(), Failure> {
        let mut response = match repository.get(target, "*/*", self.at) {
            Err(f) if f.status == 416 => {
                return Err(unfit(format!("the registry says that it has less than {} bytes", self.at.saturating_add(1))));
            }
            other => other?,
        };
        let html = response.head.get("content-type").is_some_and(|t| t.trim_start().starts_with("text/html"));
        let (mut from, end) = match self.range(&response.head, response.length()) {
            Err(_) if html => return Err(errors::portal(&response.url)),
            range => range?,
        };
        while from < end {
            let n = response.read(&mut self.buffer).map_err(|e| Failure::of_io(&e))?;
            if n == 0 {
                return Err(Failure::passing(Error::internal("unexpected EOF")));
            }
            if from + n as u64 > end {
                return Err(self.too_long());
            }
            if html && from == 0 && errors::is_html(&self.buffer[..n]) {
                return Err(errors::portal(&response.url));
            }
            self.hand_on(from, n, sink).map_err(Failure::local)?;
            from += n as u64;
            let watch = repository.client.watch;
            repository.client.pace.after(n, watch)?;
        }
        self.ends(&mut response)?;
        if end < self.size {
            return Err(Failure::passing(Error::internal("unexpected EOF")));
        }
        repository.client.keep(response);
        Ok(())
    }

    /// From where to where an answer of this head goes.
    fn range(&self, head: &Head, length: Option<u64>) -> Result<(u64, u64), Failure> {
        let size = self.size;
        if head.status != 206 {
            // A server that knows no ranges sends all of it: the part that is here already is read over.
            return match length {
                Some(whole) if whole != size => Err(Failure::lasting(Error::internal(format!(
                    "the registry sends {whole} bytes where the manifest says {size}"
                )))),
                _ => Ok((0, size)),
            };
        }
        let said = head.get("content-range").unwrap_or("");
        let Some((first, last, total)) = parse_content_range(said) else {
            return Err(unfit(format!("the registry's answer has a Content-Range {said:?} that is not understood")));
        };
        let fits = first == self.at && last >= first && last < size && total.is_none_or(|t| t == size);
        if !fits || length.is_some_and(|n| n != last - first + 1) {
            let at = self.at;
            return Err(unfit(format!(
                "the registry answered with the range {said:?} where bytes {at}-{} of {size} were asked for",
                size - 1
            )));
        }
        Ok((first, last + 1))
    }

    /// Hands on what of the bytes read at `from` was not handed on before.
    fn hand_on(
        &mut self,
        from: u64,
        n: usize,
        sink: &mut impl FnMut(Piece<'_>) -> crate::base::Result<()>,
    ) -> crate::base::Result<()> {
        // An index into what was read, for a place in the blob.
        let index = |place: u64| usize::try_from(place.saturating_sub(from)).unwrap_or(usize::MAX).min(n);
        let (old, offset, new) = (index(self.prefix), index(self.offset), index(self.at));
        if old < offset {
            self.prefix += (offset - old) as u64;
            sink(Piece::Prefix(&self.buffer[old..offset]))?;
        }
        if new < n {
            sink(Piece::Data(&self.buffer[new..n]))?;
            self.at += (n - new) as u64;
        }
        Ok(())
    }

    /// The body must end where the blob does; a chunked one has its end still to come.
    fn ends(&self, response: &mut Response) -> Result<(), Failure> {
        match response.length() {
            Some(0) => Ok(()),
            _ if response.read(&mut [0; 1]).is_ok_and(|n| n > 0) => Err(self.too_long()),
            _ => Ok(()),
        }
    }

    fn too_long(&self) -> Failure {
        let size = self.size;
        Failure::lasting(Error::internal(format!("the registry sends more than the {size} bytes that the manifest says")))
    }
}

fn unfit(text: String) -> Failure {
    Failure { restart: true, ..Failure::lasting(Error::internal(text)) }
}

/// `bytes 5-9/10`: first, last, total if it is known.
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_taken_only_where_they_fit() {
        let fetch = Fetch { size: 10, offset: 4, at: 6, prefix: 0, buffer: Vec::new() };
        let of = |status, range: &str, length| fetch.range(&Head::made(status, "content-range", range), length);
        assert_eq!(of(206, "bytes 6-9/10", Some(4)).unwrap(), (6, 10));
        assert_eq!(of(206, "bytes 6-7/*", None).unwrap(), (6, 8));
        assert_eq!(of(200, "", None).unwrap(), (0, 10));
        for bad in ["", "bytes */10", "bytes 5-9/10", "bytes 7-9/10", "bytes 6-10/11", "bytes 6-9/11", "bytes 6-5/10", "6-9/10"] {
            assert!(of(206, bad, None).unwrap_err().restart, "{bad}");
        }
        assert!(of(206, "bytes 6-9/10", Some(5)).unwrap_err().restart);
        assert!(!of(200, "", Some(9)).unwrap_err().restart);
    }

    #[test]
    fn what_was_handed_on_is_not_handed_on_again() {
        let mut fetch = Fetch { size: 10, offset: 4, at: 4, prefix: 0, buffer: b"0123456789".to_vec() };
        let (mut prefix, mut data) = (Vec::new(), Vec::new());
        for (from, bytes) in [(0, "012"), (0, "0123456"), (4, "4567"), (0, "0123456789")] {
            fetch.buffer[..bytes.len()].copy_from_slice(bytes.as_bytes());
            fetch
                .hand_on(from, bytes.len(), &mut |piece| {
                    match piece {
                        Piece::Prefix(bytes) => prefix.extend_from_slice(bytes),
                        Piece::Data(bytes) => data.extend_from_slice(bytes),
                    }
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!((prefix.as_slice(), data.as_slice()), (&b"0123"[..], &b"456789"[..]));
    }
}
