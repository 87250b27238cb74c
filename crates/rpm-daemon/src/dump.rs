//! The list that `save` writes and `resurrect` reads.
//!
//! The file is a JSON object with a version; unknown fields are left alone by readers. The file before is kept as
//! `.bak`, and is what is read when the newer one cannot be.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rpm_model::{AppSpec, Unknown};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::files::{self, Durability};

/// The version this build writes.
const VERSION: u32 = 1;

/// Ten thousand apps with a kilobyte of environment each are a sixth of it: what is larger is another file.
const LIST_MAX: u64 = 64 << 20;

/// One app as it was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpedApp {
    /// What was asked.
    #[serde(with = "rpm_model::unknown::deep")]
    pub spec: AppSpec,
    /// Whether all of its workers were stopped: then it is registered again, and not started.
    pub stopped: bool,
    /// Whether people decide on its number of workers, although it has `autoscale`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autoscale_off: bool,
    /// What a newer program has saved besides.
    #[serde(default, flatten)]
    pub unknown: Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
struct Dump {
    version: u32,
    apps: Vec<DumpedApp>,
    #[serde(default, flatten)]
    unknown: Unknown,
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
#[derive(Debug, thiserror::Error)]
#[error("{list} could not be read ({why}); it was kept as {path}")]
pub struct Aside {
    /// The list.
    pub list: PathBuf,
    /// Under which name it is kept.
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
    let mut dump = Dump { version: VERSION, apps, unknown: Unknown::default() };
    let mut aside = None;
    refuse_what_is_no_file(path)?;
    refuse_what_is_no_file(backup)?;
    if let Ok(before) = content(path) {
        match parse_content(&before) {
            Err(why) if of_pm2(&before).is_none() => {
                aside = Some(Aside { list: path.to_owned(), path: files::put_aside(path)?, why })
            }
            Ok(former) => {
                dump.inherit(former);
                files::replace(backup, &before, Durability::Disk)?;
            }
            Err(_) => files::replace(backup, &before, Durability::Disk)?,
        }
    }
    let content = serde_json::to_vec_pretty(&dump)?;
    files::replace(path, &content, Durability::Disk)?;
    Ok(aside)
}

/// Writes an empty list in PM2's words. As in PM2, the backup stays what it is.
///
/// # Errors
/// When it cannot be written.
pub fn clear_as_pm2(path: &Path) -> io::Result<()> {
    refuse_what_is_no_file(path)?;
    files::replace(path, b"[]", Durability::Disk)
}

/// Reads the list, or its backup when the list is broken; the second value says so.
///
/// # Errors
/// When there is none, or neither can be read: then both are named.
pub fn read(path: &Path, backup: &Path) -> Result<(Vec<DumpedApp>, Option<String>), DumpError> {
    use DumpError::{Broken, Missing};
    let first = match parse(path) {
        Ok(apps) => return Ok((apps, None)),
        Err(first) => first,
    };
    let used = |note: String| Some(format!("{note}{} was used", backup.display()));
    match (first, parse(backup)) {
        (first @ Broken { .. }, Ok(apps)) => Ok((apps, used(format!("{first}; ")))),
        (Missing(_), Ok(apps)) => Ok((apps, used(String::new()))),
        (first, Err(Missing(_))) => Err(first),
        (Missing(_), Err(second)) => Err(second),
        (Broken { path, why }, Err(second)) => Err(Broken { path, why: format!("{why}; and {second}") }),
    }
}

fn parse(path: &Path) -> Result<Vec<DumpedApp>, DumpError> {
    let content = match content(path) {
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
    parse_content(content).map(|dump| dump.apps)
}

fn parse_content(content: &[u8]) -> Result<Dump, String> {
    // The version first: what else is in a newer file is not for us to judge.
    let Version { version } = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if version > VERSION {
        return Err(format!("it is of version {version}, newer than {VERSION}, which this program reads"));
    }
    serde_json::from_slice(content).map_err(|error| error.to_string())
}

impl Dump {
    /// Takes what a newer program has saved from the list that this one replaces. What is in the specs comes along with
    /// the apps.
    fn inherit(&mut self, former: Self) {
        self.unknown = former.unknown;
        for old in former.apps.into_iter().filter(|app| !app.unknown.is_empty()) {
            if let Some(app) = self.apps.iter_mut().find(|app| app.spec.name == old.spec.name) {
                app.unknown = old.unknown;
            }
        }
    }
}

/// Returns whether the saved list has apps in it.
pub(crate) fn has_apps(path: &Path) -> bool {
    let is_pm2s = || content(path).is_ok_and(|content| of_pm2(&content).is_some_and(|list| !list.is_empty()));
    parse(path).map_or_else(|_| is_pm2s(), |apps| !apps.is_empty())
}

/// Reads the file of a list. A pipe, which would never end, and a device are none.
///
/// # Errors
/// When it cannot be read, or is no list by its kind or its size.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    let not_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(not_waiting).open(path)?;
    refuse_by_kind(&file.metadata()?)?;
    let mut content = Vec::new();
    file.take(LIST_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIST_MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB, and no list", LIST_MAX >> 20)));
    }
    Ok(content)
}

/// What stands at a path is replaced, so it must be something that a list may take the place of.
fn refuse_what_is_no_file(path: &Path) -> io::Result<()> {
    path.metadata().map_or(Ok(()), |metadata| refuse_by_kind(&metadata))
}

fn refuse_by_kind(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(if metadata.is_dir() { "it is a directory" } else { "it is no regular file" })),
    }
}

/// Returns the processes of a list that PM2 has written, where we stand in its place: an array of descriptions.
pub fn of_pm2(content: &[u8]) -> Option<Vec<serde_json::Value>> {
    serde_json::from_slice(content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> DumpedApp {
        DumpedApp {
            spec: AppSpec::new(name, "/a", "/"),
            stopped: false,
            autoscale_off: false,
            unknown: Unknown::default(),
        }
    }

    fn list(apps: Vec<DumpedApp>) -> Dump {
        Dump { version: VERSION, apps, unknown: Unknown::default() }
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
    fn two_broken_lists_are_both_named_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump.json");
        for (first, second) in [("", "garbage"), ("\0\0\0", "{}"), ("{\"version\":99}", "[1")] {
            std::fs::write(&path, first).unwrap();
            std::fs::write(backup(&path), second).unwrap();
            let error = read(&path, &backup(&path)).unwrap_err();
            assert!(matches!(error, DumpError::Broken { .. }));
            let error = error.to_string();
            assert!(error.contains("dump.json cannot be read") && error.contains("dump.json.bak cannot be"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), first, "reading changes nothing");
        }
        // No list, and a backup that cannot be read, is not the same as nothing saved.
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, &backup(&path)).unwrap_err().to_string().contains("dump.json.bak cannot be read"));
    }

    #[test]
    fn a_broken_list_is_kept_aside_when_another_is_saved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump.json");
        write(&path, &backup(&path), vec![app("one")]).unwrap();
        write(&path, &backup(&path), vec![app("two")]).unwrap();
        let newer = std::fs::read_to_string(&path).unwrap().replacen("\"version\": 1", "\"version\": 2", 1);
        for (number, broken) in ["garbage", &newer, "\0\0"].into_iter().enumerate() {
            std::fs::write(&path, broken).unwrap();
            let aside = write(&path, &backup(&path), vec![app("three")]).unwrap().unwrap();
            let suffix = if number == 0 { ".broken".to_owned() } else { format!(".broken.{number}") };
            assert_eq!(aside.path, files::with_suffix(&path, &suffix));
            assert_eq!(std::fs::read_to_string(files::with_suffix(&path, &suffix)).unwrap(), broken);
            assert_eq!(read(&path, &backup(&path)).unwrap().0, vec![app("three")]);
            assert_eq!(parse(&backup(&path)).unwrap(), vec![app("one")], "a good backup stays");
        }
    }

    #[test]
    fn a_long_list_that_is_cut_is_never_a_shorter_one() {
        let apps: Vec<DumpedApp> = (0..20).map(|number| app(&format!("app-{number}"))).collect();
        let pretty = serde_json::to_vec_pretty(&list(apps.clone())).unwrap();
        for length in 0..pretty.len() {
            assert!(from_bytes(&pretty[..length]).is_err(), "cut at {length}");
            // What a file system leaves of blocks that were never written.
            let mut zeroed = pretty.clone();
            zeroed[length..].fill(0);
            assert!(from_bytes(&zeroed).is_err(), "zeros from {length}");
        }
        // Only white space behind it is no loss.
        assert_eq!(from_bytes(&[&pretty[..], b"\n \n"].concat()).unwrap(), apps);
        assert!(from_bytes(&[&pretty[..], b"\n}"].concat()).is_err());
    }

    #[test]
    fn unknown_fields_are_no_damage_and_another_version_is() {
        let mut dump = serde_json::to_value(list(vec![app("one")])).unwrap();
        dump["later"] = serde_json::json!({ "a": [1] });
        dump["apps"][0]["later"] = 1.into();
        assert_eq!(from_bytes(dump.to_string().as_bytes()).unwrap()[0].spec, app("one").spec);
        dump["apps"][0]["spec"]["later"] = "x".into();
        assert_eq!(from_bytes(dump.to_string().as_bytes()).unwrap()[0].spec.name, "one");
        dump["version"] = 0.into();
        assert_eq!(from_bytes(dump.to_string().as_bytes()).unwrap()[0].spec.name, "one", "an older one");
        for version in [serde_json::json!(2), (-1).into(), 1.5.into(), "1".into(), serde_json::Value::Null] {
            dump["version"] = version;
            assert!(from_bytes(dump.to_string().as_bytes()).is_err(), "{dump}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_list_or_refused(bytes: Vec<u8>, at: proptest::sample::Index, with: u8) {
            let _no_panic = (from_bytes(&bytes), of_pm2(&bytes));
            let apps = vec![app("one"), app("two")];
            let mut one_wrong = serde_json::to_vec_pretty(&list(apps)).unwrap();
            let at = at.index(one_wrong.len());
            one_wrong[at] = with;
            if let Ok(apps) = from_bytes(&one_wrong) {
                assert_eq!(apps.len(), 2);
            }
        }
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
    fn what_a_newer_program_has_saved_is_saved_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump.json");
        let mut newer = serde_json::to_value(list(vec![app("gone"), app("one")])).unwrap();
        newer["later"] = serde_json::json!({ "a": [1] });
        newer["apps"][1]["later"] = 1.into();
        newer["apps"][1]["spec"]["later"] = "x".into();
        std::fs::write(&path, newer.to_string()).unwrap();
        // What `resurrect` has read, and the daemon saves: fields beside the spec do not come so far.
        let spec = read(&path, &backup(&path)).unwrap().0.remove(1).spec;
        let saved = DumpedApp { spec, stopped: true, autoscale_off: false, unknown: Unknown::default() };
        write(&path, &backup(&path), vec![saved, app("new")]).unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(kept["later"], newer["later"]);
        assert_eq!((&kept["apps"][0]["later"], &kept["apps"][0]["stopped"]), (&1.into(), &true.into()));
        assert_eq!(kept["apps"][0]["spec"]["later"], "x");
        assert!(kept["apps"][1].get("later").is_none());
    }

    #[test]
    fn only_a_file_is_read_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("null")).unwrap();
        for name in ["pipe", "directory", "null"] {
            assert!(write(&at(name), &at("backup"), vec![app("one")]).is_err(), "{name}");
            assert!(write(&at("list"), &at(name), vec![app("one")]).is_err(), "{name}");
            assert!(clear_as_pm2(&at(name)).is_err(), "{name}");
            assert!(matches!(read(&at(name), &at("backup")), Err(DumpError::Broken { .. })), "{name}");
            assert!(!has_apps(&at(name)) && !at(name).metadata().unwrap().is_file(), "{name}");
        }
        assert!(!at("list").exists() && !at("backup").exists());
        // A link to a list is replaced; what it pointed to stays.
        write(&at("theirs"), &at("backup"), vec![app("theirs")]).unwrap();
        std::os::unix::fs::symlink(at("theirs"), at("link")).unwrap();
        write(&at("link"), &at("backup"), vec![app("one")]).unwrap();
        assert_eq!(parse(&at("theirs")).unwrap(), vec![app("theirs")]);
        assert_eq!(parse(&at("link")).unwrap(), vec![app("one")]);
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
