//! The edge with real sockets: clients, servers and a daemon's end of the control socket.

mod control;
mod forward;
mod framing;
mod gzip;
mod health;
mod http2;
mod retry;
mod stage;
mod tcp;
mod tls;
