//! Reading requests: what a packet asks for, pointing into the packet, nothing copied.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rpm_sys::credentials::Credentials;

use crate::client::{KEY_MAX, NAME_MAX, NOTE_MAX};
use crate::wire::{self, Field, Fields, Malformed, tag};

/// Returns what a request is about, as far as it can be read.
pub(crate) fn about(packet: &[u8]) -> String {
    let Ok((_, op, fields)) = wire::head(packet) else { return "packet".to_owned() };
    let naming = |field: &Field<'_>| [tag::KEY, tag::NAME, tag::PREFIX, tag::BINARY].contains(&field.tag);
    match fields.flatten().find(naming) {
        Some(field) => field.lossy().chars().take(NAME_MAX).collect(),
        None => format!("request {op}"),
    }
}

pub(crate) fn only_field(fields: Fields<'_>, wanted: u16) -> Result<Field<'_>, Malformed> {
    for field in fields {
        let field = field?;
        if field.tag == wanted {
            return Ok(field);
        }
    }
    Err(Malformed::Missing { tag: wanted })
}

pub(crate) fn only(fields: Fields<'_>, wanted: u16) -> Result<&str, Malformed> {
    only_field(fields, wanted)?.text()
}

/// A spawn as it was asked for, pointing into its packet.
pub(crate) struct SpawnFields<'a> {
    pub(crate) key: &'a str,
    pub(crate) note: &'a [u8],
    pub(crate) program: &'a OsStr,
    pub(crate) argv0: Option<&'a OsStr>,
    pub(crate) args: Vec<&'a OsStr>,
    pub(crate) env: Vec<&'a OsStr>,
    pub(crate) cwd: &'a Path,
    /// Which descriptor, and its number in the child.
    pub(crate) inherit: Vec<(usize, i32)>,
    /// Which descriptor, and its name.
    pub(crate) keep: Vec<(usize, &'a str)>,
    pub(crate) listen_pid: bool,
    pub(crate) user: Option<Credentials>,
    pub(crate) umask: Option<u32>,
    pub(crate) nofile: Option<u64>,
    pub(crate) mark: Option<u64>,
    /// Which descriptor.
    pub(crate) cgroup: Option<usize>,
}

impl<'a> SpawnFields<'a> {
    pub(crate) fn read(fields: Fields<'a>, fds_found: usize) -> Result<Self, Malformed> {
        let mut key = None;
        let mut program = None;
        let mut this = Self {
            key: "",
            note: &[],
            program: OsStr::new(""),
            argv0: None,
            args: Vec::new(),
            env: Vec::new(),
            cwd: Path::new("/"),
            inherit: Vec::new(),
            keep: Vec::new(),
            listen_pid: false,
            user: None,
            umask: None,
            nofile: None,
            mark: None,
            cgroup: None,
        };
        let mut fds_meant = 0;
        for field in fields {
            let field = field?;
            let text = OsStr::from_bytes(field.value);
            match field.tag {
                tag::KEY => key = Some(field.text_up_to(KEY_MAX)?),
                tag::NOTE if field.value.len() > NOTE_MAX => {
                    return Err(Malformed::Long { tag: tag::NOTE, found: field.value.len(), max: NOTE_MAX });
                }
                tag::NOTE => this.note = field.value,
                tag::PROGRAM => program = Some(text),
                tag::ARGV0 => this.argv0 = Some(text),
                tag::ARG => this.args.push(text),
                tag::ENV => this.env.push(text),
                tag::CWD => this.cwd = Path::new(text),
                tag::INHERIT => {
                    this.inherit.push((fds_meant, field.i32()?));
                    fds_meant += 1;
                }
                tag::KEEP => {
                    this.keep.push((fds_meant, field.text_up_to(NAME_MAX)?));
                    fds_meant += 1;
                }
                tag::CGROUP => {
                    this.cgroup = Some(fds_meant);
                    fds_meant += 1;
                }
                tag::LISTEN_PID => this.listen_pid = true,
                tag::USER => this.user = Some(credentials(field)?),
                tag::UMASK => this.umask = Some(field.u32()?),
                tag::NOFILE => this.nofile = Some(field.u64()?),
                tag::MARK => this.mark = Some(field.u64()?),
                // From a daemon that knows more than this keeper does.
                _ => {}
            }
        }
        if fds_meant != fds_found {
            return Err(Malformed::Descriptors { expected: fds_meant, found: fds_found });
        }
        this.key = key.ok_or(Malformed::Missing { tag: tag::KEY })?;
        this.program = program.ok_or(Malformed::Missing { tag: tag::PROGRAM })?;
        Ok(this)
    }
}

fn credentials(field: Field<'_>) -> Result<Credentials, Malformed> {
    let mut ids = field.quads()?.map(u32::from_le_bytes);
    let short = Malformed::Size { tag: field.tag, expected: 8, found: field.value.len() };
    let (Some(uid), Some(gid)) = (ids.next(), ids.next()) else { return Err(short) };
    Ok(Credentials { uid, gid, groups: ids.collect() })
}
