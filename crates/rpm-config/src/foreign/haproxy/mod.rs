//! HAProxy.

pub(super) mod export;
pub(super) mod import;
mod lines;
mod server;
