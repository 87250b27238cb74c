//! The directories that are watched: one inotify watch each, shared by the apps that look at it.
//!
//! Directories that do not matter (`node_modules`) are not watched at all, so the kernel's limits last long. inotify is
//! used directly: a library would also hear of every file that is opened or read, which is what servers do all day.
//!
//! Races are closed by looking after watching: whatever is found in a directory that has just come counts as changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rpm_model::AppId;
use rpm_trigger::Rules;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// What is asked of the kernel. Not: that files are opened, read or closed.
const NEWS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK);

/// The kernel's own directories: endless, and always changing. They are watched only by name.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Room for a few hundred events in one read.
const SPACE: usize = 16 * 1024;

/// All directories of all apps.
pub(super) struct Tree {
    inotify: OwnedFd,
    apps: BTreeMap<AppId, Watched>,
    /// What each watch stands for: an app and the path by which it knows the place. Two paths may lead to one place.
    places: BTreeMap<i32, BTreeSet<(AppId, PathBuf)>>,
}

/// What one app looks at.
struct Watched {
    rules: Rules,
    follow_symlinks: bool,
}

/// What happened to the files of one app since it was last asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The first path that changed.
    pub(super) changed: Option<PathBuf>,
    /// Why not everything can be watched.
    pub(super) problem: Option<String>,
}

/// News by app.
pub(super) type AllTold = BTreeMap<AppId, Told>;

impl Tree {
    pub(super) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self { inotify: inotify::init(flags)?, apps: BTreeMap::new(), places: BTreeMap::new() })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Begins to watch for an app, in the place of what was watched for it before.
    pub(super) fn add(&mut self, app: AppId, rules: Rules, follow_symlinks: bool, told: &mut AllTold) {
        self.remove(app);
        self.apps.insert(app, Watched { rules, follow_symlinks });
        self.walk_roots(app, told);
    }

    /// Ends the watching for an app.
    pub(super) fn remove(&mut self, app: AppId) {
        if self.apps.remove(&app).is_some() {
            self.leave(|place| place.0 == app);
        }
    }

    /// Takes what the kernel has to tell, without waiting.
    pub(super) fn read(&mut self, told: &mut AllTold) -> io::Result<()> {
        let mut events = Vec::new();
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    events.push((event.wd(), event.events(), name));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // What is left is told by the next call.
            if reader.is_buffer_empty() {
                break;
            }
        }
        for (wd, what, name) in events {
            self.take(wd, what, name.as_deref(), told);
        }
        Ok(())
    }

    fn take(&mut self, wd: i32, what: ReadFlags, name: Option<&OsStr>, told: &mut AllTold) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.look_at_everything(told);
        }
        if what.contains(ReadFlags::IGNORED) {
            return self.gone(wd, told);
        }
        if what.contains(ReadFlags::MOVE_SELF) {
            // It may lie anywhere now. Where its directory is watched, that one has told of it already.
            let moved: Vec<_> = self.places.get(&wd).into_iter().flatten().cloned().collect();
            for (app, path) in moved.into_iter().filter(|(_, path)| !path.exists()) {
                self.leave(|place| place.0 == app && place.1.starts_with(&path));
                self.find_roots(app, &path, told);
            }
            return;
        }
        for (app, place) in self.places.get(&wd).cloned().unwrap_or_default() {
            let path = match name {
                Some(name) => place.join(name),
                // A directory's own attributes are nobody's business; a file that is watched by itself has changed.
                None if what.contains(ReadFlags::ISDIR) => continue,
                None => place,
            };
            let Some(watched) = self.apps.get(&app) else { continue };
            if watched.rules.matters(&path) {
                changed(app, &path, told);
            }
            if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                self.walk(app, &path, true, told);
            } else if what.contains(ReadFlags::MOVED_FROM | ReadFlags::ISDIR) {
                self.leave(|place| place.0 == app && place.1.starts_with(&path));
            }
        }
    }

    /// The kernel has dropped a watch: the directory is gone, or we let go of it.
    fn gone(&mut self, wd: i32, told: &mut AllTold) {
        for (app, path) in self.places.remove(&wd).unwrap_or_default() {
            self.find_roots(app, &path, told);
        }
    }

    /// Looks for an app's roots anew when one of them was in a directory that is gone: they may come back.
    fn find_roots(&mut self, app: AppId, gone: &Path, told: &mut AllTold) {
        let Some(watched) = self.apps.get(&app) else { return };
        if watched.rules.roots().any(|root| root.starts_with(gone)) {
            self.walk_roots(app, told);
        }
    }

    /// The kernel had more to tell than it could hold: anything may have changed.
    fn look_at_everything(&mut self, told: &mut AllTold) {
        for app in self.apps.keys().copied().collect::<Vec<_>>() {
            let root = self.apps[&app].rules.roots().next().map(Path::to_owned);
            changed(app, &root.unwrap_or_default(), told);
            self.walk_roots(app, told);
        }
    }

    fn walk_roots(&mut self, app: AppId, told: &mut AllTold) {
        let Some(watched) = self.apps.get(&app) else { return };
        let roots: BTreeSet<PathBuf> = watched.rules.roots().filter_map(nearest_directory).collect();
        for root in roots {
            self.walk(app, &root, false, told);
        }
    }

    /// Watches a directory and all below it that may matter. In one that is new, what is found has changed.
    fn walk(&mut self, app: AppId, start: &Path, is_new: bool, told: &mut AllTold) {
        let Some(watched) = self.apps.get(&app) else { return };
        // Symbolic links may lead round in circles.
        let mut seen: BTreeSet<i32> = BTreeSet::new();
        let mut stack = vec![start.to_owned()];
        while let Some(path) = stack.pop() {
            let is_root = watched.rules.roots().any(|root| root == path);
            if !watched.rules.enters(&path) || (!is_root && KERNELS.iter().any(|kernels| path == Path::new(kernels))) {
                continue;
            }
            let link = if watched.follow_symlinks { WatchFlags::empty() } else { WatchFlags::DONT_FOLLOW };
            let wd = match inotify::add_watch(&self.inotify, &path, NEWS | WatchFlags::ONLYDIR | link) {
                Ok(wd) => wd,
                Err(Errno::NOSPC) => {
                    told.entry(app).or_default().problem = Some(watches_used_up(&path));
                    return;
                }
                // A file, or gone again, or not ours to see.
                Err(_) => continue,
            };
            if !seen.insert(wd) {
                continue;
            }
            self.places.entry(wd).or_default().insert((app, path.clone()));
            let Ok(entries) = path.read_dir() else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                let kind = match kind.is_symlink() && watched.follow_symlinks {
                    true => path.metadata().map(|metadata| metadata.file_type()).unwrap_or(kind),
                    false => kind,
                };
                if is_new && watched.rules.matters(&path) {
                    changed(app, &path, told);
                }
                if kind.is_dir() {
                    stack.push(path);
                } else if entry.file_type().is_ok_and(|kind| kind.is_symlink()) && watched.rules.matters(&path) {
                    // What it leads to may be changed under another name.
                    if let Ok(wd) =
                        inotify::add_watch(&self.inotify, &path, WatchFlags::MODIFY | WatchFlags::MASK_ADD | link)
                    {
                        self.places.entry(wd).or_default().insert((app, path));
                    }
                }
            }
        }
    }

    /// Lets go of places; a watch that nobody looks at any more is given back.
    fn leave(&mut self, is_left: impl Fn(&(AppId, PathBuf)) -> bool) {
        let inotify = &self.inotify;
        self.places.retain(|wd, places| {
            places.retain(|place| !is_left(place));
            if places.is_empty() {
                // Gone already is what we want.
                let _ = inotify::remove_watch(inotify, *wd);
            }
            !places.is_empty()
        });
    }

    #[cfg(test)]
    fn watched(&self) -> BTreeSet<&Path> {
        self.places.values().flatten().map(|(_, path)| path.as_path()).collect()
    }
}

fn changed(app: AppId, path: &Path, told: &mut AllTold) {
    told.entry(app).or_default().changed.get_or_insert_with(|| path.to_owned());
}

/// Returns the directory that is there on the way to a path.
fn nearest_directory(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

/// Says that the kernel has no watch left.
fn watches_used_up(path: &Path) -> String {
    let limit = limit("max_user_watches");
    format!(
        "not all files are watched, from {} on: the kernel allows {limit} watched directories for this user \
         (fs.inotify.max_user_watches); raise it with `sysctl fs.inotify.max_user_watches=524288`, or name what does not \
         matter in `ignore_watch`",
        path.display()
    )
}

/// Says that no watching can be had at all.
pub(super) fn no_watching(error: &io::Error) -> String {
    if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) {
        let limit = limit("max_user_instances");
        return format!(
            "files are not watched: this user has all of the {limit} inotify instances that the kernel allows \
             (fs.inotify.max_user_instances); raise it with `sysctl fs.inotify.max_user_instances=1024`"
        );
    }
    format!("files are not watched: {error}")
}

/// Returns one of the kernel's limits. In a container the user namespace may allow less.
fn limit(name: &str) -> String {
    let read = |path: String| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let user = read(format!("/proc/sys/user/{}", name.replace("max_user_", "max_inotify_")));
    let limits = [read(format!("/proc/sys/fs/inotify/{name}")), user];
    limits.into_iter().flatten().min().map_or_else(|| "an unknown number of".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rpm_model::WatchSpec;

    use super::*;

    const APP: AppId = AppId(1);

    struct Stage {
        tree: Tree,
        told: AllTold,
        root: tempfile::TempDir,
    }

    impl Stage {
        fn new(change: impl FnOnce(&mut WatchSpec)) -> Self {
            let root = tempfile::tempdir().expect("a directory");
            for directory in ["src/deep", "node_modules/x", ".git"] {
                fs::create_dir_all(root.path().join(directory)).expect("a directory");
            }
            let mut spec = WatchSpec::default();
            change(&mut spec);
            let rules = Rules::new(&spec, root.path(), Vec::new()).expect("good patterns");
            let (mut tree, mut told) = (Tree::new().expect("inotify"), AllTold::new());
            tree.add(APP, rules, spec.follow_symlinks, &mut told);
            assert_eq!(told, AllTold::new());
            Self { tree, told, root }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str) {
            fs::write(self.path(path), "x").expect("it is written");
        }

        /// Returns what has changed since the last look, below the root.
        fn changed(&mut self) -> Option<String> {
            // Each event may lead to another.
            for _ in 0..10 {
                self.tree.read(&mut self.told).expect("it is read");
            }
            let changed = std::mem::take(&mut self.told).remove(&APP)?.changed?;
            Some(changed.strip_prefix(self.root.path()).unwrap_or(&changed).display().to_string())
        }
    }

    #[test]
    fn what_does_not_matter_takes_no_watch() {
        let mut stage = Stage::new(|_| {});
        let expected = BTreeSet::from(["", "src", "src/deep"].map(|path| stage.path(path)));
        assert_eq!(stage.tree.watched(), expected.iter().map(PathBuf::as_path).collect());
        stage.write("node_modules/x/a.js");
        stage.write(".git/HEAD");
        fs::read(stage.path(".git/HEAD")).expect("it is read");
        assert_eq!(stage.changed(), None);
        stage.write("src/deep/a.js");
        assert_eq!(stage.changed().as_deref(), Some("src/deep/a.js"));
        fs::read(stage.path("src/deep/a.js")).expect("it is read");
        assert_eq!(stage.changed(), None, "reading changes nothing");
    }

    #[test]
    fn directories_that_come_later_are_watched_and_what_is_in_them_has_changed() {
        let mut stage = Stage::new(|spec| spec.extensions = vec!["js".into()]);
        fs::create_dir_all(stage.path("new/deep")).expect("a directory");
        stage.write("new/deep/a.js");
        assert_eq!(stage.changed().as_deref(), Some("new/deep/a.js"), "although it was there before the watch");
        stage.write("new/deep/b.js");
        assert_eq!(stage.changed().as_deref(), Some("new/deep/b.js"));
        fs::rename(stage.path("new"), stage.path("src/moved")).expect("it is moved");
        assert!(stage.changed().is_some_and(|path| path.starts_with("src/moved/deep/")));
        stage.write("src/moved/deep/c.js");
        assert_eq!(stage.changed().as_deref(), Some("src/moved/deep/c.js"));
    }

    #[test]
    fn a_file_may_be_replaced_removed_and_not_be_there_yet() {
        let mut stage = Stage::new(|spec| spec.paths = vec!["conf/app.json".into(), "src/a.js".into()]);
        stage.write("src/b.js");
        assert_eq!(stage.changed(), None);
        stage.write("src/new");
        fs::rename(stage.path("src/new"), stage.path("src/a.js")).expect("it is moved");
        assert_eq!(stage.changed().as_deref(), Some("src/a.js"));
        fs::remove_file(stage.path("src/a.js")).expect("it is removed");
        assert_eq!(stage.changed().as_deref(), Some("src/a.js"));
        fs::create_dir(stage.path("conf")).expect("a directory");
        stage.write("conf/app.json");
        assert_eq!(stage.changed().as_deref(), Some("conf/app.json"));
    }

    #[test]
    fn a_root_that_is_replaced_is_found_again() {
        let mut stage = Stage::new(|spec| spec.paths = vec!["src".into()]);
        fs::rename(stage.path("src"), stage.path("old")).expect("it is moved");
        stage.changed();
        stage.write("old/deep/x");
        assert_eq!(stage.changed(), None, "it is another directory now");
        fs::create_dir_all(stage.path("src")).expect("a directory");
        stage.write("src/x");
        assert_eq!(stage.changed().as_deref(), Some("src"));
        stage.write("src/y");
        assert_eq!(stage.changed().as_deref(), Some("src/y"));
    }

    #[test]
    fn links_are_followed_once() {
        let elsewhere = tempfile::tempdir().expect("a directory");
        fs::write(elsewhere.path().join("code"), "").expect("it is written");
        let mut stage = Stage::new(|_| {});
        std::os::unix::fs::symlink(stage.root.path(), stage.path("src/circle")).expect("a link");
        std::os::unix::fs::symlink(elsewhere.path(), stage.path("src/away")).expect("a link");
        stage.changed();
        fs::write(elsewhere.path().join("code"), "x").expect("it is written");
        assert_eq!(stage.changed().as_deref(), Some("src/away/code"));
    }

    #[test]
    fn an_app_that_is_removed_leaves_no_watch() {
        let mut stage = Stage::new(|_| {});
        stage.tree.remove(APP);
        stage.write("src/a.js");
        assert_eq!(stage.changed(), None);
        assert!(stage.tree.places.is_empty());
    }

    #[test]
    fn limits_are_named_with_their_values() {
        let text = watches_used_up(Path::new("/srv/app"));
        assert!(text.contains("fs.inotify.max_user_watches") && text.contains("/srv/app"), "{text}");
        assert!(text.chars().any(|c| c.is_ascii_digit()), "{text}");
        let text = no_watching(&io::Error::from_raw_os_error(24));
        assert!(text.contains("fs.inotify.max_user_instances"), "{text}");
    }
}
