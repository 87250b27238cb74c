//! The desired state and the counters on disk, for the next daemon of the same boot.
//!
//! What is written here is for a daemon that dies while its workers live on. It is whole for any later process, but not
//! forced to the disk: after a reboot there are no workers left to be found again, and `resurrect` reads the dump.
//!
//! A second copy, at most a second older, is read where somebody has damaged the first, and a third one, which the
//! keeper holds in memory, where somebody has damaged or removed both: workers whose app nobody knows could not be listed
//! or stopped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rpm_model::Life;
use rpm_supervise::Saved;
use serde::{Deserialize, Serialize};

use crate::edge::SavedWish;
use crate::files::{self, Durability};

/// The version this build writes.
const VERSION: u32 = 1;

/// The name by which the keeper knows the third copy.
pub(crate) const HELD: &str = "state";

/// Far more than ten thousand workers need.
const HELD_MAX: usize = 256 << 20;

/// Bytes that are written at a time.
const CHUNK: usize = 16 << 10;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    boot: &'a str,
    saved: &'a Saved,
    processes: BTreeMap<String, Seen>,
    ports: Vec<&'a str>,
    wishes: Vec<SavedWish>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    boot: String,
    saved: Saved,
    #[serde(default)]
    processes: BTreeMap<String, Seen>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    wishes: Vec<SavedWish>,
}

/// A pid, and when that process was started, in clock ticks since boot: with the boot this names a process for ever.
pub(crate) type Seen = (i32, u64);

/// What was read.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) saved: Option<Saved>,
    /// The processes that ran.
    pub(crate) processes: BTreeMap<Life, Seen>,
    /// The names under which the keeper had the listening sockets.
    pub(crate) ports: Vec<String>,
    /// What people have asked of servers of balancers.
    pub(crate) wishes: Vec<SavedWish>,
}

/// Writes the state.
pub(crate) fn write(
    path: &Path,
    boot: &str,
    saved: &Saved,
    processes: impl Iterator<Item = (Life, Seen)>,
    ports: Vec<&str>,
    wishes: Vec<SavedWish>,
) -> io::Result<()> {
    let processes = processes.map(|(life, seen)| (life.to_string(), seen)).collect();
    let written = Written { version: VERSION, boot, saved, processes, ports, wishes };
    // Not as one piece of memory: a thousand workers are a megabyte that the heap would keep.
    files::replace_with(path, Durability::Process, |file| {
        let mut file = BufWriter::with_capacity(CHUNK, file);
        serde_json::to_writer(&mut file, &written)?;
        file.flush()
    })
}

/// Reads the state of this boot; an empty one when there is none.
///
/// A file that cannot be read is put aside, so that nothing is lost and the daemon can go on with the second copy, or
/// with `held`, the one that the keeper has, if it has any and workers with it.
pub(crate) fn read(path: &Path, boot: &str, held: Option<&OwnedFd>) -> State {
    let of_this_boot = |read: &Read| read.boot == boot;
    let second = || {
        let second = read_file(&backup(path)).ok().flatten().filter(of_this_boot)?;
        tracing::warn!("{} was used", backup(path).display());
        Some(second)
    };
    let third = || {
        let content = rpm_sys::fd::read_sealed(held?, HELD_MAX).map_err(|error| error.to_string());
        match content.and_then(|content| parse(&content)) {
            Ok(read) => {
                tracing::warn!("what the keeper remembers of {} was used", path.display());
                Some(read).filter(of_this_boot)
            }
            Err(why) => {
                tracing::error!("the keeper's copy of {} cannot be used: {why}", path.display());
                None
            }
        }
    };
    let read = match read_file(path) {
        Ok(Some(first)) => Some(first).filter(of_this_boot),
        // No damage, unless something runs: it is removed when nothing does any more.
        Ok(None) if held.is_none() => None,
        Ok(None) | Err(Broken) => second().or_else(third),
    };
    read.map_or_else(State::default, State::from)
}

/// Reads the content of a state file, of whatever boot.
pub(crate) fn from_bytes(content: &[u8]) -> Option<State> {
    parse(content).ok().map(State::from)
}

impl From<Read> for State {
    fn from(read: Read) -> Self {
        let processes = read.processes.into_iter().filter_map(|(life, seen)| Some((Life::parse(&life)?, seen)));
        Self { saved: Some(read.saved), processes: processes.collect(), ports: read.ports, wishes: read.wishes }
    }
}

/// Makes the second copy of what was written last, and returns the third, for the keeper.
pub(crate) fn back_up(path: &Path) -> io::Result<OwnedFd> {
    let mut newest = File::open(path)?;
    files::replace_with(&backup(path), Durability::Process, |file| io::copy(&mut newest, file).map(drop))?;
    newest.rewind()?;
    rpm_sys::fd::sealed_copy("rpm-state", &mut newest).map_err(|error| io::Error::from_raw_os_error(error.errno))
}

/// A file is there that is not to be used; it was put aside.
struct Broken;

fn read_file(path: &Path) -> Result<Option<Read>, Broken> {
    let read = match std::fs::read(path) {
        Ok(content) => parse(&content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error.to_string()),
    };
    read.map(Some).map_err(|why| {
        let kept = files::put_aside(path).map(|aside| aside.display().to_string());
        let kept = kept.unwrap_or_else(|error| format!("nowhere ({error})"));
        tracing::error!("{} cannot be used ({why}); it was kept as {kept}", path.display());
        Broken
    })
}

fn parse(content: &[u8]) -> Result<Read, String> {
    // The version first: what else is in a newer file is not for us to judge.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if version > VERSION {
        return Err(format!("it is of version {version}, newer than {VERSION}, which this program reads"));
    }
    let read: Read = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    debug_assert_eq!(read.version, version);
    match read.saved.absurdity() {
        Some(why) => Err(why.to_owned()),
        None => Ok(read),
    }
}

/// Forgets the state: nothing runs any more.
pub(crate) fn remove(path: &Path) {
    for path in [path, &backup(path)] {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{} could not be removed: {error}", path.display());
        }
    }
}

fn backup(path: &Path) -> PathBuf {
    files::with_suffix(path, ".bak")
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;
    use rpm_supervise::Supervisor;

    use super::*;

    #[test]
    fn processes_and_ports_are_found_again_in_the_same_boot_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let seen = (Life::new(WorkerId(3), 7), (4242, 99));
        write(&path, "boot", &Supervisor::new().saved(), [seen].into_iter(), vec!["port/x"], Vec::new()).unwrap();
        let state = read(&path, "boot", None);
        assert_eq!((state.processes, state.ports), ([seen].into(), vec!["port/x".to_owned()]));
        assert!(state.saved.is_some());
        let other = read(&path, "another boot", None);
        assert!(other.saved.is_none() && other.processes.is_empty());
    }

    #[test]
    fn a_damaged_file_is_kept_and_the_second_copy_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let seen = (Life::new(WorkerId(3), 7), (4242, 99));
        write(&path, "boot", &Supervisor::new().saved(), [seen].into_iter(), Vec::new(), Vec::new()).unwrap();
        back_up(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        let mad = String::from_utf8(whole.clone()).unwrap().replacen("\"next_app\":0", "\"next_app\":4294967295", 1);
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        for damaged in cuts.chain([newer.into_bytes(), mad.into_bytes(), b"{}".to_vec(), b"garbage".to_vec()]) {
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path, "boot", None).processes, [seen].into());
            let kept = files::with_suffix(&path, ".broken");
            assert_eq!(std::fs::read(&kept).unwrap(), damaged);
            std::fs::remove_file(kept).unwrap();
        }
        // Both are damaged, or gone, and the keeper has what was written before.
        let held = back_up_of(&path, &whole);
        for path in [&path, &backup(&path)] {
            std::fs::write(path, "garbage").unwrap();
        }
        assert_eq!(read(&path, "boot", Some(&held)).processes, [seen].into());
        assert_eq!(read(&path, "boot", Some(&held)).processes, [seen].into());
        assert!(read(&path, "another boot", Some(&held)).saved.is_none());
        // No file is no damage: nothing runs any more.
        assert!(read(&path, "boot", None).saved.is_none());
    }

    fn back_up_of(path: &Path, content: &[u8]) -> OwnedFd {
        std::fs::write(path, content).unwrap();
        back_up(path).unwrap()
    }

    #[test]
    fn a_file_of_an_earlier_version_names_no_processes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let saved = serde_json::to_value(Supervisor::new().saved()).unwrap();
        let text = serde_json::json!({ "version": 1, "boot": "boot", "saved": saved }).to_string();
        std::fs::write(&path, text).unwrap();
        let state = read(&path, "boot", None);
        assert!(state.saved.is_some() && state.processes.is_empty() && state.ports.is_empty());
    }

    /// The state of a few apps that were started.
    fn of_apps(count: u32) -> Vec<u8> {
        use rpm_supervise::{Command, CommandId, Event};
        let mut core = Supervisor::new();
        for number in 0..count {
            let spec = rpm_model::AppSpec::new(format!("app-{number}"), "/a", "/");
            let command = Command::Resurrect { apps: vec![(spec.into(), true)] };
            core.handle(Default::default(), Event::Command(CommandId(number.into()), command), &mut Vec::new());
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let seen = (0..count).map(|number| (Life::new(WorkerId(number), 1), (4242, 99)));
        write(&path, "boot", &core.saved(), seen, vec!["port/x"], Vec::new()).unwrap();
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn a_cut_or_zeroed_state_is_never_a_shorter_one() {
        let whole = of_apps(5);
        assert!(String::from_utf8_lossy(&whole).contains("app-4"));
        assert_eq!(parse(&whole).unwrap().processes.len(), 5);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut at {length}");
            let mut zeroed = whole.clone();
            zeroed[length..].fill(0);
            assert!(parse(&zeroed).is_err(), "zeros from {length}");
        }
        assert!(parse(&[&whole[..], b"\n"].concat()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_state_or_refused(bytes: Vec<u8>, at: proptest::sample::Index, with: u8) {
            let _no_panic = from_bytes(&bytes);
            let mut one_wrong = of_apps(2);
            let at = at.index(one_wrong.len());
            one_wrong[at] = with;
            let _no_panic = from_bytes(&one_wrong);
        }
    }
}
