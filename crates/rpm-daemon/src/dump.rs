//! The list that `save` writes and `resurrect` reads.
//!
//! The file is a JSON object with a version; unknown fields are left alone by readers. The file before is kept as
//! `.bak`, and is what is read when the newer one cannot be.

use std::io;
use std::path::{Path, PathBuf};

use rpm_model::AppSpec;
use serde::{Deserialize, Serialize};

use crate::files::{self, Durability};

/// The version this build writes.
const VERSION: u32 = 1;

/// One app as it was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpedApp {
    /// What was asked.
    pub spec: AppSpec,
    /// Whether all of its workers were stopped: then it is registered again, and not started.
    pub stopped: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Dump {
    version: u32,
    apps: Vec<DumpedApp>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// There is none.
    #[error("nothing was saved yet: {0} does not exist")]
    Missing(PathBuf),
    /// Neither the file nor its backup can be read.
    #[error("{path} cannot be read: {why}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What stood in the place of a list and could not be read: it is kept.
#[derive(Debug)]
pub struct Aside {
    /// Under which name.
    pub path: PathBuf,
    /// Why it could not be read.
    pub why: String,
}

/// Writes the list, keeping the one before as `.bak`, or under another name when it could not be read: it must neither
/// push out a good backup nor be lost.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, backup: &Path, apps: Vec<DumpedApp>) -> io::Result<Option<Aside>> {
    let content = serde_json::to_vec_pretty(&Dump { version: VERSION, apps })?;
    let mut aside = None;
    if let Ok(before) = std::fs::read(path) {
        match from_bytes(&before) {
            Err(why) if of_pm2(&before).is_none() => aside = Some(Aside { path: files::put_aside(path)?, why }),
            Ok(_) | Err(_) => files::replace(backup, &before, Durability::Disk)?,
        }
    }
    files::replace(path, &content, Durability::Disk)?;
    Ok(aside)
}

/// Writes an empty list in PM2's words. As in PM2, the backup stays what it is.
///
/// # Errors
/// When it cannot be written.
pub fn clear_as_pm2(path: &Path) -> io::Result<()> {
    files::replace(path, b"[]", Durability::Disk)
}

/// Reads the list, or its backup when the list is broken; the second value says so.
///
/// # Errors
/// When there is none, or neither can be read.
pub fn read(path: &Path, backup: &Path) -> Result<(Vec<DumpedApp>, Option<String>), DumpError> {
    match parse(path) {
        Ok(apps) => Ok((apps, None)),
        Err(first) => match parse(backup) {
            Ok(apps) if matches!(first, DumpError::Broken { .. }) => {
                let note = format!("{first}; {} was used", backup.display());
                Ok((apps, Some(note)))
            }
            Ok(apps) => Ok((apps, Some(format!("{} was used", backup.display())))),
            Err(_) => Err(first),
        },
    }
}

fn parse(path: &Path) -> Result<Vec<DumpedApp>, DumpError> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DumpError::Missing(path.to_owned())),
        Err(error) => return Err(DumpError::Broken { path: path.to_owned(), why: error.to_string() }),
    };
    from_bytes(&content).map_err(|why| DumpError::Broken { path: path.to_owned(), why })
}

/// Reads the content of a list, or says why it cannot be read.
///
/// # Errors
/// When it is no list, or one of a newer version.
pub fn from_bytes(content: &[u8]) -> Result<Vec<DumpedApp>, String> {
    // The version first: what else is in a newer file is not for us to judge.
    let Version { version } = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if version > VERSION {
        return Err(format!("it is of version {version}, newer than {VERSION}, which this program reads"));
    }
    serde_json::from_slice::<Dump>(content).map(|dump| dump.apps).map_err(|error| error.to_string())
}

/// Returns whether the saved list has apps in it.
pub(crate) fn has_apps(path: &Path) -> bool {
    let is_pm2s = || std::fs::read(path).is_ok_and(|content| of_pm2(&content).is_some_and(|list| !list.is_empty()));
    parse(path).map_or_else(|_| is_pm2s(), |apps| !apps.is_empty())
}

/// Returns the processes of a list that PM2 has written, where we stand in its place: an array of descriptions.
pub fn of_pm2(content: &[u8]) -> Option<Vec<serde_json::Value>> {
    serde_json::from_slice(content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> DumpedApp {
        DumpedApp { spec: AppSpec::new(name, "/a", "/"), stopped: false }
    }

    fn backup(path: &Path) -> PathBuf {
        PathBuf::from(format!("{}.bak", path.display()))
    }

    #[test]
    fn a_torn_list_falls_back_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump.json");
        write(&path, &backup(&path), vec![app("one")]).unwrap();
        write(&path, &backup(&path), vec![app("two")]).unwrap();
        assert_eq!(read(&path, &backup(&path)).unwrap(), (vec![app("two")], None));

        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (apps, note) = read(&path, &backup(&path)).unwrap();
            assert_eq!(apps, vec![app("one")], "cut at {length}");
            assert!(note.unwrap().contains("dump.json.bak was used"));
        }
        // Saving over the torn list keeps it, and the good backup.
        let aside = write(&path, &backup(&path), vec![app("three")]).unwrap().unwrap();
        assert_eq!(std::fs::read(aside.path).unwrap(), whole[..whole.len() - 2]);
        std::fs::write(&path, b"garbage").unwrap();
        assert_eq!(read(&path, &backup(&path)).unwrap().0, vec![app("one")]);
    }

    #[test]
    fn a_list_of_pm2_is_kept_and_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump.pm2");
        std::fs::write(&path, r#"[{"name": "api"}]"#).unwrap();
        assert!(has_apps(&path), "an empty list must not replace it");
        write(&path, &backup(&path), vec![app("one")]).unwrap();
        assert_eq!(of_pm2(&std::fs::read(backup(&path)).unwrap()).unwrap()[0]["name"], "api");
        assert!(of_pm2(&std::fs::read(&path).unwrap()).is_none());
    }

    #[test]
    fn no_list_is_not_a_broken_list() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            read(&directory.path().join("dump.json"), &directory.path().join("dump.json.bak")),
            Err(DumpError::Missing(_))
        ));
    }
}
