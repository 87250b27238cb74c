//! One request to one server, and again to another one.
//!
//! A request is sent again only where nobody can be hurt: nothing of it was sent, or its method is idempotent; not a byte
//! of an answer came; and all of its body is still here.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rpm_model::balance::{Protocol, Timeouts};
use tokio::time::Instant;

use crate::config::{Action, Balancer, Values};
use crate::health::Seen;
use crate::http::{Body, Method, Refusal, ResponseHead, response};
use crate::io::transfer::{read_fresh, read_more, write_all};
use crate::io::{Buffer, Io, Text};
use crate::pool::Asked;
use crate::serve::acquire::{Taken, acquire};
use crate::serve::answer::{Own, own, refuse};
use crate::serve::connect::{connect, stream};
use crate::serve::files;
use crate::serve::forward::{self, Back, Framing};
use crate::serve::gzip::{Squeeze, Subject};
use crate::serve::http1::{After, Connection};
use crate::serve::leave::Left;
use crate::serve::plan::{Deed, Plan};
use crate::serve::record::{Record, log};
use crate::serve::relay::{Broken, Way, relay};
use crate::serve::tunnel::tunnel;
use crate::serve::upload::{self, Begun, Ended, Upload};
use crate::thread::Local;

/// nginx's number for a client that left; only the log sees it.
const LEFT: u16 = 499;

/// What an exchange came to.
struct Came {
    status: u16,
    sent: u64,
    after: After,
    server: String,
    retries: u32,
}

/// Carries out what was planned.
pub async fn exchange(
    connection: &Connection,
    balancer: &Arc<Balancer>,
    local: &Rc<Local>,
    buffer: &mut Buffer,
    mut plan: Plan,
    began: Instant,
) -> After {
    let deed = std::mem::replace(&mut plan.deed, Deed::Respond);
    let came = match deed {
        Deed::Forward { upstream, out, key, seat } => {
            let asked = Asked { key, seat, ..Asked::default() };
            forward(connection, balancer, local, buffer, &plan, (upstream, out), asked).await
        }
        deed => here(connection, balancer, buffer, &plan, deed).await,
    };
    let count = connection.count();
    count.answers.count(came.status);
    let took = began.elapsed();
    count.latency.count(took);
    if balancer.log.is_some() {
        let head = &plan.head;
        let record = Record {
            bytes: buffer.filled(),
            method: head.method_name,
            target: head.target,
            host: head.host,
            user_agent: head.user_agent,
            referer: head.referer,
            origin: plan.origin,
            version: connection.version(head),
            status: came.status,
            sent: came.sent,
            took,
            server: &came.server,
            retries: came.retries,
            request_id: plan.request_id.as_deref().unwrap_or_default(),
        };
        log(connection, &record);
    }
    came.after
}

/// Answers without a server.
async fn here(connection: &Connection, balancer: &Balancer, buffer: &Buffer, plan: &Plan, deed: Deed) -> Came {
    let head = &plan.head;
    // Without its body the next request is nowhere to be found.
    let keep = head.keep_alive && head.body == Body::None && !connection.thread.quitting.get();
    let mut fields = Vec::new();
    let (status, kind, body) = match (&deed, &plan.route(balancer).action) {
        (Deed::Redirect { status, to }, _) => {
            fields.extend_from_slice(b"Location: ");
            fields.extend_from_slice(to);
            fields.extend_from_slice(b"\r\n");
            (*status, "", Vec::new())
        }
        (Deed::OptionsHere, _) => {
            fields.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
            (200, "", Vec::new())
        }
        (_, Action::Respond { status, body }) => (*status, "text/plain; charset=utf-8", body.clone()),
        _ => (404, "text/plain; charset=utf-8", b"404 Not Found\n".to_vec()),
    };
    let bytes = buffer.filled();
    let path = head.path.get(bytes);
    let values = Values {
        scheme: connection.client.scheme().as_bytes(),
        host: head.host.get(bytes),
        path,
        query: &head.target.get(bytes)[path.len()..],
        remote_addr: connection.client.text.as_bytes(),
        request_id: plan.request_id.as_deref().unwrap_or_default().as_bytes(),
    };
    let after = |whole| match whole {
        true if keep => After::Next(head.length),
        true => After::Linger,
        false => After::Close,
    };
    if let (Deed::Static(Some(request)), Action::Static(site)) = (deed, &plan.route(balancer).action) {
        let answer = site.answer(*request).await;
        let sent = files::send(connection, balancer, (plan.route(balancer), &values), head, answer, keep).await;
        return Came {
            status: sent.status,
            sent: sent.bytes,
            after: after(sent.whole),
            server: String::new(),
            retries: 0,
        };
    }
    for (name, value) in plan.route(balancer).response.added() {
        fields.extend_from_slice(name);
        fields.extend_from_slice(b": ");
        value.write(&values, &mut fields);
        fields.extend_from_slice(b"\r\n");
    }
    let answer = Own { status, kind, fields: &fields, body: &body };
    let sent = own(connection, answer, head.method == Method::Head, keep).await;
    Came { status, sent: sent.unwrap_or(0), after: after(sent.is_some()), server: String::new(), retries: 0 }
}

/// Why one server did not answer.
enum Failed {
    /// It could not be reached, or took nothing: nobody has seen the request.
    Unseen,
    /// It left without a byte of an answer.
    Unanswered(&'static str),
    /// It did not answer in time.
    TimedOut,
    /// What it answered is no HTTP.
    BadAnswer(&'static str),
    /// The client is gone, or has to go: with this refusal, where it may still be told.
    Client(Option<Refusal>),
}

async fn forward(
    connection: &Connection,
    balancer: &Arc<Balancer>,
    local: &Rc<Local>,
    buffer: &mut Buffer,
    plan: &Plan,
    (upstream, mut out): (usize, Text),
    mut asked: Asked,
) -> Came {
    let timeouts = &balancer.timeouts;
    let limit = balancer.limits.body.map(|limit| limit.0);
    let begun = match upload::begin(plan.head.body, &buffer.filled()[plan.head.length..], limit) {
        Ok(begun) => begun,
        Err(ended) => {
            let refusal = if ended == Ended::TooLarge { Refusal::BodyTooLarge } else { Refusal::BadRequest("chunks") };
            return refused(connection, plan, refusal, true, (String::new(), 0)).await;
        }
    };
    if let Some(chunks) = &begun.chunks {
        out.extend_from_slice(chunks);
    }
    let mut rest = begun.rest;
    let begun = Begun { rest: None, ..begun };
    // Until a byte of the rest has been read, all of the body that was is here.
    let replayable = rest.is_none();
    // What follows a request for an upgrade is no request, and has to stay where it is.
    let watch = plan.head.upgrade.is_none();
    let mut retries = 0;
    let mut stale = false;
    let give_up_at = Instant::now() + local.snapshot.upstreams[upstream].timeout_queue;
    loop {
        let acquired = acquire(&connection.thread, local, upstream, &mut asked);
        let taken = match connection.unless_left(watch && rest.is_none(), acquired).await {
            Ok(Ok(taken)) => taken,
            Err(Left) => return Came { status: LEFT, sent: 0, after: After::Close, server: String::new(), retries },
            Ok(Err(refusal)) => return refused(connection, plan, refusal, false, (String::new(), retries)).await,
        };
        let count = taken.lease.count();
        count.requests.add(1);
        if let Some(stick) = &taken.upstream().stick
            && asked.seat != Some(taken.server().seat)
        {
            stick.put(plan.origin, taken.server().seat, crate::pool::now());
        }
        let (opened, reused) = match taken.upstream().protocol {
            Protocol::Http1 => {
                let idle = if stale { None } else { taken.pool().take() };
                let reused = idle.is_some();
                let opened = match idle {
                    Some(io) => Ok(io),
                    None => {
                        count.connections.add(1);
                        connect(taken.server(), &connection.client, timeouts.connect).await
                    }
                };
                (opened, reused)
            }
            Protocol::H2c => (stream(&taken, &connection.client, timeouts.connect).await, false),
        };
        let failed = match opened {
            Err(error) => {
                count.connect_errors.add(1);
                taken.lease.live().see(Seen::Failure, &format!("connection: {error}"));
                if error.kind() == io::ErrorKind::TimedOut { Failed::TimedOut } else { Failed::Unseen }
            }
            Ok(io) => {
                let ask = Ask { connection, balancer, plan, out: &out, begun: &begun, buffer, taken: &taken, timeouts };
                match ask.attempt(&io, &mut rest, asked.seat).await {
                    Ok((came, kept)) => {
                        if let Some(wait) = kept.filter(|_| taken.upstream().protocol == Protocol::Http1) {
                            taken.pool().give(io, wait, taken.upstream().keepalive);
                        }
                        let server = taken.server().name.clone();
                        return Came { server, retries, ..came };
                    }
                    Err(failed) => failed,
                }
            }
        };
        let server = taken.server().name.clone();
        let (may_retry, refusal) = match failed {
            Failed::Client(refusal) => {
                return match refusal {
                    Some(refusal) => refused(connection, plan, refusal, true, (server, retries)).await,
                    None => Came { status: LEFT, sent: 0, after: After::Close, server, retries },
                };
            }
            Failed::Unseen => (true, Refusal::BadGateway),
            Failed::Unanswered(why) => {
                let again = plan.head.method.is_idempotent() && replayable;
                // A kept connection that the server closed meanwhile says nothing about the server.
                if reused && again {
                    stale = true;
                    count.retries.add(1);
                    continue;
                }
                count.answer_errors.add(1);
                taken.lease.live().see(Seen::Failure, why);
                (again, Refusal::BadGateway)
            }
            Failed::TimedOut => (false, Refusal::GatewayTimeout),
            Failed::BadAnswer(why) => {
                count.answer_errors.add(1);
                taken.lease.live().see(Seen::Failure, why);
                (false, Refusal::BadGateway)
            }
        };
        // Where the supervisor starts workers again, it is worth waiting for the next one.
        let worth = retries < taken.upstream().retries || (taken.upstream().has_app && Instant::now() < give_up_at);
        if !may_retry || !worth {
            return refused(connection, plan, refusal, false, (server, retries)).await;
        }
        retries += 1;
        count.retries.add(1);
        asked.tried.push(taken.lease.live().clone());
        stale = false;
    }
}

fn subject<'s>(bytes: &'s [u8], head: &ResponseHead) -> Subject<'s> {
    let kind = head.content_type.get(bytes);
    Subject { status: head.status, kind, fixed: head.encoded, length: head.content_length }
}

async fn refused(
    connection: &Connection,
    plan: &Plan,
    refusal: Refusal,
    ends: bool,
    (server, retries): (String, u32),
) -> Came {
    let head = &plan.head;
    let keep = head.keep_alive && head.body == Body::None && !ends && !connection.thread.quitting.get();
    if ends {
        connection.count().refused.add(1);
    }
    let sent = refuse(connection, refusal, head.method == Method::Head, keep).await;
    let after = match sent {
        Some(_) if keep => After::Next(head.length),
        Some(_) => After::Linger,
        None => After::Close,
    };
    Came { status: refusal.status(), sent: sent.unwrap_or(0), after, server, retries }
}

/// One request to one server.
struct Ask<'a> {
    connection: &'a Connection,
    balancer: &'a Arc<Balancer>,
    plan: &'a Plan,
    out: &'a [u8],
    begun: &'a Begun,
    buffer: &'a Buffer,
    taken: &'a Taken,
    timeouts: &'a Timeouts,
}

impl Ask<'_> {
    /// Returns what it came to, and for how long the server's connection may be kept.
    async fn attempt(
        &self,
        io: &Io,
        rest: &mut Option<upload::Rest>,
        seat: Option<u64>,
    ) -> Result<(Came, Option<Duration>), Failed> {
        let Self { connection, plan, taken, timeouts, .. } = self;
        let deadline = &connection.deadline;
        let sent_at = Instant::now();
        self.send(io).await?;
        let mut upload = match rest.take() {
            Some(rest) => Upload::begin(connection, io, rest),
            None => Upload::none(),
        };
        let then = || deadline.set(timeouts.server);
        if upload.is_running() {
            // The upload keeps the time for both while it goes on.
            deadline.set(timeouts.tunnel.max(timeouts.server));
        } else {
            then();
        }
        let mut answer = None;
        let (buffer, head) = loop {
            let watch = !upload.is_running() && plan.head.upgrade.is_none();
            let reading = connection.unless_left(watch, self.read_head(io, answer.take()));
            let read = match upload.beside(reading, then).await {
                Ok(Ok(read)) => Ok(read),
                Ok(Err(Left)) => return Err(Failed::Client(None)),
                Err(ended) => Err(ended),
            };
            let (mut buffer, head) = match read {
                Ok(read) => read?,
                Err(Ended::TooLarge) => return Err(Failed::Client(Some(Refusal::BodyTooLarge))),
                Err(_) => return Err(Failed::Client(None)),
            };
            if head.status >= 200 || head.status == 101 {
                break (buffer, head);
            }
            if plan.head.version_1_1 {
                let mut out = Text::new();
                forward::interim(buffer.filled(), &head, &connection.thread.fields.borrow(), &mut out);
                let told = write_all(&connection.io, &mut [IoSlice::new(&out)], deadline, timeouts.client).await;
                told.map_err(|_| Failed::Client(None))?;
            }
            buffer.consume(head.length);
            answer = Some(buffer);
            deadline.set(timeouts.server);
        };
        let count = taken.lease.count();
        count.latency.count(sent_at.elapsed());
        count.answers.count(head.status);
        let bad = head.status >= 500;
        let may_eject = bad && taken.upstream().may_eject(crate::pool::now());
        taken.lease.live().see(Seen::Answer { bad, may_eject }, "answers of 5xx");
        if head.status == 101 {
            return self.upgraded(io, buffer, &head, seat).await.map(|came| (came, None));
        }
        self.pass_back(io, buffer, head, upload, seat).await
    }

    /// Sends the head, and what came of the body with it.
    async fn send(&self, io: &Io) -> Result<(), Failed> {
        let Self { plan, out, begun, buffer, timeouts, .. } = self;
        let behind = &buffer.filled()[plan.head.length..];
        let body = if begun.chunks.is_some() { &[][..] } else { &behind[..begun.taken] };
        let written = if body.is_empty() {
            write_all(io, &mut [IoSlice::new(out)], &self.connection.deadline, timeouts.server).await
        } else {
            let mut slices = [IoSlice::new(out), IoSlice::new(body)];
            write_all(io, &mut slices, &self.connection.deadline, timeouts.server).await
        };
        match written {
            Ok(count) => {
                self.taken.lease.count().bytes_out.add(count as u64);
                Ok(())
            }
            Err(unwritten) if unwritten.error.kind() == io::ErrorKind::TimedOut => Err(Failed::TimedOut),
            Err(unwritten) if unwritten.written == 0 => Err(Failed::Unseen),
            Err(_) => Err(Failed::Unanswered("it broke off")),
        }
    }

    async fn read_head(&self, io: &Io, begun: Option<Buffer>) -> Result<(Buffer, ResponseHead), Failed> {
        let deadline = &self.connection.deadline;
        let lost = |error: io::Error, any: bool| match error.kind() {
            io::ErrorKind::TimedOut => {
                self.taken.lease.count().answer_errors.add(1);
                self.taken.lease.live().see(Seen::Failure, "no answer in time");
                Failed::TimedOut
            }
            _ if any => Failed::BadAnswer("an answer that broke off"),
            // Only HTTP/2 can say so.
            io::ErrorKind::ConnectionRefused => Failed::Unseen,
            _ => Failed::Unanswered("no answer"),
        };
        let (mut buffer, interim) = match begun {
            Some(buffer) => (buffer, true),
            None => (read_fresh(io, Buffer::large, deadline).await.map_err(|error| lost(error, false))?, false),
        };
        if buffer.is_empty() && !interim {
            return Err(Failed::Unanswered("no answer"));
        }
        loop {
            let method = self.plan.head.method;
            let parsed = response::parse(buffer.filled(), method, &mut self.connection.thread.fields.borrow_mut());
            match parsed {
                Ok(Some(head)) => return Ok((buffer, head)),
                Ok(None) if buffer.make_space(crate::io::buffer::LARGE) => {}
                Ok(None) => return Err(Failed::BadAnswer("a head that is too long")),
                Err(bad) => return Err(Failed::BadAnswer(bad.0)),
            }
            match read_more(io, &mut buffer, deadline).await {
                Ok(0) => return Err(Failed::BadAnswer("an answer that broke off")),
                Ok(_) => {}
                Err(error) => return Err(lost(error, true)),
            }
        }
    }

    /// Edits the head of an answer. Without waiting after it was read: its fields are still there.
    fn edited(
        &self,
        bytes: &[u8],
        head: &ResponseHead,
        framing: Framing,
        keep: bool,
        gzip: bool,
        seat: Option<u64>,
    ) -> Text {
        let Self { connection, balancer, plan, taken, buffer, .. } = self;
        let request = buffer.filled();
        let path = plan.head.path.get(request);
        let values = Values {
            scheme: connection.client.scheme().as_bytes(),
            host: plan.head.host.get(request),
            path,
            query: &plan.head.target.get(request)[path.len()..],
            remote_addr: connection.client.text.as_bytes(),
            request_id: plan.request_id.as_deref().unwrap_or_default().as_bytes(),
        };
        let id = balancer.request_id.as_deref().zip(plan.request_id.as_deref());
        let mut out = Text::new();
        connection.thread.with_time(|date, _| {
            let back = Back {
                route: plan.route(balancer),
                upstream: taken.upstream(),
                server: taken.server(),
                values: &values,
                seat,
                request_id: id,
                date,
                framing,
                connection: match (keep, plan.head.version_1_1) {
                    (false, _) => Some("close"),
                    (true, false) => Some("keep-alive"),
                    (true, true) => None,
                },
                gzip,
                varies: balancer.gzip.as_ref().is_some_and(|gzip| subject(bytes, head).varies(gzip)),
            };
            forward::response(&back, bytes, head, &connection.thread.fields.borrow(), &mut out);
        });
        out
    }

    /// Returns what compresses an answer, where that is wanted.
    fn squeeze(&self, bytes: &[u8], head: &ResponseHead) -> Option<Squeeze> {
        let gzip = self.balancer.gzip.as_ref().filter(|_| self.plan.head.accepts_gzip && head.body != Body::None)?;
        subject(bytes, head).varies(gzip).then(|| Squeeze::new(gzip))
    }

    async fn pass_back(
        &self,
        io: &Io,
        mut buffer: Buffer,
        head: ResponseHead,
        mut upload: Upload<'_>,
        seat: Option<u64>,
    ) -> Result<(Came, Option<Duration>), Failed> {
        let Self { connection, plan, begun, taken, timeouts, .. } = self;
        let request = &plan.head;
        let squeeze = self.squeeze(buffer.filled(), &head);
        let framing = match head.body {
            _ if squeeze.is_some() && request.version_1_1 => Framing::Chunks,
            _ if squeeze.is_some() => Framing::Bare,
            Body::UntilClose if request.version_1_1 => Framing::Chunks,
            Body::Chunked if !request.version_1_1 => Framing::Bare,
            Body::None | Body::Length(_) | Body::Chunked | Body::UntilClose => Framing::Same,
        };
        let ends_with_close =
            !request.version_1_1 && (squeeze.is_some() || matches!(head.body, Body::Chunked | Body::UntilClose));
        // Bytes behind a request for an upgrade that was not granted may be anything.
        let odd = request.upgrade.is_some() && self.buffer.filled().len() > request.length;
        let keep =
            request.keep_alive && !upload.is_running() && !ends_with_close && !odd && !connection.thread.quitting.get();
        let out = self.edited(buffer.filled(), &head, framing, keep, squeeze.is_some(), seat);
        buffer.consume(head.length);
        let way = Way {
            server: io,
            client: connection,
            watch: !upload.is_running() && request.upgrade.is_none(),
            deadline: &connection.deadline,
            wait_server: timeouts.server,
            wait_client: timeouts.client,
        };
        let relayed = match upload.beside(relay(&way, &out, buffer, head.body, framing, squeeze), || {}).await {
            Ok(relayed) => relayed,
            Err(_) => return Err(Failed::Client(None)),
        };
        let count = taken.lease.count();
        let client_count = connection.count();
        let (passed, whole) = match relayed {
            Ok(passed) => (passed, true),
            Err(Broken::Client(passed)) => (passed, false),
            Err(Broken::Server(passed)) => {
                count.answer_errors.add(1);
                (passed, false)
            }
        };
        count.bytes_in.add(head.length as u64 + passed.received);
        client_count.bytes_out.add(out.len() as u64 + passed.sent);
        let uploaded = upload.is_done();
        drop(upload);
        let kept = (whole && uploaded && passed.clean && head.keep_alive).then(|| {
            // A second before the server would close it, so that no request crosses with its closing.
            let told = head.keep_alive_seconds.map(|seconds| Duration::from_secs(u64::from(seconds.saturating_sub(1))));
            told.unwrap_or(Duration::MAX).min(taken.upstream().keepalive_timeout)
        });
        let after = match (whole, keep && uploaded) {
            (false, _) => After::Close,
            (true, true) => After::Next(request.length + begun.taken),
            // The client said that it sends nothing more, and nothing more came: nothing can be reset.
            (true, false)
                if uploaded && !request.keep_alive && self.buffer.filled().len() == request.length + begun.taken =>
            {
                After::Finish
            }
            (true, false) => After::Linger,
        };
        let came = Came { status: head.status, sent: passed.sent, after, server: String::new(), retries: 0 };
        Ok((came, kept))
    }

    async fn upgraded(
        &self,
        io: &Io,
        mut buffer: Buffer,
        head: &ResponseHead,
        seat: Option<u64>,
    ) -> Result<Came, Failed> {
        let Self { connection, plan, timeouts, .. } = self;
        if plan.head.upgrade.is_none() || head.upgrade.is_none() {
            return Err(Failed::BadAnswer("an upgrade that nobody asked for"));
        }
        let out = self.edited(buffer.filled(), head, Framing::Same, true, false, seat);
        buffer.consume(head.length);
        let told = write_all(&connection.io, &mut [IoSlice::new(&out)], &connection.deadline, timeouts.client).await;
        told.map_err(|_| Failed::Client(None))?;
        let mut early = Buffer::small();
        early.append(&self.buffer.filled()[plan.head.length..]);
        let passed = tunnel(&connection.io, io, early, buffer, timeouts.tunnel).await;
        let (count, client_count) = (self.taken.lease.count(), connection.count());
        count.bytes_out.add(passed.up);
        count.bytes_in.add(passed.down);
        client_count.bytes_in.add(passed.up);
        client_count.bytes_out.add(passed.down);
        Ok(Came { status: 101, sent: passed.down, after: After::Close, server: String::new(), retries: 0 })
    }
}
