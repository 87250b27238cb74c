//! Asks the daemon: a thread that looks; another counts what happens, from the record.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpm_ipc::{AppInfo, AppKind, CallError, Client, Reply, Request};
use rpm_logs::Follower;
use rpm_logs::follow::Begin;
use rpm_model::{AppId, Home};
use rpm_records::EventRecord;
use tokio::sync::broadcast;

use crate::history::{EVERY, History, Point};
use crate::look::{OpenFds, Snapshot};
use crate::tally::Tally;

/// Between two looks while somebody watches.
const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// A snapshot is new enough for a question when it is younger than this.
const FRESH: Duration = Duration::from_millis(900);

/// A daemon that lives answers at once; one that does not within this is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What is refused is refused at once, and what has not ended after this takes longer than anybody waits.
const MOMENT: Duration = Duration::from_secs(1);

/// A daemon that is gone is tried again after this; the keeper starts the next one sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a slow reader may lag behind before it misses something.
const STREAM_DEPTH: usize = 64;

/// What is heard by those who watch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News {
    /// There is a newer snapshot.
    Looked,
}

/// What is known of the daemon.
#[derive(Debug)]
pub(crate) struct Watch {
    home: Home,
    state: Mutex<State>,
    /// One conversation at a time.
    link: Mutex<Link>,
    wanted: Condvar,
    pub(crate) news: broadcast::Sender<News>,
}

/// What looks are made with.
#[derive(Debug, Default)]
struct Link {
    client: Option<Client<UnixStream>>,
    open_fds: OpenFds,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Option<Arc<Snapshot>>,
    /// Something was done since: whoever asks wants to see that.
    is_stale: bool,
    history: History,
    tally: Tally,
}

impl Watch {
    /// Starts the threads.
    pub(crate) fn start(home: Home) -> Arc<Self> {
        let (news, _) = broadcast::channel(STREAM_DEPTH);
        let (state, link, wanted) = (Mutex::default(), Mutex::default(), Condvar::new());
        let watch = Arc::new(Self { home, state, link, wanted, news });
        let (looks, counts) = (watch.clone(), watch.clone());
        // What happens from now on, not from when the thread comes to it.
        let events = rpm_records::events_path(watch.home.root());
        let end = std::fs::metadata(&events).map_or(0, |meta| meta.len());
        std::thread::spawn(move || looks.look_on());
        std::thread::spawn(move || counts.count(&events, end));
        watch
    }

    /// Returns a snapshot that is young enough to be called the present.
    ///
    /// # Errors
    /// A sentence, when the daemon cannot be asked.
    pub(crate) fn now(&self) -> Result<Arc<Snapshot>, String> {
        let link = self.lock_link();
        // Whoever waited for the link may find that another has looked meanwhile.
        let young = |snapshot: &Arc<Snapshot>| snapshot.at.elapsed() < FRESH;
        let state = lock(&self.state);
        if let Some(snapshot) = state.snapshot.clone().filter(young).filter(|_| !state.is_stale) {
            return Ok(snapshot);
        }
        drop(state);
        self.look(link)
    }

    /// Returns what was seen last.
    pub(crate) fn latest(&self) -> Option<Arc<Snapshot>> {
        lock(&self.state).snapshot.clone()
    }

    /// Asks for something to be done, on a connection of its own; `by` says for whom.
    ///
    /// # Errors
    /// A sentence, when the daemon cannot be asked.
    pub(crate) fn act(&self, request: Request, by: &str) -> Result<Reply, String> {
        let reply = self.ask(request, Some(by))?;
        lock(&self.state).is_stale = true;
        self.wanted.notify_all();
        Ok(reply)
    }

    /// Asks for something that may take long; returns nothing where it has not ended within a moment. It goes on.
    ///
    /// # Errors
    /// A sentence, when the daemon cannot be asked.
    pub(crate) fn begin(&self, request: Request, by: &str) -> Result<Option<Reply>, String> {
        let mut client = connect(&self.home, Some(MOMENT), Some(by))?;
        let reply = client.call(request, |_| {});
        lock(&self.state).is_stale = true;
        self.wanted.notify_all();
        match reply {
            Err(CallError::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            other => other.map(Some).map_err(|error| error.to_string()),
        }
    }

    /// Returns everything that is known of an app but its environment: where its logs are, above all.
    ///
    /// # Errors
    /// A sentence, when the daemon cannot be asked.
    pub(crate) fn whole(&self, id: AppId) -> Result<Option<AppInfo>, String> {
        match self.ask(Request::List { environment: false }, None)? {
            Reply::List(list) => Ok(list.apps.into_iter().find(|app| app.id == id)),
            _ => Ok(None),
        }
    }

    fn ask(&self, request: Request, by: Option<&str>) -> Result<Reply, String> {
        let mut client = connect(&self.home, None, by)?;
        client.call(request, |_| {}).map_err(|error| error.to_string())
    }

    pub(crate) fn history(&self, app: AppId) -> Vec<Point> {
        lock(&self.state).history.of(app)
    }

    pub(crate) fn tally(&self) -> Tally {
        lock(&self.state).tally.clone()
    }

    /// Tells the thread that looks that somebody watches from now on.
    pub(crate) fn somebody_watches(&self) {
        self.wanted.notify_all();
    }

    fn lock_link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }

    fn look(&self, mut link: MutexGuard<'_, Link>) -> Result<Arc<Snapshot>, String> {
        let mut client = match link.client.take() {
            Some(client) => client,
            None => connect(&self.home, Some(ANSWER_WITHIN), None)?,
        };
        let before = {
            let mut state = lock(&self.state);
            state.is_stale = false;
            state.snapshot.clone()
        };
        let seen = see(&mut client, &mut link.open_fds, before.as_deref()).map_err(|error| error.to_string())?;
        link.client = Some(client);
        let snapshot = Arc::new(seen);
        let mut state = lock(&self.state);
        state.history.note(snapshot.at, snapshot.points());
        state.snapshot = Some(snapshot.clone());
        drop(state);
        // Nobody listens: that is no failure.
        let _ = self.news.send(News::Looked);
        Ok(snapshot)
    }

    /// Looks again and again: once a second while somebody watches, else as often as the history has points.
    fn look_on(&self) {
        loop {
            let looked = self.look(self.lock_link());
            let every = match looked {
                Err(_) => AGAIN_AFTER,
                Ok(_) if self.news.receiver_count() > 0 => WATCHED_EVERY,
                Ok(_) => EVERY,
            };
            let state = lock(&self.state);
            drop(self.wanted.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Counts what is added to the record of events: what no daemon saw, and what is told before this process is connected
    /// again to the next one, is in it as well.
    fn count(&self, events: &Path, end: u64) {
        while !events.exists() {
            std::thread::sleep(AGAIN_AFTER);
        }
        let counted = || -> std::io::Result<()> {
            let mut follower = Follower::new()?;
            follower.add((), events.to_owned(), Begin::Offset(end));
            while let Some(line) = follower.next()? {
                // What is no event is half of one that a power failure has cut.
                if let Ok(event) = serde_json::from_slice::<EventRecord>(&line.bytes) {
                    lock(&self.state).tally.note(&event);
                }
            }
            Ok(())
        };
        if let Err(error) = counted() {
            tracing::error!("what happens is not counted: {}: {error}", events.display());
        }
    }
}

fn see(
    client: &mut Client<UnixStream>,
    open_fds: &mut OpenFds,
    before: Option<&Snapshot>,
) -> Result<Snapshot, CallError> {
    let question = client.ask(Request::Figures)?;
    open_fds.count();
    let Reply::Figures(list) = client.answer(question, |_| {})? else {
        return Err(CallError::Closed);
    };
    let balancers = match list.apps.iter().any(|app| app.kind == AppKind::Balancer) {
        true => match client.call(Request::Balancers, |_| {})? {
            Reply::Balancers(balancers) => balancers,
            _ => Vec::new(),
        },
        false => Vec::new(),
    };
    Ok(Snapshot::new(list, balancers, open_fds, before))
}

fn connect(home: &Home, limit: Option<Duration>, by: Option<&str>) -> Result<Client<UnixStream>, String> {
    let stream = UnixStream::connect(home.socket()).map_err(|error| format!("no daemon is running: {error}"))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(|error| error.to_string())?;
    let client = Client::greet_for(stream, by.map(str::to_owned)).map_err(|error| error.to_string())?;
    client.stream().set_read_timeout(limit).map_err(|error| error.to_string())?;
    Ok(client)
}

/// A thread that panicked has left nothing half done in here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
