//! `deploy`: brings commits to hosts over ssh, as pm2-deploy does.

use std::path::{Path, PathBuf};
use std::process::Command;

use rpm_config::Deployment;

use crate::args::Deploy;
use crate::commands::Invocation;
use crate::deploy::script::{self, What};
use crate::deploy::{quote::quote, ssh};
use crate::report::Failure;
use crate::specs;

/// Where the `deploy` section is looked for when no file is named.
const FILES: [&str; 8] = [
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.json",
    "ecosystem.json5",
    "ecosystem.yml",
    "ecosystem.yaml",
    "package.json",
];

/// What is to be done on the hosts.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Setup,
    Deploy(What),
    /// Prints the commit that is there.
    Current,
    /// Prints the commit of this many deployments ago.
    Deployed(u32),
    List,
    Execute(String),
}

pub(super) fn run(args: &Deploy, invocation: &Invocation) -> Result<(), Failure> {
    let context = specs::context(&invocation.home)?;
    // PM2's way round its check for unpushed commits, which is not made here.
    let words: Vec<&str> = args.words.iter().map(String::as_str).filter(|word| *word != "--force").collect();
    let (file, words) = match words.as_slice() {
        [file, rest @ ..] if rpm_config::is_config_file(file) => (PathBuf::from(file), rest),
        words => (default_file(&context.cwd)?, words),
    };
    let [environment, words @ ..] = words else {
        return Err(usage(invocation, "no environment was named"));
    };
    let (deployment, warnings) = rpm_config::deployment(&file, environment, &context)?;
    for warning in warnings {
        invocation.voice.warn(format_args!("deploy.{environment}: {warning}"));
    }
    let deed = deed(words, &deployment).map_err(|why| usage(invocation, &why))?;
    let file_name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let program = invocation.voice.program();
    let start = format!("{program} startOrRestart {} --env {}", quote(&file_name), quote(environment));
    if let (Deed::Deploy(_), Some(line)) = (&deed, &deployment.pre_deploy_local) {
        invocation.voice.say(format_args!("pre-deploy-local: {line}"));
        locally(line, &deployment)?;
    }
    let script = match &deed {
        Deed::Setup => script::setup(&deployment),
        Deed::Deploy(what) => script::deploy(&deployment, what, &start),
        Deed::Current => script::current(&deployment),
        Deed::Deployed(steps) => script::deployed(&deployment, *steps),
        Deed::List => script::list(&deployment),
        Deed::Execute(line) => script::execute(&deployment, line),
    };
    for host in &deployment.hosts {
        if matches!(deed, Deed::Setup | Deed::Deploy(_)) {
            invocation.voice.say(format_args!("Deploying to {environment} environment on host {host}"));
        }
        ssh::run(&deployment, host, &script)?;
    }
    if matches!(deed, Deed::Setup | Deed::Deploy(_)) {
        invocation.voice.say("Success");
    }
    Ok(())
}

fn deed(words: &[&str], deployment: &Deployment) -> Result<Deed, String> {
    let none_after = |words: &[&str], deed: Deed| match words {
        [] => Ok(deed),
        [word, ..] => Err(format!("{word:?} is too much")),
    };
    match words {
        [] => Ok(Deed::Deploy(What::Reference(deployment.reference.clone()))),
        ["update", rest @ ..] => none_after(rest, Deed::Deploy(What::Reference(deployment.reference.clone()))),
        ["setup", rest @ ..] => none_after(rest, Deed::Setup),
        ["revert"] => Ok(Deed::Deploy(What::Earlier(1))),
        ["revert", steps] => match steps.parse() {
            Ok(steps) if (1..1_000_000).contains(&steps) => Ok(Deed::Deploy(What::Earlier(steps))),
            _ => Err(format!("revert takes a number of deployments, found {steps:?}")),
        },
        ["curr" | "current", rest @ ..] => none_after(rest, Deed::Current),
        ["prev" | "previous", rest @ ..] => none_after(rest, Deed::Deployed(1)),
        ["list", rest @ ..] => none_after(rest, Deed::List),
        ["exec" | "run"] => Err("exec takes a command".into()),
        ["exec" | "run", rest @ ..] => Ok(Deed::Execute(rest.join(" "))),
        ["ref"] => Err("ref takes a branch, tag or commit".into()),
        [reference] | ["ref", reference] if !reference.starts_with('-') => {
            Ok(Deed::Deploy(What::Reference((*reference).to_owned())))
        }
        [word, ..] => Err(format!("{word:?} is not known")),
    }
}

/// Runs a command of the file here. It is written for a shell.
fn locally(line: &str, deployment: &Deployment) -> Result<(), Failure> {
    match Command::new("sh").arg("-c").arg(line).envs(&deployment.env).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(format!("pre-deploy-local failed: {line} ({status})")).detail("no host was touched"))
        }
        Err(error) => Err(Failure::new(format!("sh cannot be run: {error}"))),
    }
}

fn default_file(cwd: &Path) -> Result<PathBuf, Failure> {
    let found = FILES.iter().map(PathBuf::from).find(|file| cwd.join(file).is_file());
    found.ok_or_else(|| {
        Failure::new("no ecosystem file was named, and there is none here")
            .hint("rpm deploy ecosystem.config.js production")
    })
}

fn usage(invocation: &Invocation, why: &str) -> Failure {
    let program = invocation.voice.program();
    Failure::new(why).hint(format!(
        "{program} deploy [FILE] ENVIRONMENT [setup | update | revert [N] | curr | prev | list | exec COMMAND | REF]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_done() {
        let deployment = Deployment { reference: "origin/main".into(), ..Deployment::default() };
        let of = |line: &str| deed(&line.split_whitespace().collect::<Vec<_>>(), &deployment);
        let reference = |name: &str| Ok(Deed::Deploy(What::Reference(name.into())));
        assert_eq!(of(""), reference("origin/main"));
        assert_eq!(of("update"), reference("origin/main"));
        assert_eq!(of("v1.2"), reference("v1.2"));
        assert_eq!(of("revert"), Ok(Deed::Deploy(What::Earlier(1))));
        assert_eq!(of("revert 3"), Ok(Deed::Deploy(What::Earlier(3))));
        assert_eq!(of("exec ls -la"), Ok(Deed::Execute("ls -la".into())));
        assert_eq!(of("prev"), Ok(Deed::Deployed(1)));
        for wrong in ["revert x", "revert 0", "setup now", "--upload-pack=x", "exec", "a b"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
