//! Control groups (version 2) for workers with limits, where the host leaves us a part of the tree.
//!
//! ```text
//!   base ─ rpm-HASH_OF_HOME ─┬ LIFE    one for each worker with limits
//!                            └ LIFE
//! ```
//!
//! The base is the group we are in, where that was delegated to us (a systemd unit with `Delegate=yes`, a container); for
//! root, else, the top. A group that hands controllers to its children must have no processes of its own: where all that
//! are in it are ours, they move to a child. A worker enters its group before it executes anything, so whatever it starts
//! is in it too; `stop` finds every member, wherever it went.
//!
//! Files of the kernel, written at once: nothing is waited for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rpm_model::{Home, Life, Limits};
use rpm_sys::proc;

use crate::launch;

/// The child into which our own processes move.
const OWN: &str = "rpm-own";

/// Quotas are given in parts of this, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// Where groups are made.
#[derive(Debug)]
pub(crate) struct Cgroups {
    name: String,
    /// Nothing until a first limit asks for it.
    parent: Option<PathBuf>,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("this machine has no control groups of version 2 (no cgroup2 file system is mounted)")]
    NotMounted,
    #[error(
        "{key} needs the controller {controller:?}, which control groups of version 2 do not have here ({at} offers {offered})"
    )]
    Missing { key: &'static str, controller: &'static str, at: PathBuf, offered: String },
    #[error(
        "no part of the control groups is left to this user ({at}: {error}); a systemd unit with Delegate=yes has one"
    )]
    NotDelegated { at: PathBuf, error: io::Error },
}

impl Cgroups {
    /// Returns those of a home; nothing is looked at yet.
    pub(crate) fn of(home: &Home) -> Self {
        // Two homes must differ, nothing more.
        let hash = launch::hash(home.root().as_os_str().as_encoded_bytes());
        Self { name: format!("rpm-{hash:016x}"), parent: None }
    }

    /// Makes the group of a life, with its limits; returns it with the file by which a process enters it.
    pub(crate) fn create(&mut self, life: Life, limits: &Limits) -> Result<(Group, File), Unavailable> {
        let parent = self.parent(limits)?;
        let group = Group { path: parent.join(life.to_string()) };
        let made = group.make(limits);
        made.map(|procs| (group.clone(), procs)).map_err(|error| {
            group.remove();
            Unavailable::NotDelegated { at: group.path.clone(), error }
        })
    }

    /// Returns the group of a life, if it has one.
    pub(crate) fn of_life(&self, life: Life) -> Option<Group> {
        let parents = self.parent.clone().into_iter().chain(self.candidates().unwrap_or_default());
        let mut groups = parents.map(|parent| {
            let parent = if parent.ends_with(&self.name) { parent } else { parent.join(&self.name) };
            Group { path: parent.join(life.to_string()) }
        });
        groups.find(|group| group.path.is_dir())
    }

    /// Says why limits cannot be kept here; `None` when they can.
    pub(crate) fn refusal(&mut self, limits: &Limits) -> Option<Unavailable> {
        (!limits.is_empty()).then(|| self.parent(limits).err()).flatten()
    }

    /// Removes what is empty, at the end.
    pub(crate) fn remove(&self) {
        let Some(parent) = &self.parent else { return };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            // One that has members stays.
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(parent);
    }

    /// Finds, or makes, the group of our groups, with the controllers that these limits need.
    fn parent(&mut self, limits: &Limits) -> Result<PathBuf, Unavailable> {
        let wanted: Vec<(&str, &str)> = limits.controllers().collect();
        if let Some(parent) = &self.parent
            && has_all(&parent.join("cgroup.subtree_control"), &wanted)
        {
            return Ok(parent.clone());
        }
        let mut failed = Unavailable::NotMounted;
        for base in self.candidates().ok_or(Unavailable::NotMounted)? {
            match self.prepare(&base, &wanted) {
                Ok(parent) => {
                    self.parent = Some(parent.clone());
                    return Ok(parent);
                }
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    /// Returns where our groups may be made, the better first.
    fn candidates(&self) -> Option<Vec<PathBuf>> {
        let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let own = own_path(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
        // An earlier daemon of ours has moved us.
        let own = own.strip_suffix(&format!("/{OWN}")).unwrap_or(&own).trim_start_matches('/').to_owned();
        let mut candidates = vec![mount.join(&own)];
        if !own.is_empty() && rustix::process::geteuid().is_root() {
            candidates.push(mount);
        }
        Some(candidates)
    }

    fn prepare(&self, base: &Path, wanted: &[(&'static str, &'static str)]) -> Result<PathBuf, Unavailable> {
        let offered = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        for (controller, key) in wanted {
            if !offered.split_ascii_whitespace().any(|one| one == *controller) {
                let offered = if offered.trim().is_empty() { "none".into() } else { offered.trim().to_owned() };
                return Err(Unavailable::Missing { key, controller, at: base.into(), offered });
            }
        }
        let not_delegated = |at: &Path| {
            let at = at.to_owned();
            move |error| Unavailable::NotDelegated { at, error }
        };
        if let Err(first) = enable(base, wanted) {
            // Busy: it has processes of its own.
            make_way(base).and_then(|()| enable(base, wanted)).map_err(|_| not_delegated(base)(first))?;
        }
        let parent = base.join(&self.name);
        match fs::create_dir(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(not_delegated(&parent)(error)),
            Ok(()) | Err(_) => {}
        }
        enable(&parent, wanted).map_err(not_delegated(&parent))?;
        Ok(parent)
    }
}

/// The control group of one life.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    fn make(&self, limits: &Limits) -> io::Result<File> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let write = |file: &str, value: String| fs::write(self.path.join(file), value);
        if let Some(memory) = limits.memory_max {
            write("memory.max", memory.0.to_string())?;
            // Together or not at all: a worker without one of its processes is no worker. Kernels before 4.19 have none.
            let _ = write("memory.oom.group", "1".into());
        }
        if let Some(percent) = limits.cpu_max_percent {
            write("cpu.max", format!("{} {PERIOD}", u64::from(percent) * PERIOD / 100))?;
        }
        if let Some(pids) = limits.pids_max {
            write("pids.max", pids.to_string())?;
        }
        File::options().write(true).open(self.path.join("cgroup.procs"))
    }

    /// Returns who is in it.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mut members = Vec::new();
        let mut groups = vec![self.path.clone()];
        // A worker may have made groups of its own below.
        while let Some(group) = groups.pop() {
            members.extend(numbers(&group.join("cgroup.procs")));
            let below = fs::read_dir(&group).into_iter().flatten().flatten();
            groups.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        members
    }

    /// Kills every member at once. Kernels before 5.14 cannot: then the members are killed one by one, as everywhere.
    pub(crate) fn kill(&self) {
        let _ = File::options().write(true).open(self.path.join("cgroup.kill")).and_then(|mut file| {
            use std::io::Write;
            file.write_all(b"1")
        });
    }

    /// Returns whether the kernel has killed members because the group needed more memory than it may have.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        killed.is_some_and(|count| count.trim() != "0")
    }

    /// Removes it when nobody is in it any more.
    pub(crate) fn remove(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                Self { path: entry.path() }.remove();
            }
        }
        // One that has members stays.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Returns the first place where a cgroup2 file system is mounted whole.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let is_v2 = right.split(' ').next() == Some("cgroup2");
        let fields: Vec<&str> = left.split(' ').collect();
        let (root, point) = (fields.get(3)?, fields.get(4)?);
        // Blanks in paths are written as octal numbers; nobody mounts it at such a place.
        (is_v2 && *root == "/" && !point.contains('\\')).then(|| PathBuf::from(point))
    })
}

/// Returns the group of version 2 that this process is in.
fn own_path(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Outside of what this namespace shows.
    (!path.starts_with("/..")).then(|| path.trim_end_matches('/').to_owned())
}

fn has_all(file: &Path, wanted: &[(&str, &str)]) -> bool {
    let enabled = fs::read_to_string(file).unwrap_or_default();
    wanted.iter().all(|(controller, _)| enabled.split_ascii_whitespace().any(|one| one == *controller))
}

/// Hands controllers to the children of a group.
fn enable(group: &Path, wanted: &[(&str, &str)]) -> io::Result<()> {
    let control = group.join("cgroup.subtree_control");
    if has_all(&control, wanted) {
        return Ok(());
    }
    let all: Vec<String> = wanted.iter().map(|(controller, _)| format!("+{controller}")).collect();
    fs::write(control, all.join(" "))
}

/// Moves the processes of a group to a child of it, if all of them are ours.
fn make_way(group: &Path) -> io::Result<()> {
    let there = numbers(&group.join("cgroup.procs"));
    // The keeper's parent is not ours, everything below the keeper is.
    let own = std::process::id() as i32;
    let keeper = proc::stat(own).map_or(own, |stat| stat.ppid);
    let ours: BTreeSet<i32> = proc::descendants(keeper).into_iter().chain([keeper]).collect();
    if there.is_empty() || keeper <= 1 || !there.iter().all(|pid| ours.contains(pid)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let child = group.join(OWN);
    match fs::create_dir(&child) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for pid in there {
        // One that has ended meanwhile need not move.
        let _ = fs::write(child.join("cgroup.procs"), pid.to_string());
    }
    Ok(())
}

fn numbers(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use rpm_model::{Bytes, Flavour, WorkerId};

    use super::*;

    fn cgroups() -> Cgroups {
        Cgroups::of(&Home::new("/home/me/.rpm".into(), Flavour::Rpm))
    }

    #[test]
    fn the_mount_and_the_own_group_are_found() {
        let mounts = "30 31 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("30 31 0:27 / /sys rw - sysfs sysfs rw\n"), None);
        assert_eq!(
            own_path("4:memory:/x\n0::/system.slice/rpm.service\n").as_deref(),
            Some("/system.slice/rpm.service")
        );
        assert_eq!(own_path("0::/\n").as_deref(), Some(""));
        assert_eq!(own_path("0::/../other\n"), None);
    }

    #[test]
    fn limits_are_written_as_the_kernel_wants_them() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(base.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        let mut cgroups = cgroups();
        let limits = Limits { memory_max: Some(Bytes(1 << 20)), cpu_max_percent: Some(150), pids_max: Some(7) };
        let wanted: Vec<_> = limits.controllers().collect();
        let parent = cgroups.prepare(base.path(), &wanted).unwrap();
        assert_eq!(fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap(), "+memory +cpu +pids");
        let life = Life::new(WorkerId(3), 2);
        // The kernel makes this file.
        fs::write(parent.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        fs::create_dir(parent.join(life.to_string())).unwrap();
        fs::write(parent.join(life.to_string()).join("cgroup.procs"), "").unwrap();
        cgroups.parent = Some(parent);
        let (group, _procs) = cgroups.create(life, &limits).unwrap();
        let read = |file: &str| fs::read_to_string(group.path.join(file)).unwrap();
        assert_eq!(
            (read("memory.max"), read("cpu.max"), read("pids.max")),
            ("1048576".into(), "150000 100000".into(), "7".into())
        );
        fs::write(group.path.join("cgroup.procs"), "12\n13\n").unwrap();
        fs::write(group.path.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
        assert_eq!(cgroups.of_life(life).map(|group| group.members()), Some(vec![12, 13]));
        assert!(group.ran_out_of_memory());
    }

    /// With the kernel's own groups, where this user may make some; no controller is needed for membership.
    #[test]
    fn a_family_is_found_and_killed_to_the_last_wherever_it_went() {
        let Some(top) = cgroups().candidates().and_then(|mut all| all.pop()) else { return };
        let base = top.join(format!("rpm-test-{}", std::process::id()));
        if fs::create_dir(&base).is_err() {
            return;
        }
        let mut cgroups = cgroups();
        cgroups.parent = Some(cgroups.prepare(&base, &[]).unwrap());
        let (group, procs) = cgroups.create(Life::new(WorkerId(1), 1), &Limits::default()).unwrap();
        let mut spawn = rpm_sys::spawn::Spawn::new("sh".as_ref());
        // One leaves its session and its parent.
        spawn.args = vec!["-c".as_ref(), "setsid sh -c 'sleep 1000 & exec sleep 1000' & exec sleep 1000".as_ref()];
        spawn.cgroup = Some(std::os::fd::AsFd::as_fd(&procs));
        let spawned = spawn.start().unwrap();
        while group.members().len() < 3 {
            std::thread::yield_now();
        }
        assert!(group.members().contains(&spawned.pid));
        group.remove();
        assert!(group.path.is_dir(), "it has members");
        group.kill();
        let pid = rustix::process::Pid::from_raw(spawned.pid).unwrap();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        while !group.members().is_empty() {
            std::thread::yield_now();
        }
        group.remove();
        assert!(!group.path.exists());
        cgroups.remove();
        fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn a_controller_that_is_not_there_is_named_with_the_key_that_wants_it() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("cgroup.controllers"), "hugetlb\n").unwrap();
        let limits = Limits { pids_max: Some(7), ..Limits::default() };
        let wanted: Vec<_> = limits.controllers().collect();
        let why = cgroups().prepare(base.path(), &wanted).unwrap_err().to_string();
        assert!(why.contains("pids_max") && why.contains("\"pids\"") && why.contains("hugetlb"), "{why}");
    }
}
