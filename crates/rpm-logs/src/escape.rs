//! Lines made safe for a terminal.
//!
//! A log holds what strangers sent to an app. Colours may pass; everything else that moves a cursor, sets a title or
//! answers back is shown as text.

use std::borrow::Cow;

/// Returns `line` with control characters written out (`\x1b`, `\x07`), but for tabs and for colours and other text
/// attributes (`ESC [ … m`). The result is valid UTF-8: what was not becomes U+FFFD. The line's end is left out.
pub fn escape_control(line: &[u8]) -> Cow<'_, str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    if !text.chars().any(is_unsafe) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = attributes(rest) {
            safe.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if is_unsafe(c) {
            // Above ASCII only C1 and the bidirectional controls come here.
            let code = c as u32;
            safe.push_str(&if code < 0x100 { format!("\\x{code:02x}") } else { format!("\\u{{{code:x}}}") });
        } else {
            safe.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(safe)
}

/// Returns the length of an `ESC [ digits and ; m` at the start.
fn attributes(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\x1b[")?;
    let end = inside.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    inside[end..].starts_with('m').then_some(2 + end + 1)
}

fn is_unsafe(c: char) -> bool {
    // The bidirectional controls make a line read as another one.
    (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_the_rest_is_shown() {
        for (line, shown) in [
            (&b"plain\ttext\n"[..], "plain\ttext"),
            (b"dos\r\n", "dos"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[2Jgone", "\\x1b[2Jgone"),
            (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            (b"50%\r100%", "50%\\x0d100%"),
            (b"\x1b[1", "\\x1b[1"),
            (b"\xff\xc3\xa9", "\u{fffd}é"),
            ("\u{9b}2J \u{202e}".as_bytes(), "\\x9b2J \\u{202e}"),
        ] {
            assert_eq!(escape_control(line), shown);
        }
    }

    #[test]
    fn a_safe_line_is_not_copied() {
        assert!(matches!(escape_control("grün\n".as_bytes()), Cow::Borrowed("grün")));
    }
}
