//! The few lines that are read without a parser.
//!
//! Building the parser for all sixty commands takes a millisecond and a half, and leaves half a megabyte of heap. That
//! is nothing for a person and much for a script that lists a thousand times, or for the two roles that stay. So the
//! bare forms of those are read by hand; whatever has one word more goes the ordinary way.

use std::ffi::OsString;

use super::{Cli, Command, Global, Ignored, List, Role};

/// Reads a line that is one of the bare forms.
pub fn bare(words: &[OsString]) -> Option<Cli> {
    let (_, rest) = words.split_first()?;
    let (name, options) = rest.split_first()?;
    let command = match (name.to_str()?, options) {
        ("list" | "ls" | "l" | "ps" | "status", []) => {
            Command::List(List { json: false, watch: false, mini_list: false, sort: None, ignored: Vec::new() })
        }
        ("jlist", []) => Command::Jlist(Ignored { ignored: Vec::new() }),
        ("prettylist", []) => Command::Prettylist(Ignored { ignored: Vec::new() }),
        ("ping", []) => Command::Ping,
        ("keeper", options) => Command::Keeper(role(options)?),
        ("daemon", options) => Command::Daemon(role(options)?),
        _ => return None,
    };
    Some(Cli { global: Global::default(), command: Some(command), version: None })
}

fn role(options: &[OsString]) -> Option<Role> {
    match options {
        [flag, home] if flag == "--home" => Some(Role { home: home.into(), pm2: false }),
        [flag, home, pm2] if flag == "--home" && pm2 == "--pm2" => Some(Role { home: home.into(), pm2: true }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_bare_forms_mean_what_the_parser_says() {
        for line in [
            "rpm list",
            "rpm ls",
            "rpm l",
            "rpm ps",
            "rpm status",
            "rpm jlist",
            "rpm prettylist",
            "rpm ping",
            "rpm keeper --home /h",
            "rpm daemon --home /h --pm2",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let parsed = Cli::try_parse_from(&words).expect("a good line");
            assert_eq!(format!("{:?}", bare(&words)), format!("{:?}", Some(parsed)), "{line}");
        }
    }

    #[test]
    fn anything_more_goes_to_the_parser() {
        for line in ["rpm", "rpm list --json", "rpm lis", "rpm start", "rpm keeper", "rpm daemon --home"] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(bare(&words).is_none(), "{line}");
        }
    }
}
