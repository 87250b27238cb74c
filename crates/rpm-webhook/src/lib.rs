//! The sender of webhooks: a process that is started with a batch of messages for one address, sends them one after another
//! with a few attempts each, and ends. The daemon pays for TLS and patience only while there is something to send.
//!
//! - [`run`]: a batch, with its attempts
//! - `post`: one request
#![forbid(unsafe_code)]

mod post;

use std::time::{Duration, Instant};

use ring::hmac;
use rpm_model::webhook::{Batch, Message};
use rpm_model::{Secret, WebhookUrl};

use crate::post::{Failed, Post};

/// The waits between the attempts: five of them in fifteen seconds, while a receiver restarts.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Then the rest of a batch is given up: the next one waits.
const ALL_WITHIN: Duration = Duration::from_secs(120);

/// Sends a batch that is given as JSON; returns a sentence for each message that was not taken.
///
/// # Errors
/// When there is no batch, or its address or its secret cannot be had.
pub fn run(batch: &[u8]) -> Result<Vec<String>, String> {
    let Batch { webhook, messages } = serde_json::from_slice(batch).map_err(|error| format!("no batch: {error}"))?;
    let url = match &webhook.url {
        WebhookUrl::Plain(url) => url.clone(),
        WebhookUrl::Secret(secret) => value_of(secret)?,
    };
    let key = webhook.secret.as_ref().map(value_of).transpose()?;
    let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
    let (mut failures, began) = (Vec::new(), Instant::now());
    for message in messages {
        let post = request(&url, &message, key.as_ref(), webhook.timeout)?;
        if let Err(why) = send(&post, began) {
            // The address may be a secret.
            failures.push(format!(
                "{} ({}) was not delivered to {}: {why}",
                message.event,
                message.id,
                webhook.url.shown()
            ));
        }
    }
    Ok(failures)
}

fn request(url: &str, message: &Message, key: Option<&hmac::Key>, timeout: Duration) -> Result<Post, String> {
    let body = message.body.to_string();
    let mut headers = vec![("X-RPM-Event", message.event.clone()), ("X-RPM-Delivery", message.id.clone())];
    headers.extend(key.map(|key| ("X-RPM-Signature", signature(key, body.as_bytes()))));
    Post::new(url, headers, body, timeout)
}

/// Returns `sha256=` and the HMAC in hexadecimal digits.
fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let tag = hmac::sign(key, body);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

fn send(post: &Post, began: Instant) -> Result<(), String> {
    let mut waits = WAITS.into_iter();
    loop {
        let why = match post.send() {
            Ok(()) => return Ok(()),
            Err(Failed { why, may_help: false }) => return Err(why),
            Err(Failed { why, may_help: true }) => why,
        };
        match waits.next() {
            Some(wait) if began.elapsed() + wait < ALL_WITHIN => std::thread::sleep(wait),
            _ => return Err(why),
        }
    }
}

fn value_of(secret: &Secret) -> Result<String, String> {
    let failed = |why: String| format!("{secret} could not be read: {why}");
    let text = match secret {
        Secret::File(path) => std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?,
        Secret::Env(name) => std::env::var(name).map_err(|_| failed("the daemon's environment has none".to_owned()))?,
        Secret::Cmd(argv) => {
            let (program, args) = argv.split_first().ok_or_else(|| failed("there is no command".to_owned()))?;
            let output = std::process::Command::new(program).args(args).stdin(std::process::Stdio::null()).output();
            let output = output.map_err(|error| failed(error.to_string()))?;
            if !output.status.success() {
                return Err(failed(output.status.to_string()));
            }
            String::from_utf8(output.stdout).map_err(|_| failed("it is not UTF-8".to_owned()))?
        }
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test case of RFC 4231, 4.3.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
