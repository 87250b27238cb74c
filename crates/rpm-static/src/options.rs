//! What is served, and how: PM2's variables.

use std::path::PathBuf;

/// What is served, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory.
    pub path: PathBuf,
    /// The address to listen on, where no socket is passed.
    pub host: String,
    /// The port to listen on, where no socket is passed.
    pub port: u16,
    /// Whether an unknown path is the single-page application's own.
    pub spa: bool,
    /// The file of that application, below the directory.
    pub homepage: String,
    /// Whether a directory without index shows its files.
    pub listing: bool,
    /// Name and password that a client must know.
    pub login: Option<(String, String)>,
    /// Whether other sites' pages may read what is here.
    pub cors: bool,
}

impl Options {
    /// PM2's port.
    pub const PORT: u16 = 8080;
    /// PM2's host.
    pub const HOST: &str = "0.0.0.0";

    /// Reads PM2's variables.
    ///
    /// # Errors
    /// A sentence that names the variable with a mistake.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| variable(&format!("PM2_SERVE_{name}")).filter(|value| !value.is_empty());
        let is_on = |name: &str| set(name).is_some_and(|value| value == "true" || value == "1");
        let port = match set("PORT") {
            Some(text) => text.parse().map_err(|_| format!("PM2_SERVE_PORT is {text:?}, and no number up to 65535"))?,
            None => Self::PORT,
        };
        let login = match (set("BASIC_AUTH_USERNAME"), set("BASIC_AUTH_PASSWORD")) {
            (Some(name), Some(password)) => Some((name, password)),
            (None, None) if is_on("BASIC_AUTH") => {
                return Err("PM2_SERVE_BASIC_AUTH needs PM2_SERVE_BASIC_AUTH_USERNAME and _PASSWORD".into());
            }
            (None, None) => None,
            // Half a login would leave open what somebody meant to close.
            (Some(_), None) => return Err("PM2_SERVE_BASIC_AUTH_PASSWORD is missing".into()),
            (None, Some(_)) => return Err("PM2_SERVE_BASIC_AUTH_USERNAME is missing".into()),
        };
        Ok(Self {
            path: set("PATH").map_or_else(|| PathBuf::from("."), PathBuf::from),
            host: set("HOST").unwrap_or_else(|| Self::HOST.into()),
            port,
            spa: is_on("SPA"),
            homepage: set("HOMEPAGE").unwrap_or_else(|| "index.html".into()).trim_start_matches('/').to_owned(),
            listing: is_on("FTP") || is_on("DIRECTORY"),
            login,
            cors: true,
        })
    }

    /// Returns a directory's files, and nothing else; it is not listened anywhere.
    pub fn files(path: PathBuf, spa: bool) -> Self {
        let (host, homepage) = (Self::HOST.into(), "index.html".into());
        Self { path, host, port: 0, spa, homepage, listing: false, login: None, cors: false }
    }

    /// Returns the address as it is written.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Options, String> {
        Options::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| name == format!("PM2_SERVE_{known}"));
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_not_said_is_as_in_pm2() {
        let options = read(&[]).unwrap();
        assert_eq!((options.address().as_str(), options.spa, options.listing), ("0.0.0.0:8080", false, false));
        assert_eq!((options.homepage.as_str(), options.login), ("index.html", None));
    }

    #[test]
    fn mistakes_name_their_variable() {
        assert!(read(&[("PORT", "http")]).unwrap_err().contains("PM2_SERVE_PORT"));
        assert!(read(&[("BASIC_AUTH", "true")]).is_err());
        assert!(read(&[("BASIC_AUTH_USERNAME", "me")]).unwrap_err().contains("PASSWORD"), "half a login is none");
    }
}
