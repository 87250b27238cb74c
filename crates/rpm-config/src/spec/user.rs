//! Whom the workers run as, and their PID file.

use nix::unistd::{Gid, Group, Uid, User};
use rpm_model::AppSpec;

use super::{Given, Reader};
use crate::values;

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let cwd = spec.cwd.clone();
    let context = reader.context;
    let pid_file = reader.read("pid_file", |value| Some(context.resolve(&cwd, value.as_str()?)));
    pid_file.put_option(&mut spec.pid_file);
    reader.refuse_no_file("pid_file", spec.pid_file.as_deref());

    let uid = reader.read("uid", values::text);
    let gid = reader.read("gid", values::text);
    if matches!(uid, Given::Default) {
        spec.user = None;
    }
    let user = uid.value().and_then(|name| {
        let found = find_user(&name);
        if found.is_none() {
            reader.refuse("uid", "expected the name or number of a user of this machine");
        }
        found
    });
    let group = gid.value().and_then(|name| {
        let found = find_group(&name);
        if found.is_none() {
            reader.refuse("gid", "expected the name or number of a group of this machine");
        }
        found
    });
    spec.user = match (user, group, spec.user) {
        (Some((uid, _)), Some(gid), _) => Some((uid, gid)),
        (Some(user), None, _) => Some(user),
        (None, Some(gid), Some((uid, _))) => Some((uid, gid)),
        // A group alone changes nothing about the user: whoever asks is who it runs as.
        (None, Some(gid), None) => Some((Uid::effective().as_raw(), gid)),
        (None, None, unchanged) => unchanged,
    };
}

/// Returns the home of whoever the workers run as, when that is somebody else than who asks.
pub(crate) fn other_home(spec: &AppSpec) -> Option<String> {
    let (uid, _) = spec.user.filter(|(uid, _)| *uid != Uid::effective().as_raw())?;
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    Some(user.dir.to_string_lossy().into_owned())
}

/// Returns a user and the primary group; a number without an entry stands for itself and the group of that number.
fn find_user(name: &str) -> Option<(u32, u32)> {
    let by_name = User::from_name(name).ok().flatten();
    let number = name.parse::<u32>().ok();
    let found = by_name.or_else(|| User::from_uid(Uid::from_raw(number?)).ok().flatten());
    found.map(|user| (user.uid.as_raw(), user.gid.as_raw())).or_else(|| number.map(|number| (number, number)))
}

fn find_group(name: &str) -> Option<u32> {
    let by_name = Group::from_name(name).ok().flatten();
    by_name.map(|group| Gid::as_raw(group.gid)).or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_numbers() {
        assert_eq!(find_user("root"), Some((0, 0)));
        assert_eq!(find_user("0"), Some((0, 0)));
        assert_eq!(find_user("54321"), Some((54321, 54321)));
        assert_eq!(find_user("no such user"), None);
        assert_eq!(find_group("root"), Some(0));
        assert_eq!(find_group("-1"), None);
    }
}
