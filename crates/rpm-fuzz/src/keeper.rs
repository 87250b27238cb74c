//! Packets between keeper and daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rpm_keeper::Client;
use rpm_sys::fd;

/// Descriptors that come with a packet at most; a message of ours has seldom more than three.
const DESCRIPTORS_MAX: usize = 4;

/// Reads packets as both sides do. Each is: descriptors that come with it, its length (two bytes), itself.
pub fn keeper(bytes: &[u8]) {
    let (theirs, ours) = fd::socketpair_seqpacket().expect("a pair of sockets");
    let mut client = Client::new(ours).expect("a client");
    let null = fd::null().expect("/dev/null");
    for (packet, count) in packets(bytes) {
        rpm_keeper::fuzz::request(packet, count);
        if packet.is_empty() {
            // An empty packet is the end of the connection.
            return;
        }
        let descriptors: Vec<BorrowedFd<'_>> = std::iter::repeat_n(null.as_fd(), count).collect();
        if fd::send_with_fds(&theirs, packet, &descriptors).is_err() {
            return;
        }
        // A packet that cannot be understood ends the conversation, not the daemon.
        while let Ok(Some(message)) = client.recv() {
            drop(format!("{message:?}"));
        }
        client.held("").for_each(drop);
        client.unanswered().for_each(drop);
        large(&theirs, packet, &mut client);
    }
}

/// Sends the same in a memory file, as what is too long for a packet.
fn large(theirs: &OwnedFd, packet: &[u8], client: &mut Client) {
    let file = fd::sealed_memory_file("rpm-message", packet).expect("a memory file");
    let head = [1, 0, 0xff, 0x7f];
    if fd::send_with_fds(theirs, &head, &[file.as_fd()]).is_ok() {
        while let Ok(Some(_)) = client.recv() {}
    }
}

fn packets(bytes: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [count, high, low, behind @ ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (packet, behind) = behind.split_at(length);
        rest = behind;
        Some((packet, usize::from(*count) % (DESCRIPTORS_MAX + 1)))
    })
}
