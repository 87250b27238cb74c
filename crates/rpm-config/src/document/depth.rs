//! A bound on nesting, looked at before a text is read.
//!
//! The readers of JSON5 and YAML recurse without a bound of their own (YAML's budget is asked after its scanner), so a
//! text of nothing but brackets would end the program by its stack.

use std::ops::Range;

/// Far deeper than any configuration, far from the end of the stack.
const NESTING_MAX: usize = 256;

/// Returns the place where a text goes too deep: by brackets, or by blocks of YAML opened in one line.
///
/// Brackets inside of strings count too, which matters only in texts that are full of them.
pub(super) fn too_deep(text: &str, yaml: bool) -> Option<Range<usize>> {
    let mut brackets = 0usize;
    let mut blocks = 0usize;
    let mut line_begins = true;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' => brackets += 1,
            b'}' | b']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        match byte {
            b'\n' => (blocks, line_begins) = (0, true),
            b' ' | b'-' | b'?' | b':' if line_begins => blocks += 1,
            _ => line_begins = false,
        }
        if brackets > NESTING_MAX || yaml && blocks > NESTING_MAX {
            return Some(offset..offset + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_bounded_and_length_is_not() {
        assert_eq!(too_deep(&"[],{},".repeat(10_000), true), None);
        assert_eq!(too_deep(&"- a\n".repeat(10_000), true), None);
        assert_eq!(too_deep(&"[".repeat(300), true), Some(256..257));
        assert_eq!(too_deep(&"- ".repeat(300), true), Some(256..257));
        assert_eq!(too_deep(&format!("{}{{}}", " ".repeat(300)), false), None);
    }
}
