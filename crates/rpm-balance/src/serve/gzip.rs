//! Compression of answers, where the client asks for it and the server has not done it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rpm_model::balance::Gzip;

/// What of an answer decides whether it is compressed.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The status.
    pub status: u16,
    /// The media type, with its parameters.
    pub kind: &'s [u8],
    /// It is compressed already, or must not be changed.
    pub fixed: bool,
    /// Its length, where it is told.
    pub length: Option<u64>,
}

impl Subject<'_> {
    /// Returns whether such an answer is compressed for those who ask, so that caches must keep both forms.
    pub fn varies(&self, gzip: &Gzip) -> bool {
        // As in nginx; what is a part of something (206) or nothing (204, 304) stays what it is.
        let whole = matches!(self.status, 200..=203 | 403 | 404);
        let end = memchr::memchr(b';', self.kind).unwrap_or(self.kind.len());
        let kind = self.kind[..end].trim_ascii();
        let known = || {
            kind.eq_ignore_ascii_case(b"text/html")
                || gzip.types.iter().any(|known| known == "*" || kind.eq_ignore_ascii_case(known.as_bytes()))
        };
        let long = self.length.is_none_or(|length| length >= gzip.min_length.0);
        whole && !self.fixed && long && known()
    }
}

/// Bytes on their way into a compressed form.
pub struct Squeeze {
    encoder: GzEncoder<Vec<u8>>,
    /// There are bytes inside that were not given out.
    held: bool,
}

impl Squeeze {
    /// Returns one that has seen nothing.
    pub fn new(gzip: &Gzip) -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::new(u32::from(gzip.level))), held: false }
    }

    /// Takes bytes in.
    pub fn put(&mut self, bytes: &[u8]) {
        // Into memory nothing fails.
        let _ = self.encoder.write_all(bytes);
        self.held |= !bytes.is_empty();
    }

    /// Returns whether so much has come out that it is worth sending.
    pub fn is_worth(&self) -> bool {
        const WORTH: usize = 16 << 10;
        self.encoder.get_ref().len() >= WORTH
    }

    /// Returns what has come out so far.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.encoder.get_mut())
    }

    /// Returns all that was put in, in its compressed form, so that the other end can read it now.
    pub fn flush(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.held) {
            let _ = self.encoder.flush();
        }
        self.take()
    }

    /// Returns the rest.
    pub fn finish(mut self) -> Vec<u8> {
        let _ = self.encoder.try_finish();
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn only_whole_texts_of_some_length_are_compressed() {
        let gzip = Gzip::default();
        let good = Subject { status: 200, kind: b"Text/HTML; charset=utf-8", fixed: false, length: Some(1000) };
        assert!(good.varies(&gzip));
        assert!(Subject { length: None, ..good }.varies(&gzip));
        assert!(Subject { kind: b"application/json", ..good }.varies(&gzip));
        for other in [
            Subject { status: 206, ..good },
            Subject { status: 304, ..good },
            Subject { kind: b"image/png", ..good },
            Subject { kind: b"", ..good },
            Subject { fixed: true, ..good },
            Subject { length: Some(100), ..good },
        ] {
            assert!(!other.varies(&gzip), "{other:?}");
        }
    }

    #[test]
    fn what_goes_in_comes_out_and_a_flush_can_be_read() {
        let mut squeeze = Squeeze::new(&Gzip::default());
        squeeze.put(b"hello ");
        let mut bytes = squeeze.flush();
        let mut first = [0; 6];
        flate2::read::GzDecoder::new(bytes.as_slice()).read_exact(&mut first).unwrap();
        assert_eq!(&first, b"hello ");
        assert!(squeeze.flush().is_empty(), "there is nothing new");
        squeeze.put(b"world");
        bytes.extend(squeeze.finish());
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
    }
}
