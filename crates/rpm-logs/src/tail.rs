//! The last lines of a file, read from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use memchr::{memrchr, memrchr_iter};

/// Read at once; most tails fit the first block.
const BLOCK: u64 = 64 << 10;

/// At most this much is read however long the lines are: a screen shows far less.
const TAIL_MAX: u64 = 64 << 20;

/// Returns the last `count` lines of a file, without their ends, reading no more of it than needed.
///
/// A line that has no end yet counts. Of lines so long that all would exceed 64 MiB only the last 64 MiB are returned.
pub fn last_lines(path: &Path, count: usize) -> io::Result<Vec<Vec<u8>>> {
    Ok(last_lines_to_end(path, count)?.0)
}

/// Returns the last `count` lines, one that has no end yet included, and the offset behind them.
pub fn last_lines_to_end(path: &Path, count: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let Some((file, size)) = open(path)? else { return Ok((Vec::new(), 0)) };
    Ok((lines_before(&file, size, count)?, size))
}

/// Returns the last `count` lines that have an end, and the offset behind them: where a follower goes on
/// ([`Begin::Offset`](crate::Begin::Offset)), so that no line is shown twice, in halves, or not at all.
pub fn last_lines_until(path: &Path, count: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let Some((file, size)) = open(path)? else { return Ok((Vec::new(), 0)) };
    let end = end_of_lines(&file, size)?;
    Ok((lines_before(&file, end, count)?, end))
}

/// Opens a regular file; what else may lie at a log's path has no last lines.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    // A pipe in place of a log would keep us waiting.
    let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    Ok(meta.is_file().then_some((file, meta.len())))
}

/// Returns the offset behind the last line's end before `size`.
fn end_of_lines(file: &File, size: u64) -> io::Result<u64> {
    for (start, block) in blocks_before(file, size) {
        if let Some(end) = memrchr(b'\n', &block?) {
            return Ok(start + end as u64 + 1);
        }
    }
    // One unfinished line from the start, or more of one than anyone reads.
    Ok(size.saturating_sub(TAIL_MAX))
}

/// Returns the last `count` lines of the first `size` bytes.
fn lines_before(file: &File, size: u64, count: usize) -> io::Result<Vec<Vec<u8>>> {
    if size == 0 || count == 0 {
        return Ok(Vec::new());
    }
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    // Ends of lines seen; the one that ends the file begins no line behind it.
    let mut ends = 0;
    for (start, block) in blocks_before(file, size) {
        let mut block = block?;
        let found = memrchr_iter(b'\n', &block).filter(|end| start + *end as u64 + 1 != size).nth(count - ends - 1);
        if let Some(end) = found {
            blocks.push(block.split_off(end + 1));
            break;
        }
        ends += memrchr_iter(b'\n', &block).filter(|end| start + *end as u64 + 1 != size).count();
        blocks.push(block);
    }
    blocks.reverse();
    let bytes = blocks.concat();
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

/// Reads the blocks of the first `size` bytes from the last to the first, each with its offset.
fn blocks_before(file: &File, size: u64) -> impl Iterator<Item = (u64, io::Result<Vec<u8>>)> {
    let mut start = size;
    std::iter::from_fn(move || {
        if start == 0 || size - start >= TAIL_MAX {
            return None;
        }
        let length = BLOCK.min(start);
        start -= length;
        let mut block = vec![0; length as usize];
        Some((start, file.read_exact_at(&mut block, start).map(|()| block)))
    })
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
            let long = "x".repeat(length as usize - 1);
            let content = format!("first\n{long}\n");
            assert_eq!(tail(content.as_bytes(), 1), [long]);
            assert_eq!(tail(content.as_bytes(), 2).len(), 2);
        }
    }

    #[test]
    fn an_unfinished_line_is_left_to_the_follower() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let long = "x".repeat(100_000);
        for (content, lines, end) in
            [("a\nb\nc", vec!["a", "b"], 4), ("a\nb\n", vec!["a", "b"], 4), ("c", vec![], 0), ("", vec![], 0)]
        {
            std::fs::write(file.path(), content).expect("writes");
            let found = last_lines_until(file.path(), 5).expect("reads");
            assert_eq!(found, (lines.into_iter().map(|line| line.as_bytes().to_vec()).collect(), end), "{content}");
        }
        std::fs::write(file.path(), format!("a\n{long}")).expect("writes");
        assert_eq!(last_lines_until(file.path(), 5).expect("reads"), (vec![b"a".to_vec()], 2));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(last_lines(Path::new("/nowhere.log"), 1).expect_err("missing").kind(), io::ErrorKind::NotFound);
    }
}
