//! What the user asked of the load balancer.
//!
//! A [`BalancerSpec`] is where clients come in, an [`UpstreamSpec`] is what they reach. Both are complete: defaults
//! filled in, paths absolute, names checked. `weight`, `max_fails`, `fail_timeout`, `backup`, `slow_start` and `down`
//! mean what nginx means; `maxconn`, `rise`, `fall` and the `timeout_*` what HAProxy means.
//!
//! - [`balancer`]: listening, TLS, timeouts, limits
//! - [`route`]: which request goes where, and what is changed on the way
//! - [`upstream`]: servers, and how one is chosen
//! - [`check`]: how a server is found to be well or ill
//! - [`arrangement`]: a balancer with all it reaches
//! - [`address`]: where one listens and connects

pub mod address;
pub mod arrangement;
pub mod balancer;
pub mod check;
pub mod route;
pub mod upstream;

pub use address::{BadAddress, Cidr, ListenAddress, ServerAddress};
pub use arrangement::Arrangement;
pub use balancer::{
    AccessLog, AccessLogFormat, BalancerSpec, CertificateSpec, ForwardedSpec, Gzip, Limits, ListenSpec, Mode,
    ProxyVersion, RateLimit, Timeouts, TlsSpec,
};
pub use check::{Check, CheckSpec, OutlierSpec, StatusRange};
pub use route::{HeaderEdits, RouteAction, RouteSpec};
pub use upstream::{Balance, HashKey, Protocol, SameSite, ServerSpec, Sticky, UpstreamSpec};
