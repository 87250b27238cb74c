//! A balancer with all it reaches: what one process of the edge is for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::balance::address::{ListenAddress, ServerAddress};
use crate::balance::balancer::BalancerSpec;
use crate::balance::route::RouteAction;
use crate::balance::upstream::UpstreamSpec;

/// A balancer and the upstreams that its routes name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Arrangement {
    /// Where clients come in.
    pub balancer: BalancerSpec,
    /// What they reach.
    #[serde(default)]
    pub upstreams: Vec<UpstreamSpec>,
    /// The app that it was made for (`exec_mode: "proxy"`): it comes and goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<String>,
}

impl Arrangement {
    /// Returns every address that is listened on.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        let secure = self.balancer.tls.iter().flat_map(|tls| &tls.listen);
        self.balancer.listen.iter().chain(secure).map(|listen| &listen.address)
    }

    /// Returns the names of the managed apps that are reached.
    pub fn apps(&self) -> BTreeSet<&str> {
        let servers = self.upstreams.iter().flat_map(|upstream| &upstream.servers);
        let names = servers.filter_map(|server| match &server.address {
            ServerAddress::App(name) => Some(name.as_str()),
            ServerAddress::Tcp { .. } | ServerAddress::Unix(_) => None,
        });
        names.collect()
    }

    /// Returns the names of the upstreams that the routes name.
    pub fn routed(&self) -> impl Iterator<Item = &str> {
        self.balancer.routes.iter().filter_map(|route| match &route.action {
            RouteAction::Upstream(name) => Some(name.as_str()),
            RouteAction::Static { .. } | RouteAction::Redirect { .. } | RouteAction::Respond { .. } => None,
        })
    }
}
