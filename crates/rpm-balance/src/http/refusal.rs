//! What a client is told when its request is not passed on.

/// Why a request is not passed on, or its answer is not passed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no request of HTTP/1.1.
    BadRequest(&'static str),
    /// The method needs another kind of proxy: CONNECT, TRACE.
    MethodNotAllowed,
    /// The client was too slow.
    TooSlow,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// The first line is longer than allowed.
    TargetTooLong,
    /// An expectation that is not `100-continue`.
    ExpectationFailed,
    /// It came over a connection that is not for its host.
    Misdirected,
    /// Too many requests from this address.
    TooMany,
    /// The header is longer than allowed.
    HeaderTooLarge,
    /// A transfer coding that is not `chunked`.
    UnknownCoding,
    /// A version that is not 1.0 or 1.1.
    UnknownVersion,
    /// No route is for it.
    NoRoute,
    /// The server could not be reached, or what it answered is no HTTP.
    BadGateway,
    /// No server can be used, or the queue is full.
    Unavailable,
    /// The server did not answer in time.
    GatewayTimeout,
}

impl Refusal {
    /// Returns the status.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NoRoute => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::ExpectationFailed => 417,
            Self::Misdirected => 421,
            Self::TooMany => 429,
            Self::HeaderTooLarge => 431,
            Self::UnknownCoding => 501,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::GatewayTimeout => 504,
            Self::UnknownVersion => 505,
        }
    }

    /// Returns whether the bytes that follow may be anything, so that the connection has to be closed.
    pub fn ends_connection(self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::TooSlow
            | Self::BodyTooLarge
            | Self::TargetTooLong
            | Self::HeaderTooLarge
            | Self::UnknownCoding
            | Self::UnknownVersion => true,
            Self::NoRoute
            | Self::MethodNotAllowed
            | Self::ExpectationFailed
            | Self::Misdirected
            | Self::TooMany
            | Self::BadGateway
            | Self::Unavailable
            | Self::GatewayTimeout => false,
        }
    }
}

/// Returns the phrase of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
