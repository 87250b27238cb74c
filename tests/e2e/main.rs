//! The whole program through its real binary: each test has a daemon of its own.

mod cluster;
mod commands;
mod config;
mod cron;
mod daemon_death;
mod errors;
mod logs;
mod pm2_api;
mod pm2_modules;
mod reload;
mod socket;
mod supervision;
mod watch;
