//! `monit`: the dashboard, on connections of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rpm_ipc::{CallError, Happened, List, Notice, Reply, Request};
use rpm_logs::Kind;
use rpm_model::{Home, WorkerId};
use rpm_monit::{Options, Sources, Traffic};

use crate::args::Monit;
use crate::commands::Invocation;
use crate::commands::monit_traffic::Meter;
use crate::report::Failure;
use crate::session::Session;

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
    let source = |session| Source { home: invocation.home.clone(), session, seen: None, meter: Meter::default() };
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
}

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

    fn past(&mut self) -> Vec<Happened> {
        // What cannot be read is not there; `rpm events` says why.
        let events = rpm_records::events(self.home.root(), |event| event.app.is_some()).unwrap_or_default();
        let last = events.len().saturating_sub(PAST);
        let happened = events.into_iter().skip(last).filter_map(|event| {
            let worker = event.worker?;
            Some(Happened { at_ms: event.at_ms, worker, app: event.app?, event: event.event, detail: event.detail })
        });
        happened.collect()
    }

    fn act(&mut self, request: Request, progress: &mut dyn FnMut(u32, u32)) -> Result<Reply, String> {
        self.ask(|session| {
            session.act(request, |notice| {
                if let Notice::Progress { done, total } = notice {
                    progress(done, total);
                }
            })
        })
    }

    fn events(&mut self, told: &mut dyn FnMut(Happened)) -> Result<(), String> {
        let heard = self.session()?.events(|notice| {
            if let Notice::Happened(happened) = notice {
                told(happened);
            }
        });
        heard.map_err(|error: CallError| error.to_string())
    }
}
