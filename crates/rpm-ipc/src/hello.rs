//! The first word of each side.

use serde::{Deserialize, Serialize};

/// The version of the conversation. Grows when an old side could misunderstand a new one.
pub const PROTOCOL: u32 = 1;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the conversation.
    pub protocol: u32,
    /// The version of the program.
    pub program: String,
    /// What this side can do beyond the version's basics.
    #[serde(default)]
    pub features: Vec<String>,
    /// For whom a client asks, where that is not who runs it: `web (127.0.0.1, token)`. For people, and no proof: the daemon
    /// believes it of processes of its own user, and nobody gets more rights by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_for: Option<String>,
}

impl Hello {
    /// Returns the greeting of this build.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL, program: env!("CARGO_PKG_VERSION").to_owned(), features: Vec::new(), asks_for: None }
    }
}
