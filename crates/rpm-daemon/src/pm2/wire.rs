//! Messages on a stream.

use rpm_axon::{Garbage, Message};
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Messages;

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Garbage(#[from] Garbage),
}

impl Decoder for Messages {
    type Item = Message;
    type Error = WireError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Message>, WireError> {
        let Some((message, length)) = Message::read(bytes)? else { return Ok(None) };
        bytes.advance(length);
        Ok(Some(message))
    }
}
