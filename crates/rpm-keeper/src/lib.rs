//! The keeper: the parent of every worker. It spawns, reaps and holds descriptors; it never decides.
//!
//! It is the one process of `rpm` that must not die, so it is small: one thread, one poll loop, bounded memory, no
//! policy, no configuration, no knowledge of apps. What it promises to the daemon (its only client, and its child):
//!
//! - **Spawn** starts a program with exactly the descriptors and environment given, and answers with a pidfd.
//! - **An exit is kept** (status, usage, time) until it is acknowledged, whether or not a daemon was there to hear it.
//! - **A stored descriptor stays open** under its name until it is dropped. Nothing is read from or written to it.
//! - **A daemon that dies is started again**; its successor takes the inventory and finds the same children, the same
//!   exits and the same descriptors.
//! - **A keeper that is killed is replaced** by the daemon, which hands the next one everything. Processes that another keeper has
//!   started are watched through their pidfds; how they end is then unknown, and said to be.
//! - **Garbage is answered with an error.** No packet ends the keeper; a daemon that does not read blocks only itself.
//!
//! ```text
//!   launch ──starts──▶ keeper (run) ──starts──▶ daemon          fd 3: this protocol, fd 4: the launcher's ready pipe
//!                        │      ▲                  │
//!                        │      └──── Client ──────┘
//!                        └─ parent of ─▶ workers, and of what they leave behind (sub-reaper)
//! ```
//!
//! | room | for |
//! |---|---|
//! | [`client`] | the daemon's side: [`Client`], [`Request`], [`Message`] |
//! | [`mod@launch`] | starting a keeper and waiting until its daemon is ready |
//! | [`mod@run`] | the loop |
//! | [`handover`], `mirror` | a keeper in place of one that was killed, and what it is told |
//! | `children`, `store` | the two tables |
//! | `daemon`, `link` | the daemon as a child, and the connection to it |
//! | `upgrade` | exec in place: same pid, same children, same descriptors |
//! | `request`, `wire` | requests as packets; packets, byte for byte |
#![forbid(unsafe_code)]

pub mod client;
#[doc(hidden)]
pub mod fuzz;
pub mod handover;
pub mod launch;
pub mod ready;
pub mod run;

mod children;
mod daemon;
mod link;
mod message;
mod mirror;
mod request;
mod store;
mod upgrade;
mod wire;

pub use client::{Adopted, Client, Exit, ExitStatus, Message, Request, SpawnRequest};
pub use handover::HandoverError;
pub use launch::{LaunchError, launch};
pub use run::{KeeperError, Options, run};

/// The environment variable that tells the daemon which descriptor leads to the keeper.
pub const KEEPER_FD_VAR: &str = "RPM_KEEPER_FD";
/// The environment variable that tells a process which descriptor is the launcher's [`ready`] pipe.
pub const READY_FD_VAR: &str = "RPM_READY_FD";
