//! What the kernel knows of a process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

/// Returns the monotonic clock in nanoseconds: the same clock that the tiny program reads.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sends SIGKILL; a process that is gone already is as good.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Returns whether a process runs (a zombie does not).
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Waits until a process has ended; returns whether it did in time. Works for processes that are not ours.
pub fn wait_gone(pid: i32, deadline: Duration) -> bool {
    let Some(raw) = Pid::from_raw(pid) else { return true };
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else { return true };
    let until = Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Returns the proportional set size of some processes, in MiB.
///
/// # Errors
/// When one is gone.
pub fn pss_mib(pids: &[i32]) -> Result<f64> {
    let mut kib = 0.0;
    for pid in pids {
        let file = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&file).with_context(|| format!("could not read {file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup has no Pss")?;
        kib += line.trim().trim_end_matches("kB").trim().parse::<f64>().context("Pss is no number")?;
    }
    Ok(kib / 1024.0)
}

/// Returns the time that some processes, all their threads together, have spent on a CPU.
///
/// # Errors
/// When one is gone.
pub fn cpu_time(pids: &[i32]) -> Result<Duration> {
    let mut ns = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("could not read {tasks}"))? {
            // A thread that ends in between has spent next to nothing since the last look.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(ns))
}

/// Returns every process whose environment names `directory`: the daemon of that state directory, and its workers.
pub fn with_directory_in_environment(directory: &Path) -> Vec<i32> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id() as i32;
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(needle.len()).any(|window| window == needle)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_end_of_a_process_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("1000").env("STATE", directory.path()).spawn().unwrap();
        let pid = child.id() as i32;
        assert!(is_alive(pid));
        assert!(!wait_gone(pid, Duration::from_millis(10)));
        assert!(pss_mib(&[pid]).unwrap() > 0.0);
        assert_eq!(with_directory_in_environment(directory.path()), [pid]);
        kill(pid);
        assert!(wait_gone(pid, Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(!is_alive(pid) && wait_gone(pid, Duration::ZERO));
        assert!(pss_mib(&[pid]).is_err());
    }
}
