//! Who may ask what. Pure: requests' headers in, a verdict out.
//!
//! A token in `Authorization: Bearer` is a program's; no browser sends it by itself. A browser exchanges the token for a
//! session in a cookie, and proves with a second secret in a header that the page that asks is ours. Names in `Host` are
//! checked, so that a page of another origin cannot reach us by pointing its own name here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::secret;

/// A working day.
const SESSION_LASTS: Duration = Duration::from_secs(12 * 3600);

/// More browsers at once than one person has; the oldest session ends for the next.
const SESSIONS_MAX: usize = 64;

/// Wrong tokens in a minute before all are refused for the rest of it.
const WRONG_MAX: u32 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// The cookie.
pub(crate) const COOKIE: &str = "rpm_session";

/// What a request shows of itself.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) host: Option<&'a str>,
    pub(crate) origin: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) cookie: Option<&'a str>,
    pub(crate) csrf: Option<&'a str>,
    /// Whether it would change something.
    pub(crate) changes: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// `Host` names somebody else.
    Host,
    /// `Origin` is another page's.
    Origin,
    /// Neither a token nor a session.
    Unknown,
    /// A token that is none of ours.
    Wrong,
    /// The page did not prove that it is ours.
    Forged,
}

impl Denied {
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Denied::Host => "this name is not one of ours: `rpm web --allow-host NAME` adds it",
            Denied::Origin => "a page of another origin may not do this",
            Denied::Unknown => "a token is needed: Authorization: Bearer TOKEN, see `rpm web token`",
            Denied::Wrong => "this token is wrong: `rpm web token` prints the right one",
            Denied::Forged => "the header X-Csrf-Token is missing or wrong",
        }
    }
}

/// How somebody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// With the token: a program.
    Token,
    /// With the cookie of a session: a browser.
    Session,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Token => "token",
            Way::Session => "session",
        }
    }
}

/// The guard.
#[derive(Debug)]
pub(crate) struct Guard {
    token: String,
    metrics: String,
    /// Names that may stand in `Host`; nothing where every name may.
    hosts: Option<Vec<String>>,
    sessions: BTreeMap<String, Session>,
    wrong: (Option<Instant>, u32),
}

#[derive(Debug)]
struct Session {
    csrf: String,
    until: Instant,
    /// Dropped with the session: whoever listens hears of its end.
    end: watch::Sender<()>,
}

/// How long who was let in may stay: a program for as long as it likes, a browser until its session ends.
#[derive(Debug)]
pub(crate) struct Stay(Option<(Instant, watch::Receiver<()>)>);

impl Stay {
    /// Waits until it is over.
    pub(crate) async fn over(self) {
        let Some((until, mut end)) = self.0 else { return std::future::pending().await };
        // Nothing is ever sent: what comes is the end.
        let _ = tokio::time::timeout_at(until.into(), end.changed()).await;
    }
}

impl Guard {
    pub(crate) fn new(token: String, metrics: String, hosts: Option<Vec<String>>) -> Self {
        Self { token, metrics, hosts, sessions: BTreeMap::new(), wrong: (None, 0) }
    }

    /// Checks what holds for every request, the page and the login included.
    pub(crate) fn of_us(&self, shown: &Shown<'_>) -> Result<(), Denied> {
        if let Some(hosts) = &self.hosts {
            let name = name_of(shown.host.unwrap_or_default());
            // An address in the place of a name points where it says, and nobody else has one of these.
            let is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            if !is_loopback && !hosts.iter().any(|host| host.eq_ignore_ascii_case(name)) {
                return Err(Denied::Host);
            }
        }
        match (shown.origin, shown.host) {
            (Some(origin), host) if shown.changes => {
                let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                if origin.is_some() && origin == host { Ok(()) } else { Err(Denied::Origin) }
            }
            _ => Ok(()),
        }
    }

    /// Checks who asks for anything but metrics.
    pub(crate) fn admit(&self, now: Instant, shown: &Shown<'_>) -> Result<Way, Denied> {
        let token = shown.authorization.and_then(bearer);
        if token.is_some_and(|token| secret::is_same(token, &self.token)) {
            return Ok(Way::Token);
        }
        let nobody = if token.is_some() { Denied::Wrong } else { Denied::Unknown };
        let session = self.session(now, shown.cookie).ok_or(nobody)?;
        if shown.changes && !shown.csrf.is_some_and(|csrf| secret::is_same(csrf, &session.csrf)) {
            return Err(Denied::Forged);
        }
        Ok(Way::Session)
    }

    /// Checks who asks for metrics.
    pub(crate) fn admit_scraper(&self, now: Instant, shown: &Shown<'_>) -> Result<(), Denied> {
        let token = shown.authorization.and_then(bearer);
        if token.is_some_and(|token| secret::is_same(token, &self.metrics)) {
            return Ok(());
        }
        self.admit(now, shown).map(|_| ())
    }

    /// Exchanges a token for a session: its name for the cookie; nothing when the token is wrong.
    ///
    /// # Errors
    /// How long to wait, after too many wrong ones.
    pub(crate) fn log_in(&mut self, now: Instant, token: &str) -> Result<Option<String>, Duration> {
        match self.wrong.0 {
            Some(since) if now.duration_since(since) >= MINUTE => self.wrong = (None, 0),
            Some(since) if self.wrong.1 >= WRONG_MAX => return Err(MINUTE - now.duration_since(since)),
            _ => {}
        }
        if !secret::is_same(token.trim(), &self.token) {
            self.wrong = (Some(self.wrong.0.unwrap_or(now)), self.wrong.1 + 1);
            return Ok(None);
        }
        let (Ok(name), Ok(csrf)) = (secret::random(), secret::random()) else { return Ok(None) };
        self.sessions.retain(|_, session| session.until > now);
        if self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.until).map(|(name, _)| name.clone());
            oldest.map(|name| self.sessions.remove(&name));
        }
        self.sessions.insert(name.clone(), Session { csrf, until: now + SESSION_LASTS, end: watch::Sender::new(()) });
        Ok(Some(name))
    }

    /// Ends a session.
    pub(crate) fn log_out(&mut self, cookie: Option<&str>) {
        cookie.and_then(named).map(|name| self.sessions.remove(name));
    }

    /// Returns what the page must show in `X-Csrf-Token`.
    pub(crate) fn csrf(&self, now: Instant, cookie: Option<&str>) -> Option<&str> {
        self.session(now, cookie).map(|session| session.csrf.as_str())
    }

    /// Returns how long somebody may stay who was admitted.
    pub(crate) fn stay(&self, now: Instant, shown: &Shown<'_>) -> Stay {
        let session = match shown.authorization.and_then(bearer) {
            Some(token) if secret::is_same(token, &self.token) => None,
            _ => self.session(now, shown.cookie),
        };
        Stay(session.map(|session| (session.until, session.end.subscribe())))
    }

    fn session(&self, now: Instant, cookie: Option<&str>) -> Option<&Session> {
        self.sessions.get(named(cookie?)?).filter(|session| session.until > now)
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (kind, token) = header.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn named(cookies: &str) -> Option<&str> {
    let mut each = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    each.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Returns the name in `Host` without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard() -> Guard {
        let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        Guard::new(TOKEN.into(), "metrics-metrics-".into(), Some(hosts))
    }

    #[test]
    fn a_name_of_somebody_else_is_refused() {
        let guard = guard();
        let host = |host| guard.of_us(&Shown { host: Some(host), ..Shown::default() });
        for ours in ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "127.9.9.9", "[::1]:9000"] {
            assert_eq!(host(ours), Ok(()), "{ours}");
        }
        for other in ["evil.example", "127.0.0.1.evil.example", "", "[::2]", "10.0.0.1"] {
            assert_eq!(host(other), Err(Denied::Host), "{other}");
        }
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let guard = guard();
        let shown =
            |origin| Shown { host: Some("localhost:1"), origin: Some(origin), changes: true, ..Shown::default() };
        assert_eq!(guard.of_us(&shown("http://localhost:1")), Ok(()));
        for other in ["http://localhost:2", "http://evil.example", "null", "localhost:1"] {
            assert_eq!(guard.of_us(&shown(other)), Err(Denied::Origin), "{other}");
        }
    }

    #[test]
    fn a_cookie_alone_may_look_and_not_act() {
        let mut guard = guard();
        let now = Instant::now();
        let name = guard.log_in(now, TOKEN).unwrap().unwrap();
        let cookie = format!("a=b; {COOKIE}={name}");
        let look = Shown { cookie: Some(&cookie), ..Shown::default() };
        assert_eq!(guard.admit(now, &look), Ok(Way::Session));
        assert_eq!(guard.admit(now, &Shown { changes: true, ..look }), Err(Denied::Forged));
        let csrf = guard.csrf(now, Some(&cookie)).unwrap().to_owned();
        assert_eq!(guard.admit(now, &Shown { changes: true, csrf: Some(&csrf), ..look }), Ok(Way::Session));
        assert_eq!(guard.admit(now + SESSION_LASTS, &look), Err(Denied::Unknown));
        guard.log_out(Some(&cookie));
        assert_eq!(guard.admit(now, &look), Err(Denied::Unknown));
    }

    #[tokio::test]
    async fn a_stay_ends_with_the_session() {
        let mut guard = guard();
        let now = Instant::now();
        let name = guard.log_in(now, TOKEN).unwrap().unwrap();
        let cookie = format!("{COOKIE}={name}");
        let shown = Shown { cookie: Some(&cookie), ..Shown::default() };
        let stay = tokio::spawn(guard.stay(now, &shown).over());
        guard.log_out(Some(&cookie));
        stay.await.unwrap();
        let name = guard.log_in(now, TOKEN).unwrap().unwrap();
        let cookie = format!("{COOKIE}={name}");
        guard.sessions.get_mut(&name).unwrap().until = now + Duration::from_millis(20);
        guard.stay(now, &Shown { cookie: Some(&cookie), ..Shown::default() }).over().await;
        assert!(now.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn the_scrapers_token_opens_nothing_else() {
        let guard = guard();
        let now = Instant::now();
        let shown = Shown { authorization: Some("Bearer metrics-metrics-"), ..Shown::default() };
        assert_eq!((guard.admit_scraper(now, &shown), guard.admit(now, &shown)), (Ok(()), Err(Denied::Wrong)));
    }

    #[test]
    fn guessing_is_stopped_for_a_minute() {
        let mut guard = guard();
        let now = Instant::now();
        for _ in 0..WRONG_MAX {
            assert_eq!(guard.log_in(now, "wrong"), Ok(None));
        }
        assert!(guard.log_in(now, TOKEN).is_err());
        assert!(guard.log_in(now + MINUTE, TOKEN).unwrap().is_some());
        for _ in 0..3 * SESSIONS_MAX {
            guard.log_in(now + MINUTE, TOKEN).unwrap();
        }
        assert!(guard.sessions.len() <= SESSIONS_MAX);
    }
}
