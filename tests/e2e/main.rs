//! The whole program through its real binary: each test has a daemon of its own.

mod cluster;
mod commands;
mod config;
mod cron;
mod daemon_death;
mod deploy;
mod errors;
mod import_pm2;
mod keeper_death;
mod log_bytes;
mod logs;
mod modules;
mod pm2_api;
mod pm2_modules;
mod pull;
mod reload;
mod rotation;
mod settings;
mod socket;
mod supervision;
mod update;
mod watch;
