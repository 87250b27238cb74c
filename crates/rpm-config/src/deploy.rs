//! The `deploy` section of an ecosystem file: how an app comes to its hosts.

use std::path::Path;

use rpm_model::{Environment, nearest};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::diagnostic::{ConfigError, Diagnostic, Source};
use crate::document::{Document, Format};
use crate::values;

/// The keys of one environment, in PM2's spelling.
const KEYS: [&str; 18] = [
    "user",
    "host",
    "hosts",
    "port",
    "key",
    "ssh_options",
    "repo",
    "ref",
    "path",
    "fetch",
    "forward-agent",
    "needs_tty",
    "env",
    "pre-setup",
    "post-setup",
    "pre-deploy-local",
    "pre-deploy",
    "post-deploy",
];

/// One environment: where to, what, and which commands run on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    /// The user on the hosts; ssh's own choice if none.
    pub user: Option<String>,
    /// The hosts, at least one.
    pub hosts: Vec<String>,
    /// The port of ssh.
    pub port: Option<u16>,
    /// The file of the private key.
    pub key: Option<String>,
    /// What follows `-o`.
    pub ssh_options: Vec<String>,
    /// Whether the hosts may use the keys of this user's agent.
    pub forward_agent: bool,
    /// Whether commands get a terminal.
    pub needs_tty: bool,
    /// The git repository, as the hosts name it.
    pub repo: String,
    /// What is deployed: `origin/master`.
    pub reference: String,
    /// The directory on the hosts.
    pub path: String,
    /// Whether only the last few commits are fetched (`fetch: "fast"`).
    pub shallow: bool,
    /// Variables of the commands.
    pub env: Environment,
    /// Runs on the host before the first clone.
    pub pre_setup: Option<String>,
    /// Runs on the host after it.
    pub post_setup: Option<String>,
    /// Runs here before each deployment.
    pub pre_deploy_local: Option<String>,
    /// Runs on the host before the new commit is there.
    pub pre_deploy: Option<String>,
    /// Runs on the host after it is; `rpm startOrRestart` if none.
    pub post_deploy: Option<String>,
}

/// Reads one environment of the `deploy` section of a file; warnings are sentences.
///
/// # Errors
/// When the file cannot be read, has no such environment, or the environment has mistakes.
pub fn deployment(path: &Path, name: &str, context: &Context) -> Result<(Deployment, Vec<String>), ConfigError> {
    let shown = path.to_string_lossy().into_owned();
    let absolute = context.resolve(&context.cwd, &shown);
    let bytes = std::fs::read(&absolute)
        .map_err(|error| Diagnostic::mistake(format!("{shown} could not be read")).label(error.to_string()))?;
    let source = Source { name: shown.clone(), text: String::from_utf8_lossy(&bytes).into_owned() };
    let document = match Format::of(&absolute) {
        Some(Format::Script) => Document::from_script(&absolute, source, context)?,
        Some(format) => Document::from_text(source, format, context)?,
        None => return Err(Diagnostic::mistake(format!("{shown} is no ecosystem file")).into()),
    };
    let Some(Value::Object(environments)) = document.value.get("deploy") else {
        let mistake = Diagnostic::mistake(format!("{shown} has no `deploy` section"));
        return Err(mistake.help("`deploy: { production: { host, user, repo, ref, path } }`").into());
    };
    let Some(environment) = environments.get(name) else {
        let mistake = Diagnostic::mistake(format!("{shown} has no environment `{name}` in `deploy`"));
        let names: Vec<&str> = environments.keys().map(String::as_str).collect();
        return Err(match nearest(name, names.iter().copied()) {
            Some(near) => mistake.suggest(Some(near), None),
            None => mistake.help(format!("there is: {}", names.join(", "))),
        }
        .into());
    };
    let Value::Object(environment) = environment else {
        return Err(Diagnostic::mistake(format!("{shown}: `deploy.{name}` is no object")).into());
    };
    read(environment).map_err(|why| Diagnostic::mistake(format!("{shown}: `deploy.{name}`: {why}")).into())
}

fn read(given: &Map<String, Value>) -> Result<(Deployment, Vec<String>), String> {
    let text = |key: &str| match given.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match values::text(value) {
            Some(text) if !text.is_empty() => Ok(Some(text)),
            _ => Err(format!("`{key}` cannot be {value}: a text is expected")),
        },
    };
    let needed = |key: &str| text(key)?.ok_or_else(|| format!("`{key}` is missing"));
    let flag = |key: &str| match given.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!("`{key}` cannot be {other}: true or false is expected")),
    };
    let list = |key: &str| match given.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            values::texts(value).ok_or_else(|| format!("`{key}` cannot be {value}: one text or several are expected"))
        }
    };
    let mut hosts = list("host")?;
    hosts.extend(list("hosts")?);
    if hosts.is_empty() {
        return Err("`host` is missing".into());
    }
    let reference = text("ref")?.unwrap_or_else(|| "origin/master".into());
    let user = text("user")?;
    // Words that ssh or git would read as options.
    for word in hosts.iter().chain([&reference]).chain(&user) {
        if word.starts_with('-') {
            return Err(format!("{word:?} begins with a dash"));
        }
    }
    let port = text("port")?.map(|port| port.parse().map_err(|_| format!("`port` cannot be {port}"))).transpose()?;
    let mut env = Environment::new();
    match given.get("env") {
        None | Some(Value::Null) => {}
        Some(Value::Object(variables)) => {
            for (name, value) in variables {
                if !is_variable(name) {
                    return Err(format!("`env`: {name:?} is no name of a variable"));
                }
                let value = values::text(value).unwrap_or_else(|| value.to_string());
                env.insert(name.clone(), value);
            }
        }
        Some(other) => return Err(format!("`env` cannot be {other}: an object is expected")),
    }
    let mut warnings = Vec::new();
    for key in given.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let near =
            nearest(key, KEYS.iter().copied()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        warnings.push(format!("`{key}` is unknown and has no effect{near}"));
    }
    let deployment = Deployment {
        user,
        hosts,
        port,
        key: text("key")?,
        ssh_options: list("ssh_options")?,
        forward_agent: flag("forward-agent")?,
        needs_tty: flag("needs_tty")?,
        repo: needed("repo")?,
        reference,
        path: needed("path")?,
        shallow: text("fetch")?.is_some_and(|fetch| fetch == "fast"),
        env,
        pre_setup: text("pre-setup")?,
        post_setup: text("post-setup")?,
        pre_deploy_local: text("pre-deploy-local")?,
        pre_deploy: text("pre-deploy")?,
        post_deploy: text("post-deploy")?,
    };
    Ok((deployment, warnings))
}

fn is_variable(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Result<(Deployment, Vec<String>), String> {
        read(value.as_object().expect("an object"))
    }

    #[test]
    fn an_environment_has_pm2s_keys() {
        let (deployment, warnings) = of(json!({
            "user": "me", "host": ["a", "b"], "port": "2222", "ssh_options": "StrictHostKeyChecking=no",
            "repo": "git@x:y.git", "path": "/srv/app", "fetch": "fast", "env": {"A": 1}, "post-deploy": "make",
            "post_deploy": "make"
        }))
        .unwrap();
        assert_eq!((deployment.hosts.len(), deployment.port, deployment.shallow), (2, Some(2222), true));
        assert_eq!((deployment.reference.as_str(), deployment.env["A"].as_str()), ("origin/master", "1"));
        assert_eq!(warnings, ["`post_deploy` is unknown and has no effect; did you mean `post-deploy`?"]);
    }

    #[test]
    fn mistakes_name_their_key() {
        let wrong = |value| of(value).unwrap_err();
        assert!(wrong(json!({"repo": "r", "path": "/p"})).contains("`host` is missing"));
        assert!(wrong(json!({"host": "h", "path": "/p"})).contains("`repo` is missing"));
        let with = |key: &str, value: Value| {
            let mut all = json!({"host": "h", "repo": "r", "path": "/p"});
            all[key] = value;
            wrong(all)
        };
        assert!(with("host", json!("-oProxyCommand=x")).contains("begins with a dash"));
        assert!(with("ref", json!("--exec=x")).contains("begins with a dash"));
        assert!(with("port", json!(99999)).contains("`port` cannot be 99999"));
        assert!(with("env", json!({"A B": "1"})).contains("is no name of a variable"));
    }
}
