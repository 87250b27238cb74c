//! `completion`: words completed by the shell.
//!
//! The scripts ask us for each word (`rpm completion -- WORDS`), so that the names of the apps are among them; a daemon
//! that does not run is not started for that.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::args::{Cli, Completion};
use crate::home;
use crate::report::Failure;
use crate::say::Voice;
use crate::session::Session;

/// Around what `install` adds to a file that is not ours alone.
const BEGIN: &str = "###-begin-NAME-completion-###";
const END: &str = "###-end-NAME-completion-###";

/// Not by `compgen -W`, which expands the words: an app called `$(…)` would be run.
const BASH: &str = r#"_NAME_completion() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$(printf %q "$word")")
    done < <(NAME completion -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}
complete -o default -F _NAME_completion NAME
"#;

const ZSH: &str = r#"_NAME_completion() {
    local -a found
    found=("${(@f)$(NAME completion -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -a found
    _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _NAME_completion NAME
"#;

const FISH: &str = r#"function __NAME_complete
    set -l words (commandline -opc) (commandline -ct)
    NAME completion -- $words 2>/dev/null
end
complete -c NAME -a '(__NAME_complete)'
"#;

/// Commands whose words are apps.
const OF_APPS: &[&str] = &[
    "start",
    "stop",
    "restart",
    "run",
    "reload",
    "delete",
    "del",
    "scale",
    "autoscale",
    "promote",
    "history",
    "rollback",
    "abort",
    "reset",
    "why",
    "crashes",
    "events",
    "describe",
    "desc",
    "info",
    "show",
    "env",
    "pid",
    "id",
    "logs",
    "log",
    "flush",
    "sendSignal",
    "trigger",
    "send",
    "attach",
    "pull",
    "forward",
    "backward",
    "monitor",
    "unmonitor",
];

pub fn run(args: &Completion, voice: &Voice) -> Result<(), Failure> {
    if !args.words.is_empty() {
        voice.data(&lines(&candidates(&args.words, || apps(voice))));
        return Ok(());
    }
    let name = voice.program();
    match args.action.as_deref() {
        Some("install") => install(&shell(args.shell.as_deref())?, name, voice),
        Some("uninstall") => uninstall(&shell(args.shell.as_deref())?, name, voice),
        Some(known @ ("bash" | "zsh" | "fish")) => {
            voice.data(&script(known, name));
            Ok(())
        }
        Some(other) => {
            let shell: clap_complete::Shell = clap::ValueEnum::from_str(other, true).map_err(|_| {
                Failure::new(format!("{other} is no shell that is known"))
                    .detail("expected bash, zsh, fish, elvish or powershell; or install, uninstall")
            })?;
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), name, &mut script);
            voice.data(&String::from_utf8_lossy(&script));
            Ok(())
        }
        None => {
            voice.data(&script(&shell(None)?, name));
            Ok(())
        }
    }
}

fn lines(words: &[String]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

fn script(shell: &str, name: &str) -> String {
    let text = match shell {
        "zsh" => ZSH,
        "fish" => FISH,
        _ => BASH,
    };
    text.replace("NAME", name)
}

/// Returns the shell that is meant: the one named, or the user's own.
fn shell(named: Option<&str>) -> Result<String, Failure> {
    let own = std::env::var("SHELL").unwrap_or_default();
    let own = Path::new(&own).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let shell = named.map_or(own, str::to_owned);
    match shell.as_str() {
        "bash" | "zsh" | "fish" => Ok(shell),
        _ => Err(Failure::new("the shell is not known").hint("name it: bash, zsh or fish")),
    }
}

/// Returns where a shell reads the script, and whether that file is ours alone.
fn place(shell: &str, name: &str) -> Result<(PathBuf, bool), Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from).ok_or_else(|| Failure::new("HOME is not set"))?;
    Ok(match shell {
        "fish" => (home.join(format!(".config/fish/completions/{name}.fish")), true),
        "zsh" => (home.join(".zshrc"), false),
        _ => (home.join(".bashrc"), false),
    })
}

fn install(shell: &str, name: &str, voice: &Voice) -> Result<(), Failure> {
    let (file, ours) = place(shell, name)?;
    let before = if ours { String::new() } else { read(&file)? };
    let mut text = without(&before, name);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if ours {
        text = script(shell, name);
    } else {
        let script = script(shell, name);
        text.push_str(&format!("{BEGIN}\n{script}{END}\n").replace("NAME", name));
    }
    write(&file, &text)?;
    voice.say(format_args!("{name} tab-completion installed in {}: open a new shell", file.display()));
    Ok(())
}

fn uninstall(shell: &str, name: &str, voice: &Voice) -> Result<(), Failure> {
    let (file, ours) = place(shell, name)?;
    if ours {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::new(format!("{} cannot be removed: {error}", file.display())));
            }
            Ok(()) | Err(_) => {}
        }
    } else {
        let before = read(&file)?;
        let after = without(&before, name);
        if after != before {
            write(&file, &after)?;
        }
    }
    voice.say(format_args!("{name} tab-completion uninstalled"));
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Failure::new(format!("{} cannot be read: {error}", file.display()))),
    }
}

/// Written in place: a `.bashrc` is often a link into a repository of its owner.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(file, text));
    written.map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))
}

/// Returns a text without what `install` added.
fn without(text: &str, name: &str) -> String {
    let (begin, end) = (BEGIN.replace("NAME", name), END.replace("NAME", name));
    let Some((before, rest)) = text.split_once(&begin) else { return text.to_owned() };
    match rest.split_once(&end) {
        Some((_, after)) => format!("{before}{}", after.strip_prefix('\n').unwrap_or(after)),
        // Half a block is somebody's edit: what follows may be theirs.
        None => text.to_owned(),
    }
}

/// Returns what the last of the words may become; the first is our own name.
fn candidates(words: &[String], apps: impl FnOnce() -> Vec<String>) -> Vec<String> {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    // The shells give the word as it was typed: `my\ ap`.
    let last = &*last.replace('\\', "");
    let cli = Cli::command();
    let command = before.iter().skip(1).find(|word| !word.starts_with('-'));
    let mut found: Vec<String> = match command {
        None => {
            let visible = cli.get_subcommands().filter(|command| !command.is_hide_set());
            visible
                .flat_map(|command| std::iter::once(command.get_name()).chain(command.get_visible_aliases()))
                .map(str::to_owned)
                .collect()
        }
        Some(_) if last.starts_with('-') => Vec::new(),
        Some(command) if OF_APPS.contains(&command.as_str()) => apps(),
        Some(_) => Vec::new(),
    };
    if last.starts_with('-') {
        let of = command.and_then(|name| cli.find_subcommand(name)).unwrap_or(&cli);
        let options = of.get_arguments().chain(cli.get_arguments()).filter(|option| !option.is_hide_set());
        found = options.filter_map(clap::Arg::get_long).map(|long| format!("--{long}")).collect();
    }
    found.retain(|word| word.starts_with(last));
    found.sort();
    found.dedup();
    found
}

/// Returns the names of the apps, and `all`; nothing without a daemon.
fn apps(voice: &Voice) -> Vec<String> {
    let home = home::find(voice.flavour, |name| std::env::var_os(name).map(PathBuf::from));
    let session = home.ok().and_then(|home| Session::open_existing(&home).ok().flatten());
    let list = session.and_then(|mut session| session.list(false).ok());
    let names = list.into_iter().flat_map(|list| list.apps).flat_map(|app| [app.spec.name, app.spec.namespace]);
    let mut names: Vec<String> = names.filter(|name| !name.contains(char::is_control)).collect();
    if !names.is_empty() {
        names.push("all".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        candidates(&words, || vec!["api".into(), "web".into(), "all".into()])
    }

    #[test]
    fn commands_options_and_apps_are_completed() {
        assert_eq!(of("rpm reloa"), ["reload", "reloadLogs"]);
        assert_eq!(of("rpm restart "), ["all", "api", "web"]);
        assert_eq!(of("rpm -s restart w"), ["web"]);
        assert_eq!(candidates(&["rpm".into(), "stop".into(), "a\\ b".into()], || vec!["a b c".into()]), ["a b c"]);
        assert_eq!(of("rpm list --mi"), ["--mini-list"]);
        assert!(of("rpm list a").is_empty());
        assert!(of("rpm start --sil").contains(&"--silent".to_owned()));
        assert!(!of("rpm ").contains(&"keeper".to_owned()));
    }

    #[test]
    fn what_was_installed_can_be_taken_out() {
        let block = format!("{BEGIN}\nx\n{END}\n").replace("NAME", "rpm");
        assert_eq!(without(&format!("a\n{block}b\n"), "rpm"), "a\nb\n");
        assert_eq!(without("a\n", "rpm"), "a\n");
        assert_eq!(without(&format!("a\n{block}"), "pm2"), format!("a\n{block}"), "another program's");
    }

    #[test]
    fn the_script_for_bash_is_sound() {
        let status = std::process::Command::new("bash").args(["-n", "-c", &script("bash", "rpm")]).status().unwrap();
        assert!(status.success());
    }
}
