//! Frames: four bytes of length, big-endian, then that many bytes of JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame. A list of a thousand apps, each with a long environment, is about 8 MiB.
pub const LONGEST: usize = 32 * 1024 * 1024;

/// Returns the bytes of one frame.
///
/// # Errors
/// When the value is longer than [`LONGEST`], or cannot be written as JSON.
pub fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value)?;
    let length = bytes.len() - 4;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a message of {length} bytes is too long")));
    }
    // The cast cannot cut: LONGEST is far below u32::MAX.
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Writes one frame.
///
/// # Errors
/// Those of [`encode`] and of the stream.
pub fn write(stream: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    stream.write_all(&encode(value)?)?;
    stream.flush()
}

/// Reads one frame; `None` at a clean end of the stream.
///
/// # Errors
/// Those of the stream; `InvalidData` for a frame that is too long or is not what was expected.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match stream.read(&mut length[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes is too long")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromClient, Request};

    #[test]
    fn a_frame_reads_back_as_written() {
        let ask = FromClient::Ask { id: 7, request: Request::List { environment: true } };
        let bytes = encode(&ask).unwrap();
        let mut stream = bytes.as_slice();
        assert_eq!(read::<FromClient>(&mut stream).unwrap(), Some(ask));
        assert_eq!(read::<FromClient>(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_believed() {
        let mut stream: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(read::<FromClient>(&mut stream).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_frame_cut_short_is_an_error_not_an_end() {
        let bytes = encode(&FromClient::Ask { id: 1, request: Request::Ping }).unwrap();
        for cut in 1..bytes.len() {
            assert!(read::<FromClient>(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
