//! Counting and logging what was.

use std::io::Write;
use std::time::Duration;

use rpm_model::balance::AccessLogFormat;

use crate::http::Span;
use crate::serve::http1::Connection;

/// One request, for the log.
pub struct Record<'r> {
    /// The bytes that the positions below are in.
    pub bytes: &'r [u8],
    /// The method.
    pub method: Span,
    /// The target.
    pub target: Span,
    /// The host.
    pub host: Span,
    /// `User-Agent`.
    pub user_agent: Span,
    /// `Referer`.
    pub referer: Span,
    /// The client, or whom the proxy in front speaks for.
    pub origin: std::net::IpAddr,
    /// `HTTP/1.1`.
    pub version: &'r str,
    /// The status.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: u64,
    /// From the head to the last byte.
    pub took: Duration,
    /// The server that answered.
    pub server: &'r str,
    /// How often it was tried again.
    pub retries: u32,
    /// Its id.
    pub request_id: &'r str,
}

/// Writes a line of the access log, where there is one.
pub fn log(connection: &Connection, record: &Record<'_>) {
    let balancer = connection.balancer();
    let Some(log) = &balancer.log else { return };
    let thread = &connection.thread;
    thread.log(log, |out| match log.format() {
        AccessLogFormat::Combined => thread.with_time(|_, time| combined(record, time, out)),
        AccessLogFormat::Json => json(record, connection, out),
    });
}

fn combined(record: &Record<'_>, time: &str, out: &mut Vec<u8>) {
    let Record { bytes, origin, status, sent, version, .. } = record;
    let _ = write!(out, "{origin} - - [{time}] \"");
    escaped(record.method.get(bytes), out);
    out.push(b' ');
    escaped(record.target.get(bytes), out);
    let _ = write!(out, " {version}\" {status} {sent} \"");
    escaped(or_dash(record.referer.get(bytes)), out);
    out.extend_from_slice(b"\" \"");
    escaped(or_dash(record.user_agent.get(bytes)), out);
    out.extend_from_slice(b"\"\n");
}

fn or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}

/// As nginx and Apache do it: what could end the field or the line, or is no ASCII, as `\xHH`.
fn escaped(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            plain => out.push(*plain),
        }
    }
}

fn json(record: &Record<'_>, connection: &Connection, out: &mut Vec<u8>) {
    let text = |span: Span| String::from_utf8_lossy(span.get(record.bytes)).into_owned();
    let now = jiff::Timestamp::now();
    let value = serde_json::json!({
        "time": format!("{now:.3}"),
        "client": record.origin.to_string(),
        "scheme": connection.client.scheme(),
        "method": text(record.method),
        "host": text(record.host),
        "target": text(record.target),
        "protocol": record.version,
        "status": record.status,
        "bytes": record.sent,
        "seconds": record.took.as_secs_f64(),
        "referer": text(record.referer),
        "user_agent": text(record.user_agent),
        "balancer": connection.balancer().name,
        "server": record.server,
        "retries": record.retries,
        "request_id": record.request_id,
    });
    let _ = writeln!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        let mut out = Vec::new();
        escaped(b"a\" \\ \n\x80", &mut out);
        assert_eq!(out, b"a\\x22 \\x5C \\x0A\\x80");
    }
}
