//! The routes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rpm_ipc::{AppFigures, AppInfo, Reply, Request as Ask, WorkerFigures, WorkerInfo, rollback};
use rpm_model::{AppId, Home, WorkerId};
use rpm_records::EventRecord;
use serde_json::{Value, json};

use crate::answer::{Answer, Trouble, json, plain, streamed, with_cookie};
use crate::deeds::{self, Deed};
use crate::guard::{Denied, Guard, Shown};
use crate::happenings::Happenings;
use crate::look::Snapshot;
use crate::watch::Watch;
use crate::{Options, Why, logs, metrics, stream, view};

/// Nothing that is sent to us is longer than a token and a few words.
const BODY_MAX: usize = 16 * 1024;

/// A body that does not come within this is not going to.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Events that explain why an app is as it is.
const WHY_EVENTS: usize = 8;

/// Lines of a log, or events, that are shown at once.
const LAST_MAX: usize = 1000;

/// Only what we serve ourselves runs or loads; nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The methods of what is only looked at.
const READING: &str = "GET, HEAD";

const PAGE: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/app.css");
const ICON: &str = include_str!("page/icon.svg");
const OPENAPI: &str = include_str!("../api/openapi.json");

/// What answers.
#[derive(Debug)]
pub(crate) struct Api {
    home: Home,
    watch: Arc<Watch>,
    happenings: Happenings,
    guard: Mutex<Guard>,
    read_only: bool,
    /// An app is scaled to so many workers at most.
    instances_max: u32,
    as_pm2: bool,
    why: Why,
    /// What describes all this.
    openapi: String,
}

impl Api {
    pub(crate) fn new(options: &Options, watch: Arc<Watch>, guard: Guard) -> Self {
        let Options { home, read_only, instances_max, as_pm2, why, .. } = options;
        let (home, read_only, instances_max, as_pm2, why) = (home.clone(), *read_only, *instances_max, *as_pm2, *why);
        let openapi = openapi(instances_max);
        let happenings = Happenings::start(home.root());
        Self { home, watch, happenings, guard: Mutex::new(guard), read_only, instances_max, as_pm2, why, openapi }
    }

    /// Answers somebody at the address `from`; `known` hears when somebody asks who may come in.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, from: &str, known: impl Fn()) -> Answer {
        let mut answer = match self.route(request, from, known).await {
            Ok(answer) => answer,
            Err(trouble) => trouble.answer(),
        };
        let headers = answer.headers_mut();
        let always = [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        for (name, value) in always {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn route(&self, request: Request<Incoming>, from: &str, known: impl Fn()) -> Result<Answer, Trouble> {
        let (head, body) = request.into_parts();
        let now = Instant::now();
        let path = head.uri.path().to_owned();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let mut shown = shown(&head.headers, &head.method);
        // HTTP/1.1 may name the host in the request's line instead.
        shown.host = head.uri.authority().map(|authority| authority.as_str()).or(shown.host);
        self.guard().of_us(&shown).map_err(Trouble::Denied)?;
        // What everybody may have: without the token it shows nothing.
        let open = match path.as_str() {
            "/" => Some((PAGE, "text/html; charset=utf-8")),
            "/app.js" => Some((SCRIPT, "text/javascript; charset=utf-8")),
            "/app.css" => Some((STYLE, "text/css; charset=utf-8")),
            "/icon.svg" => Some((ICON, "image/svg+xml")),
            "/openapi.json" => Some((self.openapi.as_str(), "application/json")),
            "/healthz" => Some(("ok\n", "text/plain; charset=utf-8")),
            _ => None,
        };
        if let Some((text, kind)) = open {
            return if reads { Ok(plain(text.to_owned(), kind)) } else { Err(Trouble::Method(READING)) };
        }
        match words.as_slice() {
            ["metrics"] => {
                only(reads, READING)?;
                self.guard().admit_scraper(now, &shown).map_err(Trouble::Denied)?;
                known();
                let snapshot = self.now().await?;
                return Ok(plain(metrics::text(&snapshot, &self.watch.tally(), self.as_pm2), metrics::MEDIA_TYPE));
            }
            ["api", "v1", "login"] => {
                only(head.method == Method::POST, "POST")?;
                return self.log_in(now, &read(body).await?);
            }
            _ => {}
        }
        let way = self.guard().admit(now, &shown).map_err(Trouble::Denied)?;
        known();
        let query = query(head.uri.query().unwrap_or_default())?;
        let unknown = || Trouble::NotFound(path.clone());
        let ["api", "v1", rest @ ..] = words.as_slice() else { return Err(unknown()) };
        let allowed = methods(rest).ok_or_else(unknown)?;
        if allowed == READING {
            only(reads, allowed)?;
            return self.show(rest, &query, now, &shown).await;
        }
        only(head.method == Method::POST, allowed)?;
        if rest == ["logout"] {
            self.guard().log_out(shown.cookie);
            return Ok(with_cookie(json(StatusCode::OK, &json!({})), "", 0));
        }
        self.act(rest, &read(body).await?, &format!("web ({from}, {})", way.name())).await
    }

    async fn show(
        &self,
        words: &[&str],
        query: &BTreeMap<String, String>,
        now: Instant,
        shown: &Shown<'_>,
    ) -> Result<Answer, Trouble> {
        match words {
            ["session"] => {
                let csrf = self.guard().csrf(now, shown.cookie).map(str::to_owned);
                Ok(json(StatusCode::OK, &json!({ "read_only": self.read_only, "csrf": csrf })))
            }
            ["apps"] => Ok(json(StatusCode::OK, &view::all(&*self.now().await?))),
            ["apps", id] => {
                let (whole, snapshot) = (self.whole(id).await?, self.now().await?);
                Ok(json(StatusCode::OK, &view::whole(find(&snapshot, id)?, &whole, &snapshot)))
            }
            ["apps", id, "why"] => {
                let (app, root, why) = (self.whole(id).await?, self.home.root().to_owned(), self.why);
                let read = move || {
                    let exits = rpm_records::exits(&root, &app.spec.name)?;
                    let of_app = |event: &EventRecord| event.app.as_ref() == Some(&app.spec.name);
                    let events = rpm_records::events(&root, of_app)?;
                    Ok::<_, std::io::Error>(why(&app, &exits, &events[events.len().saturating_sub(WHY_EVENTS)..]))
                };
                let document = blocking(read).await?.map_err(|error| Trouble::Away(error.to_string()))?;
                Ok(json(StatusCode::OK, &document))
            }
            ["apps", id, "crashes"] => {
                let (name, last) = (find(&*self.now().await?, id)?.name.clone(), last(query, 20)?);
                let root = self.home.root().to_owned();
                let exits = blocking(move || rpm_records::exits(&root, &name)).await?;
                let mut exits = exits.map_err(|error| Trouble::Away(error.to_string()))?;
                exits.retain(|exit| exit.is_crash());
                let crashes: Vec<Value> = exits[exits.len().saturating_sub(last)..].iter().map(view::crash).collect();
                Ok(json(StatusCode::OK, &json!({ "crashes": crashes })))
            }
            ["apps", id, "history"] => {
                let app = find(&*self.now().await?, id)?.id;
                Ok(json(StatusCode::OK, &json!({ "points": self.watch.history(app) })))
            }
            ["apps", id, "logs"] => {
                let app = self.whole(id).await?;
                let last = last(query, 100)?;
                let stream = query.get("stream").cloned();
                if let Some(other) = stream.as_deref().filter(|stream| !["out", "err"].contains(stream)) {
                    return Err(Trouble::Bad(format!("stream is {other:?}: expected out or err")));
                }
                let lines = blocking(move || logs::last(&app, stream.as_deref(), last)).await?;
                Ok(json(StatusCode::OK, &json!({ "lines": lines })))
            }
            ["apps", id, "logs", "stream"] => {
                let (app, over) = (self.whole(id).await?, self.guard().stay(now, shown).over());
                let events = stream::log(app, self.watch.clone(), &self.happenings, over).ok_or(Trouble::Later(5))?;
                Ok(streamed(events))
            }
            ["events"] => {
                let last = last(query, 100)?;
                let (root, app) = (self.home.root().to_owned(), query.get("app").cloned());
                let read = move || rpm_records::events(&root, |event| app.is_none() || event.app == app);
                let events = blocking(read).await?.map_err(|error| Trouble::Away(error.to_string()))?;
                Ok(json(StatusCode::OK, &json!({ "events": events[events.len().saturating_sub(last)..] })))
            }
            ["stream"] => {
                let over = self.guard().stay(now, shown).over();
                Ok(streamed(stream::everything(self.watch.clone(), &self.happenings, over)))
            }
            _ => Err(Trouble::NotFound(format!("/api/v1/{}", words.join("/")))),
        }
    }

    async fn act(&self, words: &[&str], body: &[u8], by: &str) -> Result<Answer, Trouble> {
        if self.read_only {
            return Err(Trouble::ReadOnly);
        }
        let snapshot = self.now().await?;
        let (app, deed) = match words {
            ["save"] => return self.ask(Ask::Save { force: false, files: None }, by).await.and_then(done),
            ["apps", id, verb] => {
                let app = find(&snapshot, id)?;
                (app, deeds::of_app(verb, app, body, self.instances_max)?)
            }
            ["workers", id, verb] => {
                let (app, worker) = find_worker(&snapshot, id)?;
                (app, deeds::of_worker(verb, worker, body)?)
            }
            _ => return Err(Trouble::NotFound(words.join("/"))),
        };
        let own = i32::try_from(std::process::id()).ok();
        if app.workers.iter().any(|worker| worker.pid == own) {
            // The answer would be cut off, and nobody could undo it from here.
            return Err(Trouble::Conflict("this is the server itself: `rpm web stop` ends it".into()));
        }
        match deed {
            Deed::Ask(ask) => self.ask(ask, by).await.and_then(done),
            Deed::Begin(ask) => {
                let (watch, by) = (self.watch.clone(), by.to_owned());
                match blocking(move || watch.begin(ask, &by)).await?.map_err(Trouble::Away)? {
                    Some(reply) => done(reply),
                    None => {
                        let workers: Vec<WorkerId> = app.workers.iter().map(|worker| worker.id).collect();
                        let note = "it runs; its end will be among the events";
                        Ok(json(StatusCode::ACCEPTED, &json!({ "workers": workers, "note": note })))
                    }
                }
            }
            Deed::Flush => {
                let app = self.whole(&app.id.to_string()).await?;
                let workers = app.workers.iter().map(|worker| worker.id).collect();
                let home = self.home.clone();
                let emptied = blocking(move || {
                    let each = |one: &WorkerInfo| [one.out_log.clone(), one.err_log.clone(), one.combined_log.clone()];
                    let mut files = app.workers.iter().flat_map(each).flatten();
                    files.try_for_each(|file| rpm_logs::empty_of(&file, &app.spec, &home))
                });
                emptied.await?.map_err(|error| Trouble::Conflict(error.to_string()))?;
                done(Reply::Done { workers })
            }
            Deed::RollBack(back) => {
                let app = self.whole(&app.id.to_string()).await?;
                let Reply::History(releases) = self.ask(Ask::History { app: app.id }, by).await? else {
                    return Err(Trouble::unexpected());
                };
                let request = rollback::roll_back(&app, &releases, back)
                    .map_err(|good| Trouble::Conflict(rollback::how_far(&app.spec.name, good)))?;
                let reply = self.ask(request, by).await?;
                let waits = self.whole(&app.id.to_string()).await?.canaries.len();
                // It is known to be good: nobody has to look at its first workers before the others.
                if waits > 0 && matches!(reply, Reply::Done { .. }) {
                    self.ask(Ask::Promote { app: app.id }, by).await?;
                }
                done(reply)
            }
        }
    }

    async fn ask(&self, ask: Ask, by: &str) -> Result<Reply, Trouble> {
        let (watch, by) = (self.watch.clone(), by.to_owned());
        blocking(move || watch.act(ask, &by)).await?.map_err(Trouble::Away)
    }

    fn log_in(&self, now: Instant, body: &[u8]) -> Result<Answer, Trouble> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Trouble::Bad(error.to_string()))?;
        let token = body.get("token").and_then(Value::as_str);
        let token = token.ok_or_else(|| Trouble::Bad("`token` is missing: expected a string".into()))?;
        let entered = self.guard().log_in(now, token);
        match entered {
            Err(wait) => Err(Trouble::Later(wait.as_secs() + 1)),
            Ok(None) => Err(Trouble::Denied(Denied::Wrong)),
            Ok(Some(name)) => Ok(with_cookie(json(StatusCode::OK, &json!({})), &name, 12 * 3600)),
        }
    }

    async fn now(&self) -> Result<Arc<Snapshot>, Trouble> {
        let watch = self.watch.clone();
        blocking(move || watch.now()).await?.map_err(Trouble::Away)
    }

    /// Returns an app with its paths, which no snapshot has.
    async fn whole(&self, id: &str) -> Result<AppInfo, Trouble> {
        let app = find(&*self.now().await?, id)?.id;
        let watch = self.watch.clone();
        let found = blocking(move || watch.whole(app)).await?.map_err(Trouble::Away)?;
        found.ok_or_else(|| Trouble::NotFound(format!("app with the id {id}")))
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown<'a>(headers: &'a HeaderMap, method: &Method) -> Shown<'a> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Shown {
        host: text(header::HOST),
        origin: text(header::ORIGIN),
        authorization: text(header::AUTHORIZATION),
        cookie: text(header::COOKIE),
        csrf: text(HeaderName::from_static("x-csrf-token")),
        changes: !matches!(*method, Method::GET | Method::HEAD),
    }
}

/// Returns the methods of a path below `/api/v1`; nothing where there is none such.
fn methods(words: &[&str]) -> Option<&'static str> {
    match words {
        ["login" | "logout" | "save"] => Some("POST"),
        ["apps", _, verb] if deeds::OF_APPS.contains(verb) => Some("POST"),
        ["workers", _, verb] if deeds::OF_WORKERS.contains(verb) => Some("POST"),
        ["session" | "apps" | "events" | "stream"]
        | ["apps", _]
        | ["apps", _, "logs" | "history" | "why" | "crashes"]
        | ["apps", _, "logs", "stream"] => Some(READING),
        _ => None,
    }
}

fn only(yes: bool, allowed: &'static str) -> Result<(), Trouble> {
    if yes { Ok(()) } else { Err(Trouble::Method(allowed)) }
}

async fn read(body: Incoming) -> Result<Bytes, Trouble> {
    let whole = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_MAX).collect()).await;
    let whole = whole.map_err(|_| Trouble::Bad("the body did not come in time".into()))?;
    whole.map(|body| body.to_bytes()).map_err(|error| Trouble::Bad(error.to_string()))
}

/// Runs what waits for the daemon or the disk on a thread for such things.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Trouble::Away(error.to_string()))
}

fn find<'a>(snapshot: &'a Snapshot, id: &str) -> Result<&'a AppFigures, Trouble> {
    let number = decode(id).as_deref().and_then(whole).map(AppId);
    let app = snapshot.list.apps.iter().find(|app| Some(app.id) == number);
    app.ok_or_else(|| Trouble::NotFound(format!("app with the id {id}")))
}

fn find_worker<'a>(snapshot: &'a Snapshot, id: &str) -> Result<(&'a AppFigures, &'a WorkerFigures), Trouble> {
    let number = decode(id).as_deref().and_then(whole).map(WorkerId);
    let each = snapshot.list.apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker)));
    let found = each.into_iter().find(|(_, worker)| Some(worker.id) == number);
    found.ok_or_else(|| Trouble::NotFound(format!("worker with the id {id}")))
}

/// Says what came of something that was asked for.
fn done(reply: Reply) -> Result<Answer, Trouble> {
    match reply {
        Reply::Done { workers } => Ok(json(StatusCode::OK, &json!({ "workers": workers }))),
        Reply::Noted { note } => Ok(json(StatusCode::OK, &json!({ "workers": [], "note": note }))),
        Reply::Refused { message, .. } => Err(Trouble::Conflict(message)),
        Reply::Failed(failed) => {
            let each = failed.failures.iter().map(|one| format!("{}, worker {}: {}", one.app, one.worker, one.message));
            Err(Trouble::Conflict(each.collect::<Vec<_>>().join("; ")))
        }
        Reply::Pong(_)
        | Reply::List(_)
        | Reply::Figures(_)
        | Reply::Saved { .. }
        | Reply::Balancers(_)
        | Reply::History(_)
        | Reply::Answers { .. } => Err(Trouble::unexpected()),
    }
}

/// Reads a number that is written in digits and nothing else.
fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns the description, with the bound that holds here.
fn openapi(instances_max: u32) -> String {
    const MAXIMUM: &str = "/paths/~1api~1v1~1apps~1{id}~1scale/post/requestBody/content/application~1json/schema\
        /properties/instances/maximum";
    let mut description: Value = serde_json::from_str(OPENAPI).expect("the description is JSON");
    if let Some(maximum) = description.pointer_mut(MAXIMUM) {
        *maximum = instances_max.into();
    }
    format!("{description:#}\n")
}

fn last(query: &BTreeMap<String, String>, default: usize) -> Result<usize, Trouble> {
    let Some(text) = query.get("last") else { return Ok(default) };
    let count = whole(text).filter(|count| (1..=LAST_MAX).contains(count));
    count.ok_or_else(|| Trouble::Bad(format!("last is {text:?}: expected a number from 1 to {LAST_MAX}")))
}

fn query(text: &str) -> Result<BTreeMap<String, String>, Trouble> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Trouble::Bad("the query is not well encoded".into()))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_or_refused() {
        let get = |text: &str| query(text).map(|query| query.get("a").cloned());
        assert_eq!(get("a=b%20c+d&x").unwrap().as_deref(), Some("b c d"));
        assert_eq!(whole::<u32>("+5").or(whole("")).or(whole("-5")), None);
        assert!(get("a=%zz").is_err() && get("a=%f").is_err() && get("a=%ff").is_err());
    }

    #[test]
    fn the_description_names_the_bound_that_holds() {
        let description: Value = serde_json::from_str(&openapi(77)).unwrap();
        assert!(description.to_string().contains("\"maximum\":77"), "{description}");
    }
}
