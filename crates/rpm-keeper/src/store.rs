//! The descriptors that are kept open, by name.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors by name. Nothing is read from or written to them.
#[derive(Debug, Default)]
pub(crate) struct Store(BTreeMap<Box<str>, OwnedFd>);

impl Store {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps a descriptor; the one that had the name is closed.
    pub(crate) fn put(&mut self, name: &str, fd: OwnedFd) {
        match self.0.get_mut(name) {
            Some(held) => *held = fd,
            None => {
                self.0.insert(name.into(), fd);
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.0.get(name).map(AsFd::as_fd)
    }

    pub(crate) fn drop_one(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn drop_prefix(&mut self, prefix: &str) {
        let mut tail = self.0.split_off(prefix);
        let after = tail.keys().find(|name| !name.starts_with(prefix)).cloned();
        if let Some(after) = after {
            self.0.append(&mut tail.split_off(&after));
        }
    }

    /// Returns the first descriptor whose name comes after `name`.
    pub(crate) fn after(&self, name: Option<&str>) -> Option<(&str, BorrowedFd<'_>)> {
        let start = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range::<str, _>((start, Bound::Unbounded)).next().map(|(name, fd)| (&**name, fd.as_fd()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.0.iter().map(|(name, fd)| (&**name, fd.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dropped_by_how_they_begin() {
        let mut store = Store::default();
        for name in ["api/0/log", "api/0/ipc", "api/1/log", "app", "a"] {
            store.put(name, rpm_sys::fd::null().unwrap());
        }
        store.drop_prefix("api/0/");
        store.drop_one("no such name");
        let names = |store: &Store| store.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&store), ["a", "api/1/log", "app"]);
        assert_eq!(store.after(None).unwrap().0, "a");
        assert_eq!(store.after(Some("api/0")).unwrap().0, "api/1/log");
        assert!(store.after(Some("app")).is_none());
        store.drop_prefix("");
        assert!(names(&store).is_empty());
    }
}
