//! Commands about balancers: their servers, and the configurations of others.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands about balancers.
#[derive(Debug, Subcommand)]
pub enum Balance {
    /// Send a server of an upstream nothing new; what it is doing ends
    Drain(Server),
    /// Use a server of an upstream again
    Ready(Server),
    /// Give a server of an upstream another weight, until the configuration changes it
    Weight(Weight),
    /// Write the balancers of an ecosystem file as a configuration of nginx or HAProxy, or a dashboard for Grafana
    Export(Export),
    /// The data plane of a balancer
    #[command(hide = true)]
    Edge,
}

/// `drain`, `ready`.
#[derive(Debug, Args)]
pub struct Server {
    /// The upstream
    pub upstream: String,
    /// The server: its name, its address, or a worker such as api:0
    pub server: String,
}

/// `weight`.
#[derive(Debug, Args)]
pub struct Weight {
    /// The upstream
    pub upstream: String,
    /// The server: its name, its address, or a worker such as api:0
    pub server: String,
    /// Its share beside the others; 0 for none
    pub weight: u32,
}

/// `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// What for: nginx, haproxy; grafana: a dashboard for the metrics of `rpm web`
    pub what: String,
    /// The ecosystem file; the one in this directory
    pub file: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
