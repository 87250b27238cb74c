//! The local socket: frames, requests, and what the core makes of them.

use rpm_ipc::{FromClient, FromDaemon, Request, frame};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use crate::core::Core;

/// Reads bytes as the daemon and as a client would. A text that begins with `{` stands for one whole frame.
pub fn socket(bytes: &[u8]) {
    if bytes.first() == Some(&b'{') {
        let length = u32::try_from(bytes.len()).expect("the fuzzer's inputs are short").to_be_bytes();
        return conversation(&[&length, bytes].concat());
    }
    conversation(bytes);
}

fn conversation(bytes: &[u8]) {
    // As the daemon's codec cuts them, so must the client's reader.
    let mut codec = LengthDelimitedCodec::builder().max_frame_length(frame::LONGEST).new_codec();
    let mut rest = BytesMut::from(bytes);
    let mut stream = bytes;
    let mut core = Core::new();
    while let Ok(Some(body)) = codec.decode(&mut rest) {
        let asked = serde_json::from_slice::<FromClient>(&body).ok();
        let read = frame::read::<FromClient>(&mut stream);
        assert_eq!(asked, read.ok().flatten(), "the two readers do not agree");
        match asked {
            Some(FromClient::Ask { request, .. }) => ask(&mut core, &request),
            Some(FromClient::Hello(_)) => {}
            None => break,
        }
    }
    let mut stream = bytes;
    while let Ok(Some(said)) = frame::read::<FromDaemon>(&mut stream) {
        frame::encode(&said).expect("what was read can be written");
    }
}

fn ask(core: &mut Core, request: &Request) {
    let again = serde_json::to_vec(request).expect("a request can be written");
    serde_json::from_slice::<Request>(&again).expect("what was written can be read");
    if let Some(command) = rpm_daemon::fuzz::command(request) {
        core.command(command);
    }
}
