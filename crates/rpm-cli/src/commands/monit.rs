//! `monit`: the dashboard, on connections of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rpm_ipc::rollback::{how_far, roll_back};
use rpm_ipc::{AppInfo, List, Notice, Reply, Request};
use rpm_logs::{Begin, Follower, Kind};
use rpm_model::{AppId, Home, WorkerId};
use rpm_monit::{Answer, Errand, Options, Sources, Traffic};
use rpm_records::EventRecord;

use crate::args::Monit;
use crate::commands::monit_traffic::Meter;
use crate::commands::{Invocation, crashes, flush, history, why};
use crate::report::Failure;
use crate::session::Session;
use crate::target;

pub(super) fn run(args: &Monit, invocation: &Invocation) -> Result<(), Failure> {
    // `--no-color` counts like NO_COLOR.
    let plain = (anstream::ColorChoice::global() == anstream::ColorChoice::Never).then(|| "plain".to_owned());
    let options = Options {
        theme: args.theme.clone().or(plain),
        read_only: args.read_only,
        no_mouse: args.no_mouse,
        record: args.record.clone(),
    };
    let failed = |error: rpm_monit::MonitError| Failure::new(error.to_string());
    if let Some(recording) = &args.replay {
        return rpm_monit::replay(recording, &options).map_err(failed);
    }
    let source = |session| Source {
        home: invocation.home.clone(),
        session,
        seen: None,
        meter: Meter::default(),
        past: Vec::new(),
        heard: None,
    };
    // The first connection starts a daemon where there is none; one that goes later is waited for, not started.
    let list = source(Some(invocation.session()?));
    let sources = Sources { list, act: source(None), events: source(None), consoles: source(None) };
    rpm_monit::run(sources, &options).map_err(failed)
}

/// A connection that is opened when needed, and again after it failed.
struct Source {
    home: Home,
    session: Option<Session>,
    /// The last list, where it has a balancer.
    seen: Option<List>,
    meter: Meter,
    /// The events that were told as past.
    past: Vec<EventRecord>,
    /// Where in their file the next ones begin.
    heard: Option<u64>,
}

/// Events of before that the dashboard begins with.
const PAST: usize = 200;

impl Source {
    fn session(&mut self) -> Result<Session, String> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let session = Session::open_existing(&self.home).map_err(|failure| failure.what().to_owned())?;
        session.ok_or_else(|| "no daemon is running".to_owned())
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Session) -> Result<T, Failure>) -> Result<T, String> {
        let mut session = self.session()?;
        let answer = ask(&mut session).map_err(|failure| failure.what().to_owned())?;
        self.session = Some(session);
        Ok(answer)
    }

    fn request(&mut self, request: Request, progress: &mut dyn FnMut(u32, u32)) -> Result<Reply, String> {
        self.ask(|session| {
            session.act(request, |notice| {
                if let Notice::Progress { done, total } = notice {
                    progress(done, total);
                }
            })
        })
    }

    fn app(&mut self, id: AppId) -> Result<AppInfo, String> {
        let list = self.ask(|session| session.list(false))?;
        list.apps.into_iter().find(|app| app.id == id).ok_or_else(|| "it is not there any more".to_owned())
    }

    fn roll_back(&mut self, id: AppId, back: usize, progress: &mut dyn FnMut(u32, u32)) -> Result<Reply, String> {
        let app = self.app(id)?;
        let releases = self.ask(|session| history::ask(session, &app))?;
        let request = roll_back(&app, &releases, back).map_err(|good| how_far(&app.spec.name, good))?;
        let reply = self.request(request, progress)?;
        // It is known to be good: nobody has to look at its first workers before the others.
        if matches!(reply, Reply::Done { .. }) && !self.app(id)?.canaries.is_empty() {
            self.request(Request::Promote { app: id }, progress)?;
        }
        Ok(reply)
    }
}

/// Crashes that are shown, and lines of each stream of each.
const CRASHES: (usize, usize) = (20, 10);

impl rpm_monit::Source for Source {
    fn console(&mut self, worker: WorkerId, is_error: bool) -> io::Result<OwnedFd> {
        let kind = if is_error { Kind::Err } else { Kind::Out };
        rpm_logs::tap(worker, kind, &self.home).map(|(_, pipe)| pipe)
    }

    fn list(&mut self) -> Result<List, String> {
        self.ask(|session| match session.once(Request::List { environment: false })? {
            Reply::List(list) => Ok(list),
            other => Err(crate::session::unexpected(other)),
        })
        .inspect(|list| self.seen = list.apps.iter().any(|app| app.spec.is_balancer()).then(|| list.clone()))
    }

    fn traffic(&mut self) -> Result<Traffic, String> {
        let Some(list) = self.seen.take() else { return Ok(Traffic::new()) };
        let balancers = self.ask(|session| match session.once(Request::Balancers)? {
            Reply::Balancers(balancers) => Ok(balancers),
            other => Err(crate::session::unexpected(other)),
        })?;
        Ok(self.meter.read(Instant::now(), &list, balancers))
    }

    fn past(&mut self) -> Vec<EventRecord> {
        // Before the file is read: what comes meanwhile is in both, and told once.
        self.heard = std::fs::metadata(rpm_records::events_path(self.home.root())).ok().map(|meta| meta.len());
        // What cannot be read is not there; `rpm events` says why.
        let mut events = rpm_records::events(self.home.root(), |_| true).unwrap_or_default();
        events.drain(..events.len().saturating_sub(PAST));
        self.past.clone_from(&events);
        events
    }

    fn act(&mut self, errand: Errand, progress: &mut dyn FnMut(u32, u32)) -> Result<Answer, String> {
        let said = |failure: Failure| failure.what().to_owned();
        match errand {
            Errand::Ask(request) => self.request(request, progress).map(Answer::Reply),
            Errand::RollBack(app, back) => self.roll_back(app, back, progress).map(Answer::Reply),
            Errand::Flush(workers) => {
                let list = self.ask(|session| session.list(false))?;
                for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
                    let emptied =
                        flush::of(worker).try_for_each(|file| rpm_logs::empty_of(&file, &app.spec, &self.home));
                    emptied.map_err(|error| format!("a log cannot be emptied: {error}"))?;
                }
                Ok(Answer::Reply(Reply::Done { workers }))
            }
            Errand::Why(workers) => {
                let list = self.ask(|session| session.list(false))?;
                let of = |app: &&AppInfo| app.workers.iter().any(|worker| workers.contains(&worker.id));
                let each = list.apps.iter().filter(of).map(|app| why::text(app, &workers, self.home.root()));
                each.collect::<Result<String, Failure>>().map(Answer::Text).map_err(said)
            }
            Errand::Crashes(workers) => {
                let list = self.ask(|session| session.list(false))?;
                let apps = workers.iter().filter_map(|id| target::find(&list, *id));
                let mut names: Vec<String> = apps.map(|(app, _)| app.spec.name.clone()).collect();
                names.dedup();
                let text = crashes::text(&names, CRASHES, self.home.root()).map_err(said)?;
                Ok(Answer::Text(if text.is_empty() { "no crash is on record".to_owned() } else { text }))
            }
        }
    }

    fn events(&mut self, told: &mut dyn FnMut(EventRecord)) -> Result<(), String> {
        let failed = |error: io::Error| format!("what happens cannot be read: {error}");
        let mut follower = Follower::new().map_err(failed)?;
        let begin = self.heard.take().map_or(Begin::End, Begin::Offset);
        follower.add((), rpm_records::events_path(self.home.root()), begin);
        let past = std::mem::take(&mut self.past);
        while let Some(line) = follower.next().map_err(failed)? {
            // What is no event is half of one that a power failure has cut.
            if let Ok(event) = serde_json::from_slice::<EventRecord>(&line.bytes)
                && !past.contains(&event)
            {
                told(event);
            }
        }
        Ok(())
    }
}
