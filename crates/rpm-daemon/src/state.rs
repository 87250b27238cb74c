//! The desired state and the counters on disk, for the next daemon of the same boot.
//!
//! What is written here is for a daemon that dies while its workers live on. It is whole for any later process, but not
//! forced to the disk: after a reboot there are no workers left to be found again, and `resurrect` reads the dump.
//!
//! A second copy, at most a second older, is read where somebody has damaged the first, and a third one, which the
//! keeper holds in memory, where somebody has damaged or removed both: workers whose app nobody knows could not be listed
//! or stopped. What a full disk does not take the keeper holds instead, until it does.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rpm_model::{Life, Moment, Unknown};
use rpm_supervise::Saved;
use serde::{Deserialize, Serialize};

use crate::edge::SavedWish;
use crate::files::{self, Durability};

/// The version this build writes.
const VERSION: u32 = 1;

/// The name by which the keeper knows the third copy.
pub(crate) const HELD: &str = "state";

/// The name by which the keeper knows a state that is newer than any on the disk.
pub(crate) const UNWRITTEN: &str = "state/unwritten";

/// Far more than ten thousand workers need.
const HELD_MAX: usize = 256 << 20;

/// Bytes that are written at a time.
const CHUNK: usize = 16 << 10;

/// What is written.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    version: u32,
    /// When this is: of two, the later one is right.
    at: Moment,
    boot: &'a str,
    saved: &'a Saved,
    processes: BTreeMap<String, Seen>,
    ports: Vec<&'a str>,
    wishes: Vec<SavedWish>,
    traces: BTreeMap<String, Trace>,
    #[serde(flatten)]
    unknown: &'a Unknown,
}

impl<'a> Written<'a> {
    pub(crate) fn new(
        at: Moment,
        boot: &'a str,
        saved: &'a Saved,
        processes: impl Iterator<Item = (Life, Seen)>,
        ports: Vec<&'a str>,
        wishes: Vec<SavedWish>,
        unknown: &'a Unknown,
    ) -> Self {
        let processes = processes.map(|(life, seen)| (life.to_string(), seen)).collect();
        let traces = BTreeMap::new();
        Self { version: VERSION, at, boot, saved, processes, ports, wishes, traces, unknown }
    }

    /// Adds what ends are told by.
    pub(crate) fn with_traces(mut self, traces: impl Iterator<Item = (Life, Trace)>) -> Self {
        self.traces = traces.map(|(life, trace)| (life.to_string(), trace)).collect();
        self
    }
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    #[serde(default)]
    at: Moment,
    boot: String,
    saved: Saved,
    #[serde(default)]
    processes: BTreeMap<String, Seen>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    wishes: Vec<SavedWish>,
    #[serde(default)]
    traces: BTreeMap<String, Trace>,
    #[serde(default, flatten)]
    unknown: Unknown,
}

/// A pid, and when that process was started, in clock ticks since boot: with the boot this names a process for ever.
pub(crate) type Seen = (i32, u64);

/// What the record of a life's end needs and only its daemon knew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Where its part of the logs begins: of standard output, of standard error.
    pub(crate) log_from: [u64; 2],
    /// Who has asked it to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked_by: Option<String>,
}

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
    /// What ends are told by.
    pub(crate) traces: BTreeMap<Life, Trace>,
    /// What a newer daemon has written besides.
    pub(crate) unknown: Unknown,
}

/// Writes the state.
pub(crate) fn write(path: &Path, written: &Written<'_>) -> io::Result<()> {
    // Not as one piece of memory: a thousand workers are a megabyte that the heap would keep.
    files::replace_with(path, Durability::Process, |file| {
        let mut file = BufWriter::with_capacity(CHUNK, file);
        serde_json::to_writer(&mut file, written)?;
        file.flush()
    })
}

/// Writes the state into a memory file, for the keeper, unless it says what `known` is the hash of; returns the hash, too.
pub(crate) fn in_memory(written: &mut Written<'_>, known: Option<u64>) -> io::Result<Option<(OwnedFd, u64)>> {
    let at = std::mem::take(&mut written.at);
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(written)?.hash(&mut hasher);
    written.at = at;
    let hash = hasher.finish();
    if known == Some(hash) {
        return Ok(None);
    }
    let file = rpm_sys::fd::sealed_memory_file("rpm-state", &serde_json::to_vec(written)?);
    file.map(|file| Some((file, hash))).map_err(|error| io::Error::from_raw_os_error(error.errno))
}

/// Copies of the state that the keeper has, where processes run.
#[derive(Default)]
pub(crate) struct Kept {
    /// The one that is newer than any on the disk.
    pub(crate) unwritten: Option<OwnedFd>,
    /// The third copy.
    pub(crate) third: Option<OwnedFd>,
}

/// Reads the state of this boot; an empty one when there is none.
///
/// A file that cannot be read is put aside, so that nothing is lost and the daemon can go on with the second copy, or
/// with one that the keeper has.
pub(crate) fn read(path: &Path, boot: &str, kept: &Kept) -> State {
    let of_this_boot = |read: &Read| read.boot == boot;
    let second = || {
        let second = read_file(&backup(path)).ok().flatten().filter(of_this_boot)?;
        tracing::warn!("{} was used", backup(path).display());
        Some(second)
    };
    let keepers = |copy: &Option<OwnedFd>, which: &str| {
        let content = rpm_sys::fd::read_sealed(copy.as_ref()?, HELD_MAX).map_err(|error| error.to_string());
        match content.and_then(|content| parse(&content)) {
            Ok(read) => {
                tracing::warn!("what the keeper {which} {} was used", path.display());
                Some(read).filter(of_this_boot)
            }
            Err(why) => {
                tracing::error!("the keeper's copy of {} cannot be used: {why}", path.display());
                None
            }
        }
    };
    let written = match read_file(path) {
        Ok(Some(first)) => Some(first).filter(of_this_boot),
        // No damage, unless something runs: it is removed when nothing does any more.
        Ok(None) if kept.third.is_none() => None,
        Ok(None) | Err(Broken) => second().or_else(|| keepers(&kept.third, "remembers of")),
    };
    let at = written.as_ref().map(|read| read.at);
    let read = keepers(&kept.unwritten, "holds for").filter(|read| Some(read.at) > at).or(written);
    read.map_or_else(State::default, State::from)
}

/// Reads the content of a state file, of whatever boot.
pub(crate) fn from_bytes(content: &[u8]) -> Option<State> {
    parse(content).ok().map(State::from)
}

impl From<Read> for State {
    fn from(read: Read) -> Self {
        let processes = read.processes.into_iter().filter_map(|(life, seen)| Some((Life::parse(&life)?, seen)));
        let traces = read.traces.into_iter().filter_map(|(life, trace)| Some((Life::parse(&life)?, trace)));
        Self {
            saved: Some(read.saved),
            processes: processes.collect(),
            ports: read.ports,
            wishes: read.wishes,
            traces: traces.collect(),
            unknown: read.unknown,
        }
    }
}

/// Makes the second copy of what was written last.
pub(crate) fn back_up(path: &Path) -> io::Result<()> {
    let mut newest = File::open(path)?;
    files::replace_with(&backup(path), Durability::Process, |file| io::copy(&mut newest, file).map(drop))
}

/// Returns the third copy of what was written last, for the keeper.
pub(crate) fn copy(path: &Path) -> io::Result<OwnedFd> {
    let copied = rpm_sys::fd::sealed_copy("rpm-state", &mut File::open(path)?);
    copied.map_err(|error| io::Error::from_raw_os_error(error.errno))
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
        write_some(&path, &Supervisor::new().saved(), [seen].into_iter());
        let state = read(&path, "boot", &Kept::default());
        assert_eq!((state.processes, state.ports), ([seen].into(), vec!["port/x".to_owned()]));
        assert!(state.saved.is_some());
        let other = read(&path, "another boot", &Kept::default());
        assert!(other.saved.is_none() && other.processes.is_empty());
    }

    #[test]
    fn a_damaged_file_is_kept_and_the_second_copy_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let seen = (Life::new(WorkerId(3), 7), (4242, 99));
        write_some(&path, &Supervisor::new().saved(), [seen].into_iter());
        back_up(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        let mad = String::from_utf8(whole.clone()).unwrap().replacen("\"next_app\":0", "\"next_app\":4294967295", 1);
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        for damaged in cuts.chain([newer.into_bytes(), mad.into_bytes(), b"{}".to_vec(), b"garbage".to_vec()]) {
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path, "boot", &Kept::default()).processes, [seen].into());
            let kept = files::with_suffix(&path, ".broken");
            assert_eq!(std::fs::read(&kept).unwrap(), damaged);
            std::fs::remove_file(kept).unwrap();
        }
        // Both are damaged, or gone, and the keeper has what was written before.
        let held = Kept { third: Some(back_up_of(&path, &whole)), unwritten: None };
        for path in [&path, &backup(&path)] {
            std::fs::write(path, "garbage").unwrap();
        }
        assert_eq!(read(&path, "boot", &held).processes, [seen].into());
        assert_eq!(read(&path, "boot", &held).processes, [seen].into());
        assert!(read(&path, "another boot", &held).saved.is_none());
        // No file is no damage: nothing runs any more.
        assert!(read(&path, "boot", &Kept::default()).saved.is_none());
    }

    #[test]
    fn what_the_disk_did_not_take_is_newer_than_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let (older, newer) = ((Life::new(WorkerId(3), 7), (4242, 99)), (Life::new(WorkerId(3), 8), (4243, 100)));
        let saved = Supervisor::new().saved();
        write_some(&path, &saved, [older].into_iter());
        let unknown = Unknown::default();
        let newer_at =
            |at| Written::new(Moment(at), "boot", &saved, [newer].into_iter(), Vec::new(), Vec::new(), &unknown);
        let (file, hash) = in_memory(&mut newer_at(8), None).unwrap().unwrap();
        assert!(in_memory(&mut newer_at(9), Some(hash)).unwrap().is_none(), "nothing has changed");
        let kept = Kept { unwritten: Some(file), third: None };
        assert_eq!(read(&path, "boot", &kept).processes, [newer].into());
        assert!(read(&path, "another boot", &kept).processes.is_empty());
        // The daemon was killed when the disk had taken it, and before the keeper was told.
        let (file, _) = in_memory(&mut newer_at(6), None).unwrap().unwrap();
        let kept = Kept { unwritten: Some(file), third: None };
        assert_eq!(read(&path, "boot", &kept).processes, [older].into());
    }

    fn write_some(path: &Path, saved: &Saved, seen: impl Iterator<Item = (Life, Seen)>) {
        let unknown = Unknown::default();
        write(path, &Written::new(Moment(7), "boot", saved, seen, vec!["port/x"], Vec::new(), &unknown)).unwrap();
    }

    fn back_up_of(path: &Path, content: &[u8]) -> OwnedFd {
        std::fs::write(path, content).unwrap();
        back_up(path).unwrap();
        copy(path).unwrap()
    }

    #[test]
    fn a_file_of_an_earlier_version_names_no_processes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let saved = serde_json::to_value(Supervisor::new().saved()).unwrap();
        let text = serde_json::json!({ "version": 1, "boot": "boot", "saved": saved }).to_string();
        std::fs::write(&path, text).unwrap();
        let state = read(&path, "boot", &Kept::default());
        assert!(state.saved.is_some() && state.processes.is_empty() && state.ports.is_empty());
    }

    /// The state of a few apps that were started.
    fn of_apps(count: u32) -> Vec<u8> {
        use rpm_supervise::{Command, CommandId, Event, Resurrected};
        let mut core = Supervisor::new();
        for number in 0..count {
            let spec = rpm_model::AppSpec::new(format!("app-{number}"), "/a", "/");
            let app = Resurrected { spec: spec.into(), is_stopped: true, is_scaled_by_hand: false };
            let command = Command::Resurrect { apps: vec![app] };
            core.handle(Default::default(), Event::Command(CommandId(number.into()), command), &mut Vec::new());
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let seen = (0..count).map(|number| (Life::new(WorkerId(number), 1), (4242, 99)));
        write_some(&path, &core.saved(), seen);
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
