//! A connection, of whatever kind, that can be read and written at the same time by one task.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What a connection has to be able to do.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn Stream>),
}

/// A connection. It stays in its thread, and is borrowed only within a call.
pub struct Io(RefCell<Kind>);

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Self(RefCell::new(Kind::Tcp(stream)))
    }
}

impl From<UnixStream> for Io {
    fn from(stream: UnixStream) -> Self {
        Self(RefCell::new(Kind::Unix(stream)))
    }
}

impl Io {
    /// Returns a connection through something that changes the bytes: TLS.
    pub fn through(stream: impl Stream + 'static) -> Self {
        Self(RefCell::new(Kind::Other(Box::new(stream))))
    }

    /// Reads; zero bytes are the end.
    pub fn poll_read(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(bytes);
        let polled = match &mut *self.0.borrow_mut() {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Kind::Other(stream) => Pin::new(stream).poll_read(cx, &mut into),
        };
        polled.map_ok(|()| into.filled().len())
    }

    /// Writes as much as is taken.
    pub fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Kind::Tcp(stream) => one_or_more(Pin::new(stream), cx, slices),
            Kind::Unix(stream) => one_or_more(Pin::new(stream), cx, slices),
            Kind::Other(stream) => one_or_more(Pin::new(stream), cx, slices),
        }
    }

    /// Sends what the stream holds back, as TLS may.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Kind::Tcp(_) | Kind::Unix(_) => Poll::Ready(Ok(())),
            Kind::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says that nothing more is sent.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Returns whether an idle connection is of no use any more: closed by the other end, or with bytes that nobody
    /// asked for. Costs no system call while nothing happened.
    pub fn is_stale(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let quiet = match &*self.0.borrow() {
            Kind::Tcp(stream) => stream.poll_read_ready(&mut cx).is_pending(),
            Kind::Unix(stream) => stream.poll_read_ready(&mut cx).is_pending(),
            Kind::Other(_) => false,
        };
        !quiet && self.poll_read(&mut cx, &mut [0]).is_ready()
    }

    /// Calls `with` with the descriptor, where the bytes on it are the bytes that pass.
    pub fn with_fd<T>(&self, with: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        match &*self.0.borrow() {
            Kind::Tcp(stream) => Some(with(stream.as_fd())),
            Kind::Unix(stream) => Some(with(stream.as_fd())),
            Kind::Other(_) => None,
        }
    }

    /// Takes the connection apart, for those who speak with it themselves.
    pub fn into_stream(self) -> Box<dyn Stream> {
        match self.0.into_inner() {
            Kind::Tcp(stream) => Box::new(stream),
            Kind::Unix(stream) => Box::new(stream),
            Kind::Other(stream) => stream,
        }
    }
}

fn one_or_more<W: AsyncWrite>(
    stream: Pin<&mut W>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match slices {
        [only] => stream.poll_write(cx, only),
        several => stream.poll_write_vectored(cx, several),
    }
}
