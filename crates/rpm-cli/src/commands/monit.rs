//! `monit`: the dashboard, on connections of its own.

use rpm_ipc::{CallError, Happened, List, Notice, Reply, Request};
use rpm_model::Home;
use rpm_monit::{Options, Sources};

use crate::args::Monit;
use crate::commands::Invocation;
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
    let source = |session| Source { home: invocation.home.clone(), session };
    // The first connection starts a daemon where there is none; one that goes later is waited for, not started.
    let list = source(Some(invocation.session()?));
    rpm_monit::run(Sources { list, act: source(None), events: source(None) }, &options).map_err(failed)
}

/// A connection that is opened when needed, and again after it failed.
struct Source {
    home: Home,
    session: Option<Session>,
}

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
    fn list(&mut self) -> Result<List, String> {
        self.ask(|session| match session.once(Request::List { environment: false })? {
            Reply::List(list) => Ok(list),
            other => Err(crate::session::unexpected(other)),
        })
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
