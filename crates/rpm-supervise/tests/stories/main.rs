//! Stories: events in, effects out. One file per capability; a test's name is what is promised.

mod autoscale;
mod canary;
mod commands;
mod crash;
mod depends;
mod health;
mod hooks;
mod jobs;
mod recovery;
mod reload;
mod stage;
mod start;
mod stop;
