//! The last lines of a file, read from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use memchr::memrchr_iter;

/// Read at once; most tails fit the first block.
const BLOCK: usize = 64 << 10;

/// At most this much is read however long the lines are: a screen shows far less.
const TAIL_MAX: usize = 64 << 20;

/// Returns the last `count` lines of a file, without their ends, reading no more of it than needed.
///
/// A line that has no end yet counts. Of lines so long that all would exceed 64 MiB only the last 64 MiB are returned.
pub fn last_lines(path: &Path, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let (lines, _) = last_lines_until(path, count)?;
    Ok(lines)
}

/// Returns the same, and the offset up to which the file was read: where a follower goes on
/// ([`Begin::Offset`](crate::Begin::Offset)). A line without its end is then left to the follower.
pub fn last_lines_until(path: &Path, count: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    // A pipe in place of a log would keep us waiting.
    let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    let size = meta.len();
    if !meta.is_file() || count == 0 {
        return Ok((Vec::new(), size));
    }
    // Blocks from the end, each read once; the last one read comes first in the file.
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut start = size;
    let mut held = 0;
    // Ends of lines seen; the one that ends the file begins no line behind it.
    let mut ends = 0;
    let mut cut = 0;
    'blocks: while start > 0 && held < TAIL_MAX {
        let length = BLOCK.min(usize::try_from(start).unwrap_or(BLOCK));
        start -= length as u64;
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, start)?;
        for end in memrchr_iter(b'\n', &block) {
            let ends_file = start + end as u64 + 1 == size;
            ends += usize::from(!ends_file);
            if ends == count {
                cut = end + 1;
                blocks.push(block);
                break 'blocks;
            }
        }
        held += length;
        blocks.push(block);
    }
    let mut bytes = Vec::with_capacity(held + BLOCK);
    for (index, block) in blocks.iter().rev().enumerate() {
        bytes.extend_from_slice(if index == 0 { &block[cut..] } else { block });
    }
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Ok((Vec::new(), size));
    }
    Ok((lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(content: &[u8], count: usize) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("writes");
        let lines = last_lines(file.path(), count).expect("reads");
        lines.into_iter().map(|line| String::from_utf8(line).expect("text")).collect()
    }

    #[test]
    fn the_last_lines_come_in_order() {
        assert_eq!(tail(b"a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(tail(b"a\nb\nc", 2), ["b", "c"]);
        assert_eq!(tail(b"a\nb\n", 5), ["a", "b"]);
        assert_eq!(tail(b"a\n\n", 1), [""]);
        assert_eq!(tail(b"\n", 3), [""]);
        assert!(tail(b"", 3).is_empty());
        assert!(tail(b"a\n", 0).is_empty());
    }

    #[test]
    fn blocks_join_without_a_seam() {
        let content: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
        let all: Vec<&str> = content.lines().collect();
        for count in [1, 4_000, 10_000, 39_999, 40_000, 50_000] {
            let lines = tail(content.as_bytes(), count);
            assert_eq!(lines, all[all.len().saturating_sub(count)..], "{count}");
        }
        // The newline before the wanted line is the last byte of a block, and the first.
        for length in [BLOCK - 1, BLOCK, BLOCK + 1] {
            let content = format!("first\n{}\n", "x".repeat(length - 1));
            assert_eq!(tail(content.as_bytes(), 1), ["x".repeat(length - 1)]);
            assert_eq!(tail(content.as_bytes(), 2).len(), 2);
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(last_lines(Path::new("/nowhere.log"), 1).expect_err("missing").kind(), io::ErrorKind::NotFound);
    }
}
