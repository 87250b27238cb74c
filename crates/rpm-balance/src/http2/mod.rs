//! HTTP/2, turned into HTTP/1.1 and back: each stream is a connection with one exchange on it.
//!
//! So what comes in as HTTP/2 passes the same strict reading, choosing, waiting, repeating and logging as everything else,
//! and nothing that a head of HTTP/1.1 cannot say ever reaches a server. Frames, streams, flow control and HPACK are h2's.
//!
//! ```text
//! client ─ h2 ─ [client::Stream] ─ HTTP/1.1 ─ serve::http1 ─ HTTP/1.1 ─ server
//!                                                      └──── HTTP/1.1 ─ [server::Stream] ─ h2 ─ server (gRPC)
//! ```
//!
//! - [`head`]: heads, both ways: pure
//! - [`incoming`], [`outgoing`]: bodies, with their trailers
//! - [`client`]: one request of a client; [`server`]: one request to a server that speaks h2c

pub mod client;
pub mod head;
pub mod incoming;
pub mod outgoing;
pub mod server;

use std::io;

/// What a client says first that speaks HTTP/2 without having been asked.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Returns whether bytes begin as [`PREFACE`] does; `None` when more are needed to know.
pub fn begins(bytes: &[u8]) -> Option<bool> {
    if bytes.starts_with(PREFACE) {
        Some(true)
    } else if PREFACE.starts_with(bytes) {
        None
    } else {
        Some(false)
    }
}

/// Returns an error as those know it who speak HTTP/1.1.
///
/// `ConnectionRefused` is for what the other end has certainly not looked at, and what may be sent again therefore.
fn error(error: h2::Error) -> io::Error {
    let reason = error.reason();
    let unseen = reason == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR));
    let kind = match (unseen, error.is_io()) {
        (true, _) => io::ErrorKind::ConnectionRefused,
        (false, true) => return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()),
        (false, false) => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, error)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_told_from_a_request() {
        assert_eq!(begins(PREFACE), Some(true));
        assert_eq!(begins(b"P"), None);
        assert_eq!(begins(b"PRI * HTTP/2.0\r\n"), None);
        assert_eq!(begins(b"POST / HTTP/1.1\r\n"), Some(false));
        assert_eq!(begins(b"PRI * HTTP/1.1\r\n"), Some(false));
    }
}
