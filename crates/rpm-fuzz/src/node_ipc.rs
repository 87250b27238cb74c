//! The channel of a Node worker: lines that are read out of a real socket.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use rpm_model::{Life, WorkerId};
use rpm_share::{Channel, ChannelError, FromApp, Want};
use rpm_sys::fd;

/// More pieces say nothing new, and take long.
const PIECES_MAX: usize = 24;

/// Says the bytes to a channel twice, cut up differently; it must hear the same. The first byte is a size of pieces.
pub fn node_ipc(bytes: &[u8]) {
    let Some((size, said)) = bytes.split_first() else { return };
    let whole = hear(said, said.len().max(1));
    let in_pieces = hear(said, usize::from(*size).max(said.len() / PIECES_MAX) + 1);
    assert_eq!(whole, in_pieces, "what is heard depends on how it was cut up");
}

fn hear(said: &[u8], piece: usize) -> Vec<String> {
    let (ours, theirs) = fd::socketpair_stream().expect("a pair of sockets");
    fd::set_nonblocking(&theirs, true).expect("a socket that does not wait");
    let mut channel = Channel::new(ours, Life::new(WorkerId(0), 1)).expect("a channel");
    let mut heard = Vec::new();
    for mut piece in said.chunks(piece) {
        while !piece.is_empty() {
            match rustix::io::write(&theirs, piece) {
                Ok(count) => piece = &piece[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("the channel has closed: {error}"),
            }
            if !listen(&mut channel, &mut heard) {
                return heard;
            }
            forget_answers(&theirs);
        }
    }
    drop(theirs);
    listen(&mut channel, &mut heard);
    heard
}

/// Takes what has come in and answers it; false when the channel has ended.
fn listen(channel: &mut Channel, heard: &mut Vec<String>) -> bool {
    loop {
        let said = match channel.receive() {
            Ok(said) if said.is_empty() => return true,
            Ok(said) => said,
            Err(ChannelError::Closed) => return false,
            Err(error) => panic!("a channel that works: {error}"),
        };
        for said in said {
            heard.push(format!("{said:?}"));
            // The worker may not read: then the answers are dropped.
            let _unless_full = match said {
                FromApp::QueryServer { seq, want } => {
                    if let Some(again) = Want::from_key(&want.key()) {
                        assert_eq!(again.key(), want.key(), "the keeper calls it by another name");
                    }
                    channel.answer_refused(seq, "key", 98)
                }
                FromApp::ExitedAfterDisconnect { seq } => channel.answer_ack(seq),
                FromApp::Message(message) => channel.send_app(&message),
                _ => Ok(()),
            };
        }
    }
}

fn forget_answers(theirs: &OwnedFd) {
    let mut answers = [0; 4096];
    while rustix::io::read(theirs, &mut answers).is_ok_and(|count| count > 0) {}
}
