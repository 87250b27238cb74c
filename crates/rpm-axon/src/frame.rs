//! Messages as bytes (AMP version 1).
//!
//! ```text
//! byte: version (high four bits, 1) and number of arguments (low four bits)
//! per argument: length (four bytes, big-endian), then that many bytes:
//!     j:JSON     s:text     anything else is a blob
//! ```

use serde_json::Value;

/// The longest message. A list of a thousand processes, each with a long environment twice, is about 16 MiB.
pub const LONGEST: usize = 32 << 20;

/// The version in each message's first byte.
const VERSION: u8 = 1;

/// The number of arguments has four bits.
const ARGUMENTS_MAX: usize = 15;

/// One argument of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A value.
    Json(Value),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One message: its arguments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message(pub Vec<Argument>);

/// Bytes that are no message. The stream cannot be understood from here on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// Another protocol, or none.
    #[error("the first byte says version {0}, expected 1")]
    Version(u8),
    /// More than anybody sends.
    #[error("a message of more than {LONGEST} bytes")]
    TooLong,
    /// An argument says that it is JSON, and is not.
    #[error("argument {0} is not the JSON that it says it is")]
    Json(usize),
    /// An argument says that it is text, and is not.
    #[error("argument {0} is not the text that it says it is")]
    Text(usize),
}

impl Message {
    /// Reads the message at the beginning of `bytes`, and how long it is; `None` while its end is still to come.
    ///
    /// Lengths are checked before they are waited for.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Garbage> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first >> 4 != VERSION {
            return Err(Garbage::Version(first >> 4));
        }
        let count = usize::from(first & 0x0f);
        let mut ranges = Vec::with_capacity(count);
        let mut at = 1;
        for _ in 0..count {
            let Some(length) = bytes.get(at..at + 4) else { return Ok(None) };
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            at += 4;
            if length > LONGEST - at.min(LONGEST) {
                return Err(Garbage::TooLong);
            }
            ranges.push(at..at + length);
            at += length;
        }
        if bytes.len() < at {
            return Ok(None);
        }
        let arguments = ranges.into_iter().enumerate().map(|(number, range)| argument(&bytes[range], number));
        Ok(Some((Self(arguments.collect::<Result<_, _>>()?), at)))
    }

    /// Returns the message as bytes.
    ///
    /// # Errors
    /// When it is longer than [`LONGEST`] or has more than fifteen arguments.
    pub fn bytes(&self) -> Result<Vec<u8>, Garbage> {
        if self.0.len() > ARGUMENTS_MAX {
            return Err(Garbage::TooLong);
        }
        let mut bytes = vec![(VERSION << 4) | self.0.len() as u8];
        for argument in &self.0 {
            let length_at = bytes.len();
            bytes.extend([0; 4]);
            match argument {
                Argument::Json(value) => bytes.extend(format!("j:{value}").into_bytes()),
                Argument::Text(text) => {
                    bytes.extend(b"s:");
                    bytes.extend(text.as_bytes());
                }
                Argument::Blob(blob) => bytes.extend(blob),
            }
            if bytes.len() > LONGEST {
                return Err(Garbage::TooLong);
            }
            // The cast cannot cut: LONGEST is far below u32::MAX.
            let length = (bytes.len() - length_at - 4) as u32;
            bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(bytes)
    }
}

fn argument(bytes: &[u8], number: usize) -> Result<Argument, Garbage> {
    Ok(match bytes {
        [b'j', b':', json @ ..] => Argument::Json(serde_json::from_slice(json).map_err(|_| Garbage::Json(number))?),
        [b's', b':', text @ ..] => {
            Argument::Text(std::str::from_utf8(text).map_err(|_| Garbage::Text(number))?.to_owned())
        }
        blob => Argument::Blob(blob.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_of_pm2_reads_as_it_was_meant() {
        let bytes = b"\x12\0\0\0\x14j:{\"args\":[\"7.0.3\"]}\0\0\0\x05s:1:0";
        let message = Message(vec![Argument::Json(json!({"args": ["7.0.3"]})), Argument::Text("1:0".into())]);
        assert_eq!(Message::read(bytes), Ok(Some((message.clone(), bytes.len()))));
        assert_eq!(message.bytes().unwrap(), bytes);
    }

    #[test]
    fn garbage_is_refused_at_once() {
        assert_eq!(Message::read(b"GET / HTTP/1.1\r\n"), Err(Garbage::Version(4)));
        assert_eq!(Message::read(b"\x11\xff\xff\xff\xff"), Err(Garbage::TooLong));
        assert_eq!(Message::read(b"\x11\0\0\0\x04j:{]"), Err(Garbage::Json(0)));
        assert_eq!(Message::read(b"\x11\0\0\0\x03s:\xff"), Err(Garbage::Text(0)));
    }

    #[test]
    fn lengths_that_only_together_are_too_long_are_refused() {
        let most = (LONGEST as u32 - 64).to_be_bytes();
        let mut bytes = vec![0x12];
        bytes.extend(most);
        assert_eq!(Message::read(&bytes), Ok(None), "the first alone would do");
        bytes.extend(vec![b' '; LONGEST - 64]);
        bytes.extend(most);
        assert_eq!(Message::read(&bytes), Err(Garbage::TooLong));
    }
}
