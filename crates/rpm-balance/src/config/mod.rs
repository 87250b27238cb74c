//! What was asked, made ready for requests: one immutable snapshot, swapped whole.
//!
//! - [`snapshot`]: everything, and what is kept from the one before
//! - [`route`]: which request goes where
//! - [`template`]: values with variables
//! - [`pages`]: bodies of our own errors

pub mod pages;
pub mod route;
pub mod snapshot;
pub mod template;

pub use route::{Action, Edits, Route, Router};
pub use snapshot::{Balancer, BalancerLive, Entry, Scope, Snapshot, World, names};
pub use template::{Template, Values};
