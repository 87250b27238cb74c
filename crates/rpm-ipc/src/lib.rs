//! The conversation over the local socket.
//!
//! Frames of JSON with a length in front ([`frame`]). Each side says [`Hello`] first; then the client sends
//! [`Request`]s, each answered by exactly one [`Reply`]; what arrives in between are [`Notice`]s.
//!
//! An unknown field is ignored on both sides. An unknown request is answered by a sentence that says which side is
//! older. These types are what goes over the wire and nothing else: they convert to and from what the core keeps and
//! what is saved.
//!
//! Rooms: [`hello`], [`request`], [`reply`], [`figures`], [`frame`], [`client`] (the asking side, blocking),
//! [`rollback`].
#![forbid(unsafe_code)]

pub mod client;
pub mod figures;
pub mod frame;
pub mod hello;
pub mod reply;
pub mod request;
pub mod rollback;

pub use client::{CallError, Client};
pub use figures::{AppFigures, AppKind, AutoscaleFigures, Figures, LogFigures, LogStream, WorkerFigures};
pub use hello::{Hello, PROTOCOL};
pub use reply::{
    ActionAnswer, AppInfo, AutoscaleInfo, BalancerInfo, BetweenRuns, Contact, DaemonInfo, Decision, Failed,
    FailureInfo, FromDaemon, Happened, List, LoadFigure, Notice, Release, Reply, WorkerInfo,
};
pub use request::{FromClient, ListFiles, Request, Respec, SavedApp};
