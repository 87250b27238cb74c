//! The routes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use rpm_ipc::{AppFigures, AppInfo, Reply, Request as Ask};
use rpm_model::{AppId, Home};
use serde_json::{Value, json};

use crate::guard::{COOKIE, Denied, Guard, Shown};
use crate::look::Snapshot;
use crate::watch::Watch;
use crate::{Options, metrics, stream, view};

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;
pub(crate) type Answer = Response<Body>;

/// Nothing that is sent to us is longer than a token and a few words.
const BODY_MAX: usize = 16 * 1024;

/// A body that does not come within this is not going to.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Lines of a log, or events, that are shown at once.
const LAST_MAX: usize = 1000;

/// How far back the lines of a log are looked for.
const LOG_REACH: u64 = 1 << 20;

/// Only what we serve ourselves runs or loads; nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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
    guard: Mutex<Guard>,
    read_only: bool,
    /// An app is scaled to so many workers at most.
    instances_max: u32,
    as_pm2: bool,
    /// What describes all this.
    openapi: String,
}

/// Why there is no answer of the kind that was asked for.
#[derive(Debug)]
enum Trouble {
    Denied(Denied),
    ReadOnly,
    NotFound(String),
    /// What is allowed instead.
    Method(&'static str),
    Bad(String),
    /// The daemon refuses.
    Conflict(String),
    /// The daemon cannot be asked.
    Away(String),
    /// Seconds.
    Later(u64),
}

impl Api {
    pub(crate) fn new(options: &Options, watch: Arc<Watch>, guard: Guard) -> Self {
        let Options { home, read_only, instances_max, as_pm2, .. } = options;
        let (home, read_only, instances_max, as_pm2) = (home.clone(), *read_only, *instances_max, *as_pm2);
        let openapi = openapi(instances_max);
        Self { home, watch, guard: Mutex::new(guard), read_only, instances_max, as_pm2, openapi }
    }

    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let mut answer = match self.route(request).await {
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

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Trouble> {
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
            return if reads { Ok(plain(text.to_owned(), kind)) } else { Err(Trouble::Method("GET, HEAD")) };
        }
        match words.as_slice() {
            ["metrics"] => {
                only(reads, "GET, HEAD")?;
                self.guard().admit_scraper(now, &shown).map_err(Trouble::Denied)?;
                let snapshot = self.now().await?;
                return Ok(plain(metrics::text(&snapshot, &self.watch.tally(), self.as_pm2), metrics::MEDIA_TYPE));
            }
            ["api", "v1", "login"] => {
                only(head.method == Method::POST, "POST")?;
                return self.log_in(now, &read(body).await?);
            }
            _ => {}
        }
        self.guard().admit(now, &shown).map_err(Trouble::Denied)?;
        let query = query(head.uri.query().unwrap_or_default())?;
        match words.as_slice() {
            ["api", "v1", rest @ ..] if reads => self.show(rest, &query, now, &shown).await,
            ["api", "v1", rest @ ..] => {
                let allowed = match rest {
                    ["logout"] | ["apps", _, "restart" | "reload" | "stop" | "scale"] => "POST",
                    ["session" | "apps" | "events" | "stream"]
                    | ["apps", _]
                    | ["apps", _, "logs" | "history"]
                    | ["apps", _, "logs", "stream"] => "GET, HEAD",
                    _ => return Err(Trouble::NotFound(path.clone())),
                };
                only(head.method == Method::POST && allowed == "POST", allowed)?;
                if rest == ["logout"] {
                    self.guard().log_out(shown.cookie);
                    return Ok(with_cookie(json(StatusCode::OK, &json!({})), "", 0));
                }
                self.act(rest, &read(body).await?).await
            }
            _ => Err(Trouble::NotFound(path.clone())),
        }
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
                let snapshot = self.now().await?;
                Ok(json(StatusCode::OK, &view::app(find(&snapshot, id)?, &snapshot)))
            }
            ["apps", id, "history"] => {
                let app = find(&*self.now().await?, id)?.id;
                Ok(json(StatusCode::OK, &json!({ "points": self.watch.history(app) })))
            }
            ["apps", id, "logs"] => {
                let app = self.whole(id).await?;
                let last = last(query, 100)?;
                let streams = match query.get("stream").map(String::as_str) {
                    None => ["out", "err"].as_slice(),
                    Some("out") => &["out"],
                    Some("err") => &["err"],
                    Some(other) => return Err(Trouble::Bad(format!("stream is {other:?}: expected out or err"))),
                };
                let lines = blocking(move || lines(&app, streams, last)).await?;
                Ok(json(StatusCode::OK, &json!({ "lines": lines })))
            }
            ["apps", id, "logs", "stream"] => {
                let events = stream::log(&self.whole(id).await?).ok_or(Trouble::Later(5))?;
                Ok(streamed(events))
            }
            ["events"] => {
                let last = last(query, 100)?;
                let (root, app) = (self.home.root().to_owned(), query.get("app").cloned());
                let read = move || rpm_records::events(&root, |event| app.is_none() || event.app == app);
                let events = blocking(read).await?.map_err(|error| Trouble::Away(error.to_string()))?;
                Ok(json(StatusCode::OK, &json!({ "events": events[events.len().saturating_sub(last)..] })))
            }
            ["stream"] => Ok(streamed(stream::everything(self.watch.clone()))),
            ["login" | "logout"] | ["apps", _, "restart" | "reload" | "stop" | "scale"] => Err(Trouble::Method("POST")),
            _ => Err(Trouble::NotFound(format!("/api/v1/{}", words.join("/")))),
        }
    }

    async fn act(&self, words: &[&str], body: &[u8]) -> Result<Answer, Trouble> {
        let ["apps", id, verb] = words else { return Err(Trouble::NotFound(words.join("/"))) };
        if self.read_only {
            return Err(Trouble::ReadOnly);
        }
        let snapshot = self.now().await?;
        let app = find(&snapshot, id)?;
        let own = i32::try_from(std::process::id()).ok();
        if app.workers.iter().any(|worker| worker.pid == own) {
            // The answer would be cut off, and nobody could undo it from here.
            return Err(Trouble::Conflict("this is the server itself: `rpm web stop` ends it".into()));
        }
        let workers: Vec<_> = app.workers.iter().map(|worker| worker.id).collect();
        let ask = match *verb {
            "restart" => Ask::Restart { workers, specs: Vec::new() },
            "reload" => Ask::Reload { workers, specs: Vec::new(), force: false },
            "stop" => Ask::Stop { workers },
            _ => Ask::Scale { app: app.id, instances: instances(body, self.instances_max)? },
        };
        let watch = self.watch.clone();
        let reply = blocking(move || watch.act(ask)).await?.map_err(Trouble::Away)?;
        match reply {
            Reply::Done { workers } => Ok(json(StatusCode::OK, &json!({ "workers": workers }))),
            Reply::Refused { message, .. } => Err(Trouble::Conflict(message)),
            Reply::Failed(failed) => {
                let each =
                    failed.failures.iter().map(|one| format!("{}, worker {}: {}", one.app, one.worker, one.message));
                Err(Trouble::Conflict(each.collect::<Vec<_>>().join("; ")))
            }
            Reply::Pong(_)
            | Reply::List(_)
            | Reply::Figures(_)
            | Reply::Noted { .. }
            | Reply::Saved { .. }
            | Reply::Balancers(_)
            | Reply::History(_)
            | Reply::Answers { .. } => Err(Trouble::Away("the daemon answered something else than was asked".into())),
        }
    }

    fn log_in(&self, now: Instant, body: &[u8]) -> Result<Answer, Trouble> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Trouble::Bad(error.to_string()))?;
        let token = body.get("token").and_then(Value::as_str);
        let token = token.ok_or_else(|| Trouble::Bad("`token` is missing: expected a string".into()))?;
        let entered = self.guard().log_in(now, token);
        match entered {
            Err(wait) => Err(Trouble::Later(wait.as_secs() + 1)),
            Ok(None) => Err(Trouble::Denied(Denied::Unknown)),
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

impl Trouble {
    fn answer(self) -> Answer {
        let (status, sentence) = match &self {
            Trouble::Denied(Denied::Unknown) => (StatusCode::UNAUTHORIZED, Denied::Unknown.sentence().to_owned()),
            Trouble::Denied(denied) => (StatusCode::FORBIDDEN, denied.sentence().to_owned()),
            Trouble::ReadOnly => (StatusCode::FORBIDDEN, "it runs with --read-only".to_owned()),
            Trouble::NotFound(what) => (StatusCode::NOT_FOUND, format!("there is no {what}")),
            Trouble::Method(allowed) => (StatusCode::METHOD_NOT_ALLOWED, format!("allowed is {allowed}")),
            Trouble::Bad(why) => (StatusCode::BAD_REQUEST, why.clone()),
            Trouble::Conflict(why) => (StatusCode::CONFLICT, why.clone()),
            Trouble::Away(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
            Trouble::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, format!("try again in {seconds} s")),
        };
        let mut answer = json(status, &json!({ "error": sentence }));
        let headers = answer.headers_mut();
        match self {
            Trouble::Method(allowed) => headers.insert(header::ALLOW, HeaderValue::from_static(allowed)),
            Trouble::Later(seconds) => headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds)),
            Trouble::Denied(Denied::Unknown) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rpm\""))
            }
            _ => None,
        };
        answer
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

fn instances(body: &[u8], most: u32) -> Result<u32, Trouble> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Trouble::Bad(error.to_string()))?;
    let count = body.get("instances").and_then(|count| {
        // For JSON 3.0 is as whole as 3.
        let whole = || count.as_f64().filter(|count| count.fract() == 0.0 && (0.0..1e9).contains(count));
        count.as_u64().or_else(|| whole().map(|count| count as u64))
    });
    count
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(|| Trouble::Bad(format!("`instances`: expected a number from 1 to {most}")))
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

/// Returns the last lines of the logs of an app; of each file alone, since files do not say which line was first.
fn lines(app: &AppInfo, streams: &[&'static str], last: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut lines = Vec::new();
    for worker in &app.workers {
        for stream in streams {
            let path = if *stream == "out" { &worker.out_log } else { &worker.err_log };
            let Some(path) = path.as_ref().filter(|path| !seen.contains(*path)) else { continue };
            seen.push(path.clone());
            let read = rpm_records::last_lines(path, 0, last, LOG_REACH).into_iter();
            lines.extend(read.map(|text| json!({ "stream": stream, "text": text })));
        }
    }
    lines
}

fn plain(text: String, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = plain(value.to_string(), "application/json");
    *answer.status_mut() = status;
    answer
}

fn streamed(events: stream::Events) -> Answer {
    let mut answer = Response::new(events.boxed());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}

fn with_cookie(mut answer: Answer, name: &str, seconds: u64) -> Answer {
    let cookie = format!("{COOKIE}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_or_refused() {
        let get = |text: &str| query(text).map(|query| query.get("a").cloned());
        assert_eq!(get("a=b%20c+d&x").unwrap().as_deref(), Some("b c d"));
        assert!(get("a=%zz").is_err() && get("a=%f").is_err() && get("a=%ff").is_err());
    }

    #[test]
    fn a_number_of_workers_is_whole_and_bounded() {
        let of = |text: &str| instances(format!("{{\"instances\":{text}}}").as_bytes(), 5).ok();
        assert_eq!(["3", "3.0", "5"].map(of), [Some(3), Some(3), Some(5)]);
        assert_eq!(["0", "6", "-1", "2.5", "1e300", "\"3\"", "null", "[3]"].map(of), [None; 8]);
        assert_eq!(whole::<u32>("+5").or(whole("")).or(whole("-5")), None);
    }

    #[test]
    fn the_description_names_the_bound_that_holds() {
        let description: Value = serde_json::from_str(&openapi(77)).unwrap();
        assert!(description.to_string().contains("\"maximum\":77"), "{description}");
    }
}
