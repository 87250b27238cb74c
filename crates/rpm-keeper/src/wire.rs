//! Packets, byte for byte.
//!
//! One SOCK_SEQPACKET packet is one message, all numbers little-endian:
//!
//! ```text
//!   u16 version │ u16 op │ field*          field = u16 tag │ u32 length │ bytes
//! ```
//!
//! Descriptors travel beside the packet, in the order in which the fields that mean them appear. A reader skips tags it
//! does not know and answers an op it does not know with an error, so a new daemon can speak to an old keeper: new
//! things get new tags, and a tag never changes its meaning. A message longer than [`PACKET_MAX`] is put into a sealed
//! memory file which travels as the first descriptor of an [`op::LARGE`] packet.

use std::borrow::Cow;

use rpm_sys::fd::FDS_PER_MESSAGE_MAX;

/// The version this side speaks. It rises only when old peers could no longer be understood.
pub(crate) const VERSION: u16 = 1;
/// The longest packet sent as such: well below the default socket buffer (208 KiB), so one always fits.
pub(crate) const PACKET_MAX: usize = 64 * 1024;
/// The longest message in a memory file: an environment and arguments as large as execve takes (2 MiB), twice.
pub(crate) const LARGE_MAX: usize = 4 * 1024 * 1024;
/// The most descriptors of one message; one is left for the memory file.
pub(crate) const FDS_MAX: usize = FDS_PER_MESSAGE_MAX - 1;

/// What a packet asks or tells.
pub(crate) mod op {
    pub(crate) const HELLO: u16 = 1;
    pub(crate) const SPAWN: u16 = 2;
    pub(crate) const ACK: u16 = 3;
    pub(crate) const STORE: u16 = 4;
    pub(crate) const DROP: u16 = 5;
    pub(crate) const DROP_PREFIX: u16 = 6;
    pub(crate) const FETCH: u16 = 7;
    pub(crate) const INVENTORY: u16 = 8;
    pub(crate) const ORPHANS: u16 = 9;
    pub(crate) const UPGRADE: u16 = 10;
    pub(crate) const SHUTDOWN: u16 = 11;
    pub(crate) const ADOPT: u16 = 12;

    pub(crate) const IS_HELLO: u16 = 0x8001;
    pub(crate) const SPAWNED: u16 = 0x8002;
    pub(crate) const SPAWN_FAILED: u16 = 0x8003;
    pub(crate) const EXITED: u16 = 0x8004;
    pub(crate) const CHILD: u16 = 0x8005;
    pub(crate) const HELD: u16 = 0x8006;
    pub(crate) const INVENTORY_END: u16 = 0x8007;
    pub(crate) const IS_ORPHANS: u16 = 0x8008;
    pub(crate) const FD: u16 = 0x8009;
    pub(crate) const ERROR: u16 = 0x800a;

    /// The message proper is in a sealed memory file, the first descriptor.
    pub(crate) const LARGE: u16 = 0x7fff;
}

/// What a field holds.
pub(crate) mod tag {
    pub(crate) const KEY: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const NOTE: u16 = 3;
    pub(crate) const PROGRAM: u16 = 4;
    pub(crate) const ARG: u16 = 5;
    pub(crate) const ENV: u16 = 6;
    pub(crate) const CWD: u16 = 7;
    /// i32, the number in the child; means the next descriptor.
    pub(crate) const INHERIT: u16 = 8;
    /// The name to store it under; means the next descriptor.
    pub(crate) const KEEP: u16 = 9;
    pub(crate) const LISTEN_PID: u16 = 10;
    /// u32 uid, u32 gid, u32 for each supplementary group.
    pub(crate) const USER: u16 = 11;
    pub(crate) const UMASK: u16 = 12;
    pub(crate) const NOFILE: u16 = 13;
    pub(crate) const PREFIX: u16 = 14;
    pub(crate) const BINARY: u16 = 15;
    pub(crate) const ARGV0: u16 = 16;
    /// Where the child enrols itself: the `cgroup.procs` of a control group; means the next descriptor.
    pub(crate) const CGROUP: u16 = 17;
    pub(crate) const MARK: u16 = 18;

    pub(crate) const VERSION: u16 = 32;
    pub(crate) const PID: u16 = 33;
    /// i32 for each pid.
    pub(crate) const PIDS: u16 = 34;
    pub(crate) const AT: u16 = 35;
    pub(crate) const STEP: u16 = 36;
    pub(crate) const ERRNO: u16 = 37;
    pub(crate) const EXIT_CODE: u16 = 38;
    pub(crate) const EXIT_SIGNAL: u16 = 39;
    /// Present when a core was dumped.
    pub(crate) const CORE: u16 = 40;
    pub(crate) const UTIME: u16 = 41;
    pub(crate) const STIME: u16 = 42;
    pub(crate) const MAXRSS: u16 = 43;
    pub(crate) const STARTED_AT: u16 = 44;
    pub(crate) const ABOUT: u16 = 45;
    pub(crate) const TEXT: u16 = 46;
    /// Present when nobody can know how a process ended.
    pub(crate) const EXIT_UNKNOWN: u16 = 47;
}

/// Builds one packet in a buffer that is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct Packet(Vec<u8>);

impl Packet {
    /// Starts over with the head of a new packet.
    pub(crate) fn begin(&mut self, op: u16) -> &mut Self {
        self.0.clear();
        self.0.extend_from_slice(&VERSION.to_le_bytes());
        self.0.extend_from_slice(&op.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, tag: u16, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("a field is shorter than the largest message");
        self.0.extend_from_slice(&tag.to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn flag(&mut self, tag: u16) -> &mut Self {
        self.bytes(tag, &[])
    }

    pub(crate) fn u16(&mut self, tag: u16, value: u16) -> &mut Self {
        self.bytes(tag, &value.to_le_bytes())
    }

    pub(crate) fn i32(&mut self, tag: u16, value: i32) -> &mut Self {
        self.bytes(tag, &value.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, tag: u16, value: u32) -> &mut Self {
        self.bytes(tag, &value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, tag: u16, value: u64) -> &mut Self {
        self.bytes(tag, &value.to_le_bytes())
    }

    pub(crate) fn numbers<const N: usize>(&mut self, tag: u16, values: impl Iterator<Item = [u8; N]>) -> &mut Self {
        self.bytes(tag, &values.flatten().collect::<Vec<u8>>())
    }

    /// Becomes a packet that was built before.
    pub(crate) fn again(&mut self, bytes: &[u8]) {
        self.0.clear();
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Gives back what an unusually long packet took.
    pub(crate) fn shrink(&mut self) {
        if self.0.capacity() > 2 * PACKET_MAX {
            self.0.clear();
            self.0.shrink_to(PACKET_MAX);
        }
    }
}

/// A packet that breaks the rules above.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a packet of {0} bytes is shorter than its head")]
    Short(usize),
    #[error("field {tag} claims {length} bytes, {left} are left")]
    Overrun { tag: u16, length: usize, left: usize },
    #[error("field {tag} should have {expected} bytes, it has {found}")]
    Size { tag: u16, expected: usize, found: usize },
    #[error("field {tag} is not valid text")]
    Text { tag: u16 },
    #[error("field {tag} is missing")]
    Missing { tag: u16 },
    #[error("field {tag} is too long: {found} bytes, at most {max}")]
    Long { tag: u16, found: usize, max: usize },
    #[error("{found} descriptors came with the packet, its fields mean {expected}")]
    Descriptors { expected: usize, found: usize },
    #[error("the memory file of a large packet cannot be used: {0}")]
    Large(rpm_sys::SysError),
}

/// The head of a packet: version, op, and the fields after it.
pub(crate) fn head(packet: &[u8]) -> Result<(u16, u16, Fields<'_>), Malformed> {
    match packet {
        [v0, v1, o0, o1, fields @ ..] => {
            Ok((u16::from_le_bytes([*v0, *v1]), u16::from_le_bytes([*o0, *o1]), Fields(fields)))
        }
        _ => Err(Malformed::Short(packet.len())),
    }
}

/// The fields of a packet, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let [t0, t1, l0, l1, l2, l3, rest @ ..] = self.0 else {
            let left = self.0.len();
            self.0 = &[];
            return Some(Err(Malformed::Short(left)));
        };
        let tag = u16::from_le_bytes([*t0, *t1]);
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        match rest.split_at_checked(length) {
            Some((value, rest)) => {
                self.0 = rest;
                Some(Ok(Field { tag, value }))
            }
            None => {
                self.0 = &[];
                Some(Err(Malformed::Overrun { tag, length, left: rest.len() }))
            }
        }
    }
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) tag: u16,
    pub(crate) value: &'a [u8],
}

impl<'a> Field<'a> {
    pub(crate) fn text(&self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.value).map_err(|_| Malformed::Text { tag: self.tag })
    }

    /// The text with what is not UTF-8 replaced; for text that only people read.
    pub(crate) fn lossy(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.value)
    }

    pub(crate) fn text_up_to(&self, max: usize) -> Result<&'a str, Malformed> {
        if self.value.len() > max {
            return Err(Malformed::Long { tag: self.tag, found: self.value.len(), max });
        }
        self.text()
    }

    pub(crate) fn i32(&self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u16(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// The value as numbers of four bytes; a rest of fewer bytes is a mistake.
    pub(crate) fn quads(&self) -> Result<impl Iterator<Item = [u8; 4]> + 'a, Malformed> {
        let (quads, rest) = self.value.as_chunks::<4>();
        if rest.is_empty() {
            Ok(quads.iter().copied())
        } else {
            Err(Malformed::Size { tag: self.tag, expected: quads.len() * 4, found: self.value.len() })
        }
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed::Size { tag: self.tag, expected: N, found: self.value.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut packet = Packet::default();
        packet.begin(op::SPAWN).bytes(tag::KEY, b"api").i32(tag::INHERIT, -3).flag(tag::LISTEN_PID).u64(tag::AT, 7);
        let (version, op, mut fields) = head(packet.as_slice()).unwrap();
        assert_eq!((version, op), (VERSION, op::SPAWN));
        assert_eq!(fields.next().unwrap().unwrap().text().unwrap(), "api");
        assert_eq!(fields.next().unwrap().unwrap().i32().unwrap(), -3);
        assert!(fields.next().unwrap().unwrap().value.is_empty());
        assert_eq!(fields.next().unwrap().unwrap().u64().unwrap(), 7);
        assert!(fields.next().is_none());
    }

    #[test]
    fn broken_packets_are_named_and_never_read_past_their_end() {
        assert_eq!(head(&[1, 0, 2]).unwrap_err(), Malformed::Short(3));
        let mut fields = Fields(&[1, 0, 255, 255, 255, 255, 9]);
        assert!(matches!(fields.next(), Some(Err(Malformed::Overrun { tag: 1, left: 1, .. }))));
        assert!(fields.next().is_none());
        let mut fields = Fields(&[1, 0, 4]);
        assert_eq!(fields.next(), Some(Err(Malformed::Short(3))));
        assert!(fields.next().is_none());
        assert!(Field { tag: 1, value: &[0; 3] }.i32().is_err());
        assert!(Field { tag: 1, value: &[0xff] }.text().is_err());
        assert!(Field { tag: 1, value: &[0; 5] }.quads().is_err());
    }
}
