//! Sockets: what the balancer and the steering of shared ports ask of the kernel.
//!
//! | room | for |
//! |---|---|
//! | [`address`] | where one can listen |
//! | [`mod@listen`] | making and ending listening sockets |
//! | [`connect`] | connecting from an address of one's choice |
//! | [`mod@steer`] | choosing which socket of a SO_REUSEPORT group gets a connection |
//! | [`queue`] | how many connections wait in a listening socket |
//! | [`diag`] | what the kernel says about connections, and which of them are busy |
//! | [`owner`] | which process holds a socket |

pub mod address;
pub mod connect;
pub mod diag;
pub mod listen;
pub mod owner;
pub mod queue;
pub mod steer;

pub use address::Address;
pub use connect::{begin_connection, receive_now, send_now};
pub use diag::{Connection, Family, connections};
pub use listen::{Listen, listen};
pub use owner::{Owner, listener_owner, listening_ports, socket_inodes, unix_listeners, waiting_at};
pub use queue::queue_length;
pub use steer::{Steering, steer};
