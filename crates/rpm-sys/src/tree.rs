//! Signalling a process together with its descendants.
//!
//! Each one is first held by a pidfd and then checked (its parent is the one we came from, and it is alive), so a number
//! that has changed hands is never hit.

use crate::pidfd::{Pidfd, ProcessRef};
use crate::proc;

/// Sends a signal to all descendants, deepest first, and then to the roots themselves; returns how many it reached.
///
/// `extra_roots` are processes that belong to the same worker without being below `root` any more. SIGKILL goes by
/// [`kill_tree`].
pub fn signal_tree(root: Option<&ProcessRef>, extra_roots: &[ProcessRef], signal: i32) -> usize {
    if signal == libc::SIGKILL {
        return kill_tree(root, extra_roots);
    }
    let roots = || root.into_iter().chain(extra_roots);
    let mut held = Vec::new();
    for root in roots() {
        hold_descendants(root.pid, &mut held);
    }
    let below = held.iter().rev().filter(|one| one.pidfd.signal(signal).is_ok()).count();
    below + roots().filter(|root| root.signal(signal).is_ok()).count()
}

/// Kills the roots and all their descendants, those that are being born meanwhile included.
///
/// They are stopped first: a fork that meets a pending signal does not complete, so once a look finds nobody new, nobody
/// new can come. Only then are they killed; killing at once would let a child that was just born lose its parent, and
/// with that its place in the tree.
pub fn kill_tree(root: Option<&ProcessRef>, extra_roots: &[ProcessRef]) -> usize {
    let roots = || root.into_iter().chain(extra_roots);
    for root in roots() {
        let _gone_is_as_good = root.signal(libc::SIGSTOP);
    }
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mut found = Vec::new();
        for root in roots() {
            hold_descendants(root.pid, &mut found);
        }
        found.retain(|one| held.iter().all(|known| (known.pid, known.start_time) != (one.pid, one.start_time)));
        if found.is_empty() {
            break;
        }
        for one in &found {
            let _gone_is_as_good = one.pidfd.signal(libc::SIGSTOP);
        }
        held.append(&mut found);
    }
    let below = held.iter().rev().filter(|one| one.pidfd.signal(libc::SIGKILL).is_ok()).count();
    below + roots().filter(|root| root.signal(libc::SIGKILL).is_ok()).count()
}

/// A level of the tree is stopped in each round; deeper trees than this are not made by honest programs.
const ROUNDS_MAX: usize = 64;

struct Held {
    pid: i32,
    start_time: u64,
    pidfd: Pidfd,
}

/// Takes hold of the living descendants of a process, parents before their children.
fn hold_descendants(root: i32, held: &mut Vec<Held>) {
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for pid in proc::children(parent) {
            if held.iter().any(|known| known.pid == pid) {
                continue;
            }
            let Ok(pidfd) = Pidfd::open(pid) else { continue };
            let Some(stat) = proc::stat(pid) else { continue };
            if stat.ppid == parent && stat.state != b'Z' && !pidfd.has_exited() {
                held.push(Held { pid, start_time: stat.start_time, pidfd });
                parents.push(pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Three levels; each prints a line and waits. The pipe ends when all of them have gone.
    fn family(script: &str) -> (Child, ProcessRef) {
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let root = ProcessRef::open(child.id() as i32).unwrap().unwrap();
        (child, root)
    }

    #[test]
    fn a_signal_reaches_children_before_their_parents() {
        // The root goes on until its child is gone, so it can tell the order.
        let (mut child, root) = family(
            "trap 'echo root; exit' TERM; sh -c 'trap \"echo child; exit\" TERM; echo up; while :; do sleep 0.01; done' & \
             while :; do wait; done",
        );
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "up");
        assert!(signal_tree(Some(&root), &[], libc::SIGTERM) >= 2);
        let mut rest: Vec<String> = lines.collect();
        rest.sort();
        assert_eq!(rest, ["child", "root"]);
        child.wait().unwrap();
        assert_eq!(signal_tree(Some(&root), &[], libc::SIGTERM), 0);
    }

    #[test]
    fn a_family_that_keeps_forking_is_killed_to_the_last() {
        let (mut child, root) = family(
            "echo up; while :; do sh -c 'while :; do sh -c \"sleep 60 & sleep 0.001\" & sleep 0.002; done' & sleep 0.05; done",
        );
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        // Let it grow: wait until there are grandchildren.
        while proc::descendants(root.pid).len() < 8 {
            std::thread::yield_now();
        }
        // Most of them live for milliseconds, so fewer may be left by now; the root and its loop are there.
        assert!(signal_tree(Some(&root), &[], libc::SIGKILL) >= 2);
        child.wait().unwrap();
        // Whoever was orphaned before we came is not below the root; everyone else held the pipe and has let go.
        let orphans: Vec<ProcessRef> = proc::pids()
            .into_iter()
            .filter_map(proc::stat)
            .filter(|s| s.comm == "sleep" && s.ppid != std::process::id() as i32)
            .filter(|s| {
                std::fs::read_link(format!("/proc/{}/fd/1", s.pid)).is_ok_and(|out| Some(out) == pipe_of(&stdout))
            })
            .filter_map(|s| ProcessRef::open(s.pid).unwrap())
            .collect();
        signal_tree(None, &orphans, libc::SIGKILL);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
    }

    fn pipe_of(reader: &BufReader<std::process::ChildStdout>) -> Option<std::path::PathBuf> {
        use std::os::fd::AsRawFd;
        std::fs::read_link(format!("/proc/self/fd/{}", reader.get_ref().as_raw_fd())).ok()
    }
}
