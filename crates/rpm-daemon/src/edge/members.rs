//! Which workers an edge should know of, and what it is told when that has changed.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rpm_model::Life;
use rpm_model::balance::ServerAddress;
use rpm_model::edge::{Ask, Member, MemberState};

/// What is known of one process of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) life: Life,
    pub(crate) instance: u32,
    /// Where it is reached, once that is known.
    pub(crate) address: Option<ServerAddress>,
    /// The address to connect from.
    pub(crate) source: Option<Ipv4Addr>,
    /// Whether it is ready, and takes new requests.
    pub(crate) admitted: bool,
    /// Whether it is ill, and gets none for that.
    pub(crate) withheld: bool,
    /// Whether it was told to finish, or to leave.
    pub(crate) leaving: bool,
}

/// A worker without a process that will have one: requests without another server wait for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    pub(crate) instance: u32,
}

/// Members by app and name.
pub(crate) type Members = BTreeMap<(String, String), Member>;

/// Returns the members that an app's processes are.
pub(crate) fn of_app(app: &str, seen: &[Seen], awaited: &[Awaited]) -> Vec<Member> {
    let member = |instance: u32, suffix: String, address: Option<ServerAddress>, state| Member {
        app: app.to_owned(),
        name: format!("{app}:{instance}.{suffix}"),
        seat: format!("{app}:{instance}"),
        // One that is not ready is not connected to: any address will do until it is known.
        address: address.unwrap_or(ServerAddress::Tcp { host: "127.0.0.1".into(), port: 9 }),
        state,
        weight: None,
        source: None,
    };
    let processes = seen.iter().map(|seen| {
        let state = match (seen.leaving, seen.admitted, &seen.address) {
            (true, ..) => MemberState::Draining,
            (false, true, Some(_)) if seen.withheld => MemberState::Unhealthy,
            (false, true, Some(_)) => MemberState::Ready,
            (false, ..) => MemberState::Starting,
        };
        let generation = seen.life.generation.0.to_string();
        Member { source: seen.source, ..member(seen.instance, generation, seen.address.clone(), state) }
    });
    let places = awaited.iter().map(|awaited| member(awaited.instance, "next".into(), None, MemberState::Starting));
    processes.chain(places).collect()
}

/// Returns what an edge that knows `told` has to be asked so that it knows `wanted`.
///
/// Those that come are told before those that go: in between there is always somebody to wait for.
pub(crate) fn changes(told: &Members, wanted: &Members) -> Vec<Ask> {
    let news = wanted.iter().filter(|(key, member)| told.get(*key) != Some(*member));
    let gone = told.keys().filter(|key| !wanted.contains_key(*key));
    let come = news.map(|(_, member)| Ask::Member(member.clone()));
    let go = gone.map(|(app, member)| Ask::RemoveMember { app: app.clone(), member: member.clone() });
    come.chain(go).collect()
}

/// Returns members by app and name.
pub(crate) fn by_name(members: Vec<Member>) -> Members {
    members.into_iter().map(|member| ((member.app.clone(), member.name.clone()), member)).collect()
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;

    use super::*;

    fn seen(generation: u64, admitted: bool, leaving: bool) -> Seen {
        let address = Some(ServerAddress::Tcp { host: "127.0.0.1".into(), port: 3000 + generation as u16 });
        Seen {
            life: Life::new(WorkerId(4), generation),
            instance: 0,
            address,
            source: None,
            admitted,
            withheld: false,
            leaving,
        }
    }

    fn states(members: &[Member]) -> Vec<(&str, MemberState)> {
        members.iter().map(|member| (member.name.as_str(), member.state)).collect()
    }

    #[test]
    fn a_reload_keeps_the_seat_and_changes_the_name() {
        use MemberState::{Draining, Ready, Starting};
        let before = of_app("api", &[seen(1, true, false)], &[]);
        let during = of_app("api", &[seen(1, true, false), seen(2, false, false)], &[]);
        let after = of_app("api", &[seen(1, false, true), seen(2, true, false)], &[]);
        assert_eq!(states(&before), [("api:0.1", Ready)]);
        assert_eq!(states(&during), [("api:0.1", Ready), ("api:0.2", Starting)]);
        assert_eq!(states(&after), [("api:0.1", Draining), ("api:0.2", Ready)]);
        assert!(after.iter().all(|member| member.seat == "api:0"));
    }

    #[test]
    fn one_that_is_ill_is_told_so_until_it_leaves() {
        let ill = Seen { withheld: true, ..seen(1, true, false) };
        assert_eq!(states(&of_app("api", std::slice::from_ref(&ill), &[])), [("api:0.1", MemberState::Unhealthy)]);
        let leaves = Seen { leaving: true, ..ill };
        assert_eq!(states(&of_app("api", &[leaves], &[])), [("api:0.1", MemberState::Draining)]);
    }

    #[test]
    fn a_worker_that_is_to_come_is_waited_for() {
        let gone = of_app("api", &[], &[Awaited { instance: 0 }]);
        assert_eq!(states(&gone), [("api:0.next", MemberState::Starting)]);
        // The address is not known yet: nobody is sent there.
        let listens = Seen { address: None, ..seen(2, true, false) };
        assert_eq!(states(&of_app("api", &[listens], &[])), [("api:0.2", MemberState::Starting)]);
    }

    #[test]
    fn only_what_has_changed_is_told_and_who_comes_first() {
        let old = by_name(of_app("api", &[seen(1, true, false)], &[]));
        let new = by_name(of_app("api", &[seen(2, true, false)], &[]));
        assert!(changes(&old, &old).is_empty());
        let asks = changes(&old, &new);
        assert!(matches!(&asks[..], [Ask::Member(come), Ask::RemoveMember { member, .. }]
            if come.name == "api:0.2" && member == "api:0.1"));
    }
}
