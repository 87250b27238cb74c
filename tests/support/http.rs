//! Requests, one at a time and many.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks once, on a connection of its own; returns the body of a 200.
///
/// # Errors
/// When the connection fails, or the answer is not a whole 200.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // In one write: a server that reads once and closes would reset a connection on which more arrives.
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("cut off: {answer:?}")))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(format!("not a 200: {head}")));
    }
    // Node sends a short answer in one chunk when the app gives no length.
    Ok(body.to_owned())
}

/// The most failures that one client keeps: where nobody listens there are thousands a second.
const KEPT_FAILURES: usize = 100;

/// Clients that ask again and again, each time on a new connection, until told to stop or dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Starts `clients` clients.
    pub fn start(port: u16, path: &'static str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let client = |_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match get(port, path) {
                        Ok(_) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) if failures.len() < KEPT_FAILURES => failures.push(error.to_string()),
                        Err(_) => {}
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, answered, clients }
    }

    /// Returns how many requests were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until this many more were answered.
    pub fn wait_for(&self, more: u64) {
        let wanted = self.answered() + more;
        crate::until("answers under load", || self.answered() >= wanted);
    }

    /// Stops; returns the failures.
    ///
    /// # Panics
    /// When a client did.
    pub fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

/// A test that fails does not stop its clients; without this they would ask until all other tests are through.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
