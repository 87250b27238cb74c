//! Which paths of an app matter.
//!
//! Patterns are read as PM2's library (chokidar) reads them: from the working directory, `*` within one directory, `**`
//! across, hidden files like others, and a directory stands for all that is in it. Text between slashes is a regex and
//! sees the whole path. (A regex in PM2's own configuration has no effect, since it is lost on the way to its daemon.)
//!
//! Without `ignore_watch`, hidden files and `node_modules` do not matter: PM2's `/[\/\\]\.|node_modules/`. That rule looks
//! at the part below the working directory only, so an app in a hidden directory can be watched.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use regex_lite::Regex;
use rpm_model::WatchSpec;

/// What makes a text a glob.
const GLOB: &[char] = &['*', '?', '[', '{'];

/// Groups that chokidar knows and that are refused here: silently matching nothing would be worse.
const GROUPS: [&str; 3] = ["!(", "+(", "@("];

/// The rules of one app.
#[derive(Debug, Clone)]
pub struct Rules {
    cwd: PathBuf,
    roots: Vec<Root>,
    ignore: Option<Vec<Ignore>>,
    extensions: Vec<String>,
    /// What the app and its supervisor write themselves: files, and directories with all that is in them.
    own: Vec<PathBuf>,
}

/// Something that is watched.
#[derive(Debug, Clone)]
struct Root {
    /// A file or a directory, there or not; for a glob the part without wildcards.
    base: PathBuf,
    glob: Option<GlobMatcher>,
}

/// Something that does not matter.
#[derive(Debug, Clone)]
enum Ignore {
    Path(PathBuf),
    Glob(GlobMatcher),
    Regex(Regex),
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// The pattern as written.
    pub pattern: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a pattern: {}", self.pattern, self.why)
    }
}

impl std::error::Error for BadPattern {}

impl Rules {
    /// Reads the patterns. `own` are the files that the app and its supervisor write: logs, PID files, the state.
    ///
    /// # Errors
    /// When a pattern cannot be read.
    pub fn new(spec: &WatchSpec, cwd: &Path, own: Vec<PathBuf>) -> Result<Self, BadPattern> {
        let cwd = clean(cwd);
        let paths: Vec<&str> =
            if spec.paths.is_empty() { vec!["."] } else { spec.paths.iter().map(|path| &**path).collect() };
        let roots = paths.into_iter().map(|path| root(path, &cwd)).collect::<Result<_, _>>()?;
        let ignore = match &spec.ignore {
            Some(patterns) => Some(patterns.iter().map(|pattern| ignore(pattern, &cwd)).collect::<Result<_, _>>()?),
            None => None,
        };
        let extensions = spec.extensions.iter().map(|extension| extension.trim_start_matches('.').to_owned()).collect();
        Ok(Self { cwd, roots, ignore, extensions, own })
    }

    /// Returns the places to begin at: files or directories, there or not.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|root| root.base.as_path())
    }

    /// Returns whether what happens in a directory may matter.
    pub fn enters(&self, directory: &Path) -> bool {
        // On the way to what is watched nothing is in the way.
        let leads_to = |root: &Root| root.base.starts_with(directory) && root.base != directory;
        if self.roots.iter().any(leads_to) {
            return true;
        }
        self.roots.iter().any(|root| directory.starts_with(&root.base)) && !self.ignores(directory)
    }

    /// Returns whether a change of this path restarts the app.
    pub fn matters(&self, path: &Path) -> bool {
        let is_watched = self.roots.iter().any(|root| match &root.glob {
            Some(glob) => glob.is_match(path),
            None => path.starts_with(&root.base),
        });
        let has_extension = self.extensions.is_empty()
            || path
                .extension()
                .is_some_and(|found| self.extensions.iter().any(|extension| found == extension.as_str()));
        is_watched && has_extension && !is_an_editors(path) && !self.ignores(path)
    }

    fn ignores(&self, path: &Path) -> bool {
        if self.own.iter().any(|own| path.starts_with(own) || is_rotated(path, own)) {
            return true;
        }
        match &self.ignore {
            None => {
                let below = path.strip_prefix(&self.cwd).ok();
                let below = below.or_else(|| self.roots.iter().find_map(|root| path.strip_prefix(&root.base).ok()));
                below.unwrap_or(path).components().any(|part| match part {
                    Component::Normal(name) => {
                        let name = name.to_string_lossy();
                        name.starts_with('.') || name.contains("node_modules")
                    }
                    _ => false,
                })
            }
            Some(patterns) => patterns.iter().any(|pattern| match pattern {
                Ignore::Path(ignored) => path.starts_with(ignored),
                Ignore::Glob(glob) => glob.is_match(path),
                Ignore::Regex(regex) => regex.is_match(&path.to_string_lossy()),
            }),
        }
    }
}

fn root(pattern: &str, cwd: &Path) -> Result<Root, BadPattern> {
    let whole = clean(&cwd.join(pattern));
    if !is_glob(pattern) {
        return Ok(Root { base: whole, glob: None });
    }
    // Wildcards in the working directory's own name are none.
    let fixed = Path::new(pattern).components().take_while(|part| !part.as_os_str().to_string_lossy().contains(GLOB));
    let base = clean(&cwd.join(fixed.collect::<PathBuf>()));
    Ok(Root { base, glob: Some(glob(pattern, cwd)?) })
}

fn ignore(pattern: &str, cwd: &Path) -> Result<Ignore, BadPattern> {
    if let Some((regex, flags)) = as_regex(pattern) {
        let flags: String = flags.chars().filter(|flag| "ims".contains(*flag)).collect();
        let text = if flags.is_empty() { regex.to_owned() } else { format!("(?{flags}){regex}") };
        let bad = |error: regex_lite::Error| BadPattern { pattern: pattern.to_owned(), why: error.to_string() };
        return Regex::new(&text).map(Ignore::Regex).map_err(bad);
    }
    if !is_glob(pattern) {
        return Ok(Ignore::Path(clean(&cwd.join(pattern))));
    }
    glob(pattern, cwd).map(Ignore::Glob)
}

/// Reads `/text/flags`, and text with `\/` in it: `[\/\\]\./` stands as an example in PM2's own documentation.
fn as_regex(pattern: &str) -> Option<(&str, &str)> {
    let between = pattern.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
    let is_between = |(text, flags): &(&str, &str)| {
        !text.is_empty() && !text.contains("**") && flags.chars().all(|flag| "dgimsuvy".contains(flag))
    };
    // A path that ends with a slash is a regex, too: it finds the same files.
    between.filter(is_between).or_else(|| pattern.contains("\\/").then_some((pattern, "")))
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(GLOB) || GROUPS.iter().any(|group| pattern.contains(group))
}

fn glob(pattern: &str, cwd: &Path) -> Result<GlobMatcher, BadPattern> {
    let bad = |why: String| BadPattern { pattern: pattern.to_owned(), why };
    if let Some(group) = GROUPS.iter().find(|group| pattern.contains(**group)) {
        return Err(bad(format!("groups like {group}a|b) are not known here; write {{a,b}}, or a /regex/")));
    }
    let whole = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        let pattern = pattern.trim_start_matches("./");
        format!("{}/{pattern}", globset::escape(cwd.to_string_lossy().trim_end_matches('/')))
    };
    let glob = GlobBuilder::new(&whole).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| bad(error.kind().to_string()))
}

/// Returns whether a file is what log rotation made of one of the app's own: `out.log.1`, `out.log-20260101.gz`,
/// `out__2026-01-01_10-00-00.log.gz`, and the hidden `.out.log.ledger` beside it.
fn is_rotated(path: &Path, own: &Path) -> bool {
    if path.parent() != own.parent() {
        return false;
    }
    let (Some(name), Some(own)) = (path.file_name(), own.file_name()) else { return false };
    let (name, own) = (name.to_string_lossy(), own.to_string_lossy());
    let shown = name.strip_prefix('.').unwrap_or(&name);
    let stem = own.rsplit_once('.').map_or(&*own, |(stem, _)| stem);
    let is_dated = shown.strip_prefix(stem).is_some_and(|rest| rest.starts_with("__"));
    is_dated || shown.strip_prefix(&*own).is_some_and(|rest| rest.starts_with(['.', '-', '_']))
}

/// Returns whether a file is an editor's own: a swap file or a backup (chokidar's list).
fn is_an_editors(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_swap = name.starts_with('.') && [".swp", ".swo", ".swx"].iter().any(|end| name.ends_with(end));
    is_swap || name.ends_with('~') || (name.contains(".subl") && name.ends_with(".tmp"))
}

/// Takes `.` and `..` out of a path, by its text alone: symbolic links keep the names by which they are watched.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => cleaned.push(part),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut WatchSpec)) -> Rules {
        let mut spec = WatchSpec { enabled: true, ..WatchSpec::default() };
        change(&mut spec);
        Rules::new(&spec, Path::new("/srv/app"), vec!["/srv/app/out-0.log".into(), "/srv/app/.rpm".into()])
            .expect("good patterns")
    }

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn assert_matters(rules: &Rules, yes: &[&str], no: &[&str]) {
        for path in yes {
            assert!(rules.matters(Path::new(path)), "{path} matters");
        }
        for path in no {
            assert!(!rules.matters(Path::new(path)), "{path} does not matter");
        }
    }

    #[test]
    fn by_default_hidden_files_and_node_modules_do_not_matter() {
        let rules = rules(|_| {});
        let no =
            ["/srv/app/.git/HEAD", "/srv/app/node_modules/x", "/srv/app/sub/node_modules/x", "/srv/app/.env", "/srv/b"];
        assert_matters(&rules, &["/srv/app/a.js", "/srv/app/sub/deep/x", "/srv/app/new"], &no);
        assert!(rules.enters(Path::new("/srv/app/sub")) && rules.enters(Path::new("/srv")));
        assert!(!rules.enters(Path::new("/srv/app/node_modules")) && !rules.enters(Path::new("/srv/other")));
    }

    #[test]
    fn an_app_in_a_hidden_directory_can_be_watched() {
        let spec = WatchSpec::default();
        let rules = Rules::new(&spec, Path::new("/home/me/.apps/node_modules/x"), Vec::new()).expect("good");
        assert_matters(&rules, &["/home/me/.apps/node_modules/x/a.js"], &["/home/me/.apps/node_modules/x/.git/HEAD"]);
    }

    #[test]
    fn its_own_files_never_matter() {
        let rules = rules(|spec| spec.ignore = Some(Vec::new()));
        let no = [
            "/srv/app/out-0.log",
            "/srv/app/out-0.log.1.gz",
            "/srv/app/out-0.log-2026",
            "/srv/app/out-0__2026-01-01_10-00-00.log.gz",
            "/srv/app/.out-0.log.ledger",
            "/srv/app/.rpm/state.json",
        ];
        assert_matters(&rules, &["/srv/app/out-1.log", "/srv/app/.env", "/srv/app/node_modules/x"], &no);
    }

    /// What PM2 7.0.3 did with this very list, file by file.
    #[test]
    fn globs_and_paths_are_read_from_the_working_directory() {
        let rules = rules(|spec| spec.ignore = Some(list(&["logs", "*.log", "**/*.tmp", "sub/*.x"])));
        let yes = ["/srv/app/sub/logs/x", "/srv/app/sub/s.log", "/srv/app/sub/sub/q.x", "/srv/app/.hidden"];
        let no = ["/srv/app/logs/x", "/srv/app/top.log", "/srv/app/sub/t.tmp", "/srv/app/t.tmp", "/srv/app/sub/q.x"];
        assert_matters(&rules, &yes, &no);
        assert!(!rules.enters(Path::new("/srv/app/logs")));
    }

    #[test]
    fn regexes_see_the_whole_path() {
        let rules =
            rules(|spec| spec.ignore = Some(list(&[r"/\.(md|TXT)$/i", r"[\/\\]\./", "/srv/app/cache/", "/gen/"])));
        let no = ["/srv/app/a.MD", "/srv/app/b.txt", "/srv/app/x/./y", "/srv/app/cache/x", "/srv/app/gen/x"];
        assert_matters(&rules, &["/srv/app/a.js"], &no);
    }

    #[test]
    fn paths_to_watch_may_be_files_globs_and_not_there() {
        let rules = rules(|spec| spec.paths = list(&["./server", "conf/*.json", "/etc/app/x.conf"]));
        let yes = ["/srv/app/server/a/b", "/srv/app/conf/a.json", "/etc/app/x.conf"];
        assert_matters(&rules, &yes, &["/srv/app/a.js", "/srv/app/conf/a/b.json", "/etc/app/y.conf"]);
        let roots: Vec<_> = rules.roots().collect();
        assert_eq!(roots, [Path::new("/srv/app/server"), Path::new("/srv/app/conf"), Path::new("/etc/app/x.conf")]);
        assert!(rules.enters(Path::new("/etc/app")) && !rules.enters(Path::new("/etc/other")));
    }

    #[test]
    fn a_working_directory_with_brackets_is_no_glob() {
        let spec = WatchSpec { ignore: Some(list(&["*.log"])), ..WatchSpec::default() };
        let rules = Rules::new(&spec, Path::new("/srv/[a]{b}"), Vec::new()).expect("good");
        assert_matters(&rules, &["/srv/[a]{b}/x.js"], &["/srv/[a]{b}/x.log"]);
    }

    #[test]
    fn extensions_choose() {
        let rules = rules(|spec| spec.extensions = list(&["js", ".json"]));
        assert_matters(&rules, &["/srv/app/a.js", "/srv/app/b.json"], &["/srv/app/a.txt", "/srv/app/Makefile"]);
    }

    #[test]
    fn what_editors_leave_does_not_matter() {
        let rules = rules(|spec| spec.ignore = Some(Vec::new()));
        assert_matters(&rules, &["/srv/app/a.js"], &["/srv/app/a.js~", "/srv/app/.a.js.swp", "/srv/app/a.subl12.tmp"]);
    }

    #[test]
    fn a_bad_pattern_is_told() {
        for bad in ["a/[", "{a", "/(/", "!(a|b)", "/(?=x)/"] {
            let spec = WatchSpec { ignore: Some(list(&[bad])), ..WatchSpec::default() };
            let error = Rules::new(&spec, Path::new("/srv"), Vec::new()).expect_err(bad);
            assert_eq!(error.pattern, bad, "{error}");
        }
    }
}
