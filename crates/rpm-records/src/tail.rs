//! The last lines of a log, none from before a life began.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A longer line is cut: a record tells of an end, it is no second log.
const LINE_MAX: usize = 2000;

/// Returns up to `count` last lines of a log, read from its last `reach` bytes, none from before `from`; empty ones are
/// left out. A log that is shorter than `from` has been rotated since, and is read from its start.
pub fn last_lines(path: &Path, from: u64, count: usize, reach: u64) -> Vec<String> {
    let bytes = read(path, from, reach).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| cut(line)).collect()
}

fn read(path: &Path, from: u64, reach: u64) -> io::Result<Vec<u8>> {
    // A pipe in place of a log would keep us waiting.
    let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Vec::new());
    }
    let length = meta.len();
    let from = if from > length { 0 } else { from };
    let start = from.max(length.saturating_sub(reach));
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or_default()];
    let count = file.read_at(&mut bytes, start)?;
    bytes.truncate(count);
    // The first line is half of one where the beginning was left out.
    if start > from
        && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=end);
    }
    Ok(bytes)
}

fn cut(line: &str) -> String {
    let end = line.floor_char_boundary(LINE_MAX);
    if end < line.len() { format!("{}…", &line[..end]) } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_life_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "old\none\n\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(&path, 4, 10, 1000), ["one", "two", "three"]);
        assert_eq!(last_lines(&path, 4, 2, 1000), ["two", "three"]);
        assert_eq!(last_lines(&path, 4, 10, 9), ["three"], "half a line is none");
        assert_eq!(last_lines(&path, 900, 1, 1000), ["three"], "rotated since");
        assert!(last_lines(&directory.path().join("absent"), 0, 1, 1).is_empty());
        std::fs::write(&path, "é".repeat(3000)).unwrap();
        assert_eq!(last_lines(&path, 0, 1, 10_000)[0].chars().count(), 1001);
    }
}
