//! What runs on a host. The layout is pm2-deploy's, so that a host it has set up goes on working:
//!
//! ```text
//! PATH/source     the clone
//! PATH/current    a link to it
//! PATH/shared     what outlives deployments
//! PATH/.deploys   what was deployed, a commit a line, the newest last
//! ```
//!
//! Each script is one text for `sh`, in which everything that comes from the file is quoted. Commands of the file are
//! written for the user's own shell, and run by it.

use std::fmt::Write as _;

use rpm_config::Deployment;

use crate::deploy::quote::{quote, quote_path};

/// With `fetch: "fast"` this many commits are fetched, as in pm2-deploy: a revert by some steps is still possible.
const DEPTH: u32 = 5;

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A branch, tag or commit.
    Reference(String),
    /// What was deployed this many deployments ago.
    Earlier(u32),
}

/// Returns the script that makes the directories and the first clone.
pub fn setup(deployment: &Deployment) -> String {
    let mut script = head(deployment);
    if let Some(hook) = &deployment.pre_setup {
        command(&mut script, "pre-setup", hook);
    }
    let mut clone = "git clone".to_owned();
    if deployment.shallow {
        let _ = write!(clone, " --depth={DEPTH}");
        if let Some(branch) = deployment.reference.strip_prefix("origin/") {
            let _ = write!(clone, " --branch {}", quote(branch));
        }
    }
    let repo = quote(&deployment.repo);
    let _ = write!(
        script,
        "if [ -e \"$base/source/.git\" ]; then echo \"$base/source is there already: this host is set up\" >&2; exit 1; fi\n\
         mkdir -p \"$base/shared/logs\" \"$base/shared/pids\"\n\
         {clone} -- {repo} \"$base/source\"\n\
         ln -sfn \"$base/source\" \"$base/current\"\n\
         cd \"$base/source\"\n"
    );
    if let Some(hook) = &deployment.post_setup {
        command(&mut script, "post-setup", hook);
    }
    script
}

/// Returns the script that brings a commit there and runs it; `post_deploy` is for files that have none.
pub fn deploy(deployment: &Deployment, what: &What, post_deploy: &str) -> String {
    let mut script = head(deployment);
    script.push_str("cd \"$base/source\"\n");
    match what {
        What::Reference(reference) => {
            let _ = writeln!(script, "wanted={}", quote(reference));
        }
        What::Earlier(steps) => {
            let from_end = steps + 1;
            let _ = write!(
                script,
                "count=$(wc -l < \"$base/.deploys\")\n\
                 if [ \"$count\" -lt {from_end} ]; then echo \"only $count deployments are known\" >&2; exit 1; fi\n\
                 wanted=$(tail -n {from_end} \"$base/.deploys\" | head -n 1)\n"
            );
        }
    }
    if let Some(hook) = &deployment.pre_deploy {
        command(&mut script, "pre-deploy", hook);
    }
    let depth = if deployment.shallow { format!(" --depth={DEPTH}") } else { String::new() };
    let _ = write!(
        script,
        "git fetch --all --tags{depth}\n\
         git reset --hard \"$wanted\"\n\
         ln -sfn \"$base/source\" \"$base/current\"\n\
         git rev-parse HEAD >> \"$base/.deploys\"\n\
         cd \"$base/current\"\n"
    );
    command(&mut script, "post-deploy", deployment.post_deploy.as_deref().unwrap_or(post_deploy));
    script
}

/// Returns the script that runs a command in the deployed directory.
pub fn execute(deployment: &Deployment, line: &str) -> String {
    let mut script = head(deployment);
    script.push_str("cd \"$base/current\"\n");
    command(&mut script, "exec", line);
    script
}

/// Returns the script that prints the commit that is there.
pub fn current(deployment: &Deployment) -> String {
    let mut script = head(deployment);
    script.push_str("git -C \"$base/source\" rev-parse --short HEAD\n");
    script
}

/// Returns the script that prints the commit of this many deployments ago.
pub fn deployed(deployment: &Deployment, steps: u32) -> String {
    let from_end = steps + 1;
    let mut script = head(deployment);
    let _ = write!(
        script,
        "count=$(wc -l < \"$base/.deploys\")\n\
         if [ \"$count\" -lt {from_end} ]; then echo \"only $count deployments are known\" >&2; exit 1; fi\n\
         tail -n {from_end} \"$base/.deploys\" | head -n 1\n"
    );
    script
}

/// Returns the script that prints all deployments, the newest first, by the number that `revert` takes.
pub fn list(deployment: &Deployment) -> String {
    let mut script = head(deployment);
    script.push_str("tac \"$base/.deploys\" | awk '{ printf \"%d\\t%s\\n\", NR - 1, $0 }'\n");
    script
}

fn head(deployment: &Deployment) -> String {
    let mut script = "set -e\n".to_owned();
    for (name, value) in &deployment.env {
        let _ = writeln!(script, "export {name}={}", quote(value));
    }
    let _ = writeln!(script, "base={}", quote_path(&deployment.path));
    script
}

fn command(script: &mut String, name: &str, line: &str) {
    let _ = write!(
        script,
        "echo {} >&2\n\"${{SHELL:-/bin/sh}}\" -c {}\n",
        quote(&format!("-- {name}: {line}")),
        quote(line)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_file_is_read_by_the_shell() {
        let evil = "x'; touch /tmp/evil; '$(id)`id`";
        let deployment = Deployment {
            repo: evil.into(),
            path: evil.into(),
            reference: evil.into(),
            env: [("A".to_owned(), evil.to_owned())].into(),
            ..Deployment::default()
        };
        let scripts = [
            setup(&deployment),
            deploy(&deployment, &What::Reference(evil.into()), "true"),
            list(&deployment),
            deployed(&deployment, 1),
        ];
        for script in scripts {
            let outside = script.replace(&quote(evil), "");
            assert!(!outside.contains("evil"), "{script}");
        }
    }
}
