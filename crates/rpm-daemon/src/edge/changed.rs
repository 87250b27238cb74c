//! A changed configuration, applied where it runs: counters, connections and WebSockets stay.
//!
//! Only where nothing but the configuration is another one, and every process of the balancers is up. Anything else is a
//! roll: new processes beside the old ones. What one process refuses is taken back from all.

use std::sync::Arc;

use rpm_ipc::{Reply, Request, Respec};
use rpm_model::edge::Answer;
use rpm_model::{AppId, AppSpec, Life, Moment, Status};
use rpm_supervise::Command;

use super::asked::Waiting;
use crate::clients::Line;
use crate::daemon::{Asked, Daemon};

/// Whose, what comes, and what was.
type Both = (AppId, Arc<AppSpec>, Arc<AppSpec>);

/// A configuration on its way into processes that run.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) number: u64,
    line: Line,
    id: u64,
    request: Request,
    specs: Vec<Both>,
    /// Who has not answered yet.
    open: Vec<Life>,
    mistakes: Vec<String>,
    pub(super) until: Moment,
}

/// Certificates are read and names are resolved, which may take as long as a name server.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

impl Daemon {
    /// Applies a changed configuration where it runs; returns whether that is what was asked for.
    pub(crate) fn change_balancers(&mut self, request: &Request, (line, id): (&Line, u64)) -> bool {
        let Request::Reload { workers, specs, .. } = request else { return false };
        let Some(changes) = self.only_arrangements(specs) else { return false };
        let own = |worker| changes.iter().any(|(app, ..)| self.core.worker(worker).is_some_and(|one| one.app == *app));
        if changes.is_empty() || !workers.iter().all(|worker| own(*worker)) {
            return false;
        }
        let lives: Vec<(Life, Arc<AppSpec>)> = self
            .edges
            .edges
            .iter()
            .filter_map(|(life, edge)| {
                let change = changes.iter().find(|(app, ..)| *app == edge.app)?;
                Some((*life, change.1.clone()))
            })
            .collect();
        if self
            .edges
            .changes
            .iter()
            .any(|other| other.specs.iter().any(|(app, ..)| changes.iter().any(|(own, ..)| own == app)))
        {
            let message = "a configuration is being applied already".into();
            line.reply(id, Reply::Refused { message, hint: None });
            return true;
        }
        let number = self.edges.next_id();
        let opened = changes.iter().try_for_each(|(app, spec, _)| self.open_listeners(*app, spec));
        let mut change = Change {
            number,
            line: line.clone(),
            id,
            request: request.clone(),
            specs: changes,
            open: lives.iter().map(|(life, _)| *life).collect(),
            mistakes: Vec::new(),
            until: crate::view::now() + PATIENCE,
        };
        if let Err(refused) = opened {
            change.mistakes.push(refused.to_string());
            self.undo(&change, false);
            return true;
        }
        self.edges.changes.push(change);
        for (life, spec) in lives {
            self.rearrange(life, spec, Waiting::Changed(number));
        }
        true
    }

    /// Returns what comes and what was, where that differs in nothing but the arrangement and everything is up.
    fn only_arrangements(&self, specs: &[Respec]) -> Option<Vec<Both>> {
        let one = |respec: &Respec| {
            let app = self.core.app(respec.app)?;
            // A balancer has no use for the environment, which is another one in every shell.
            let alike = AppSpec {
                balancer: respec.spec.balancer.clone(),
                listen: respec.spec.listen.clone(),
                drain_timeout: respec.spec.drain_timeout,
                env: respec.spec.env.clone(),
                env_shell: respec.spec.env_shell.clone(),
                ..(**app.spec).clone()
            };
            let up = |worker: &rpm_supervise::WorkerView<'_>| {
                let life = worker.life.filter(|_| worker.status == Status::Online);
                life.is_some_and(|life| self.edges.edges.get(&life).is_some_and(|edge| !edge.quitting))
            };
            let same = app.spec.is_balancer() && alike == respec.spec && app.workers.iter().all(up);
            let lives = self.edges.edges.values().filter(|edge| edge.app == app.id && !edge.quitting).count();
            // Another one that comes or goes is a roll under way.
            (same && lives == app.workers.len()).then(|| (app.id, Arc::new(respec.spec.clone()), app.spec.clone()))
        };
        specs.iter().map(one).collect()
    }

    /// Tells an edge another arrangement.
    fn rearrange(&mut self, life: Life, spec: Arc<AppSpec>, waiting: Waiting) {
        if let Some(edge) = self.edges.edges.get_mut(&life) {
            edge.arrangement = spec;
        }
        self.configure_edge_for(life, waiting);
    }

    /// Takes an edge's answer to a changed configuration.
    pub(super) fn change_answered(&mut self, life: Life, number: u64, answer: Answer) {
        let Some(change) = self.edges.changes.iter_mut().find(|change| change.number == number) else { return };
        change.open.retain(|open| *open != life);
        if let Answer::Refused(mistakes) = answer {
            change.mistakes.extend(mistakes);
        }
        self.end_changes(Moment::default());
    }

    /// Ends what all processes have answered, or what has taken too long.
    pub(super) fn end_changes(&mut self, now: Moment) {
        let ready = |change: &mut Change| change.open.is_empty() || change.until <= now;
        let ended: Vec<Change> = self.edges.changes.extract_if(.., ready).collect();
        for mut change in ended {
            if !change.open.is_empty() {
                change.mistakes.push("the balancer did not answer in time".into());
            }
            if change.mistakes.is_empty() {
                self.settle_change(change);
            } else {
                self.undo(&change, true);
            }
        }
    }

    fn settle_change(&mut self, change: Change) {
        let specs: Vec<_> = change.specs.iter().map(|(app, spec, _)| (*app, spec.clone())).collect();
        for (app, spec) in &specs {
            for (life, process) in &mut self.processes {
                if self.edges.edges.get(life).is_some_and(|edge| edge.app == *app) {
                    process.spec = spec.clone();
                }
            }
            self.close_other_listeners(*app, spec);
        }
        self.edges.differ = true;
        self.command(Command::Adopt { specs }, Asked { line: Some((change.line, change.id)), request: change.request });
    }

    /// Takes a configuration back.
    fn undo(&mut self, change: &Change, told: bool) {
        for (app, _, before) in &change.specs {
            let lives: Vec<Life> =
                self.edges.edges.iter().filter(|(_, edge)| edge.app == *app).map(|(life, _)| *life).collect();
            for life in lives.into_iter().filter(|_| told) {
                self.rearrange(life, before.clone(), Waiting::Nobody);
            }
            self.close_other_listeners(*app, before);
        }
        let mut mistakes = change.mistakes.clone();
        mistakes.dedup();
        let message = format!("the configuration was not applied: {}", mistakes.join("; "));
        let hint = Some("the balancers keep serving with what they had".into());
        change.line.reply(change.id, Reply::Refused { message, hint });
    }

    fn close_other_listeners(&mut self, app: AppId, spec: &AppSpec) {
        let arrangement = spec.balancer.as_deref();
        let wanted: Vec<String> = arrangement
            .into_iter()
            .flat_map(|arrangement| arrangement.addresses().map(rpm_model::edge::listener_name))
            .collect();
        self.edges.listeners.close_others(app, &wanted, &mut self.keeper);
    }
}
