//! Which file answers a request.

use std::io;
use std::path::{Component, Path, PathBuf};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use crate::options::Options;
use crate::{auth, listing};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is served.
#[derive(Debug, Clone)]
pub struct Site {
    options: Options,
    files: ServeDir,
}

impl Site {
    /// Returns what these options ask for.
    pub fn new(options: Options) -> Self {
        let files = ServeDir::new(&options.path).precompressed_gzip().precompressed_br();
        Self { options, files }
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        if let Some(login) = &self.options.login
            && !auth::is_admitted(request.headers(), login)
        {
            let mut refused = text(StatusCode::UNAUTHORIZED, "401 Unauthorized");
            let realm = HeaderValue::from_static("Basic realm=\"Authentication service\"");
            refused.headers_mut().insert(WWW_AUTHENTICATE, realm);
            return refused;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed");
        }
        let (parts, _) = request.into_parts();
        let ask = || bodiless(&parts.method, &parts.uri, &parts.headers);
        let found = match self.files.clone().oneshot(ask()).await {
            Ok(found) => found.map(BodyExt::boxed_unsync),
            Err(never) => match never {},
        };
        if found.status() != StatusCode::NOT_FOUND {
            return self.shared(found);
        }
        let path = decoded(parts.uri.path());
        if self.options.listing
            && let Some(page) = self.list(&path)
        {
            return self.shared(html(StatusCode::OK, page));
        }
        if self.options.spa {
            // A file that the page asks for beside itself, wherever the page thinks it is; then the page.
            let name = path.rsplit('/').next().filter(|name| name.contains('.') && !name.starts_with('.'));
            for candidate in name.into_iter().chain([self.options.homepage.as_str()]) {
                if let Some(answer) = self.file(candidate, ask()).await {
                    return self.shared(answer);
                }
            }
        }
        match self.file("404.html", ask()).await {
            Some(mut page) => {
                *page.status_mut() = StatusCode::NOT_FOUND;
                page
            }
            None => text(StatusCode::NOT_FOUND, "404 Not Found"),
        }
    }

    /// Answers with a file of the directory itself, if it is there.
    async fn file(&self, name: &str, request: Request<()>) -> Option<Response<Body>> {
        let path = self.below(name)?;
        if !path.is_file() {
            return None;
        }
        let Ok(answer) = ServeFile::new(path).oneshot(request).await;
        (answer.status() != StatusCode::NOT_FOUND).then(|| answer.map(BodyExt::boxed_unsync))
    }

    /// As in PM2, other sites may read what is here.
    fn shared(&self, mut response: Response<Body>) -> Response<Body> {
        if self.options.cors {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
        }
        response
    }

    fn list(&self, path: &str) -> Option<String> {
        let directory = self.below(path.trim_start_matches('/'))?;
        if !directory.is_dir() || !path.ends_with('/') {
            return None;
        }
        listing::page(&directory, path).ok()
    }

    /// Returns a path below the directory; nothing that leads out of it.
    fn below(&self, path: &str) -> Option<PathBuf> {
        let is_plain =
            Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        (is_plain && !path.contains('\0')).then(|| self.options.path.join(path))
    }
}

fn bodiless(method: &Method, uri: &Uri, headers: &HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    request
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    html(status, text.to_owned())
}

fn html(status: StatusCode, page: String) -> Response<Body> {
    let body = Full::new(Bytes::from(page)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Takes `%20` and its like out of a path; what is no text is left as it is.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}
