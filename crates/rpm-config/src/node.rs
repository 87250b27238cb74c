//! What the Node on PATH can read.

use std::process::{Command, Stdio};

use crate::context::Context;

/// What TypeScript needs; part of messages.
pub(crate) const TYPESCRIPT_NEEDS: &str = "TypeScript needs bun, or node 22.6 or newer, on PATH";

/// Returns the flags with which the Node on PATH reads TypeScript; `None` when it cannot, or there is none.
pub(crate) fn typescript_flags(context: &Context) -> Option<&'static [&'static str]> {
    type_stripping(version(context)?)
}

fn version(context: &Context) -> Option<(u32, u32)> {
    let mut command = Command::new(context.find_program("node")?);
    command.arg("--version").env_clear().envs(context.inheritable()).stdin(Stdio::null());
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().trim_start_matches('v').split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn type_stripping((major, minor): (u32, u32)) -> Option<&'static [&'static str]> {
    match (major, minor) {
        (22, 6..18) | (23, 0..6) => Some(&["--experimental-strip-types"]),
        (22, 18..) | (23, 6..) | (24.., _) => Some(&[]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_by_new_nodes() {
        assert_eq!(type_stripping((20, 19)), None);
        assert_eq!(type_stripping((22, 5)), None);
        assert_eq!(type_stripping((22, 7)), Some(&["--experimental-strip-types"][..]));
        assert_eq!(type_stripping((24, 0)), Some(&[][..]));
    }
}
