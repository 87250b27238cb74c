//! The tokens: one for everything, one that reads metrics and nothing else, for a scraper's configuration.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rpm_model::Home;

use crate::WebError;

/// 32 bytes of the kernel's randomness as 64 digits: not to be guessed.
const BYTES: usize = 32;

/// Returns the token that opens everything; makes it at first. It is in `web.token` of the state directory.
///
/// # Errors
/// When its file cannot be read or made.
pub fn token(home: &Home) -> Result<String, WebError> {
    kept(&home.root().join("web.token"))
}

/// Returns the token that opens `/metrics` only; makes it at first. It is in `metrics.token` of the state directory.
///
/// # Errors
/// When its file cannot be read or made.
pub fn metrics_token(home: &Home) -> Result<String, WebError> {
    kept(&home.root().join("metrics.token"))
}

fn kept(path: &Path) -> Result<String, WebError> {
    read_or_make(path).map_err(|error| WebError::Token { path: path.to_owned(), error })
}

fn read_or_make(path: &Path) -> io::Result<String> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let token = random()?;
            file.write_all(token.as_bytes())?;
            file.sync_all()?;
            Ok(token)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let token = std::fs::read_to_string(path)?.trim().to_owned();
            // An empty token would open the door to everybody.
            if token.len() < 16 {
                return Err(io::Error::other("it holds fewer than 16 characters; remove it, and a new one is made"));
            }
            Ok(token)
        }
        Err(error) => Err(error),
    }
}

/// Returns what nobody can guess.
pub(crate) fn random() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares without telling by its duration how much was right.
pub(crate) fn is_same(left: &str, right: &str) -> bool {
    let differ = left.bytes().zip(right.bytes()).fold(0, |differ, (left, right)| differ | (left ^ right));
    left.len() == right.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_and_never_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.token");
        let token = read_or_make(&path).unwrap();
        assert_eq!((token.len(), read_or_make(&path).unwrap()), (64, token.clone()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "\n").unwrap();
        assert!(read_or_make(&path).is_err());
        assert!(is_same(&token, &token) && !is_same(&token, "") && !is_same("ab", "ac"));
    }
}
