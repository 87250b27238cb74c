//! The shells themselves complete commands, options and the names of apps.

use std::process::Command;

use rpm_tests::{Rpm, app};

/// A home with two apps, and a directory on the PATH in which the program is called `rpm`.
struct Shell {
    rpm: Rpm,
    bin: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        let (rpm, bin) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
        let binary = rpm.command(&[]).get_program().to_owned();
        std::os::unix::fs::symlink(binary, bin.path().join("rpm")).expect("a link");
        for name in ["my-app", "my other app", "$(touch ran)`touch ran`"] {
            rpm.ok(&["start", &app("idle.sh"), "--name", name, "-f"]);
        }
        Self { rpm, bin }
    }

    /// Runs a script in a shell that has no settings of its own; returns what it prints.
    fn run(&self, shell: &str, args: &[&str], script: &str) -> String {
        let path = format!("{}:{}", self.bin.path().display(), std::env::var("PATH").expect("a PATH"));
        let output = Command::new(shell)
            .args(args)
            .arg(script)
            .envs([("PATH", path.as_str()), ("TERM", "dumb")])
            .env("HOME", self.bin.path())
            .env("RPM_HOME", self.rpm.home())
            .current_dir(self.bin.path())
            .output()
            .unwrap_or_else(|error| panic!("{shell} runs: {error}"));
        assert!(output.status.success(), "{shell}: {output:?}");
        assert!(!self.bin.path().join("ran").exists(), "the name of an app was run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn bash_completes() {
    let shell = Shell::new();
    let complete = |words: &str| {
        let script = format!(
            "source <(rpm completion bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _rpm_completion; printf '%s\\n' \"${{COMPREPLY[@]}}\"; complete -p rpm"
        );
        shell.run("bash", &["--norc", "--noprofile", "-c"], &script)
    };
    assert!(
        complete("rpm restart my").starts_with("my\\ other\\ app\nmy-app\ncomplete -o default -F _rpm_completion rpm")
    );
    assert!(complete("rpm resur").starts_with("resurrect\n"));
    assert!(complete("rpm list --mi").starts_with("--mini-list\n"));
    // The odd one comes as text.
    assert!(complete("rpm stop '$'").starts_with("\\$\\(touch\\ ran\\)"), "{}", complete("rpm stop '$'"));
}

#[test]
fn fish_completes() {
    let shell = Shell::new();
    let complete = |line: &str| {
        let script = format!("rpm completion fish | source; complete -C '{line}'");
        shell.run("fish", &["--no-config", "-c"], &script)
    };
    let apps = complete("rpm restart my");
    assert!(apps.lines().any(|word| word == "my-app") && apps.lines().any(|word| word == "my other app"), "{apps}");
    assert!(complete("rpm resur").lines().any(|word| word == "resurrect"));
    assert!(complete("rpm list --mi").lines().any(|word| word == "--mini-list"));
}

#[test]
fn zsh_completes() {
    let shell = Shell::new();
    // A shell at a terminal, with a key that shows the line as it stands then.
    let complete = |line: &str| {
        let script = format!(
            r#"zmodload zsh/zpty
            zpty inner zsh -f -i
            zpty -w inner 'autoload -Uz compinit; compinit -u -d $HOME/dump; source <(rpm completion zsh)'
            zpty -w inner 'shown() {{ print -r -- "$BUFFER" >$HOME/shown; exit }}; zle -N shown; bindkey "^X" shown'
            zpty -w inner 'bindkey "^I" complete-word'
            zpty -n -w inner '{line}'$'\t\x18'
            while zpty -r inner piece; do :; done
            cat $HOME/shown; rm $HOME/shown"#
        );
        shell.run("zsh", &["-f", "-c"], &script)
    };
    assert_eq!(complete("rpm restart my-").trim(), "rpm restart my-app");
    assert_eq!(complete("rpm restart my\\ o").trim(), "rpm restart my\\ other\\ app");
    assert_eq!(complete("rpm resur").trim(), "rpm resurrect");
    assert_eq!(complete("rpm list --mi").trim(), "rpm list --mini-list");
}
