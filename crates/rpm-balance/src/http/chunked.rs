//! Bodies in chunks (RFC 9112 §7.1), checked while they pass.
//!
//! The bytes are passed on as they are, but for chunk extensions, which nobody after us needs and which have carried
//! attacks. A line is passed on only when it is whole and right, so that nothing doubtful ever reaches the other side.

/// How far a body in chunks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    trailer_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the line with the size.
    Size,
    /// Within the data; so many bytes are left.
    Data(u64),
    /// Before the line end behind the data.
    DataEnd,
    /// Before a trailer line, or the empty one that ends everything.
    Trailer,
    Done,
}

/// A part of a body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes are the line of a chunk's size; `keep` of them are the size itself, the rest (extensions) is
    /// dropped, and a line end belongs behind it.
    Size {
        /// Bytes of the line with its end.
        line: usize,
        /// Bytes of the size.
        keep: usize,
    },
    /// So many bytes of data.
    Data(usize),
    /// So many bytes of framing: the line end behind data, or a trailer line.
    Line(usize),
    /// The empty line that ends everything: two bytes.
    End,
}

/// It is no body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk;

/// A size and its extensions: longer is an attack (CVE-2023-39326).
const SIZE_LINE_MAX: usize = 256;

/// All trailers together.
const TRAILERS_MAX: u32 = 8 << 10;

impl Default for Chunked {
    fn default() -> Self {
        Self { state: State::Size, trailer_bytes: 0 }
    }
}

impl Chunked {
    /// Returns whether all of the body has passed.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether data comes next.
    pub fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data(_))
    }

    /// Returns what `bytes` begin with; `None` when more of them are needed, or all is done.
    ///
    /// # Errors
    /// When the body is not what RFC 9112 says.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<Piece>, BadChunk> {
        match self.state {
            State::Size => {
                let Some(line) = line(bytes, SIZE_LINE_MAX)? else { return Ok(None) };
                let (keep, size) = size(&bytes[..line - 2])?;
                self.state = if size == 0 { State::Trailer } else { State::Data(size) };
                Ok(Some(Piece::Size { line, keep }))
            }
            State::Data(left) => {
                let count = (bytes.len() as u64).min(left) as usize;
                if count == 0 {
                    return Ok(None);
                }
                let left = left - count as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                Ok(Some(Piece::Data(count)))
            }
            State::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Some(Piece::Line(2)))
                }
                [] | [b'\r'] => Ok(None),
                _ => Err(BadChunk),
            },
            State::Trailer => {
                let most = (TRAILERS_MAX - self.trailer_bytes) as usize;
                let Some(line) = line(bytes, most)? else { return Ok(None) };
                if line == 2 {
                    self.state = State::Done;
                    return Ok(Some(Piece::End));
                }
                trailer(&bytes[..line - 2])?;
                self.trailer_bytes += line as u32;
                Ok(Some(Piece::Line(line)))
            }
            State::Done => Ok(None),
        }
    }
}

/// What became of bytes that passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// So many bytes are dealt with.
    pub consumed: usize,
    /// So many of them, moved to the beginning, are to be passed on.
    pub kept: usize,
    /// So many bytes of data were among them.
    pub data: u64,
}

impl Chunked {
    /// Lets as much of `bytes` pass as is whole; what is to be passed on is moved to the beginning. With `data_only` that
    /// is the data without its framing.
    ///
    /// # Errors
    /// See [`Chunked::next`].
    pub fn pass(&mut self, bytes: &mut [u8], data_only: bool) -> Result<Passed, BadChunk> {
        let mut passed = Passed::default();
        while let Some(piece) = self.next(&bytes[passed.consumed..])? {
            let from = passed.consumed;
            let (line, keep) = match piece {
                Piece::Size { line, keep } => (line, keep),
                Piece::Data(count) => {
                    passed.data += count as u64;
                    (count, count)
                }
                Piece::Line(count) => (count, count),
                Piece::End => (2, 2),
            };
            passed.consumed += line;
            if data_only && !matches!(piece, Piece::Data(_)) {
                continue;
            }
            if from != passed.kept {
                bytes.copy_within(from..from + keep, passed.kept);
            }
            passed.kept += keep;
            if matches!(piece, Piece::Size { .. }) {
                // The line had an end of its own, so there is room.
                bytes[passed.kept..passed.kept + 2].copy_from_slice(b"\r\n");
                passed.kept += 2;
            }
        }
        Ok(passed)
    }
}

/// Returns the length of the first line with its CR LF; `None` when it is not whole yet.
fn line(bytes: &[u8], most: usize) -> Result<Option<usize>, BadChunk> {
    let window = &bytes[..bytes.len().min(most)];
    match memchr::memchr2(b'\n', b'\r', window) {
        // A CR must be followed by LF, wherever it stands.
        Some(at) if window[at] == b'\r' => match bytes.get(at + 1) {
            Some(b'\n') => Ok(Some(at + 2)),
            Some(_) => Err(BadChunk),
            None => Ok(None),
        },
        Some(_) => Err(BadChunk),
        None if bytes.len() >= most => Err(BadChunk),
        None => Ok(None),
    }
}

/// Reads the hexadecimal size at the beginning of a line; returns how many bytes it has, and what it says.
fn size(line: &[u8]) -> Result<(usize, u64), BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // Sixteen digits are 2^64; nobody sends leading zeros beyond that in good faith.
    if digits == 0 || digits > 16 {
        return Err(BadChunk);
    }
    let size = line[..digits].iter().fold(0u64, |size, digit| {
        let value = (*digit as char).to_digit(16).expect("it is a hexadecimal digit");
        size << 4 | u64::from(value)
    });
    let rest = line[digits..].trim_ascii_start();
    let visible = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    let extension = rest.is_empty() && digits == line.len() || rest.first() == Some(&b';');
    if !extension || !rest.iter().all(visible) || size > i64::MAX as u64 {
        return Err(BadChunk);
    }
    Ok((digits, size))
}

/// Checks a trailer field. Those that frame or route a message have no business behind it (RFC 9110 §6.5.1).
fn trailer(line: &[u8]) -> Result<(), BadChunk> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(BadChunk)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let visible = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    let forbidden = [&b"content-length"[..], b"transfer-encoding", b"host", b"connection", b"upgrade", b"te"];
    let allowed = !forbidden.iter().any(|other| name.eq_ignore_ascii_case(other));
    let right = !name.is_empty() && name.iter().all(token) && value.iter().all(visible) && allowed;
    if right { Ok(()) } else { Err(BadChunk) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of at most `step`; returns the data, what is passed on, and what is left behind the end.
    fn feed(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, usize, bool), BadChunk> {
        let (mut framed, mut stripped) = (Chunked::default(), Chunked::default());
        let (mut data, mut kept) = (Vec::new(), Vec::new());
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() && !framed.is_done() {
            end = (end + step).min(bytes.len());
            let mut part = bytes[start..end].to_vec();
            let passed = framed.pass(&mut part, false)?;
            kept.extend(&part[..passed.kept]);
            let mut part = bytes[start..end].to_vec();
            let only = stripped.pass(&mut part, true)?;
            data.extend(&part[..only.kept]);
            assert_eq!((only.consumed, only.data), (passed.consumed, only.kept as u64));
            start += passed.consumed;
        }
        Ok((data, kept, bytes.len() - start, framed.is_done()))
    }

    #[test]
    fn bodies_pass_without_extensions_whatever_the_pieces() {
        let body = b"5;name=\"x\"\r\nhello\r\n0A ; y\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        for step in 1..body.len() {
            let (data, passed, left, done) = feed(body, step).unwrap();
            assert_eq!(data, b"hello0123456789");
            assert_eq!(passed, b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n");
            assert!(done);
            assert_eq!(left, if step == body.len() { 5 } else { left });
        }
    }

    #[test]
    fn odd_chunks_are_refused() {
        let bad: &[&[u8]] = &[
            b"0x2\r\nab\r\n0\r\n\r\n",
            b"+2\r\nab\r\n0\r\n\r\n",
            b"-2\r\nab\r\n0\r\n\r\n",
            b"\r\nab\r\n0\r\n\r\n",
            b" 2\r\nab\r\n0\r\n\r\n",
            b"2 \r\nab\r\n0\r\n\r\n",
            b"2 x\r\nab\r\n0\r\n\r\n",
            b"2\nab\n0\n\n",
            b"2\r\nab\n0\r\n\r\n",
            b"2\r\nabc\r\n0\r\n\r\n",
            b"2\rx\nab\r\n0\r\n\r\n",
            b"2;a\rb\r\nab\r\n0\r\n\r\n",
            b"2;a\nb\r\nab\r\n0\r\n\r\n",
            b"2;\0\r\nab\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\nab",
            b"00000000000000001\r\na\r\n0\r\n\r\n",
            b"g\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n: empty\r\n\r\n",
            b"0\r\nContent-Length: 3\r\n\r\n",
            b"0\r\nTransfer-Encoding : chunked\r\n\r\n",
            b"0\r\n folded: 1\r\n\r\n",
            b"0\r\nx: \x00\r\n\r\n",
        ];
        for body in bad {
            for step in [1, body.len()] {
                assert!(feed(body, step).is_err(), "{:?}", String::from_utf8_lossy(body));
            }
        }
        assert!(feed(&[b'1'; 300], 300).is_err());
        let long = [b"1;".to_vec(), vec![b'x'; 300]].concat();
        assert!(feed(&long, 10).is_err());
        let trailers = [b"0\r\n".to_vec(), b"x: yyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(1000)].concat();
        assert!(feed(&trailers, 1000).is_err());
    }

    proptest! {
        #[test]
        fn any_data_in_any_chunks_comes_through(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            step in 1usize..64,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let (data, passed, left, done) = feed(&body, step).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(passed, body);
            prop_assert_eq!((left, done), (0, true));
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..64) {
            let _ = feed(&bytes, step);
        }
    }
}
