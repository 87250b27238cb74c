//! Answers, and why there is none of the kind that was asked for.

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::guard::{COOKIE, Denied};
use crate::stream;

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;
pub(crate) type Answer = Response<Body>;

/// Why there is no answer of the kind that was asked for.
#[derive(Debug)]
pub(crate) enum Trouble {
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

impl Trouble {
    pub(crate) fn unexpected() -> Self {
        Trouble::Away("the daemon answered something else than was asked".into())
    }

    pub(crate) fn answer(self) -> Answer {
        let (status, sentence) = match &self {
            Trouble::Denied(denied @ (Denied::Unknown | Denied::Wrong)) => {
                (StatusCode::UNAUTHORIZED, denied.sentence().to_owned())
            }
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
            Trouble::Denied(Denied::Unknown | Denied::Wrong) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rpm\""))
            }
            _ => None,
        };
        answer
    }
}

pub(crate) fn plain(text: String, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = plain(value.to_string(), "application/json");
    *answer.status_mut() = status;
    answer
}

pub(crate) fn streamed(events: stream::Events) -> Answer {
    let mut answer = Response::new(events.boxed());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}

pub(crate) fn with_cookie(mut answer: Answer, name: &str, seconds: u64) -> Answer {
    let cookie = format!("{COOKIE}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
