//! What commands for apps mean for balancers.

use rpm_ipc::Request;
use rpm_model::{Status, WorkerId};

use crate::daemon::Daemon;

impl Daemon {
    /// Returns what a request means: balancers that were made for an app come and go with it, and a restart of a balancer
    /// is a reload, since what it is doing need not be cut. A restart of the app alone leaves a balancer that runs as it
    /// is: requests wait in it. The first of the two is to be done beside, silently.
    pub(crate) fn for_balancers(&self, request: &Request) -> (Option<Request>, Request) {
        match request {
            Request::Stop { workers } => (None, Request::Stop { workers: self.with_made_balancers(workers) }),
            Request::Delete { workers } => (None, Request::Delete { workers: self.with_made_balancers(workers) }),
            Request::Restart { workers, specs } => {
                let mut all = self.with_made_balancers(workers);
                all.retain(|worker| {
                    workers.contains(worker)
                        || self.core.worker(*worker).is_some_and(|view| {
                            view.status != Status::Online || specs.iter().any(|respec| respec.app == view.app)
                        })
                });
                let (balancers, apps): (Vec<_>, Vec<_>) =
                    all.iter().copied().partition(|worker| self.balances(*worker));
                let (of_balancers, of_apps): (Vec<_>, Vec<_>) =
                    specs.iter().cloned().partition(|respec| respec.spec.is_balancer());
                let reload = Request::Reload { workers: balancers.clone(), specs: of_balancers, force: true };
                let restart = Request::Restart { workers: apps.clone(), specs: of_apps };
                match (balancers.is_empty(), apps.is_empty()) {
                    (true, _) => (None, restart),
                    (false, true) => (None, reload),
                    (false, false) => (Some(reload), restart),
                }
            }
            other => (None, other.clone()),
        }
    }

    fn balances(&self, worker: WorkerId) -> bool {
        self.core.worker(worker).is_some_and(|worker| worker.spec.is_balancer())
    }

    /// Returns the workers, and those of balancers that were made for apps of which all workers are among them.
    fn with_made_balancers(&self, workers: &[WorkerId]) -> Vec<WorkerId> {
        let is_whole = |name: &str| {
            let mut same = self.core.apps().filter(|app| app.spec.name == name && !app.spec.is_balancer()).peekable();
            same.peek().is_some() && same.all(|app| app.workers.iter().all(|worker| workers.contains(&worker.id)))
        };
        let mut all = workers.to_vec();
        for app in self.core.apps() {
            let made_for = app.spec.balancer.as_ref().and_then(|arrangement| arrangement.made_for.as_deref());
            if made_for.is_some_and(is_whole) {
                all.extend(app.workers.iter().map(|worker| worker.id).filter(|id| !workers.contains(id)));
            }
        }
        all
    }
}
