//! `drain`, `ready`, `weight`: what people ask of one server of an upstream.

use rpm_ipc::{BalancerInfo, Reply, Request};
use rpm_model::edge::{ServerChange, ServerStats, UpstreamStats};
use rpm_model::nearest;

use crate::args::{Server, Weight};
use crate::commands::Invocation;
use crate::report::Failure;

pub(super) fn drain(args: &Server, invocation: &Invocation) -> Result<(), Failure> {
    change(&args.upstream, &args.server, ServerChange::Drain, invocation)
}

pub(super) fn ready(args: &Server, invocation: &Invocation) -> Result<(), Failure> {
    change(&args.upstream, &args.server, ServerChange::Ready, invocation)
}

pub(super) fn weight(args: &Weight, invocation: &Invocation) -> Result<(), Failure> {
    change(&args.upstream, &args.server, ServerChange::Weight(args.weight), invocation)
}

fn change(upstream: &str, server: &str, change: ServerChange, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    let balancers = session.balancers(&list)?;
    let names = find(upstream, server, &balancers)?;
    for name in &names {
        let request = Request::Server { upstream: upstream.to_owned(), server: name.clone(), change };
        match session.act(request, |_| {})? {
            Reply::Done { .. } => {}
            other => return Err(crate::session::unexpected(other)),
        }
        let what = match change {
            ServerChange::Drain => "gets no new requests".to_owned(),
            ServerChange::Ready => "is used".to_owned(),
            ServerChange::Weight(weight) => format!("has weight {weight}"),
        };
        invocation.voice.say(format_args!("{upstream}/{name} {what}"));
    }
    Ok(())
}

/// Returns the servers of an upstream that a word means: one by its name or address, or the workers of a seat or an app.
///
/// # Errors
/// When there is none; names those that are near.
fn find(upstream: &str, server: &str, balancers: &[BalancerInfo]) -> Result<Vec<String>, Failure> {
    let stats = balancers.iter().filter_map(|balancer| balancer.stats.as_ref());
    let all: Vec<&UpstreamStats> = stats.flat_map(|stats| &stats.upstreams).collect();
    let upstreams: Vec<&str> = all.iter().map(|upstream| upstream.name.as_str()).collect();
    let servers: Vec<&ServerStats> =
        all.iter().filter(|other| other.name == upstream).flat_map(|upstream| &upstream.servers).collect();
    if !upstreams.contains(&upstream) {
        let failure = Failure::new(format!("no balancer that runs has an upstream called {upstream:?}"));
        return Err(match nearest(upstream, upstreams.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None if upstreams.is_empty() => failure.detail("no balancer runs"),
            None => failure.hint(format!("there is: {}", upstreams.join(", "))),
        });
    }
    let is_meant = |known: &&&ServerStats| {
        let seat = known.name.rsplit_once('.').filter(|_| known.app.is_some()).map(|(seat, _)| seat);
        known.name == server || known.address == server || seat == Some(server) || known.app.as_deref() == Some(server)
    };
    let mut meant: Vec<String> = servers.iter().filter(is_meant).map(|server| server.name.clone()).collect();
    meant.sort_unstable();
    meant.dedup();
    if meant.is_empty() {
        let failure = Failure::new(format!("upstream {upstream} has no server called {server:?}"));
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        let seats = servers.iter().filter(|server| server.app.is_some());
        let seats = seats.filter_map(|server| server.name.rsplit_once('.')).map(|(seat, _)| seat);
        return Err(match nearest(server, names.iter().copied().chain(seats)) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("there is: {}", names.join(", "))),
        });
    }
    Ok(meant)
}

#[cfg(test)]
mod tests {
    use rpm_model::AppId;
    use rpm_model::edge::EdgeStats;

    use super::*;

    fn balancers() -> Vec<BalancerInfo> {
        let server = |name: &str, app: Option<&str>| ServerStats {
            name: name.into(),
            address: format!("127.0.0.1:{}", name.len()),
            app: app.map(str::to_owned),
            ..ServerStats::default()
        };
        let servers = vec![server("api:0.3", Some("api")), server("api:1.1", Some("api")), server("spare", None)];
        let upstreams = vec![UpstreamStats { name: "backend".into(), servers, ..UpstreamStats::default() }];
        vec![BalancerInfo { app: AppId(1), stats: Some(EdgeStats { upstreams, ..EdgeStats::default() }) }]
    }

    #[test]
    fn servers_have_several_names() {
        let found = |word| find("backend", word, &balancers()).unwrap();
        assert_eq!(found("spare"), ["spare"]);
        assert_eq!(found("api:0"), ["api:0.3"]);
        assert_eq!(found("api"), ["api:0.3", "api:1.1"]);
        assert_eq!(found("127.0.0.1:5"), ["spare"]);
    }

    #[test]
    fn a_wrong_name_hears_of_the_right_one() {
        let told = |upstream, server| find(upstream, server, &balancers()).unwrap_err().text();
        assert!(told("backnd", "spare").contains("did you mean `backend`?"));
        assert!(told("backend", "spar").contains("did you mean `spare`?"));
        assert!(told("backend", "zebra").contains("there is: api:0.3, api:1.1, spare"));
    }
}
