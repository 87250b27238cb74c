//! nginx.

pub(super) mod export;
pub(super) mod import;
mod server;
mod syntax;
mod upstream;
