//! Which request goes where, and what is changed on the way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Requests of a host and below a path, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// `example.com`, `*.example.com`, or `None` for every host.
    #[serde(default)]
    pub host: Option<String>,
    /// The beginning of the path, up to a `/` or the end: `/api` is for `/api` and `/api/x`, not for `/apis`.
    #[serde(default = "root")]
    pub path: String,
    /// Whether the whole path has to be the same.
    #[serde(default)]
    pub exact: bool,
    /// What becomes of them.
    pub action: RouteAction,
    /// Whether the route's path is cut off before the request is passed on.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Changes of the request's header.
    #[serde(default)]
    pub request_headers: HeaderEdits,
    /// Changes of the answer's header.
    #[serde(default)]
    pub response_headers: HeaderEdits,
}

fn root() -> String {
    "/".into()
}

impl RouteSpec {
    /// Returns a route for every host and path.
    pub fn to(action: RouteAction) -> Self {
        Self {
            host: None,
            path: root(),
            exact: false,
            action,
            strip_prefix: false,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// It goes to a server of this upstream.
    Upstream(String),
    /// It is answered with a file below this directory (an absolute path).
    Static {
        /// The directory; the route's path is not part of it.
        root: PathBuf,
        /// Whether what does not exist is answered with `index.html` (single-page applications).
        #[serde(default)]
        spa: bool,
    },
    /// It is answered with a redirect. `$scheme`, `$host`, `$path` and `$query` (with its `?`) stand for the request's.
    Redirect {
        /// Where to.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is answered with this status and text.
    Respond {
        /// The status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
    },
}

/// Changes of a header, in the order: remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderEdits {
    /// Every field of these names.
    pub remove: Vec<String>,
    /// One field in place of all of that name.
    pub set: Vec<(String, String)>,
    /// One more field.
    pub add: Vec<(String, String)>,
}

impl HeaderEdits {
    /// Returns whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}
