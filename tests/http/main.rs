//! HTTP as it should not be: odd requests, odd answers, slow and hostile clients, against the real balancer.
//!
//! The quick part runs in `make test`. `make conformance-http` runs all of it: beside nginx and HAProxy, where what they do
//! otherwise has to stand in `known.toml`, with the reason.
//!
//! - [`requests`], [`answers`]: the corpora, each entry with what has to become of it
//! - [`slow`]: clients and servers that are slow, silent, or leave
//! - [`frames`], [`floods`]: HTTP/2, frame by frame
//! - [`keys`]: what upstreams and balancers are told in the file, by its effect
//! - [`soak`]: all at once, for a long time
//! - [`peers`]: the same requests through nginx and HAProxy
//! - [`stage`]: the balancer, a server that records what reaches it, a raw client

mod answers;
mod floods;
mod frames;
mod keys;
mod peers;
mod requests;
mod slow;
mod soak;
mod stage;
