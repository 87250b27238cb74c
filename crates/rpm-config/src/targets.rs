//! Which arguments are ecosystem files, and which one is meant when nothing is said.

use std::path::{Path, PathBuf};

/// Parts of a name that make it an ecosystem file: PM2's, then ours.
const SIGNS: &[&str] =
    &[".json", ".yml", ".yaml", ".config.js", ".config.cjs", ".config.mjs", ".config.ts", ".config.mts", ".toml"];

/// Looked for in this order.
const DEFAULTS: &[&str] = &[
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.ts",
    "ecosystem.json",
    "ecosystem.json5",
    "ecosystem.yaml",
    "ecosystem.yml",
    "ecosystem.toml",
    "ecosystem.config.json",
    "ecosystem.config.yaml",
    "ecosystem.config.yml",
    "ecosystem.config.toml",
];

/// Returns whether a target of `start` names an ecosystem file. As in PM2 its name decides, not its content.
pub fn is_config_file(target: &str) -> bool {
    // A command line may well mention one (`node app.js conf.json`).
    let is_command = target.contains(' ') && !Path::new(target).exists();
    !is_command && SIGNS.iter().any(|sign| target.contains(sign))
}

/// Returns the ecosystem file of a directory, for a `start` without a target.
pub fn find_default(directory: &Path) -> Option<PathBuf> {
    DEFAULTS.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_an_ecosystem_file() {
        for yes in ["a.json", "./x/eco.yml", "e.config.js", "e.config.mjs", "apps.toml", "package.json"] {
            assert!(is_config_file(yes), "{yes}");
        }
        for no in ["app.js", "config.js", "server", "node app.js conf.json", "x.py"] {
            assert!(!is_config_file(no), "{no}");
        }
    }
}
