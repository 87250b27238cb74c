//! Where the kernel has put a core dump (core(5)).
//!
//! The pattern has what nobody knows any more (the name of the thread, its number) or not to the second (the time): what is
//! not known stands for anything, and the newest file that can be meant is the one, if it was written in the process's life.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rpm_model::Exit;

use crate::exit::{CoreDump, ExitRecord};

/// Entries of one directory that are looked through. In one with more a core may stay unfound.
const ENTRIES_MAX: usize = 10_000;

/// Directories that can be meant, where their names have a part that is not known.
const DIRECTORIES_MAX: usize = 16;

/// A file's time is that of the last tick, and clocks of file systems may be coarser still.
const COARSE: Duration = Duration::from_secs(2);

/// The kernel's number of the first PID namespace (include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Returns where the core of a process is that ran in `cwd`, as far as that can be said.
pub(crate) fn find(record: &ExitRecord, cwd: &Path) -> Option<CoreDump> {
    let Exit::Signal { signal, core: true } = record.exit else { return None };
    let kernel = |name| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    let is_host = fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name == Path::new(FIRST_PID_NAMESPACE));
    let pattern = kernel("core_pattern");
    let pattern = pattern.trim_end_matches('\n');
    if let Some(taken) = taken(pattern, record.pid, is_host) {
        return Some(taken);
    }
    let ends_with_pid = kernel("core_uses_pid").trim() != "0";
    let parts = Dump { pid: record.pid, signal, ends_with_pid }.path(pattern);
    let time = |ms| UNIX_EPOCH + Duration::from_millis(ms);
    let since = time(record.started_at_ms).checked_sub(COARSE)?;
    newest(cwd, &parts, since..=time(record.at_ms) + COARSE).map(CoreDump::File)
}

/// Returns who was given the core, where it is no file of the kernel's.
fn taken(pattern: &str, pid: i32, is_host: bool) -> Option<CoreDump> {
    if let Some(socket) = pattern.strip_prefix('@') {
        return Some(CoreDump::Taken { by: socket.trim_start_matches('@').to_owned(), ask: None });
    }
    let by = pattern.strip_prefix('|')?.split_ascii_whitespace().next()?.to_owned();
    // Seen from elsewhere the process had another number.
    let ask = (is_host && by.ends_with("/systemd-coredump")).then(|| format!("coredumpctl info {pid}"));
    Some(CoreDump::Taken { by, ask })
}

/// What is known of the process.
struct Dump {
    pid: i32,
    signal: i32,
    /// Whether the kernel adds the pid to a pattern that has none (core_uses_pid).
    ends_with_pid: bool,
}

/// A piece of a file name; what is not known may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Known(String),
    Anything,
}

impl Dump {
    /// Returns the pattern as a path, piece by piece of each name.
    fn path(&self, pattern: &str) -> Vec<Vec<Piece>> {
        let mut has_pid = false;
        let mut names = vec![Vec::new()];
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            let piece = match (letter, (letter == '%').then(|| letters.next())) {
                ('/', _) => {
                    names.push(Vec::new());
                    continue;
                }
                // A single one at the end is dropped.
                (_, Some(None)) => break,
                (_, Some(Some('%'))) => Piece::Known("%".to_owned()),
                (_, Some(Some('p'))) => {
                    has_pid = true;
                    Piece::Known(self.pid.to_string())
                }
                (_, Some(Some('s'))) => Piece::Known(self.signal.to_string()),
                // Of the user, the host, the time, the program, the thread.
                (_, Some(Some('c' | 'C' | 'd' | 'e' | 'f' | 'E' | 'F' | 'g' | 'h' | 'i' | 'I' | 'P' | 't' | 'u'))) => {
                    Piece::Anything
                }
                (_, Some(Some(_))) => continue,
                (letter, None) => Piece::Known(letter.to_string()),
            };
            let name = names.last_mut().expect("there is one from the beginning on");
            match (name.last_mut(), &piece) {
                (Some(Piece::Known(known)), Piece::Known(more)) => known.push_str(more),
                (Some(Piece::Anything), Piece::Anything) => {}
                (_, _) => name.push(piece),
            }
        }
        if self.ends_with_pid && !has_pid {
            names.last_mut().expect("as above").push(Piece::Known(format!(".{}", self.pid)));
        }
        names
    }
}

/// Returns the newest file that can be meant and was written then.
fn newest(cwd: &Path, names: &[Vec<Piece>], written: std::ops::RangeInclusive<SystemTime>) -> Option<PathBuf> {
    let (file, directories) = names.split_last()?;
    // An absolute path begins with an empty name.
    let is_absolute = directories.first().is_some_and(Vec::is_empty);
    let mut within = vec![if is_absolute { PathBuf::from("/") } else { cwd.to_owned() }];
    for name in directories.iter().filter(|name| !name.is_empty()) {
        within = within.iter().flat_map(|directory| those_meant(directory, name)).take(DIRECTORIES_MAX).collect();
    }
    let files = within.iter().flat_map(|directory| those_meant(directory, file));
    let dated = files.filter_map(|path| {
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((meta.modified().ok().filter(|at| written.contains(at))?, path))
    });
    dated.max().map(|(_, path)| clean(&path))
}

/// Returns the entries of a directory that a name can mean.
fn those_meant(directory: &Path, name: &[Piece]) -> Vec<PathBuf> {
    if let [Piece::Known(name)] = name {
        return vec![directory.join(name)];
    }
    let entries = fs::read_dir(directory).into_iter().flatten().take(ENTRIES_MAX).flatten();
    let meant = entries.filter(|entry| entry.file_name().to_str().is_some_and(|entry| may_be(name, entry)));
    meant.map(|entry| entry.path()).collect()
}

/// Returns whether a name can be meant by the pieces.
fn may_be(pieces: &[Piece], name: &str) -> bool {
    match pieces {
        [] => name.is_empty(),
        [Piece::Known(known), rest @ ..] => name.strip_prefix(known.as_str()).is_some_and(|name| may_be(rest, name)),
        [Piece::Anything, rest @ ..] => {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| may_be(rest, &name[at..]))
        }
    }
}

fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: Dump = Dump { pid: 42, signal: 11, ends_with_pid: false };

    fn known(text: &str) -> Piece {
        Piece::Known(text.to_owned())
    }

    #[test]
    fn what_is_known_of_a_pattern_is_filled_in() {
        assert_eq!(DUMP.path("core"), [[known("core")]]);
        assert_eq!(DUMP.path("core.%e.%p%"), [vec![known("core."), Piece::Anything, known(".42")]]);
        assert_eq!(
            DUMP.path("/c/%h%u/%%-%s-%X"),
            [vec![], vec![known("c")], vec![Piece::Anything], vec![known("%-11-")]]
        );
        let ends = Dump { ends_with_pid: true, ..DUMP };
        assert_eq!(
            (ends.path("a%p"), ends.path("a")),
            (vec![vec![known("a42")]], vec![vec![known("a"), known(".42")]])
        );
    }

    #[test]
    fn the_newest_that_can_be_meant_is_the_one() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let write = |name: &str, seconds| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::File::create(&path).and_then(|file| file.set_modified(at(seconds))).expect("a file");
            path
        };
        let found = |pattern: &str| newest(root.path(), &DUMP.path(pattern), at(100)..=at(200));
        assert_eq!(found("core"), None);
        // Of a process before, and of one after.
        write("core", 50);
        assert_eq!(found("core"), None);
        write("core", 250);
        assert_eq!(found("core"), None);
        let core = write("core", 150);
        assert_eq!(found("core"), Some(core));
        write("api/node.42.1700", 120);
        let second = write("api/node.42.1800", 130);
        write("api/node.421.1800", 140);
        assert_eq!(found("./%E/%e.%p.%t"), Some(second));
        let absolute = write("by-signal/11", 110);
        assert_eq!(found(&format!("{}/by-signal/%s", root.path().display())), Some(absolute));
    }

    #[test]
    fn who_took_it_is_told_where_it_is_no_file() {
        let pattern = "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t 9223372036854775808 %h";
        let by = "/usr/lib/systemd/systemd-coredump".to_owned();
        let ask = Some("coredumpctl info 42".to_owned());
        assert_eq!(taken(pattern, 42, true), Some(CoreDump::Taken { by: by.clone(), ask }));
        assert_eq!(taken(pattern, 42, false), Some(CoreDump::Taken { by, ask: None }));
        let apport = CoreDump::Taken { by: "/usr/share/apport/apport".to_owned(), ask: None };
        assert_eq!(taken("|/usr/share/apport/apport -p%p", 42, true), Some(apport));
        let socket = CoreDump::Taken { by: "/run/cores".to_owned(), ask: None };
        assert_eq!(taken("@@/run/cores", 42, true), Some(socket));
        assert_eq!(taken("/cores/%p", 42, true), None);
    }
}
