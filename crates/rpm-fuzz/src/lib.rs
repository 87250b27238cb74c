//! Bytes from outside, read as the program reads them: none may end it, and what is read must mean the same again.
//!
//! Each target is one function of bytes. `fuzz/` hands them to libFuzzer (nightly, `make fuzz`); the test of this crate
//! replays `fuzz/corpus/TARGET/` on stable, where the inputs that once failed are kept too.
//!
//! | target | bytes of |
//! |---|---|
//! | [`socket`] | clients, and the daemon's answers |
//! | [`node_ipc`] | a Node worker |
//! | [`axon`] | PM2's clients |
//! | [`json`](config::json), [`yaml`](config::yaml), [`toml`](config::toml) | ecosystem files |
//! | [`nginx`](foreign::nginx), [`haproxy`](foreign::haproxy), [`dotenv`](foreign::dotenv) | files of others |
//! | [`state`](saved::state), [`dump`](saved::dump) | files in the home |
//! | [`keeper`] | keeper and daemon, to each other |
//! | [`lines`](logs::lines), [`ledger`](logs::ledger) | an app's output, and what lies beside a log |
//!
//! Nothing is started, and nothing is written but temporary files: a configuration that is a program is refused, since
//! no Node is on the PATH.
#![forbid(unsafe_code)]

pub mod axon;
pub mod config;
pub mod foreign;
pub mod keeper;
pub mod logs;
pub mod node_ipc;
pub mod saved;
pub mod socket;

mod core;

/// What is done with bytes.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("axon", axon::axon),
    ("dotenv", foreign::dotenv),
    ("dump", saved::dump),
    ("haproxy", foreign::haproxy),
    ("json", config::json),
    ("keeper", keeper::keeper),
    ("ledger", logs::ledger),
    ("lines", logs::lines),
    ("nginx", foreign::nginx),
    ("node_ipc", node_ipc::node_ipc),
    ("socket", socket::socket),
    ("state", saved::state),
    ("toml", config::toml),
    ("yaml", config::yaml),
];
