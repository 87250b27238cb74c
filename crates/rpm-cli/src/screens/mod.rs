//! What the answers look like. Every screen is a pure function from the list to text; printing is done elsewhere.

pub mod autoscale;
pub mod balancers;
pub mod boxes;
pub mod columns;
pub mod describe;
pub mod format;
pub mod history;
pub mod host;
pub mod inspect;
pub mod json;
pub mod mini;
pub mod modules;
pub mod pm2json;
#[cfg(test)]
pub mod samples;
pub mod sort;
pub mod table;
pub mod why;
