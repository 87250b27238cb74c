//! Apps that wait for one another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Returns the names of a circle that a dependency closes: from an app by what it depends on back to the app.
pub fn circle(app: &str, depends_on: &str, all: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    // From where each name was reached first: the way back is the shortest one.
    let mut reached: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([depends_on]);
    while let Some(at) = open.pop_front() {
        if at == app {
            let way = std::iter::successors(Some(at), |name| reached.get(name).copied());
            let mut names: Vec<String> = way.map(str::to_owned).collect();
            names.push(app.to_owned());
            names.reverse();
            return Some(names);
        }
        for next in all.get(at).into_iter().flatten().copied() {
            if next != depends_on && !reached.contains_key(next) {
                reached.insert(next, at);
                open.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_circle_is_named_from_its_beginning_to_its_end() {
        let all: BTreeMap<&str, BTreeSet<&str>> =
            [("a", ["b", "c"].into()), ("b", ["c"].into()), ("c", ["d"].into()), ("d", ["a"].into())].into();
        let names = |app, on| circle(app, on, &all).map(|names| names.join(" → "));
        assert_eq!(names("a", "c").as_deref(), Some("a → c → d → a"));
        assert_eq!(names("a", "b").as_deref(), Some("a → b → c → d → a"));
        assert_eq!(circle("x", "a", &all), None, "it leads into one, and is no part of it");
    }
}
