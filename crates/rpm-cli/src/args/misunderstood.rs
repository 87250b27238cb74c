//! A command line that cannot be understood: one line that names what is wrong with it, then what to do.

use clap::error::{ContextKind, ErrorKind};
use rpm_model::nearest;

use crate::report::Failure;

/// Says what clap found wrong.
pub fn misunderstood(error: &clap::Error, program: &str) -> Failure {
    if error.kind() == ErrorKind::InvalidSubcommand {
        return unknown_command(error, program);
    }
    let rendered = error.to_string();
    let mut paragraphs = rendered.split("\n\n").map(on_one_line);
    let what = paragraphs.next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    // What Rust says of a number that is none.
    let what = what.replace("invalid digit found in string", "expected a whole number");
    let what = what.replace("number too large to fit in target type", "the number is too large");
    let mut failure = Failure::new(what.replace("cannot parse integer from empty string", "expected a whole number"));
    let (mut usage, mut tips) = (None, Vec::new());
    for paragraph in paragraphs {
        if let Some(text) = paragraph.strip_prefix("Usage: ") {
            usage = Some(text.to_owned());
        } else if let Some(text) = paragraph.strip_prefix("tip: ") {
            // That a dash may be passed as a value helps nobody who has mistyped an option.
            tips.extend(text.split(" tip: ").filter(|tip| !tip.starts_with("to pass")).map(str::to_owned));
        }
    }
    if tips.is_empty() {
        tips.extend(usage);
    }
    for tip in tips {
        failure = failure.hint(tip);
    }
    failure
}

fn unknown_command(error: &clap::Error, program: &str) -> Failure {
    let typed = error.get(ContextKind::InvalidSubcommand).map(ToString::to_string).unwrap_or_default();
    let names = super::command_names();
    let near = nearest(&typed, names.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!("did you mean `{program} {near}`?"),
        None if std::path::Path::new(&typed).exists() => format!("did you mean `{program} start {typed}`?"),
        None => format!("`{program} --help` lists the commands"),
    };
    Failure::new(format!("Command not found: {typed}")).hint(hint)
}

/// Returns a paragraph without its line ends and indentations.
fn on_one_line(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[track_caller]
    fn said(line: &str) -> String {
        let error = Cli::try_parse_from(line.split_whitespace()).expect_err("a mistake");
        misunderstood(&error, "rpm").text()
    }

    #[test]
    fn the_first_line_names_what_is_wrong() {
        for (line, what) in [
            ("rpm scale", "the following required arguments were not provided: <APP> <N|+N|-N|max>"),
            ("rpm scale a", "the following required arguments were not provided: <N|+N|-N|max>"),
            ("rpm logs --lines x", "invalid value 'x' for '--lines <N>': expected a whole number"),
            ("rpm logs --lines=-5", "invalid value '-5' for '--lines <N>': expected a whole number"),
            ("rpm serve . 99999", "invalid value '99999' for '[PORT]': 99999 is not in 0..=65535"),
            ("rpm list --nope", "unexpected argument '--nope' found"),
            ("rpm restart a --update-env=1", "unexpected value '1' for '--update-env' found; no more were expected"),
            ("rpm strat", "Command not found: strat"),
        ] {
            assert_eq!(said(line).lines().next(), Some(what), "{line}");
        }
        let platforms = said("rpm startup nope");
        let first = platforms.lines().next().unwrap_or_default();
        assert!(first.starts_with("invalid value 'nope' for '[PLATFORM]' [possible values: systemd"), "{platforms}");
    }

    #[test]
    fn what_to_do_follows() {
        assert!(said("rpm list --sor x").contains("--sort"), "{}", said("rpm list --sor x"));
        assert!(said("rpm scale a").ends_with("rpm scale <APP> <N|+N|-N|max>"), "{}", said("rpm scale a"));
    }
}
