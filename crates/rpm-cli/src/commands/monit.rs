//! `monit`: the dashboard, on two connections of its own.

use rpm_ipc::{List, Reply, Request};
use rpm_model::Home;

use crate::commands::Invocation;
use crate::report::Failure;
use crate::say::Voice;
use crate::session::Session;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    let source = |session| Source { home: invocation.home.clone(), session };
    let list = source(Some(invocation.session()?));
    rpm_monit::run(list, source(None)).map_err(|error| Failure::new(error.to_string()))
}

/// A connection that is opened when needed, and again after it failed.
struct Source {
    home: Home,
    session: Option<Session>,
}

impl Source {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Session) -> Result<T, Failure>) -> Result<T, String> {
        // The dashboard owns the screen: nothing else is written.
        let voice = Voice { silent: true, flavour: self.home.flavour() };
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.home, &voice).map_err(|failure| failure.what().to_owned())?,
        };
        let answer = ask(&mut session).map_err(|failure| failure.what().to_owned())?;
        self.session = Some(session);
        Ok(answer)
    }
}

impl rpm_monit::Source for Source {
    fn list(&mut self) -> Result<List, String> {
        self.ask(|session| session.list(false))
    }

    fn act(&mut self, request: Request) -> Result<Reply, String> {
        self.ask(|session| session.act(request, |_| {}))
    }
}
