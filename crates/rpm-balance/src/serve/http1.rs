//! The requests of one connection, one after another.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Balancer;
use crate::count::BalancerCount;
use crate::http::request::{Parsed, parse};
use crate::http::{Refusal, RequestHead};
use crate::http2;
use crate::io::transfer::{finish, linger, read_more};
use crate::io::{Buffer, Deadline, Io};
use crate::serve::answer::refuse;
use crate::serve::client::Client;
use crate::serve::exchange::exchange;
use crate::serve::leave::Presence;
use crate::serve::plan::plan;
use crate::serve::record::{Record, log};
use crate::thread::{Sleeper, Thread};

/// A client sends its request within a round trip of its connection; this is a slow trip around the world.
const ARRIVAL: Duration = Duration::from_millis(400);

/// A connection of a client that speaks HTTP/1.1.
pub struct Connection {
    /// The connection.
    pub io: Io,
    /// Its thread.
    pub thread: Rc<Thread>,
    /// The other end.
    pub client: Client,
    /// One at a time.
    pub deadline: Deadline,
    /// It is one stream of a connection that speaks HTTP/2.
    pub http2: bool,
    balancer: RefCell<Arc<Balancer>>,
    /// Bytes of the next request that were read with the last body.
    ahead: RefCell<Vec<u8>>,
    /// Whether the client is still there.
    pub presence: Presence,
    served: Cell<u32>,
}

/// What is to become of a connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request. So many bytes of the buffer were this one's.
    Next(usize),
    /// It is closed as it is: something broke, and the client must not take it for an end.
    Close,
    /// It is closed in good order.
    Finish,
    /// It is closed, once the client has had time to read what it was told.
    Linger,
}

impl Connection {
    /// Returns a connection that has sent nothing yet.
    pub fn new(io: Io, thread: Rc<Thread>, client: Client, balancer: Arc<Balancer>) -> Self {
        let deadline = Deadline::after(balancer.timeouts.header);
        let balancer = RefCell::new(balancer);
        Self {
            io,
            thread,
            client,
            deadline,
            http2: false,
            balancer,
            ahead: RefCell::default(),
            presence: Presence::default(),
            served: Cell::new(0),
        }
    }

    /// Returns one stream of a connection that speaks HTTP/2.
    pub fn stream(io: Io, thread: Rc<Thread>, client: Client, balancer: Arc<Balancer>) -> Self {
        Self { http2: true, ..Self::new(io, thread, client, balancer) }
    }

    /// Returns what the client speaks, for the log.
    pub fn version(&self, head: &RequestHead) -> &'static str {
        match (self.http2, head.version_1_1) {
            (true, _) => "HTTP/2.0",
            (false, true) => "HTTP/1.1",
            (false, false) => "HTTP/1.0",
        }
    }

    /// Returns its balancer, as it is for the request under way.
    pub fn balancer(&self) -> Arc<Balancer> {
        self.balancer.borrow().clone()
    }

    /// Returns what its thread counts of its balancer; the boxes are kept by the balancer.
    pub fn count(&self) -> CountRef {
        CountRef(self.balancer(), self.thread.index)
    }

    /// Keeps bytes that belong to the next request.
    pub fn put_back(&self, bytes: &[u8]) {
        self.ahead.borrow_mut().extend_from_slice(bytes);
    }

    /// Returns how many bytes of the next requests were read already.
    pub fn ahead_length(&self) -> usize {
        self.ahead.borrow().len()
    }

    /// Serves requests until the client leaves, or has to. `first` holds bytes that were read already. Where they begin
    /// as HTTP/2 does, all is given back.
    pub async fn serve(self, first: Buffer) -> Option<(Io, Buffer)> {
        let sleeper = Rc::new(Sleeper::default());
        self.thread.remember(&sleeper);
        let mut buffer = first;
        loop {
            if buffer.is_empty() {
                let wait = if self.served.get() == 0 {
                    self.balancer.borrow().timeouts.header
                } else {
                    self.balancer.borrow().timeouts.keep_alive
                };
                buffer = match self.wait(&sleeper, wait).await {
                    Some(buffer) => buffer,
                    None => {
                        finish(&self.io).await;
                        return None;
                    }
                };
            }
            if self.served.get() == 0 && self.may_turn(buffer.filled()) && self.turns(&mut buffer).await {
                return Some((self.io, buffer));
            }
            // Boxed, so that a connection that waits is small.
            match Box::pin(self.busy(buffer)).await {
                After::Next(_) => {
                    buffer = Buffer::default();
                    continue;
                }
                After::Close => {}
                After::Finish => finish(&self.io).await,
                After::Linger => linger(&self.io).await,
            }
            return None;
        }
    }

    fn may_turn(&self, bytes: &[u8]) -> bool {
        bytes.first() == Some(&b'P') && !self.http2 && self.balancer.borrow().http2
    }

    /// Returns whether the client speaks HTTP/2, once that is known.
    async fn turns(&self, buffer: &mut Buffer) -> bool {
        loop {
            if let Some(known) = http2::begins(buffer.filled()) {
                return known;
            }
            // The rest of a head that is none is read, and refused, elsewhere.
            if read_more(&self.io, buffer, &self.deadline).await.unwrap_or(0) == 0 {
                return false;
            }
        }
    }

    /// Waits for the first bytes of a request.
    async fn wait(&self, sleeper: &Sleeper, wait: Duration) -> Option<Buffer> {
        self.deadline.set(wait);
        let is_new = self.served.get() == 0;
        let mut is_short = false;
        poll_fn(|cx| {
            let mut buffer = Buffer::small();
            match self.io.poll_read(cx, buffer.space()) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    buffer.fill(count);
                    Poll::Ready(Some(buffer))
                }
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending if self.thread.quitting.get() && !is_new => Poll::Ready(None),
                Poll::Pending => {
                    // Its first request may be on its way, and nobody would send it again.
                    if self.thread.quitting.get() && !std::mem::replace(&mut is_short, true) {
                        self.deadline.set(wait.min(ARRIVAL));
                    }
                    sleeper.sleep(cx.waker());
                    self.deadline.poll(cx).map(|()| None)
                }
            }
        })
        .await
    }

    /// Serves the requests in the buffer, and reads what is missing of them.
    async fn busy(&self, mut buffer: Buffer) -> After {
        loop {
            if !self.refresh() {
                return After::Close;
            }
            let began = Instant::now();
            let limits = self.balancer.borrow().limits;
            let until = began + self.balancer.borrow().timeouts.header;
            let parsed = loop {
                let parsed = parse(buffer.filled(), &limits, &mut self.thread.fields.borrow_mut());
                match parsed {
                    Ok(Parsed::Whole(head)) => break Ok(head),
                    Err(refusal) => break Err(refusal),
                    Ok(Parsed::Partial) => {}
                }
                let most = usize::try_from(limits.header.0).unwrap_or(usize::MAX);
                if !buffer.make_space(most) {
                    break Err(Refusal::HeaderTooLarge);
                }
                self.deadline.set_at(until);
                match read_more(&self.io, &mut buffer, &self.deadline).await {
                    Ok(0) => return After::Close,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::TimedOut => break Err(Refusal::TooSlow),
                    Err(_) => return After::Close,
                }
            };
            self.served.set(self.served.get().saturating_add(1));
            self.count().in_flight.add(1);
            let after = match parsed {
                Ok(head) => self.request(&mut buffer, head, began).await,
                Err(refusal) => {
                    self.refused(buffer.filled(), None, refusal, began).await;
                    After::Linger
                }
            };
            let count = self.count();
            count.in_flight.sub(1);
            match after {
                After::Next(used) => {
                    count.bytes_in.add(used as u64);
                    buffer.consume(used);
                    let mut ahead = self.ahead.borrow_mut();
                    if !ahead.is_empty() {
                        buffer.append(&ahead);
                        ahead.clear();
                    }
                    if buffer.is_empty() {
                        return After::Next(0);
                    }
                }
                end => return end,
            }
        }
    }

    async fn request(&self, buffer: &mut Buffer, head: RequestHead, began: Instant) -> After {
        let balancer = self.balancer();
        let local = self.thread.local();
        let (length, keep) = (head.length, head.keep_alive && !self.thread.quitting.get());
        let bodiless = head.body == crate::http::Body::None;
        let short = head.clone();
        let planned = plan(
            &self.thread,
            &balancer,
            &local.snapshot,
            &self.client,
            buffer.filled(),
            head,
            &self.thread.fields.borrow(),
        );
        match planned {
            Ok(plan) => exchange(self, &balancer, &local, buffer, plan, began).await,
            Err(refusal) => {
                let keep = keep && bodiless && !refusal.ends_connection();
                self.refused(buffer.filled(), Some((&short, keep)), refusal, began).await;
                if keep { After::Next(length) } else { After::Linger }
            }
        }
    }

    async fn refused(&self, bytes: &[u8], head: Option<(&RequestHead, bool)>, refusal: Refusal, began: Instant) {
        let count = self.count();
        match refusal {
            Refusal::TooMany => count.limited.add(1),
            _ => count.refused.add(1),
        }
        let head_only = head.is_some_and(|(head, _)| head.method == crate::http::Method::Head);
        let sent = refuse(self, refusal, head_only, head.is_some_and(|(_, keep)| keep)).await;
        count.answers.count(refusal.status());
        let none = crate::http::Span::default();
        log(
            self,
            &Record {
                bytes,
                method: head.map_or(none, |(head, _)| head.method_name),
                target: head.map_or(none, |(head, _)| head.target),
                host: head.map_or(none, |(head, _)| head.host),
                user_agent: head.map_or(none, |(head, _)| head.user_agent),
                referer: head.map_or(none, |(head, _)| head.referer),
                origin: self.client.address.ip(),
                version: head.map_or("", |(head, _)| self.version(head)),
                status: refusal.status(),
                sent: sent.unwrap_or(0),
                took: began.elapsed(),
                server: "",
                retries: 0,
                request_id: "",
            },
        );
    }

    /// Takes the balancer as it is in the configuration of now; `false` when there is none any more.
    fn refresh(&self) -> bool {
        let local = self.thread.local();
        let mut own = self.balancer.borrow_mut();
        if local.snapshot.balancers.iter().any(|balancer| Arc::ptr_eq(balancer, &own)) {
            return true;
        }
        match local.snapshot.balancers.iter().find(|balancer| balancer.name == own.name) {
            Some(balancer) => {
                *own = balancer.clone();
                true
            }
            None => false,
        }
    }
}

/// What a thread counts of a balancer.
pub struct CountRef(Arc<Balancer>, usize);

impl std::ops::Deref for CountRef {
    type Target = BalancerCount;

    fn deref(&self) -> &BalancerCount {
        &self.0.live.counts[self.1]
    }
}
