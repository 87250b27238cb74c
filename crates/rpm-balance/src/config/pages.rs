//! Bodies of our own errors.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::http::refusal::reason;

/// Longer ones are a mistake: each is kept in memory.
const PAGE_MAX: u64 = 1 << 20;

/// Bodies by status.
#[derive(Debug, Clone, Default)]
pub struct Pages(HashMap<u16, (&'static str, Vec<u8>)>);

impl Pages {
    /// Reads the files.
    ///
    /// # Errors
    /// With a sentence for each that cannot be read.
    pub fn read(files: &BTreeMap<u16, PathBuf>) -> Result<Self, Vec<String>> {
        let (mut pages, mut mistakes) = (Self::default(), Vec::new());
        for (status, path) in files {
            let shown = path.display();
            match std::fs::metadata(path).and_then(|meta| Ok((meta.len(), std::fs::read(path)?))) {
                Ok((length, _)) if length > PAGE_MAX => mistakes.push(format!("the error page {shown} is over 1 MiB")),
                Ok((_, body)) => {
                    let kind = match path.extension().and_then(|extension| extension.to_str()) {
                        Some("json") => "application/json",
                        Some("txt") => "text/plain; charset=utf-8",
                        _ => "text/html; charset=utf-8",
                    };
                    pages.0.insert(*status, (kind, body));
                }
                Err(error) => mistakes.push(format!("the error page {shown} cannot be read: {error}")),
            }
        }
        if mistakes.is_empty() { Ok(pages) } else { Err(mistakes) }
    }

    /// Returns media type and body for a status.
    pub fn get(&self, status: u16) -> (&'static str, std::borrow::Cow<'_, [u8]>) {
        match self.0.get(&status) {
            Some((kind, body)) => (kind, body.as_slice().into()),
            None => {
                let text = format!("{status} {}\n", reason(status));
                ("text/plain; charset=utf-8", text.into_bytes().into())
            }
        }
    }
}
