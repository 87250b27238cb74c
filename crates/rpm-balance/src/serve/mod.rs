//! Connections of clients, and what becomes of them.
//!
//! - [`accept`]: taking connections, within limits
//! - [`client`]: who the client is
//! - [`http1`]: the requests of one connection, one after another
//! - [`http2`]: the streams of one connection, many at a time
//! - [`plan`]: what is to become of a request: decided once, without waiting
//! - [`forward`]: heads on their way, edited
//! - [`exchange`]: one request to one server, and again to another one
//! - [`acquire`]: finding a server, and waiting for one
//! - [`connect`]: connections to servers
//! - [`gzip`]: compression on the way back; [`files`]: answers from a directory
//! - [`leave`]: clients that leave before they are answered
//! - [`upload`], [`relay`]: bodies
//! - [`tunnel`]: bytes both ways; [`tcp`]: nothing but that
//! - [`answer`]: what we answer ourselves
//! - [`record`]: counting and logging what was

pub mod accept;
pub mod acquire;
pub mod answer;
pub mod client;
pub mod connect;
pub mod exchange;
pub mod files;
pub mod forward;
pub mod gzip;
pub mod http1;
pub mod http2;
pub mod leave;
pub mod plan;
pub mod record;
pub mod relay;
pub mod tcp;
pub mod tunnel;
pub mod upload;
