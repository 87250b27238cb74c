//! `env_file`: variables in files of lines `NAME=value`.
//!
//! What such files look like was settled by Node's `dotenv` and `node --env-file`, for which people write them: a value
//! without quotes may have blanks and quotes in it, nothing is substituted. The crates for Rust refuse the first and do
//! the second, so the reading is our own.

use std::io::Read;
use std::path::Path;

use rpm_model::Environment;

/// Far more than variables ever are: a process can be given 2 MB of them, and a wrong path may name a device.
const BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file. The error completes "PATH ..." and repeats nothing of the file: what is in it may be a secret.
pub(crate) fn read(path: &Path) -> Result<Environment, String> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err("has more than 1 MiB: it is no file of variables".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    parse(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(|line| {
        format!("is wrong in line {line}: expected NAME=value, with letters, digits and _ . - in the name")
    })
}

/// Reads a text; the error is the number of the first line that is none of the kind.
fn parse(text: &str) -> Result<Environment, usize> {
    let mut variables = Environment::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(variables);
        }
        let line_number = || text[..text.len() - rest.len()].matches('\n').count() + 1;
        let line_end = rest.find('\n').unwrap_or(rest.len());
        if rest.starts_with('#') {
            rest = &rest[line_end..];
            continue;
        }
        let (name, _) = rest[..line_end].split_once('=').ok_or_else(line_number)?;
        let value_start = name.len() + 1;
        let name = name.trim();
        let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(name).trim();
        let (value, length) = value(&rest[value_start..]);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || !name.chars().all(is_name) || value.contains('\0') {
            return Err(line_number());
        }
        variables.insert(name.to_owned(), value);
        rest = &rest[value_start + length..];
    }
}

/// Reads the value at the beginning of a text; returns it and how far it reaches, to the end of its line.
fn value(text: &str) -> (String, usize) {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let rest_of_line = |from: usize| text[from..].find('\n').map_or(text.len(), |end| from + end);
    let quote = text[blank..].chars().next().filter(|c| ['"', '\'', '`'].contains(c));
    if let Some(quote) = quote
        && let Some(inside) = quoted(&text[blank + 1..], quote)
    {
        let end = rest_of_line(blank + 1 + inside.len() + 1);
        let value = match quote {
            '"' => inside.replace("\\n", "\n").replace("\\r", "\r"),
            _ => inside.to_owned(),
        };
        return (value, end);
    }
    let end = rest_of_line(0);
    let value = text[..end].split('#').next().unwrap_or_default();
    (value.trim().to_owned(), end)
}

/// Returns what stands before the closing quote, which may be lines below.
fn quoted(text: &str, quote: char) -> Option<&str> {
    let is_escaped = |at: usize| text[..at].ends_with('\\');
    let end = text.match_indices(quote).map(|(at, _)| at).find(|at| !is_escaped(*at))?;
    Some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).expect("a file of variables").into_iter().collect()
    }

    #[track_caller]
    fn is(text: &str, value: &str) {
        assert_eq!(parsed(text), [("A".to_owned(), value.to_owned())], "{text:?}");
    }

    #[test]
    fn values_are_read_as_node_reads_them() {
        is("A=1", "1");
        is("A=", "");
        is("A=\n", "");
        is("  A = spaced out  \n", "spaced out");
        is("export A=1", "1");
        is("export\tA=1\r\n", "1");
        is("A=\"one\\ntwo\"", "one\ntwo");
        is("A='one\\ntwo'", "one\\ntwo");
        is("A=`say \"it's\"`", "say \"it's\"");
        is("A=\"two\nlines\" # a word", "two\nlines");
        is("A='a # b' # c", "a # b");
        is("A=a#b", "a");
        is("A=#b", "");
        is("A=\"open", "\"open");
        is("A={\"json\": true}", "{\"json\": true}");
        is("A=$HOME/${B}", "$HOME/${B}");
        is("A=postgres://u:p=w@h/d?x=1", "postgres://u:p=w@h/d?x=1");
        is("# a comment = no value\n\n A=1 # one\n#A=2", "1");
        is("A=1\nA=2", "2");
        is("A=\"say \\\"x\\\"\"", "say \\\"x\\\"");
    }

    #[test]
    fn several_stand_under_one_another() {
        let read = parsed("A=\nB=\"1\n2\"\nexport C.d-e=3\r\n\r\nD='4'");
        let names: Vec<_> = read.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(names, ["A:", "B:1\n2", "C.d-e:3", "D:4"]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (text, line) in [("A", 1), ("A=1\n\nB C=2", 3), ("A=\"1\n2\"\n=3", 3), ("A=1\nexport\n", 2), ("A=\0", 1)] {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
    }
}
