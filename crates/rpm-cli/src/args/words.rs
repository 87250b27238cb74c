//! The words as they are typed, brought into the order and the form that the parser reads.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::{Cli, command_names};

/// Moves the command in front of the options given before it: PM2 takes `pm2 --name api start app.js`.
fn command_first(mut words: Vec<OsString>) -> Vec<OsString> {
    const OURS: [&str; 8] = ["-h", "--help", "-v", "-V", "--version", "-s", "--silent", "--no-color"];
    let Some(first) = words.get(1).and_then(|word| word.to_str()) else { return words };
    if !first.starts_with('-') || OURS.contains(&first) && words.len() == 2 {
        return words;
    }
    let names = command_names();
    let is_command = |at: usize| {
        let is_name = words[at].to_str().is_some_and(|word| names.iter().any(|name| name == word));
        // In `--name list start app.js` the command is `start`.
        is_name && !words[at - 1].to_str().is_some_and(takes_value)
    };
    let before_args = words.iter().position(|word| word == "--").unwrap_or(words.len());
    if let Some(at) = (2..before_args).find(|at| is_command(*at)) {
        let command = words.remove(at);
        words.insert(1, command);
    }
    words
}

/// Puts the command in front that the program's name stands for: `pm2-runtime app.js` is `pm2 runtime app.js`.
pub fn called_by_role(mut words: Vec<OsString>) -> Vec<OsString> {
    const VERSION: [&str; 3] = ["-v", "-V", "--version"];
    let name = words.first().map(std::path::Path::new).and_then(|path| path.file_name()).and_then(|name| name.to_str());
    let command = match name {
        Some("pm2-runtime" | "rpm-runtime" | "pm2-docker" | "rpm-docker") => "runtime",
        Some("pm2-dev" | "rpm-dev") => "dev",
        _ => return words,
    };
    // `pm2-runtime -v` asks for the version of the whole.
    let asks = words.len() == 2 && words[1].to_str().is_some_and(|word| VERSION.contains(&word));
    if !asks {
        words.insert(1, command.into());
    }
    words
}

/// Returns the words in the order and the form that the definition above reads.
pub fn understood(words: Vec<OsString>) -> Vec<OsString> {
    exit_codes_joined(command_first(words))
}

/// Joins the exit codes that PM2 takes as so many words: `--stop-exit-codes 0 1 app.js` is `--stop-exit-codes=0,1 app.js`.
///
/// An option that takes every word that follows would take the target too.
fn exit_codes_joined(words: Vec<OsString>) -> Vec<OsString> {
    const OPTION: &str = "--stop-exit-codes";
    let is_codes = |word: &OsString| {
        word.to_str()
            .is_some_and(|word| word.split([',', ' ']).all(|code| !code.is_empty() && code.parse::<u8>().is_ok()))
    };
    let mut joined = Vec::with_capacity(words.len());
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            joined.push(word);
            break;
        }
        if word != OPTION || !words.peek().is_some_and(is_codes) {
            joined.push(word);
            continue;
        }
        let codes: Vec<String> = std::iter::from_fn(|| words.next_if(is_codes))
            .map(|code| code.to_string_lossy().replace(' ', ","))
            .collect();
        joined.push(format!("{OPTION}={}", codes.join(",")).into());
    }
    joined.extend(words);
    joined
}

/// The commands whose options PM2 takes with every command.
const EVERYWHERE: [&str; 3] = ["start", "list", "startup"];

/// Takes `--name=value` apart.
fn name_and_value(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)))
}

/// Returns the words without options of other commands: PM2 takes most options with each command, and they do nothing there.
pub fn without_options_of_others(words: &[OsString]) -> Vec<OsString> {
    let cli = Cli::command();
    let others = || EVERYWHERE.iter().filter_map(|name| cli.find_subcommand(name));
    let command = words.get(1).and_then(|name| cli.find_subcommand(name));
    let Some(command) = command else { return words.to_vec() };
    let mut kept: Vec<OsString> = words[..2].to_vec();
    let mut rest = words[2..].iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            kept.push(word.clone());
            kept.extend(rest.cloned());
            break;
        }
        let (name, value) = name_and_value(&text);
        let find = |command: &'_ clap::Command| -> Option<bool> {
            command.get_arguments().find(|argument| is_named(argument, name)).map(must_have_value)
        };
        if find(command).is_some() || find(&cli).is_some() {
            kept.push(word.clone());
            continue;
        }
        match others().find_map(find) {
            None => kept.push(word.clone()),
            Some(true) if value.is_none() => drop(rest.next()),
            Some(_) => {}
        }
    }
    kept
}

/// Returns the words of `runtime` without options that nobody knows, and those options: PM2's takes any. A word after one of
/// them is its value where there is something to start already.
pub fn without_unknown_options(words: &[OsString]) -> Option<(Vec<OsString>, Vec<String>)> {
    let cli = Cli::command();
    let command = words.get(1).and_then(|name| cli.find_subcommand(name)).filter(|it| it.get_name() == "runtime")?;
    let mut kept: Vec<OsString> = words[..2].to_vec();
    let mut unknown = Vec::new();
    let mut has_target = false;
    let mut rest = words[2..].iter().peekable();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            kept.push(word.clone());
            kept.extend(rest.cloned());
            break;
        }
        let (name, value) = name_and_value(&text);
        let known = command.get_arguments().chain(cli.get_arguments()).find(|argument| is_named(argument, name));
        match known {
            Some(argument) => {
                kept.push(word.clone());
                kept.extend(rest.next_if(|_| value.is_none() && must_have_value(argument)).cloned());
            }
            // An option with its value in one word, `-i2`, is left to the parser.
            None if text.starts_with("--") || text.starts_with('-') && text.len() == 2 => {
                unknown.push(name.to_owned());
                let _value = rest.next_if(|next| has_target && !next.to_string_lossy().starts_with('-'));
            }
            None => {
                has_target |= text != "start";
                kept.push(word.clone());
            }
        }
    }
    Some((kept, unknown))
}

/// Returns whether the word after this option of `start` is its value.
fn takes_value(word: &str) -> bool {
    let cli = Cli::command();
    let start = cli.find_subcommand("start").expect("there is a command start");
    start.get_arguments().any(|argument| is_named(argument, word) && must_have_value(argument))
}

fn must_have_value(argument: &clap::Arg) -> bool {
    argument.get_action().takes_values() && argument.get_num_args().is_none_or(|range| range.min_values() > 0)
}

/// Returns whether an option is written so.
fn is_named(argument: &clap::Arg, word: &str) -> bool {
    let is_long = word.strip_prefix("--").is_some_and(|long| {
        argument.get_long() == Some(long) || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    });
    let is_short = argument.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()));
    is_long || is_short
}
