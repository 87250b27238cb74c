//! What clients ask of balancers: their counters, and changes of servers.

use std::collections::BTreeMap;
use std::time::Duration;

use rpm_ipc::{BalancerInfo, Reply};
use rpm_model::edge::{Answer, Ask, EdgeStats, ServerChange};
use rpm_model::{Life, Moment};

use crate::clients::Line;
use crate::daemon::Daemon;

/// How long the counters of an edge are waited for: it answers within a few milliseconds, unless it is stopped.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Who waits for an answer of an edge.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The core: the edge is ready then.
    Configured,
    /// A client, by its number in [`Asking`].
    Client(u64),
    /// Whoever looks at what apps carry.
    Traffic,
    /// Whoever has changed the configuration, by its number.
    Changed(u64),
    /// Nobody.
    Nobody,
}

/// A client that waits for the answers of several edges.
#[derive(Debug)]
pub(super) struct Asking {
    number: u64,
    line: Line,
    id: u64,
    what: What,
    /// Who has not answered yet.
    open: Vec<Life>,
    until: Moment,
}

#[derive(Debug)]
enum What {
    Stats(BTreeMap<Life, EdgeStats>),
    Server { done: usize, refused: Vec<String>, wish: (String, String), change: ServerChange },
}

impl Daemon {
    /// Answers with the counters of every balancer.
    pub(crate) fn balancers(&mut self, (line, id): (Line, u64)) {
        let what = What::Stats(BTreeMap::new());
        let lives = self.serving_edges(|_| true);
        self.ask_edges(lives, &Ask::Stats, what, (line, id));
    }

    /// Changes a server in every balancer that reaches its upstream.
    pub(crate) fn change_server(&mut self, upstream: &str, server: &str, change: ServerChange, client: (Line, u64)) {
        let lives = self.serving_edges(|names| names.iter().any(|name| name == upstream));
        let what =
            What::Server { done: 0, refused: Vec::new(), wish: (upstream.to_owned(), server.to_owned()), change };
        if lives.is_empty() {
            let message = format!("no balancer that runs has an upstream called {upstream:?}");
            return client.0.reply(client.1, Reply::Refused { message, hint: None });
        }
        let ask = Ask::Server { upstream: upstream.to_owned(), server: server.to_owned(), change };
        self.ask_edges(lives, &ask, what, client);
    }

    fn serving_edges(&self, has: impl Fn(&[String]) -> bool) -> Vec<Life> {
        let edges = self.edges.edges.iter().filter(|(_, edge)| !edge.quitting);
        let named = edges.filter(|(_, edge)| {
            let upstreams = edge.arrangement().map(|all| &all.upstreams);
            let names: Vec<String> = upstreams.into_iter().flatten().map(|upstream| upstream.name.clone()).collect();
            has(&names)
        });
        named.map(|(life, _)| *life).collect()
    }

    fn ask_edges(&mut self, lives: Vec<Life>, ask: &Ask, what: What, (line, id): (Line, u64)) {
        let number = self.edges.next_id();
        for life in &lives {
            self.ask_edge(*life, ask.clone(), Waiting::Client(number));
        }
        let until = crate::view::now() + PATIENCE;
        self.edges.asking.push(Asking { number, line, id, what, open: lives, until });
        self.answer_clients(Moment::default());
    }

    /// Takes an edge's answer to what a client has asked.
    pub(super) fn client_hears(&mut self, life: Life, number: u64, answer: Answer) {
        let Some(asking) = self.edges.asking.iter_mut().find(|asking| asking.number == number) else { return };
        asking.open.retain(|open| *open != life);
        match (&mut asking.what, answer) {
            (What::Stats(all), Answer::Stats(stats)) => {
                all.insert(life, stats);
            }
            (What::Server { done, .. }, Answer::Done) => *done += 1,
            (What::Server { refused, .. }, Answer::Refused(reasons)) => refused.extend(reasons),
            (What::Stats(_), Answer::Done | Answer::Refused(_)) | (What::Server { .. }, Answer::Stats(_)) => {}
        }
        self.answer_clients(Moment::default());
    }

    /// Returns when somebody has waited long enough.
    pub(crate) fn edges_due(&self) -> Option<Moment> {
        let changes = self.edges.changes.iter().map(|change| change.until);
        self.edges.asking.iter().map(|asking| asking.until).chain(changes).min()
    }

    /// Answers clients for whom all is there, or whose time is up.
    pub(crate) fn answer_clients(&mut self, now: Moment) {
        self.end_changes(now);
        let ready = |asking: &mut Asking| asking.open.is_empty() || asking.until <= now;
        let answered: Vec<Asking> = self.edges.asking.extract_if(.., ready).collect();
        for asking in answered {
            let reply = match asking.what {
                What::Stats(stats) => Reply::Balancers(self.balancer_infos(stats)),
                What::Server { done: 0, refused, .. } => {
                    let message = refused.first().cloned();
                    let message = message.unwrap_or_else(|| "the balancer did not answer in time".into());
                    Reply::Refused { message, hint: None }
                }
                What::Server { wish, change, .. } => {
                    self.remember_wish(wish, change);
                    Reply::Done { workers: Vec::new() }
                }
            };
            asking.line.reply(asking.id, reply);
        }
    }

    fn remember_wish(&mut self, wish: (String, String), change: ServerChange) {
        for edge in self.edges.edges.values() {
            let has = edge.arrangement().is_some_and(|all| all.upstreams.iter().any(|one| one.name == wish.0));
            if has {
                let wish = self.edges.wishes.entry(edge.app).or_default().entry(wish.clone()).or_default();
                match change {
                    ServerChange::Drain => wish.drained = true,
                    ServerChange::Ready => wish.drained = false,
                    ServerChange::Weight(weight) => wish.weight = Some(weight),
                }
            }
        }
        for wishes in self.edges.wishes.values_mut() {
            wishes.retain(|_, wish| *wish != super::Wish::default());
        }
        // Before anybody hears that it is so.
        self.write_state();
    }

    fn balancer_infos(&self, mut stats: BTreeMap<Life, EdgeStats>) -> Vec<BalancerInfo> {
        let balancers = self.core.apps().filter(|app| app.spec.is_balancer());
        let infos = balancers.map(|app| {
            let worker = app.workers.first();
            let life = worker.and_then(|worker| worker.life);
            BalancerInfo { app: app.id, stats: life.and_then(|life| stats.remove(&life)) }
        });
        infos.collect()
    }
}
