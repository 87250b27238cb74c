//! Where the state directory is, and whether it can be trusted.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rpm_model::{Flavour, Home};

use crate::report::Failure;

/// Returns whose names are used: PM2's when the program was called `pm2` or `pm2-something`.
pub fn flavour(argv0: Option<&OsStr>) -> Flavour {
    let name = argv0.map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
    if name == "pm2" || name.starts_with("pm2-") { Flavour::Pm2 } else { Flavour::Rpm }
}

/// Returns the state directory: RPM_HOME or `~/.rpm`, for PM2 its own. Creates nothing.
///
/// # Errors
/// When neither the variable nor HOME is set.
pub fn find(flavour: Flavour, var: impl Fn(&str) -> Option<PathBuf>) -> Result<Home, Failure> {
    let (variable, directory) = match flavour {
        Flavour::Rpm => ("RPM_HOME", ".rpm"),
        Flavour::Pm2 => ("PM2_HOME", ".pm2"),
    };
    let set = |name: &str| var(name).filter(|path| !path.as_os_str().is_empty());
    let root = set(variable).or_else(|| set("HOME").map(|home| home.join(directory))).ok_or_else(|| {
        Failure::new(format!("neither {variable} nor HOME is set"))
            .hint(format!("set {variable} to a directory of yours"))
    })?;
    let root = std::path::absolute(&root).unwrap_or(root);
    let home = Home::new(root, flavour).with_variables(&var);
    // Without a directory of our own nothing can be taken from it.
    Ok(match std::env::current_dir() {
        Ok(directory) => home.with_lists_from(&directory, var),
        Err(_) => home,
    })
}

/// Returns whether the directory is there; refuses one that others could tamper with, since what is asked over the
/// socket in it carries the environment.
///
/// # Errors
/// When it is no directory, belongs to another user, or others can write to it.
pub fn check(home: &Home) -> Result<bool, Failure> {
    let root = home.root();
    match root.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::new(format!("{} cannot be used: {error}", root.display()))),
        Ok(metadata) if !metadata.is_dir() => Err(Failure::new(format!("{} is not a directory", root.display()))),
        Ok(metadata) => {
            trust(root, metadata.uid(), metadata.mode(), rustix::process::geteuid().as_raw())?;
            Ok(true)
        }
    }
}

/// Creates the directory, for us alone, where it is missing.
///
/// # Errors
/// When it cannot be created, and those of [`check`].
pub fn prepare(home: &Home) -> Result<(), Failure> {
    if check(home)? {
        return Ok(());
    }
    let root = home.root();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.map_err(|error| Failure::new(format!("failed to create {}: {error}", root.display())))
}

/// Refuses a saved list outside of the directory that others could have written: it says what is run.
///
/// # Errors
/// When it belongs to another user than us and root, or others can write to it.
pub fn check_lists(home: &Home) -> Result<(), Failure> {
    for list in [home.dump(), home.dump_backup()].into_iter().filter(|list| !list.starts_with(home.root())) {
        // What is not there, or cannot be looked at, is told by whoever reads it.
        let Ok(metadata) = list.metadata() else { continue };
        let us = rustix::process::geteuid().as_raw();
        let owner = if metadata.uid() == 0 { us } else { metadata.uid() };
        trust(&list, owner, metadata.mode(), us)?;
    }
    Ok(())
}

fn trust(path: &Path, owner: u32, mode: u32, us: u32) -> Result<(), Failure> {
    let shown = path.display();
    if owner != us {
        let hint = match path.is_file() {
            true => "point PM2_DUMP_FILE_PATH and PM2_DUMP_BACKUP_FILE_PATH to files of your own",
            false => "point RPM_HOME (PM2_HOME) to a directory of your own",
        };
        return Err(Failure::new(format!("{shown} belongs to another user (uid {owner}, you are uid {us})"))
            .detail("whoever owns it decides what the daemon runs")
            .hint(hint));
    }
    if mode & 0o022 != 0 {
        return Err(Failure::new(format!("{shown} can be written by others (mode {:04o})", mode & 0o7777))
            .detail("whoever can write there decides what the daemon runs")
            .hint(format!("chmod go-w {shown}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_chooses_whose_files_are_used() {
        let flavour = |name: &str| flavour(Some(OsStr::new(name)));
        assert_eq!(flavour("/usr/local/bin/pm2"), Flavour::Pm2);
        assert_eq!(flavour("pm2-runtime"), Flavour::Pm2);
        assert_eq!(flavour("rpm"), Flavour::Rpm);
        assert_eq!(flavour("/opt/pm2/bin/rpm"), Flavour::Rpm);
        assert_eq!(super::flavour(None), Flavour::Rpm);
    }

    #[test]
    fn the_variable_comes_before_the_home_directory() {
        let var = |name: &str| match name {
            "RPM_HOME" => Some(PathBuf::from("/srv/rpm")),
            "HOME" => Some(PathBuf::from("/home/me")),
            _ => None,
        };
        assert_eq!(find(Flavour::Rpm, var).unwrap().root(), Path::new("/srv/rpm"));
        assert_eq!(find(Flavour::Pm2, var).unwrap().root(), Path::new("/home/me/.pm2"));
        assert!(find(Flavour::Rpm, |_| None).is_err());
    }

    #[test]
    fn a_home_that_others_can_change_is_refused() {
        let root = Path::new("/h");
        assert!(trust(root, 1000, 0o40700, 1000).is_ok());
        assert!(trust(root, 1000, 0o40755, 1000).is_ok());
        assert!(trust(root, 1000, 0o40775, 1000).is_err());
        assert!(trust(root, 1000, 0o40757, 1000).is_err());
        assert!(trust(root, 0, 0o40700, 1000).is_err());
    }

    #[test]
    fn a_missing_home_is_created_for_us_alone() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("a/b"), Flavour::Rpm);
        prepare(&home).unwrap();
        assert_eq!(home.root().metadata().unwrap().mode() & 0o777, 0o700);
        prepare(&home).unwrap();
    }
}
