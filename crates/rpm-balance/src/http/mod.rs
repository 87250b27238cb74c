//! HTTP/1.1 messages: pure, strict, without sockets.
//!
//! What is not exactly a message of RFC 9112 is refused rather than repaired: two programs that repair it differently
//! disagree about where a request ends, and an attacker writes the next one.
//!
//! - [`request`], [`response`]: heads
//! - [`chunked`]: bodies in chunks
//! - [`framing`]: where a body ends
//! - [`refusal`]: what a client is told

pub mod chunked;
pub mod framing;
pub mod refusal;
pub mod request;
pub mod response;
pub mod span;

pub use chunked::Chunked;
pub use framing::Body;
pub use refusal::Refusal;
pub use request::{Method, RequestHead};
pub use response::ResponseHead;
pub use span::Span;

use std::mem::MaybeUninit;

/// More header fields than this are refused whatever the configuration says: so many places are on the stack.
pub const FIELDS_MAX: usize = 256;

type Places<'b> = [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX];

fn places<'b>() -> Places<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// Returns whether every line of a head ends with CR LF; httparse takes a bare LF, as RFC 9112 §2.2 allows and
/// smuggling likes.
fn lines_end_well(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

/// Calls `each` with every element of a comma-separated list, trimmed; empty ones are skipped.
pub fn for_each_token(value: &[u8], mut each: impl FnMut(&[u8])) {
    for part in value.split(|byte| *byte == b',') {
        let part = part.trim_ascii();
        if !part.is_empty() {
            each(part);
        }
    }
}
