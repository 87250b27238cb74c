//! The conversation with the daemon, and starting it where there is none.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use rpm_ipc::{BalancerInfo, CallError, Client, DaemonInfo, List, Notice, Reply, Request};
use rpm_keeper::LaunchError;
use rpm_model::{Flavour, Home};

use crate::home;
use crate::report::{Failure, Served};
use crate::say::Voice;

/// A daemon that lives answers a greeting or a list at once; one that does not within this is stuck.
const ANSWER_AT_MOST: Duration = Duration::from_secs(10);

/// A keeper that is there starts a daemon that died; this is how long that may take.
const DAEMON_BACK_WITHIN: Duration = Duration::from_secs(10);

/// Nothing tells when a daemon that somebody else starts begins to listen, so it is tried: often enough for a person
/// not to notice.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The longest path of a Unix socket on Linux, without its end.
const SOCKET_PATH_MAX: usize = 107;

/// A connection to the daemon.
pub struct Session {
    home: Home,
    client: Client<Stream>,
}

impl Session {
    /// Connects; starts the daemon where there is none.
    ///
    /// # Errors
    /// When there is none and it cannot be started, or it does not speak our language.
    pub fn open(home: &Home, voice: &Voice) -> Result<Self, Failure> {
        if let Some(session) = Self::open_existing(home)? {
            return Ok(session);
        }
        if let Some(pm2) = crate::pm2::live::Pm2::find(home) {
            return Err(Failure::new(format!("PM2 itself (pid {}) manages {}", pm2.pid(), home.root().display()))
                .detail("two managers cannot share a directory")
                .hint(format!("`{} import pm2` takes over its apps", voice.program())));
        }
        home::prepare(home)?;
        let deadline = Instant::now() + DAEMON_BACK_WITHIN;
        let mut is_new = false;
        loop {
            if launch(home)? {
                is_new = true;
                voice.note(format_args!("daemon started (home {})", tilde(home)));
            }
            if let Some(mut session) = Self::open_existing(home)? {
                if is_new {
                    if let Err(failure) = crate::modules::start_all(&mut session, home, voice) {
                        voice.warn(format_args!("the modules were not started: {}", failure.text()));
                    }
                    crate::web::start_wanted(&mut session, home, voice);
                }
                return Ok(session);
            }
            if Instant::now() > deadline {
                return Err(Failure::new("the daemon was started and is gone again")
                    .hint(format!("its last words are in {}", home.daemon_log().display())));
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
    }

    /// Connects, as [`Session::open`] does, and returns everything there is.
    ///
    /// # Errors
    /// Those of [`Session::open`] and [`Session::list`].
    pub fn open_listing(home: &Home, voice: &Voice, environment: bool) -> Result<(Self, List), Failure> {
        if let Some(stream) = connect(home)? {
            match Client::greet_and_ask(stream, Request::List { environment }) {
                Ok((client, Reply::List(list))) => return Ok((Self { home: home.clone(), client }, list)),
                Err(error) if is_silence(&error) => return Err(unanswered(error, home)),
                // Something is unusual; what it is, the usual way finds out.
                Ok(_) | Err(_) => {}
            }
        }
        let mut session = Self::open(home, voice)?;
        let list = session.list(environment)?;
        Ok((session, list))
    }

    /// Returns whether there is certainly nothing: no daemon, nobody who starts one anew, no state of one that was killed.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn nothing_is_there(home: &Home) -> Result<bool, Failure> {
        Ok(!home.state().exists() && !home.keeper_pid().exists() && connect(home)?.is_none())
    }

    /// Connects to a daemon that is there; `None` where there is none.
    ///
    /// # Errors
    /// When the socket cannot be used, or the daemon does not speak our language.
    pub fn open_existing(home: &Home) -> Result<Option<Self>, Failure> {
        let deadline = Instant::now() + DAEMON_BACK_WITHIN;
        loop {
            let Some(stream) = connect(home)? else { return Ok(None) };
            match Client::greet(stream) {
                Ok(client) => return Ok(Some(Self { home: home.clone(), client })),
                // The daemon was killed before it had greeted. Either it has a successor, or nobody listens any more.
                Err(error) if is_cut(&error) && Instant::now() < deadline => std::thread::sleep(BETWEEN_TRIES),
                Err(error) => return Err(unanswered(error, home)),
            }
        }
    }

    /// Asks something that changes nothing. A connection that breaks is opened once more.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn read(&mut self, request: Request) -> Result<Reply, Failure> {
        match self.client.call(request.clone(), |_| {}) {
            Ok(reply) => Ok(reply),
            Err(CallError::Io(_) | CallError::Closed) => {
                // The keeper starts a daemon that died.
                *self = Self::open(&self.home, &Voice { silent: true, flavour: self.home.flavour() })?;
                self.client.call(request, |_| {}).map_err(|error| unanswered(error, &self.home))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks something that changes nothing, of this daemon and no successor.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn once(&mut self, request: Request) -> Result<Reply, Failure> {
        self.client.call(request, |_| {}).map_err(|error| unanswered(error, &self.home))
    }

    /// Asks for something to be done, as long as it takes.
    ///
    /// # Errors
    /// When the connection breaks: it is not known how much was done.
    pub fn act(&mut self, request: Request, on_notice: impl FnMut(Notice)) -> Result<Reply, Failure> {
        // Between the list and the action the stream is used with a limit; an action has its own limits in the daemon.
        self.limit(None);
        let reply = self.client.call(request, on_notice).map_err(|error| match error {
            CallError::Io(_) | CallError::Closed => Failure::new(error.to_string())
                .detail("how much of it was done is not known; the apps themselves do not depend on the daemon")
                .hint("`rpm list` shows what is there now"),
            CallError::Version { .. } => error.into(),
        });
        self.limit(Some(ANSWER_AT_MOST));
        reply
    }

    /// Returns everything there is.
    ///
    /// # Errors
    /// Those of [`Session::read`].
    pub fn list(&mut self, environment: bool) -> Result<List, Failure> {
        match self.read(Request::List { environment })? {
            Reply::List(list) => Ok(list),
            other => Err(unexpected(other)),
        }
    }

    /// Returns what the balancers tell of themselves; asks only where the list has one.
    ///
    /// # Errors
    /// Those of [`Session::read`].
    pub fn balancers(&mut self, list: &List) -> Result<Vec<BalancerInfo>, Failure> {
        if !list.apps.iter().any(|app| app.spec.is_balancer()) {
            return Ok(Vec::new());
        }
        match self.read(Request::Balancers)? {
            Reply::Balancers(balancers) => Ok(balancers),
            other => Err(unexpected(other)),
        }
    }

    /// Returns what the daemon says of itself.
    ///
    /// # Errors
    /// Those of [`Session::read`].
    pub fn ping(&mut self) -> Result<DaemonInfo, Failure> {
        match self.read(Request::Ping)? {
            Reply::Pong(info) => Ok(info),
            other => Err(unexpected(other)),
        }
    }

    /// Streams what happens until the connection ends or `on_notice` has seen enough.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn events(mut self, on_notice: impl FnMut(Notice)) -> Result<(), CallError> {
        self.limit(None);
        self.client.call(Request::Events, on_notice).map(|_| ())
    }

    /// The same; when this process ends, everything stops. Calls `asked` once what happens from then on will come.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn foreground(mut self, asked: impl FnOnce(), on_notice: impl FnMut(Notice)) -> Result<(), CallError> {
        self.limit(None);
        let id = self.client.ask(Request::Foreground)?;
        asked();
        self.client.answer(id, on_notice).map(|_| ())
    }

    fn limit(&mut self, limit: Option<Duration>) {
        let _ = self.client.stream().set_recv_timeout(limit);
    }
}

/// Connects to the socket; `None` when nobody listens there.
fn connect(home: &Home) -> Result<Option<Stream>, Failure> {
    let path = home.socket();
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
        return Err(Failure::new(format!("the path {} is too long for a socket", path.display()))
            .detail(format!("Linux takes at most {SOCKET_PATH_MAX} bytes"))
            .hint("point RPM_HOME (PM2_HOME) to a shorter path"));
    }
    if !home::check(home)? {
        return Ok(None);
    }
    let failed = |error: io::Error| Failure::new(format!("failed to connect to {}: {error}", path.display()));
    let name = path.as_path().to_fs_name::<GenericFilePath>().map_err(failed)?;
    match Stream::connect(name) {
        Ok(stream) => {
            stream.set_recv_timeout(Some(ANSWER_AT_MOST)).map_err(failed)?;
            Ok(Some(stream))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Starts keeper and daemon, and waits until the daemon listens; `false` when a keeper is there already.
fn launch(home: &Home) -> Result<bool, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::new(format!("failed to find our own program: {error}")))?;
    let mut command = vec![program.into_os_string(), "keeper".into(), "--home".into(), home.root().into()];
    if home.flavour() == Flavour::Pm2 {
        command.push("--pm2".into());
    }
    match rpm_keeper::launch(home.root(), &home.daemon_log(), &command) {
        Ok(()) => Ok(true),
        Err(LaunchError::AlreadyRunning) => Ok(false),
        Err(error) => {
            let why = crate::report::chain(&error);
            Err(Failure::new(format!("failed to start the daemon: {why}"))
                .hint(format!("its last words are in {}", home.daemon_log().display())))
        }
    }
}

/// Returns whether the other side was gone before it had answered.
fn is_cut(error: &CallError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        CallError::Closed => true,
        CallError::Io(source) => matches!(source.kind(), BrokenPipe | ConnectionReset | UnexpectedEof),
        CallError::Version { .. } => false,
    }
}

/// Returns whether the other side is there and says nothing.
fn is_silence(error: &CallError) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error, CallError::Io(source) if matches!(source.kind(), WouldBlock | TimedOut))
}

fn unanswered(error: CallError, home: &Home) -> Failure {
    if !is_silence(&error) {
        return error.into();
    }
    Failure::new(format!("the daemon did not answer within {} s", ANSWER_AT_MOST.as_secs()))
        .detail("the apps themselves do not depend on it")
        .hint(format!("what it does last is in {}", home.daemon_log().display()))
}

/// Says that a reply was not of the kind the request asks for.
pub fn unexpected(reply: Reply) -> Failure {
    match reply {
        Reply::Refused { message, hint } => Failure::new(message).maybe_hint(hint),
        Reply::Failed(failed) => Failure::of_action("do that", failed, Served::No, "rpm"),
        Reply::Pong(_)
        | Reply::List(_)
        | Reply::Figures(_)
        | Reply::Done { .. }
        | Reply::Noted { .. }
        | Reply::Saved { .. }
        | Reply::Balancers(_)
        | Reply::History(_)
        | Reply::Answers { .. } => Failure::new("the daemon answered something else than was asked")
            .hint("client and daemon may differ in version"),
    }
}

/// Returns the home as people write it.
fn tilde(home: &Home) -> String {
    let root = home.root();
    let ours = std::env::var_os("HOME").and_then(|home| root.strip_prefix(home).ok().map(|rest| rest.to_owned()));
    match ours {
        Some(rest) => format!("~/{}", rest.display()),
        None => root.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use rpm_ipc::{FromClient, FromDaemon, Hello, frame};

    use super::*;
    use crate::screens::samples;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().to_owned(), Flavour::Rpm);
        (directory, home)
    }

    /// Plays a daemon: greets, then answers each question until `answers` are used up, then leaves.
    fn play(listener: &UnixListener, answers: Vec<Reply>) {
        let (mut stream, _) = listener.accept().unwrap();
        greet(&mut stream, Hello::ours());
        for reply in answers {
            let Some(FromClient::Ask { id, .. }) = frame::read(&mut stream).unwrap() else { panic!("no question") };
            frame::write(&mut stream, &FromDaemon::Reply { id, reply: Box::new(reply) }).unwrap();
        }
    }

    fn greet(stream: &mut UnixStream, hello: Hello) {
        assert!(matches!(frame::read(stream).unwrap(), Some(FromClient::Hello(_))));
        frame::write(stream, &FromDaemon::Hello(hello)).unwrap();
    }

    #[test]
    fn without_a_daemon_there_is_no_session_and_nothing_is_created() {
        let (directory, home) = home();
        assert!(Session::open_existing(&home).unwrap().is_none());
        // A socket that a killed daemon left behind.
        drop(UnixListener::bind(home.socket()).unwrap());
        assert!(Session::open_existing(&home).unwrap().is_none());
        drop(directory);
    }

    #[test]
    fn a_question_survives_a_daemon_that_dies() {
        let (_directory, home) = home();
        let listener = UnixListener::bind(home.socket()).unwrap();
        let daemon = std::thread::spawn(move || {
            play(&listener, Vec::new());
            play(&listener, vec![Reply::List(samples::list(Vec::new()))]);
        });
        let mut session = Session::open_existing(&home).unwrap().unwrap();
        assert_eq!(session.list(false).unwrap(), samples::list(Vec::new()));
        daemon.join().unwrap();
    }

    #[test]
    fn an_action_is_never_asked_twice() {
        let (_directory, home) = home();
        let listener = UnixListener::bind(home.socket()).unwrap();
        let daemon = std::thread::spawn(move || play(&listener, Vec::new()));
        let mut session = Session::open_existing(&home).unwrap().unwrap();
        daemon.join().unwrap();
        let failure = session.act(Request::Stop { workers: Vec::new() }, |_| {}).unwrap_err();
        assert!(failure.text().contains("how much of it was done is not known"), "{}", failure.text());
    }

    #[test]
    fn a_list_is_asked_for_with_the_greeting_and_again_where_that_went_wrong() {
        let (_directory, home) = home();
        let voice = Voice { silent: true, flavour: Flavour::Rpm };
        let listener = UnixListener::bind(home.socket()).unwrap();
        let wanted = samples::list(Vec::new());
        let listing = wanted.clone();
        let daemon = std::thread::spawn(move || {
            play(&listener, vec![Reply::List(listing.clone())]);
            // One that dies before it has answered, and its successor.
            play(&listener, Vec::new());
            play(&listener, vec![Reply::List(listing)]);
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                greet(&mut stream, Hello { protocol: 99, ..Hello::ours() });
            }
        });
        for _ in 0..2 {
            let (_, list) = Session::open_listing(&home, &voice, false).unwrap();
            assert_eq!(list, wanted);
        }
        let Err(failure) = Session::open_listing(&home, &voice, false) else { panic!("spoke to it") };
        assert!(failure.text().contains("the client is older"), "{}", failure.text());
        daemon.join().unwrap();
    }

    #[test]
    fn a_daemon_of_another_version_is_told_apart() {
        let (_directory, home) = home();
        let listener = UnixListener::bind(home.socket()).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            greet(&mut stream, Hello { protocol: 99, ..Hello::ours() });
        });
        let Err(failure) = Session::open_existing(&home) else { panic!("spoke to it") };
        assert!(failure.text().contains("the client is older"), "{}", failure.text());
        daemon.join().unwrap();
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_told() {
        let home = Home::new(format!("/{}", "x".repeat(120)).into(), Flavour::Rpm);
        let Err(failure) = Session::open_existing(&home) else { panic!("connected") };
        assert!(failure.text().contains("too long for a socket"), "{}", failure.text());
    }
}
