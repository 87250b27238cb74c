//! `startup`, `unstartup`: the saved apps come back at boot.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rpm_model::Flavour;

use crate::args::Boot;
use crate::boot::{self, Recipe, Service, account};
use crate::commands::Invocation;
use crate::report::Failure;

/// Makes the service, and has it started at boot.
pub(super) fn startup(args: &Boot, invocation: &Invocation) -> Result<(), Failure> {
    let Some((service, recipe)) = plan("startup", args, invocation)? else { return Err(needs_root()) };
    let file = below(args.root.as_deref(), &recipe.file);
    write(&file, &recipe)?;
    invocation.voice.say(format_args!("Writing init configuration in {}", file.display()));
    if args.root.is_none() {
        call(&recipe.enable)?;
        invocation.voice.say(format_args!("{} starts at boot", service.name));
    }
    let program = invocation.voice.program();
    invocation
        .voice
        .say(format_args!("`{program} save` keeps the present list for then; `{program} unstartup` undoes this"));
    Ok(())
}

/// Takes the service away; what runs goes on.
pub(super) fn unstartup(args: &Boot, invocation: &Invocation) -> Result<(), Failure> {
    let Some((service, recipe)) = plan("unstartup", args, invocation)? else { return Err(needs_root()) };
    let file = below(args.root.as_deref(), &recipe.file);
    if !file.exists() {
        return Err(Failure::new(format!("{} is not there: nothing starts at boot", file.display())));
    }
    if args.root.is_none()
        && let Err(failure) = call(&recipe.disable)
    {
        // The file goes all the same: that is what was asked for.
        invocation.voice.warn(failure.text());
    }
    std::fs::remove_file(&file)
        .map_err(|error| Failure::new(format!("{} cannot be removed: {error}", file.display())))?;
    invocation.voice.say(format_args!("{} does not start at boot any more: removed {}", service.name, file.display()));
    Ok(())
}

/// Returns what is to be done; nothing when only root can, after the line that root would type.
fn plan(word: &str, args: &Boot, invocation: &Invocation) -> Result<Option<(Service, Recipe)>, Failure> {
    let on_path = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
    };
    let platform = args.platform.or_else(|| boot::detect(on_path)).ok_or_else(|| {
        Failure::new("what starts programs at boot here is not known: there is no systemctl, rc-update or launchctl")
            .hint(format!("`{} {word} systemd`, openrc, upstart or launchd", invocation.voice.program()))
    })?;
    let uid = rustix::process::geteuid().as_raw();
    let account = account::find(args.user.as_deref(), uid).ok_or_else(|| match &args.user {
        Some(user) => Failure::new(format!("there is no user {user}")),
        None => Failure::new(format!("there is no user with the number {uid}")).hint("name one with -u USER"),
    })?;
    let program = program(invocation)?;
    let (home_variable, directory) = match invocation.home.flavour() {
        Flavour::Rpm => ("RPM_HOME", ".rpm"),
        Flavour::Pm2 => ("PM2_HOME", ".pm2"),
    };
    let is_named = std::env::var_os(home_variable).is_some();
    if uid != 0 && args.root.is_none() {
        let name = clap::ValueEnum::to_possible_value(&platform).map(|value| value.get_name().to_owned());
        let path = std::env::var("PATH").unwrap_or_default();
        let mut line = vec!["sudo".to_owned(), "env".to_owned(), boot::quoted(&format!("PATH={path}"))];
        if is_named {
            line.push(boot::quoted(&format!("{home_variable}={}", invocation.home.root().display())));
        }
        line.extend([
            boot::quoted(&program.to_string_lossy()),
            word.to_owned(),
            name.unwrap_or_default(),
            "-u".to_owned(),
            boot::quoted(&account.name),
            "--hp".to_owned(),
            boot::quoted(&account.home.to_string_lossy()),
        ]);
        invocation.voice.say("To do this, root is needed. Copy and paste:");
        invocation.voice.data(&format!("{}\n", line.join(" ")));
        return Ok(None);
    }
    if let Some(home) = args.hp.as_ref().filter(|home| !home.is_dir()) {
        return Err(Failure::new(format!("--hp {} is not a directory", home.display())).hint(format!(
            "the home of {} is {}",
            account.name,
            account.home.display()
        )));
    }
    // A directory that the variable names is the user's where that user has it, and has no other home than their own:
    // root's own variable is nothing to somebody else.
    let has = |directory: &Path| directory.metadata().is_ok_and(|found| found.uid() == account.uid);
    let is_theirs = args.user.is_none() || has(invocation.home.root());
    let is_home = args.hp.as_ref().is_none_or(|home| *home == account.home);
    let user_home = args.hp.clone().unwrap_or(account.home);
    let home = match is_named && is_theirs && is_home {
        true => invocation.home.root().to_owned(),
        false => user_home.join(directory),
    };
    let name = args.service_name.clone().unwrap_or_else(|| format!("{}-{}", invocation.voice.program(), account.name));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if !is_name {
        return Err(Failure::new(format!("{name:?} is no name of a service"))
            .detail("allowed are letters, digits, - _ . and @"));
    }
    let path =
        std::env::var("PATH").unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let service =
        Service { name, program, home_variable, home, user: account.name, user_home, path, wait_ip: args.wait_ip };
    if let Some(odd) = [&service.path, &*service.home.to_string_lossy(), &*service.program.to_string_lossy()]
        .iter()
        .find(|text| text.contains(['\n', '\r']))
    {
        return Err(Failure::new(format!("{odd:?} has a line end in it, which no service file can carry")));
    }
    let recipe = boot::recipe(platform, &service);
    Ok(Some((service, recipe)))
}

fn needs_root() -> Failure {
    Failure::new("only root can change what starts at boot")
}

/// Returns our program as it was called: by a link named `pm2` it is PM2's stand-in, and is to be that at boot too.
fn program(invocation: &Invocation) -> Result<PathBuf, Failure> {
    let ours =
        std::env::current_exe().map_err(|error| Failure::new(format!("failed to find our own program: {error}")))?;
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let found = if called.components().count() > 1 {
        std::path::absolute(&called).ok()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|directory| directory.join(&called)).find(|candidate| candidate.is_file())
    };
    let same = found.filter(|found| found.canonicalize().ok() == ours.canonicalize().ok());
    Ok(same.filter(|_| invocation.home.flavour() == Flavour::Pm2).unwrap_or(ours))
}

pub(super) fn below(root: Option<&Path>, file: &Path) -> PathBuf {
    match root {
        Some(root) => root.join(file.strip_prefix("/").unwrap_or(file)),
        None => file.to_owned(),
    }
}

fn write(file: &Path, recipe: &Recipe) -> Result<(), Failure> {
    let written = || -> std::io::Result<()> {
        file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(file, &recipe.text)?;
        std::fs::set_permissions(file, Permissions::from_mode(recipe.mode))
    };
    written().map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))
}

fn call(commands: &[Vec<String>]) -> Result<(), Failure> {
    for command in commands {
        let [program, arguments @ ..] = command.as_slice() else { continue };
        let line = command.join(" ");
        match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(Failure::new(format!("`{line}` failed: {status}"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Failure::new(format!("`{line}` cannot be run: there is no {program} here"))
                    .detail("the file itself is written"));
            }
            Err(error) => return Err(Failure::new(format!("`{line}` cannot be run: {error}"))),
        }
    }
    Ok(())
}
