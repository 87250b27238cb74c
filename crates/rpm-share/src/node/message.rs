//! What the lines of a worker mean.

use std::os::fd::OwnedFd;

use serde_json::Value;

use crate::want::Want;

/// What a worker says.
#[derive(Debug)]
pub enum FromApp {
    /// Its cluster module is up.
    Online,
    /// It wants a listening socket; answer with the same `seq`.
    QueryServer {
        /// Names the question.
        seq: u64,
        /// What it wants.
        want: Want,
    },
    /// It accepts connections on this.
    Listening {
        /// IP address or path; `None` is every address.
        address: Option<String>,
        /// The port; -1 for paths.
        port: i32,
        /// All that it said, as in the question.
        want: Want,
    },
    /// It has closed the server with this key.
    Close {
        /// The key it was given.
        key: String,
    },
    /// It is about to leave of its own accord and waits for [`Channel::answer_ack`](crate::Channel::answer_ack).
    ExitedAfterDisconnect {
        /// Names the question.
        seq: u64,
    },
    /// It did not take a connection that was handed over (it is closing); here it is back.
    Declined {
        /// The connection.
        connection: OwnedFd,
    },
    /// Its event loop runs: the answer to [`Channel::ping`](crate::Channel::ping).
    Pong,
    /// The app's own message: `"ready"`, `{"type":"axm:…"}`, `{"type":"process:msg"}`, `{"node_version":…}`.
    Message(Value),
    /// A line that was too long or no JSON; it was skipped.
    Unreadable {
        /// Its length in bytes, as far as it was seen.
        length: usize,
    },
}

/// A line, sorted by who it is for.
pub(crate) enum Line {
    /// For whoever reads the channel.
    App(FromApp),
    /// The last handle has arrived.
    HandleAck,
    /// The last handle was missing; send it again.
    HandleNack,
    /// The worker sent a handle of its own, which is not taken; it waits for our acknowledgement.
    HandleSent(FromApp),
    /// An answer to what we asked.
    Answer {
        /// The number of our question.
        ack: u64,
        /// Whether a handed-over connection was taken.
        accepted: bool,
    },
    /// Nothing that concerns us.
    Ignored,
}

/// What bun puts before internal lines.
pub(crate) const BUN_PREFIX: u8 = 0x02;

/// Reads one line, without its newline.
pub(crate) fn read(line: &[u8]) -> Line {
    let line = line.strip_prefix(&[BUN_PREFIX]).unwrap_or(line);
    if line.is_empty() {
        return Line::Ignored;
    }
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Line::App(FromApp::Unreadable { length: line.len() });
    };
    match value.get("cmd").and_then(Value::as_str) {
        Some("NODE_CLUSTER") => cluster(&value),
        Some("NODE_HANDLE_ACK") => Line::HandleAck,
        Some("NODE_HANDLE_NACK") => Line::HandleNack,
        Some("NODE_HANDLE") => Line::HandleSent(FromApp::Message(value.get("msg").cloned().unwrap_or(Value::Null))),
        Some(internal) if internal.len() > "NODE_".len() && internal.starts_with("NODE_") => Line::Ignored,
        _ => Line::App(FromApp::Message(value)),
    }
}

fn cluster(message: &Value) -> Line {
    let seq = message.get("seq").and_then(Value::as_u64).unwrap_or(0);
    if let Some(ack) = message.get("ack").and_then(Value::as_u64) {
        let accepted = message.get("accepted").and_then(Value::as_bool).unwrap_or(true);
        return Line::Answer { ack, accepted };
    }
    let said = match message.get("act").and_then(Value::as_str) {
        Some("online") => FromApp::Online,
        Some("queryServer") => FromApp::QueryServer { seq, want: Want::from_message(message) },
        Some("listening") => {
            let want = Want::from_message(message);
            FromApp::Listening { address: want.address.clone(), port: want.port, want }
        }
        Some("close") => {
            FromApp::Close { key: message.get("key").and_then(Value::as_str).unwrap_or_default().to_owned() }
        }
        Some("exitedAfterDisconnect") => FromApp::ExitedAfterDisconnect { seq },
        _ => return Line::Ignored,
    };
    Line::App(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::want::Kind;

    fn app(line: &str) -> FromApp {
        match read(line.as_bytes()) {
            Line::App(said) => said,
            _ => panic!("{line} is for the reader"),
        }
    }

    #[test]
    fn a_question_says_what_is_wanted() {
        let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":2,"data":{"k":1},"address":null,"port":9700,"addressType":4,"backlog":7,"flags":1,"seq":5}"#;
        let FromApp::QueryServer { seq, want } = app(line) else { panic!() };
        assert_eq!((seq, want.kind, want.port, want.index, want.backlog), (5, Kind::Tcp4, 9700, 2, 7));
        assert_eq!((want.flags, want.data["k"].as_u64(), want.address), (1, Some(1), None));
        let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":"0.0.0.0","port":53,"addressType":"udp4","fd":-1,"seq":1}"#;
        let FromApp::QueryServer { want, .. } = app(line) else { panic!() };
        assert_eq!((want.kind, want.fd), (Kind::Udp4, None));
        let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":null,"addressType":null,"fd":5,"seq":1}"#;
        let FromApp::QueryServer { want, .. } = app(line) else { panic!() };
        assert_eq!((want.kind, want.fd), (Kind::Descriptor, Some(5)));
    }

    #[test]
    fn other_lines_are_sorted() {
        assert!(matches!(app("\u{2}{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}"), FromApp::Online));
        assert!(matches!(app("\"ready\""), FromApp::Message(Value::String(text)) if text == "ready"));
        assert!(matches!(app(r#"{"cmd":"NODE_"}"#), FromApp::Message(_)));
        assert!(matches!(app("{broken"), FromApp::Unreadable { length: 7 }));
        assert!(matches!(read(br#"{"cmd":"NODE_HANDLE_ACK"}"#), Line::HandleAck));
        assert!(matches!(read(br#"{"cmd":"NODE_DEBUG_ENABLED"}"#), Line::Ignored));
        let answer = br#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":false,"seq":3}"#;
        assert!(matches!(read(answer), Line::Answer { ack: 1, accepted: false }));
        let handle = br#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"take this"}"#;
        assert!(matches!(read(handle), Line::HandleSent(FromApp::Message(Value::String(_)))));
    }
}
