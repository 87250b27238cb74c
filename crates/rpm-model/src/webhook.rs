//! Who is told over HTTP of what happens to an app.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::time::duration_ms;

/// The events that can be told.
pub const EVENTS: [&str; 17] = [
    "crash",
    "errored",
    "unhealthy",
    "healthy",
    "rollback",
    "autoscale",
    "hook_failed",
    "missed",
    "skipped",
    "queued",
    "start",
    "online",
    "restart",
    "stopping",
    "exit",
    "stop",
    "delete",
];

/// Those that are told where none are named: what somebody should look at.
pub const USUAL: [&str; 7] = ["crash", "errored", "unhealthy", "rollback", "autoscale", "hook_failed", "missed"];

/// One address that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where.
    pub url: WebhookUrl,
    /// Of what: words of [`EVENTS`].
    pub events: Vec<String>,
    /// What the messages are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How long one attempt may take.
    #[serde(with = "duration_ms")]
    pub timeout: Duration,
}

impl Webhook {
    /// How long one attempt may take unless said otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookUrl {
    /// There.
    Plain(String),
    /// An address that is itself a secret, read when there is something to send.
    Secret(Secret),
}

impl WebhookUrl {
    /// Returns what may be shown of it: its host, or where it comes from. Paths may be tokens.
    pub fn shown(&self) -> String {
        match self {
            WebhookUrl::Plain(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}/…")
            }
            WebhookUrl::Secret(secret) => secret.to_string(),
        }
    }
}

/// What the sender is given: one address, and messages for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// To whom.
    pub webhook: Webhook,
    /// What, oldest first.
    pub messages: Vec<Message>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Names it: the same in every attempt.
    pub id: String,
    /// The word of [`EVENTS`].
    pub event: String,
    /// The body.
    pub body: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_only_the_host_is_shown() {
        let shown = |url: &str| WebhookUrl::Plain(url.to_owned()).shown();
        assert_eq!(shown("https://hooks.example.com/services/T0/SECRET?x=1"), "https://hooks.example.com/…");
        assert_eq!(shown("http://me:password@127.0.0.1:80"), "http://127.0.0.1:80/…");
    }
}
