//! The channel's promises about bytes: whole lines, nothing lost, everything bounded.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rpm_model::{Life, WorkerId};
use rpm_share::{Channel, ChannelError, FromApp, Kind};
use rpm_sys::fd::{recv_with_fds, send_with_fds, socketpair_stream};
use serde_json::{Value, json};

fn life() -> Life {
    Life::new(WorkerId(0), 1)
}

fn pair() -> (Channel, UnixStream) {
    let (ours, theirs) = socketpair_stream().unwrap();
    (Channel::new(ours, life()).unwrap(), UnixStream::from(theirs))
}

fn messages(said: Vec<FromApp>) -> Vec<Value> {
    said.into_iter()
        .map(|said| match said {
            FromApp::Message(message) => message,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Receives a line with its handles on the worker's side.
fn line(worker: &UnixStream) -> Option<(String, Vec<OwnedFd>)> {
    worker.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let received = recv_with_fds(worker, &mut buffer, 1);
    worker.set_nonblocking(false).unwrap();
    let (length, fds) = received.ok().filter(|(length, _)| *length > 0)?;
    Some((String::from_utf8(buffer[..length].to_vec()).unwrap(), fds))
}

fn some_fd() -> OwnedFd {
    rpm_sys::fd::null().unwrap()
}

#[test]
fn a_daemon_that_dies_before_it_has_acknowledged_finds_the_messages_again() {
    let (ours, theirs) = socketpair_stream().unwrap();
    let keepers = rpm_sys::fd::dup(&ours).unwrap();
    let mut worker = UnixStream::from(theirs);
    let mut channel = Channel::new(ours, life()).unwrap();
    worker.write_all(b"\"one\"\n\"two\"\n\"thr").unwrap();
    assert_eq!(messages(channel.receive().unwrap()), ["one", "two"]);
    drop(channel);
    let mut channel = Channel::resume(keepers, life()).unwrap();
    assert_eq!(messages(channel.receive().unwrap()), ["one", "two"]);
    channel.acknowledge().unwrap();
    assert!(channel.receive().unwrap().is_empty());
    worker.write_all(b"ee\"\n").unwrap();
    assert_eq!(messages(channel.receive().unwrap()), ["three"]);
    assert!(channel.receive().unwrap().is_empty());
    drop(worker);
    assert_eq!(channel.receive().unwrap_err(), ChannelError::Closed);
}

#[test]
fn a_question_whose_answer_waits_for_a_handle_is_found_again() {
    let (ours, theirs) = socketpair_stream().unwrap();
    let keepers = rpm_sys::fd::dup(&ours).unwrap();
    let mut worker = UnixStream::from(theirs);
    let mut channel = Channel::new(ours, life()).unwrap();
    let ask = |seq: u64| {
        format!(
            "{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"address\":null,\"port\":1,\"addressType\":4,\"fd\":-1,\"index\":0,\"data\":null,\"seq\":{seq}}}\n"
        )
    };
    let asked = |said: Vec<FromApp>| -> Vec<u64> {
        let seqs = said.into_iter().map(|said| match said {
            FromApp::QueryServer { seq, .. } => seq,
            other => panic!("{other:?}"),
        });
        seqs.collect()
    };
    let answer = |channel: &mut Channel, seq| {
        channel.answer_bound(seq, "key", &Value::Null, some_fd(), Kind::Tcp4).unwrap();
        channel.flush().unwrap();
    };
    worker.write_all((ask(1) + &ask(2)).as_bytes()).unwrap();
    assert_eq!(asked(channel.receive().unwrap()), [1, 2]);
    answer(&mut channel, 1);
    answer(&mut channel, 2);
    // The second waits until the worker has the first handle: a daemon that dies now must not have taken the question.
    assert!(!channel.is_unacknowledged() && channel.receive().unwrap().is_empty());
    drop(channel);

    let ours = rpm_sys::fd::dup(&keepers).unwrap();
    let mut channel = Channel::resume(ours, life()).unwrap();
    assert_eq!(asked(channel.receive().unwrap()), [1, 2]);
    answer(&mut channel, 1);
    answer(&mut channel, 2);
    assert_eq!(line(&worker).unwrap().1.len(), 1);
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n").unwrap();
    assert!(channel.receive().unwrap().is_empty() && !channel.is_unacknowledged());
    channel.flush().unwrap();
    assert_eq!(line(&worker).unwrap().1.len(), 1);
    // All is answered, and can be taken.
    assert!(channel.is_unacknowledged() && channel.receive().unwrap().is_empty() && !channel.is_unacknowledged());
    drop(channel);
    let mut channel = Channel::resume(keepers, life()).unwrap();
    assert!(channel.receive().unwrap().is_empty());

    // A worker that leaves with an answer outstanding has left all the same.
    worker.write_all((ask(3) + &ask(4)).as_bytes()).unwrap();
    assert_eq!(asked(channel.receive().unwrap()), [3, 4]);
    answer(&mut channel, 3);
    answer(&mut channel, 4);
    drop((line(&worker), worker));
    assert_eq!(channel.receive().unwrap_err(), ChannelError::Closed);
}

#[test]
fn a_line_that_arrives_in_pieces_is_read_when_it_is_whole() {
    let (mut channel, mut worker) = pair();
    for byte in br#"{"type":"axm:monitor","data":{"x":1}}"# {
        worker.write_all(&[*byte]).unwrap();
        assert!(channel.receive().unwrap().is_empty());
    }
    worker.write_all(b"\n").unwrap();
    assert_eq!(messages(channel.receive().unwrap())[0]["type"], "axm:monitor");
}

#[test]
fn a_line_longer_than_the_socket_is_gathered_and_an_endless_one_is_skipped() {
    let (mut channel, worker) = pair();
    for (length, taken) in [(3 << 20, true), (65 << 20, false), (1 << 20, true)] {
        let mut worker = worker.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            worker.write_all(format!("\"{}\"\n", "x".repeat(length)).as_bytes()).unwrap();
        });
        let said = loop {
            let said = channel.receive().unwrap();
            match said.is_empty() {
                true => std::thread::yield_now(),
                false => break said,
            }
        };
        writer.join().unwrap();
        match &said[..] {
            [FromApp::Message(Value::String(text))] if taken => assert_eq!(text.len(), length),
            [FromApp::Unreadable { length: seen }] if !taken => assert_eq!(*seen, length + 2),
            _ => panic!("{length}"),
        }
    }
}

#[test]
fn garbage_is_named_and_the_next_line_read() {
    let (mut channel, mut worker) = pair();
    worker.write_all(b"half a line of which the beginning is gone\"}\n\n\"fine\"\n").unwrap();
    let said = channel.receive().unwrap();
    assert!(matches!(&said[..], [FromApp::Unreadable { .. }, FromApp::Message(text)] if text == "fine"));
}

#[test]
fn a_handle_and_a_question_for_a_sign_of_life_wait_for_each_other() {
    let (mut channel, mut worker) = pair();
    channel.ping().unwrap();
    channel.ping().unwrap();
    channel.answer_bound(1, "a", &Value::Null, some_fd(), Kind::Tcp4).unwrap();
    channel.flush().unwrap();
    // Node gives a handle that comes in one piece with the question to the question.
    let (question, handles) = line(&worker).unwrap();
    assert_eq!((question.as_str(), handles.len()), ("{\"cmd\":\"NODE_HANDLE\"}\n", 0));
    assert!(!channel.wants_write() && line(&worker).is_none());
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n").unwrap();
    assert!(matches!(channel.receive().unwrap()[..], [FromApp::Pong]));
    channel.flush().unwrap();
    assert_eq!(line(&worker).unwrap().1.len(), 1);
    // While a handle is on its way nothing is asked: the answers look alike.
    channel.ping().unwrap();
    channel.flush().unwrap();
    assert!(line(&worker).is_none());
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n").unwrap();
    assert!(channel.receive().unwrap().is_empty());
    channel.ping().unwrap();
    channel.flush().unwrap();
    assert!(line(&worker).is_some());
}

#[test]
fn handles_wait_for_the_one_before() {
    let (mut channel, mut worker) = pair();
    channel.answer_bound(1, "a", &json!({"k": 1}), some_fd(), Kind::Tcp4).unwrap();
    channel.answer_bound(2, "b", &Value::Null, some_fd(), Kind::Udp4).unwrap();
    channel.send_app(&json!("later")).unwrap();
    assert!(channel.wants_write());
    assert!(channel.flush().unwrap());
    let (first, handles) = line(&worker).unwrap();
    assert_eq!(handles.len(), 1);
    assert_eq!(
        serde_json::from_str::<Value>(&first).unwrap(),
        json!({"cmd": "NODE_HANDLE", "type": "net.Native",
               "msg": {"cmd": "NODE_CLUSTER", "errno": 0, "key": "a", "ack": 1, "data": {"k": 1}, "seq": 0}})
    );
    assert!(!channel.wants_write() && line(&worker).is_none());
    // It did not arrive: once more.
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n").unwrap();
    assert!(channel.receive().unwrap().is_empty());
    assert!(channel.flush().unwrap());
    assert_eq!(line(&worker).unwrap().0, first);
    // The worker sends a handle of its own meanwhile, and both wait for each other.
    send_with_fds(&worker, b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":5}\n", &[some_fd().as_fd()])
        .unwrap();
    assert_eq!(messages(channel.receive().unwrap()), [5]);
    assert!(channel.wants_write() && channel.flush().unwrap());
    assert_eq!(line(&worker).unwrap().0, "{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n").unwrap();
    assert!(channel.receive().unwrap().is_empty());
    channel.flush().unwrap();
    let (second, handles) = line(&worker).unwrap();
    assert!(second.contains("dgram.Native") && handles.len() == 1);
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n").unwrap();
    channel.receive().unwrap();
    channel.flush().unwrap();
    assert_eq!(line(&worker).unwrap().0, "\"later\"\n");
}

#[test]
fn bun_is_recognised_and_answered_in_its_own_framing() {
    let (mut channel, mut worker) = pair();
    worker.write_all(b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}\n").unwrap();
    assert!(matches!(channel.receive().unwrap()[..], [FromApp::Online]));
    channel.answer_bound(1, "k", &Value::Null, some_fd(), Kind::Tcp4).unwrap();
    channel.flush().unwrap();
    let (text, handles) = line(&worker).unwrap();
    let value: Value = serde_json::from_str(text.strip_prefix('\u{2}').unwrap()).unwrap();
    assert_eq!((&value["$hasHandle"], &value["ack"], handles.len()), (&json!(true), &json!(1), 1));
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n").unwrap();
    channel.receive().unwrap();
    channel.send_app(&json!({"a": 1})).unwrap();
    channel.answer_refused(2, "k", 98).unwrap();
    channel.flush().unwrap();
    let mut text = String::new();
    worker.set_nonblocking(true).unwrap();
    let _would_block = worker.read_to_string(&mut text);
    assert!(text.starts_with("{\"a\":1}\n\u{2}{") && text.contains("\"errno\":-98"), "{text}");
}

#[test]
fn a_worker_that_does_not_read_costs_a_bounded_amount() {
    let (mut channel, _worker) = pair();
    let message = json!("x".repeat(1 << 20));
    let mut sent = 0;
    let full = loop {
        match channel.send_app(&message) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100);
        channel.flush().unwrap();
    };
    assert_eq!(full, ChannelError::Full);
    assert!(!channel.flush().unwrap());
}

#[test]
fn a_connection_that_was_handed_over_comes_back_when_declined() {
    let (mut channel, mut worker) = pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    channel.hand_over("k", OwnedFd::from(accepted)).unwrap();
    channel.flush().unwrap();
    let (text, handles) = line(&worker).unwrap();
    assert!(text.contains("newconn") && handles.len() == 1);
    drop(handles);
    worker
        .write_all(
            b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n{\"cmd\":\"NODE_CLUSTER\",\"ack\":0,\"accepted\":false,\"seq\":1}\n",
        )
        .unwrap();
    let Some(FromApp::Declined { connection }) = channel.receive().unwrap().pop() else { panic!() };
    TcpStream::from(connection).write_all(b"still open").unwrap();
    let mut text = [0; 10];
    client.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"still open");
}
