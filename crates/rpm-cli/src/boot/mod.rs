//! What starts programs at boot, and the texts that it reads. Texts only; `commands/startup` writes them.

pub mod account;
mod launchd;
mod openrc;
mod systemd;
mod sysv;

use std::path::PathBuf;

use crate::args::Platform;

/// Everything a service's text tells.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, without an extension.
    pub name: String,
    /// The program as the user calls it: an absolute path.
    pub program: PathBuf,
    /// `RPM_HOME` or `PM2_HOME`.
    pub home_variable: &'static str,
    /// The state directory.
    pub home: PathBuf,
    /// Whose apps they are.
    pub user: String,
    /// That user's home directory.
    pub user_home: PathBuf,
    /// The PATH that apps are started with.
    pub path: String,
    /// Wait for an address.
    pub wait_ip: bool,
}

/// One platform's way.
#[derive(Debug)]
pub struct Recipe {
    /// The file, from the root.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// Its permissions.
    pub mode: u32,
    /// Commands that make it known, and start what it describes.
    pub enable: Vec<Vec<String>>,
    /// Commands that undo that; run before the file is removed.
    pub disable: Vec<Vec<String>>,
}

/// Returns how a platform is told of a service.
pub fn recipe(platform: Platform, service: &Service) -> Recipe {
    match platform {
        Platform::Systemd => systemd::recipe(service),
        Platform::Openrc => openrc::recipe(service),
        Platform::Upstart => sysv::recipe(service),
        Platform::Launchd => launchd::recipe(service),
    }
}

/// Returns what starts programs here, by the tool that is on PATH.
pub fn detect(is_there: impl Fn(&str) -> bool) -> Option<Platform> {
    let signs = [
        ("systemctl", Platform::Systemd),
        ("update-rc.d", Platform::Upstart),
        ("chkconfig", Platform::Upstart),
        ("rc-update", Platform::Openrc),
        ("launchctl", Platform::Launchd),
    ];
    signs.into_iter().find(|(tool, _)| is_there(tool)).map(|(_, platform)| platform)
}

/// Returns a command line as a list of words.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Returns a word for sh, quoted where it must be.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
pub fn sample() -> Service {
    Service {
        name: "rpm-me".into(),
        program: "/usr/local/bin/rpm".into(),
        home_variable: "RPM_HOME",
        home: "/home/me/.rpm".into(),
        user: "me".into(),
        user_home: "/home/me".into(),
        path: "/usr/local/bin:/usr/bin:/bin".into(),
        wait_ip: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tool_decides() {
        let with = |tools: &'static [&str]| detect(move |tool| tools.contains(&tool));
        assert_eq!(with(&["update-rc.d", "systemctl"]), Some(Platform::Systemd));
        assert_eq!(with(&["rc-update"]), Some(Platform::Openrc));
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn scripts_for_sh_are_sound() {
        let mut odd = sample();
        odd.path = "/with space:/it's".into();
        for platform in [Platform::Openrc, Platform::Upstart] {
            let recipe = recipe(platform, &odd);
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("script");
            std::fs::write(&file, &recipe.text).unwrap();
            let status = std::process::Command::new("sh").arg("-n").arg(&file).status().unwrap();
            assert!(status.success(), "{platform:?}\n{}", recipe.text);
        }
    }

    #[test]
    fn every_text_names_program_home_and_user() {
        for platform in [Platform::Systemd, Platform::Openrc, Platform::Upstart, Platform::Launchd] {
            let text = recipe(platform, &sample()).text;
            for word in ["/usr/local/bin/rpm", "resurrect", "RPM_HOME", "/home/me/.rpm"] {
                assert!(text.contains(word), "{platform:?}: {word}\n{text}");
            }
        }
    }
}
