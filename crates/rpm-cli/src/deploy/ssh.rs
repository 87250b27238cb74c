//! Running a script on a host. ssh is called with arguments; the script is one of them.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use rpm_config::Deployment;

use crate::deploy::quote::quote;
use crate::report::Failure;

/// Runs a script on a host; what it prints goes where ours does.
///
/// # Errors
/// When ssh cannot be run, or the script fails.
pub fn run(deployment: &Deployment, host: &str, script: &str) -> Result<(), Failure> {
    let mut command = Command::new("ssh");
    command.args(words(deployment, host, script));
    if !deployment.needs_tty {
        // A script never asks; without a terminal it would wait for ever.
        command.stdin(Stdio::null());
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        // ssh's own failures have this code.
        Ok(status) if status.code() == Some(255) => {
            Err(Failure::new(format!("{host} cannot be reached by ssh")).hint(format!("try: ssh {host}")))
        }
        Ok(status) => Err(Failure::new(format!("the deployment failed on {host} ({status})"))),
        Err(error) => Err(Failure::new(format!("ssh cannot be run: {error}"))),
    }
}

fn words(deployment: &Deployment, host: &str, script: &str) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(port) = deployment.port {
        words.extend(["-p".into(), port.to_string().into()]);
    }
    if let Some(key) = &deployment.key {
        words.extend(["-i".into(), home(key).into()]);
    }
    for option in &deployment.ssh_options {
        words.extend(["-o".into(), option.into()]);
    }
    if deployment.forward_agent {
        words.push("-A".into());
    }
    if deployment.needs_tty {
        words.push("-t".into());
    }
    let destination = match &deployment.user {
        Some(user) => format!("{user}@{host}"),
        None => host.to_owned(),
    };
    // The user's shell there may be any; it only has to start this one.
    words.extend(["--".into(), destination.into(), format!("sh -c {}", quote(script)).into()]);
    words
}

/// ssh knows `~` only in its own files.
fn home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_gets_its_options_before_the_host_and_the_script_in_one() {
        let deployment = Deployment {
            user: Some("me".into()),
            port: Some(2222),
            key: Some("/k".into()),
            ssh_options: vec!["BatchMode=yes".into()],
            forward_agent: true,
            ..Deployment::default()
        };
        let words = words(&deployment, "h", "echo 'a'");
        let expected = ["-p", "2222", "-i", "/k", "-o", "BatchMode=yes", "-A", "--", "me@h", r"sh -c 'echo '\''a'\'''"];
        assert_eq!(words, expected);
    }
}
