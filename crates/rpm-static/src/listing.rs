//! The files of a directory as a page.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// More names than this are not shown: a page of a million links helps nobody, and costs the server its memory.
const NAMES_MAX: usize = 10_000;

/// Returns the page of a directory; `shown` is its path in the address, decoded.
pub(crate) fn page(directory: &Path, shown: &str) -> io::Result<String> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)?.take(NAMES_MAX) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if !name.starts_with('.') {
            entries.push((!metadata.is_dir(), name, metadata.len(), metadata.modified().ok()));
        }
    }
    entries.sort();
    let title = escaped(shown);
    let mut page = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Index of {title}</title></head><body><h1>Index of {title}</h1><table>\n"
    );
    if shown != "/" {
        page.push_str("<tr><td><a href=\"../\">../</a></td></tr>\n");
    }
    for (is_file, name, size, modified) in entries {
        let slash = if is_file { "" } else { "/" };
        let size = if is_file { size.to_string() } else { String::new() };
        let date = modified.map(httpdate::fmt_http_date).unwrap_or_default();
        // The dot keeps a name with a colon from being read as an address.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"./{}{slash}\">{}{slash}</a></td><td>{size}</td><td>{date}</td></tr>",
            encoded(&name),
            escaped(&name)
        );
    }
    page.push_str("</table></body></html>\n");
    Ok(page)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_not_obeyed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("<b>&x y.txt"), "12").unwrap();
        std::fs::write(directory.path().join(".hidden"), "").unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        let page = page(directory.path(), "/a<b/").unwrap();
        assert!(page.contains("<a href=\"./%3Cb%3E%26x%20y.txt\">&lt;b&gt;&amp;x y.txt</a></td><td>2<"), "{page}");
        assert!(page.contains("<a href=\"./sub/\">sub/</a>") && page.contains("href=\"../\""), "{page}");
        assert!(page.contains("Index of /a&lt;b/") && !page.contains("hidden"), "{page}");
    }
}
