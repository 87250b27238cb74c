//! A client of the daemon that lives in it.

use rpm_axon::process;
use rpm_ipc::{AppInfo, FromDaemon, List, Reply, Request, WorkerInfo};
use rpm_model::WorkerId;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::clients::{Inbound, Line};

/// Asks the loop, as any other client does.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    requests: mpsc::Sender<Inbound>,
}

impl Inside {
    pub(super) fn new(requests: mpsc::Sender<Inbound>) -> Self {
        Self { requests }
    }

    /// Asks, and waits for the reply; a daemon that leaves refuses.
    pub(super) async fn ask(&self, request: Request) -> Reply {
        let (line, mut replies) = Line::new();
        if self.requests.send(Inbound { id: 0, request, line }).await.is_ok() {
            while let Some(frame) = replies.recv().await {
                if let FromDaemon::Reply { reply, .. } = frame {
                    return *reply;
                }
            }
        }
        Reply::Refused { message: "the daemon is shutting down".into(), hint: None }
    }

    /// Returns everything there is, environments included; nothing when the daemon leaves.
    pub(super) async fn list(&self) -> List {
        match self.ask(Request::List { environment: true }).await {
            Reply::List(list) => list,
            _ => List { apps: Vec::new(), daemon: rpm_ipc::DaemonInfo::default() },
        }
    }

    /// Asks for something to be done; what went wrong is a sentence.
    pub(super) async fn act(&self, request: Request) -> Result<Vec<WorkerId>, String> {
        match self.ask(request).await {
            Reply::Done { workers } => Ok(workers),
            Reply::Refused { message, .. } => Err(message),
            // PM2's client has its answer when the process is started; how it fares then, the list and the bus tell. Only
            // where everything is as it was before, nothing was done.
            Reply::Failed(failed) if !failed.undone => {
                Ok(failed.failures.iter().map(|failure| failure.worker).collect())
            }
            Reply::Failed(failed) => {
                let each = failed.failures.iter();
                let each =
                    each.map(|failure| format!("{}, worker {} {}", failure.app, failure.worker, failure.message));
                Err(each.collect::<Vec<_>>().join("; "))
            }
            Reply::Pong(_)
            | Reply::List(_)
            | Reply::Figures(_)
            | Reply::Noted { .. }
            | Reply::Saved { .. }
            | Reply::Balancers(_)
            | Reply::History(_)
            | Reply::Answers { .. } => Ok(Vec::new()),
        }
    }
}

/// Returns a worker and its app.
pub(super) fn find(list: &List, id: WorkerId) -> Option<(&AppInfo, &WorkerInfo)> {
    list.apps.iter().find_map(|app| Some((app, app.workers.iter().find(|worker| worker.id == id)?)))
}

/// Returns a worker as PM2 describes it.
pub(super) fn describe(list: &List, id: WorkerId) -> Option<Value> {
    find(list, id).map(|(app, worker)| process::process(app, worker))
}
