//! What the tests of the whole program share: a daemon of one's own, small apps, requests, load.
//!
//! Each [`Rpm`] has its own state directory and is gone, with everything it started, when it is dropped.
#![forbid(unsafe_code)]

pub mod http;
mod rpm;

pub use http::Load;
pub use rpm::{Rpm, app, deps, is_alive, signal, until};

/// Returns a TCP port that nobody uses now, and neither the one after it.
///
/// # Panics
/// When the kernel has none left.
pub fn two_free_ports() -> u16 {
    (0..1000)
        .find_map(|_| {
            let first = std::net::TcpListener::bind("0.0.0.0:0").ok()?;
            let port = first.local_addr().ok()?.port();
            std::net::TcpListener::bind(("0.0.0.0", port.checked_add(1)?)).ok().map(|_| port)
        })
        .expect("two ports can be had")
}

/// Returns a TCP port that nobody uses now.
///
/// # Panics
/// When the kernel has none left.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port can be had");
    listener.local_addr().expect("a bound socket has an address").port()
}
