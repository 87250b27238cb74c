//! An exception that ended a Node program, read from what Node says of it: PM2's `process:exception`.
//!
//! PM2 runs apps inside a script of its own, which catches the exception and tells it. Here apps run as they are; Node
//! itself says the same on standard error:
//!
//! ```text
//! /srv/app.js:7
//!   throw new Error('boom')
//!   ^
//!
//! Error: boom
//!     at Object.<anonymous> (/srv/app.js:7:9) {
//!   code: 'E_BOOM'
//! }
//!
//! Node.js v20.20.2
//! ```

use serde_json::{Value, json};

/// Where the report of an exception ends, and every such report does.
const LAST_LINE: &str = "Node.js v";

/// The exceptions of one stream of text that comes in pieces.
#[derive(Debug, Default)]
pub struct Exceptions {
    waiting: String,
}

impl Exceptions {
    /// Longer reports lose their beginning: a source line of a bundle may have megabytes.
    const WAITING_MAX: usize = 64 * 1024;

    /// Takes the next piece; returns PM2's `data` of every exception that is whole now.
    pub fn read(&mut self, piece: &str) -> Vec<Value> {
        self.waiting.push_str(piece);
        let mut found = Vec::new();
        while let Some((at, end)) = self.last_line() {
            found.extend(exception(&self.waiting[..at], &self.waiting[at..end]));
            self.waiting.drain(..end);
        }
        if self.waiting.len() > Self::WAITING_MAX {
            let mut cut = self.waiting.len() - Self::WAITING_MAX;
            while !self.waiting.is_char_boundary(cut) {
                cut += 1;
            }
            self.waiting.drain(..cut);
        }
        found
    }

    /// Returns where the last line of a report begins and ends.
    fn last_line(&self) -> Option<(usize, usize)> {
        let word = self.waiting.find(LAST_LINE)?;
        let at = self.waiting[..word].rfind('\n').map_or(0, |end| end + 1);
        let end = self.waiting[word..].find('\n').map_or(self.waiting.len(), |end| word + end + 1);
        Some((at, end))
    }
}

/// Reads the report that ends before `last`; `None` where there is none.
fn exception(text: &str, last: &str) -> Option<Value> {
    // What a log puts before each line: a time and `: `, as long in every line.
    let prefix = last.find(LAST_LINE)?;
    if prefix > 0 && !last[..prefix].ends_with(": ") {
        return None;
    }
    let lines: Vec<&str> = text.lines().map(|line| line.get(prefix..).unwrap_or("")).collect();
    let mark = lines.iter().rposition(|line| line.contains('^') && line.trim_matches([' ', '\t', '^']).is_empty())?;
    let [callsite, context] = [2, 1].map(|above| mark.checked_sub(above).and_then(|at| lines.get(at)));
    let told: Vec<&str> = lines[mark + 1..]
        .iter()
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .copied()
        .collect();
    let is_frame = |line: &&str| line.starts_with("    at ");
    let first = told.first()?;
    let Some(frame) = told.iter().position(&is_frame) else {
        // Something was thrown that is no error.
        let message = format!("Non-error value: {}", json!(first));
        return Some(json!({ "message": message, "stack": format!("Error: {message}"), "name": "Error" }));
    };
    let frames = told[frame..].iter().take_while(|line| is_frame(line)).count();
    let mut stack = told[..frame + frames].join("\n");
    // What else the error has follows the stack as an object.
    stack.truncate(stack.strip_suffix(" {").unwrap_or(&stack).len());
    let head = told[..frame].join("\n");
    let (name, message) = match head.split_once(": ") {
        Some((name, message)) if !name.contains(char::is_whitespace) => (name, message),
        _ => ("Error", head.as_str()),
    };
    // `TypeError [ERR_INVALID_ARG_TYPE]: …`
    let (name, message) = match head.split_once("]: ") {
        Some((name, message)) if name.contains(" [") => (name.split(" [").next().unwrap_or(name), message),
        _ => (name, message),
    };
    let mut data = json!({ "message": message, "stack": stack, "name": name });
    if let (Some(callsite), Some(context)) = (callsite, context) {
        data["context"] = format!("{context}\n").into();
        data["callsite"] = (*callsite).into();
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
/srv/app.js:2
setTimeout(() => { throw e }, 100)
                   ^

MyError: two
lines
    at Timeout._onTimeout (/srv/app.js:2:26)
    at listOnTimeout (node:internal/timers:581:17) {
  code: 'E_MY',

  x: 1
}

Node.js v20.20.2
";

    #[test]
    fn what_node_says_is_what_pm2_tells() {
        let stack = "MyError: two\nlines\n    at Timeout._onTimeout (/srv/app.js:2:26)\n    at listOnTimeout (node:internal/timers:581:17)";
        let expected = json!({
            "message": "two\nlines", "stack": stack, "name": "MyError",
            "context": "setTimeout(() => { throw e }, 100)\n", "callsite": "/srv/app.js:2",
        });
        assert_eq!(Exceptions::default().read(&format!("before\n{REPORT}")), std::slice::from_ref(&expected));
        // In whatever pieces it comes, and again.
        let mut exceptions = Exceptions::default();
        for _ in 0..2 {
            let found: Vec<Value> = REPORT.split_inclusive('\n').flat_map(|line| exceptions.read(line)).collect();
            assert_eq!(found, std::slice::from_ref(&expected));
        }
        // With the time before each line.
        let dated: String = REPORT.lines().map(|line| format!("2026-11-26T01:02:03: {line}\n")).collect();
        assert_eq!(Exceptions::default().read(&dated), [expected]);
    }

    #[test]
    fn what_is_no_error_is_told_as_pm2_tells_it() {
        let text = "\n/srv/app.js:1\nthrow 'text'\n^\ntext\n(Use `node --trace-uncaught ...` to show where)\n\nNode.js v20.1.0\n";
        let found = Exceptions::default().read(text);
        assert_eq!(found[0]["message"], "Non-error value: \"text\"");
        assert_eq!(found[0]["name"], "Error");
    }

    #[test]
    fn codes_belong_to_the_name() {
        let text =
            "node:fs:1\n  throw x\n  ^\n\nTypeError [ERR_X]: bad: thing\n    at f (a.js:1:1)\n\nNode.js v22.0.0\n";
        let found = Exceptions::default().read(text);
        assert_eq!((&found[0]["name"], &found[0]["message"]), (&json!("TypeError"), &json!("bad: thing")));
    }

    #[test]
    fn other_text_is_none() {
        for text in [
            "Node.js v20.1.0\n",
            "x\nNode.js v20\n",
            "about Node.js v20\n",
            "^\n\n\nNode.js v1\n",
            "é: Node.js v1\né\n",
        ] {
            assert_eq!(Exceptions::default().read(text), Vec::<Value>::new(), "{text}");
        }
        let mut exceptions = Exceptions::default();
        for _ in 0..100 {
            assert!(exceptions.read(&"é".repeat(10_000)).is_empty());
        }
        assert!(exceptions.waiting.len() <= Exceptions::WAITING_MAX);
    }
}
