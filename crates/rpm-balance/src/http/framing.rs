//! Where a body ends (RFC 9112 §6).

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// After so many bytes; at least one.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// When the connection is closed: answers only.
    UntilClose,
}

/// What the fields that frame a message say, gathered field by field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
}

/// Why a message has no certain end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unframed {
    Bad(&'static str),
    UnknownCoding,
}

impl Framing {
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Unframed> {
        if self.length.is_some() {
            return Err(Unframed::Bad("two lengths"));
        }
        self.length = Some(decimal(value).ok_or(Unframed::Bad("a length that is no number"))?);
        Ok(())
    }

    /// Takes exactly `chunked`: lists, parameters and other codings would have to be undone by us to know the end.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Unframed> {
        if self.chunked {
            return Err(Unframed::Bad("two transfer codings"));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        let known = [&b"gzip"[..], b"deflate", b"compress", b"x-gzip", b"x-compress", b"identity"];
        let mut all_known = true;
        super::for_each_token(value, |coding| {
            all_known &=
                known.iter().any(|name| coding.eq_ignore_ascii_case(name)) || coding.eq_ignore_ascii_case(b"chunked");
        });
        Err(if all_known && !value.is_empty() {
            Unframed::UnknownCoding
        } else {
            Unframed::Bad("an odd transfer coding")
        })
    }

    /// Returns where the body ends, or `None` where no field says so.
    pub(super) fn body(self, version_1_1: bool) -> Result<Option<Body>, Unframed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Unframed::Bad("a length and a transfer coding")),
            (true, None) if !version_1_1 => Err(Unframed::Bad("a transfer coding in HTTP/1.0")),
            (true, None) => Ok(Some(Body::Chunked)),
            (false, Some(0)) => Ok(Some(Body::None)),
            (false, Some(length)) => Ok(Some(Body::Length(length))),
            (false, None) => Ok(None),
        }
    }

    pub(super) fn length(self) -> Option<u64> {
        self.length
    }
}

/// Reads digits and nothing else. More than 2^63 is no length of anything.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    (number <= i64::MAX as u64).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_digits() {
        for (text, length) in [("0", Some(0)), ("0012", Some(12)), ("9223372036854775807", Some(i64::MAX as u64))] {
            assert_eq!(decimal(text.as_bytes()), length);
        }
        for bad in ["", "+1", "-1", "1 ", "0x1", "1,1", "9223372036854775808", "99999999999999999999", "1e3"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_one_thing_says_where_a_body_ends() {
        let framed = |length: &[&str], coding: &[&str], version_1_1| {
            let mut framing = Framing::default();
            for value in length {
                framing.content_length(value.as_bytes())?;
            }
            for value in coding {
                framing.transfer_encoding(value.as_bytes())?;
            }
            framing.body(version_1_1)
        };
        assert_eq!(framed(&["5"], &[], true), Ok(Some(Body::Length(5))));
        assert_eq!(framed(&["0"], &[], true), Ok(Some(Body::None)));
        assert_eq!(framed(&[], &["Chunked"], true), Ok(Some(Body::Chunked)));
        assert_eq!(framed(&[], &[], true), Ok(None));
        for (length, coding, version_1_1) in [
            (&["5", "5"][..], &[][..], true),
            (&["5"], &["chunked"], true),
            (&[], &["chunked"], false),
            (&[], &["chunked", "chunked"], true),
            (&[], &["xchunked"], true),
            (&[], &[""], true),
            (&[], &["chunked;q=1"], true),
        ] {
            assert!(matches!(framed(length, coding, version_1_1), Err(Unframed::Bad(_))), "{length:?} {coding:?}");
        }
        for coding in ["gzip", "gzip, chunked", "chunked, gzip", "identity", "chunked, chunked"] {
            assert_eq!(framed(&[], &[coding], true), Err(Unframed::UnknownCoding), "{coding}");
        }
    }
}
