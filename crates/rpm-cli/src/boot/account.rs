//! Whose apps they are.

use std::path::PathBuf;

/// A user of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The home directory.
    pub home: PathBuf,
}

/// Returns the user of that name; the one of that number when there is no name.
pub fn find(name: Option<&str>, uid: u32) -> Option<Account> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    of(&text, name, uid)
}

fn of(passwd: &str, name: Option<&str>, uid: u32) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [known, _, number, _, _, home, ..] = fields.as_slice() else { return None };
        let number = number.parse().ok()?;
        let is_meant = name.map_or(number == uid, |name| *known == name);
        is_meant.then(|| Account { name: (*known).to_owned(), uid: number, home: home.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_or_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000:Me,,,:/home/me:/bin/sh\n";
        let me = Account { name: "me".into(), uid: 1000, home: "/home/me".into() };
        assert_eq!(of(passwd, Some("me"), 0), Some(me.clone()));
        assert_eq!(of(passwd, None, 1000), Some(me));
        assert_eq!(of(passwd, Some("you"), 0), None);
    }
}
