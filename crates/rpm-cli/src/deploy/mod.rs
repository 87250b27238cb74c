//! Deployment over ssh: the words of ssh, and the scripts that run on the hosts.

pub mod quote;
pub mod script;
pub mod ssh;
