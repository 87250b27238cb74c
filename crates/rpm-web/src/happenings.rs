//! What happens, as it is written down: who asked for it, commands and decisions included, whatever daemon wrote it.

use std::path::Path;
use std::sync::Arc;

use rpm_logs::Follower;
use rpm_logs::follow::Begin;
use rpm_records::EventRecord;
use tokio::sync::broadcast;

/// What a slow reader may lag behind before it misses something.
const DEPTH: usize = 256;

/// Tells everybody who listens; the thread ends with the program.
#[derive(Debug)]
pub(crate) struct Happenings(broadcast::Sender<Arc<EventRecord>>);

impl Happenings {
    /// Starts the thread that reads along.
    pub(crate) fn start(root: &Path) -> Self {
        let (sender, _) = broadcast::channel(DEPTH);
        let (told, path) = (sender.clone(), rpm_records::events_path(root));
        match Follower::new() {
            Ok(mut follower) => {
                follower.add((), path, Begin::End);
                std::thread::spawn(move || {
                    while let Ok(Some(line)) = follower.next() {
                        // Where nobody listens nobody has to understand it.
                        if told.receiver_count() > 0
                            && let Ok(event) = serde_json::from_slice::<EventRecord>(&line.bytes)
                        {
                            let _ = told.send(Arc::new(event));
                        }
                    }
                });
            }
            Err(error) => tracing::warn!("what happens cannot be followed: {error}"),
        }
        Self(sender)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<EventRecord>> {
        self.0.subscribe()
    }
}
