//! The supervision core: events in, effects out.
//!
//! [`Supervisor`] owns what is known and wanted of every app, and performs nothing: it has no I/O, no clock and no
//! randomness of its own. One pass is a *turn*:
//!
//! 1. take one [`Event`] (something that happened),
//! 2. call [`Supervisor::handle`] with the present [`Moment`](rpm_model::Moment),
//! 3. carry out the [`Effect`]s it asked for,
//! 4. sleep until the next event or [`Supervisor::next_deadline`], which is fed back as [`Event::Deadline`].
//!
//! Nothing is awaited inside a turn. The same events give the same effects, byte for byte.
//!
//! Rooms, from outside: [`event`], [`effect`], [`command`] (what clients may ask, and what they are told), [`view`]
//! (what can be seen), [`saved`] (what is written down), [`recovery`] (the work of a daemon that died is taken up).
//! Within: `supervisor` (the way of an event), `seat` and `process` (the two machines), `starting`, `ending` and `leaving`
//! (what happens to a process), `health`, `depends`, `roll`, `canary`, `scaling`, `seats` (how many workers there are), `commands` and `pending` (who waits for what), `restart` (the policy), `timers`.
#![forbid(unsafe_code)]

pub mod autoscale;
pub mod command;
pub mod effect;
pub mod event;
pub mod recovery;
pub mod saved;
pub mod view;

mod canary;
mod commands;
mod depends;
mod ending;
mod health;
pub mod history;
mod jobs;
pub mod judge;
mod leaving;
mod pending;
mod process;
mod restart;
mod roll;
mod scaling;
mod seat;
mod seats;
mod starting;
mod supervisor;
mod timers;

pub use canary::Watched;
pub use command::{Command, CommandId, Failure, FailureCause, Outcome, Refusal, Resurrected};
pub use effect::{Cause, Effect, Happening, Warning};
pub use event::{Event, Taken, Trouble};
pub use history::{Fate, Past};
pub use recovery::{Fact, Note};
pub use saved::Saved;
pub use scaling::{ScalingView, Standing};
pub use supervisor::Supervisor;
pub use view::{AppView, WorkerView};
