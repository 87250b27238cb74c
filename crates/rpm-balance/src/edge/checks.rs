//! Which servers are checked actively.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::check::{Subject, watch};
use crate::config::Snapshot;
use crate::pool::Live;

/// The checks that are running.
#[derive(Default)]
pub(super) struct Checks(Vec<(Arc<Live>, Subject, AbortHandle)>);

impl Checks {
    /// Begins and ends checks; those that stay the same go on as they are.
    pub(super) fn apply(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.0);
        for upstream in &snapshot.upstreams {
            let Some(spec) = &upstream.check else { continue };
            for server in &upstream.servers {
                let (target, send_proxy) = (server.target.clone(), server.send_proxy);
                let subject = Subject { spec: spec.clone(), target, send_proxy };
                let same = before.iter().position(|(live, old, _)| Arc::ptr_eq(live, &server.live) && *old == subject);
                self.0.push(match same {
                    Some(index) => before.swap_remove(index),
                    None => {
                        let task = tokio::task::spawn_local(watch(subject.clone(), server.live.clone()));
                        (server.live.clone(), subject, task.abort_handle())
                    }
                });
            }
        }
        before.into_iter().for_each(|(_, _, task)| task.abort());
    }

    /// Ends all of them.
    pub(super) fn stop(&mut self) {
        self.0.drain(..).for_each(|(_, _, task)| task.abort());
    }
}
