//! The words everyone shares: apps, workers, lives, times and sizes.
//!
//! Nothing here performs anything, and nothing here knows another crate of ours.
//!
//! - [`app`]: what the user asked for ([`AppSpec`])
//! - [`worker`]: who is who ([`WorkerId`], [`Life`]) and how they fare ([`Status`], [`Exit`])
//! - [`autoscale`]: how many workers an app may have, and what one should carry
//! - [`time`]: moments and durations as the user writes them
//! - [`bytes`]: amounts of memory as the user writes them
//! - [`canary`]: when a release has shown that it is good
//! - [`depends`]: apps that wait for one another
//! - [`home`]: the state directory
//! - [`balance`]: what the user asked of the load balancer
//! - [`edge`]: the conversation between the daemon and the process that balances
//! - [`health`]: how a worker is found to be well
//! - [`hooks`]: commands around the life of a process
//! - [`job`]: apps that run at their times
//! - [`limits`]: what the kernel grants a worker
//! - [`secret`]: where a secret comes from
//! - [`webhook`]: who is told over HTTP of what happens
//! - [`rotation`]: when logs are rotated, and what is kept
//! - [`unknown`]: what a newer program has saved
//! - [`mod@nearest`]: the valid name closest to a mistyped one
#![forbid(unsafe_code)]

pub mod app;
pub mod autoscale;
pub mod balance;
pub mod bytes;
pub mod canary;
pub mod depends;
pub mod edge;
pub mod health;
pub mod home;
pub mod hooks;
pub mod job;
pub mod limits;
pub mod nearest;
pub mod rotation;
pub mod secret;
pub mod time;
pub mod unknown;
pub mod webhook;
pub mod worker;

pub use app::{
    AppId, AppSpec, DEFAULT_NAMESPACE, Dependency, Environment, ExecMode, LogFormat, LogSpec, LogTarget, ProxySocket,
    RestartPolicy, SocketMode, StopPolicy, WatchSpec, is_inheritable,
};
pub use autoscale::{AutoscaleSpec, Load, LoadKind};
pub use bytes::Bytes;
pub use canary::CanaryRule;
pub use health::{Health, HealthSpec, Probe, Runtime, StackDump};
pub use home::{Flavour, Home};
pub use hooks::{Hook, Hooks};
pub use job::{JobSpec, Overlap};
pub use limits::Limits;
pub use nearest::nearest;
pub use rotation::{Every, Rotation};
pub use secret::Secret;
pub use time::Moment;
pub use unknown::Unknown;
pub use webhook::{Webhook, WebhookUrl};
pub use worker::{Exit, Generation, Life, Status, WorkerId};
