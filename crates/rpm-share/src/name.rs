//! What the keeper calls our sockets: `port/APP/INDEX/HOLDER/PLACE`.
//!
//! `INDEX` is the place in the SO_REUSEPORT group, or `all` for a socket that all workers have. `HOLDER` is the life
//! that has the slot, or `-`.

use std::fmt;

use rpm_model::{AppId, Life};

use crate::want::Place;

/// What all names begin with.
pub(crate) const PREFIX: &str = "port/";

/// The name of one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) app: AppId,
    /// `None` for a socket that all workers have.
    pub(crate) index: Option<u32>,
    pub(crate) holder: Option<Life>,
    pub(crate) place: Place,
}

impl Name {
    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.splitn(4, '/');
        let app = AppId(parts.next()?.parse().ok()?);
        let index = match parts.next()? {
            "all" => None,
            index => Some(index.parse().ok()?),
        };
        let holder = match parts.next()? {
            "-" => None,
            life => Some(Life::parse(life)?),
        };
        Some(Self { app, index, holder, place: Place::decode(parts.next()?)? })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/", self.app)?;
        match self.index {
            None => f.write_str("all/")?,
            Some(index) => write!(f, "{index}/")?,
        }
        match self.holder {
            None => f.write_str("-/")?,
            Some(life) => write!(f, "{life}/")?,
        }
        f.write_str(&self.place.encode())
    }
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;

    use super::*;
    use crate::want::Want;

    #[test]
    fn a_name_reads_back() {
        for (index, holder) in [(Some(7), Some(Life::new(WorkerId(3), 2))), (Some(0), None), (None, None)] {
            let place = Want::parse("/run/with space/x.sock").unwrap().place().unwrap();
            let name = Name { app: AppId(4), index, holder, place };
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(Name::parse("port/1/x/-/80,4,0,0,null"), None);
        assert_eq!(Name::parse("log/1"), None);
    }
    #[test]
    fn a_socket_had_back_keeps_its_place_where_that_is_known() {
        use rpm_model::SocketMode;

        use crate::Ports;

        let want = Want::parse("127.0.0.1:8080").unwrap();
        let (first, second) = (Life::new(WorkerId(1), 4), Life::new(WorkerId(2), 1));
        let name = |life, known: &[String], place, mode| {
            Name::parse(&Ports::regained_name(life, AppId(3), &want, mode, known, place).unwrap()).unwrap()
        };
        let slots = SocketMode::Reuseport;
        let known = [name(second, &[], (1, 2), slots).to_string()];
        let regained = name(second, &known, (0, 2), slots);
        assert_eq!((regained.to_string(), regained.holder), (known[0].clone(), Some(second)));
        // Not known: none of two is at the beginning, so the group is seen to be out of order.
        assert_eq!(name(first, &known, (0, 2), slots).index, Some(1));
        assert_eq!(name(first, &[], (0, 1), slots).index, Some(0));
        let shared = name(first, &known, (0, 2), SocketMode::Shared);
        assert_eq!((shared.index, shared.holder), (None, None));
    }
}
