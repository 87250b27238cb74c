//! Load and measurements, against the command line only: nothing here links to the rest of `rpm`, so the same
//! scenario runs through PM2 from npm. But for one: `bench-edge` runs the balancer by itself, as nginx and HAProxy run.
//!
//! Four programs: `load` (an HTTP client that counts), `scenario` (reloads, scaling and kill -9 under load), `releases` (what
//! users see of a bad release), `bench` (figures, side by side). Everything runs in temporary state directories on ports from the kernel, and every process
//! started is ended by its pid.
//!
//! - [`http`]: one request and its answer, strictly
//! - [`load`]: many connections at once, and what became of the requests
//! - [`histogram`]: latencies in bounded memory
//! - [`manager`]: `rpm` or PM2 behind one face
//! - [`process`]: what the kernel knows of a process
//! - [`marks`]: a tiny program that says when it was started
//! - [`samples`], [`table`]: medians, and how they are shown
//! - [`websocket`]: messages that are echoed
//! - [`figures`]: one measurement per file
#![forbid(unsafe_code)]

pub mod figures;
pub mod histogram;
pub mod http;
pub mod load;
pub mod manager;
pub mod marks;
pub mod process;
pub mod samples;
pub mod table;
pub mod websocket;
