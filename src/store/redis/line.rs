//! One connection to the server.
//!
//! The crate's multiplexed connection over a socket of our own, for two reasons: the socket's options (the crate leaves
//! `nodelay` off), and to see bytes move, by which a slow reply differs from a dead server. Deadlines are ours
//! too: the crate's own would not tell the two apart.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisFuture, RedisResult, ScriptInvocation, Value,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::failure::Failure;
use super::target::Target;
use super::transport::{Refusal, Transport, secure};

/// One connection, shared by any number of commands at a time; closed when the last copy is dropped.
#[derive(Clone)]
pub(super) struct Line {
    wire: Wire,
    traffic: Arc<Traffic>,
    /// The crate's driver would wait for the answers of a dead server for ever.
    _driver: Arc<AbortOnDropHandle<()>>,
}

/// The crate's connection, and how commands are put on it.
#[derive(Clone)]
struct Wire {
    connection: MultiplexedConnection,
    /// Whether `ASKING` goes directly before each command.
    asking: bool,
}

/// Until when an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until then at any rate.
    until: Instant,
    /// Then for this long at a time, as long as bytes move.
    step: Duration,
    /// And never beyond.
    last: Instant,
}

/// Bytes that went by.
#[derive(Default)]
struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
}

impl Line {
    /// Connects and logs in. The caller bounds the time.
    pub(super) async fn open(target: &Target) -> Result<Self, Failure> {
        let lost = |error: io::Error| Failure::NoConnection(error.kind().to_string());
        let stream = TcpStream::connect(target.address()).await.map_err(lost)?;
        configure(&stream).map_err(lost)?;
        let traffic = Arc::new(Traffic::default());
        let metered = Metered {
            stream,
            traffic: Arc::clone(&traffic),
        };
        let refusal = Refusal::default();
        let stream: Box<dyn Stream> = match target.transport() {
            Transport::Plain => Box::new(metered),
            Transport::Tls(tls) => {
                let secured = secure(tls, target.address().0, metered).await;
                Box::new(refusal.overheard(secured.map_err(no_tls)?))
            }
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(target.login(), stream, config).await;
        let (connection, driver) = opened.map_err(|error| match refusal.take() {
            Some(refusal) => no_tls(refusal),
            None => error.into(),
        })?;
        Ok(Self {
            wire: Wire {
                connection,
                asking: false,
            },
            traffic,
            _driver: Arc::new(AbortOnDropHandle::new(tokio::spawn(driver))),
        })
    }

    /// The same connection, for commands about a slot that is still on its way to this server (`ASKING`), or not.
    pub(super) fn asking(&self, asking: bool) -> Self {
        let mut line = self.clone();
        line.wire.asking = asking;
        line
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn ask(&self, command: &Cmd, patience: Patience) -> Result<Value, Failure> {
        self.within(patience, pin!(self.send(command))).await
    }

    /// Runs a script and waits for its answer; loads it where the server does not know it.
    pub(super) async fn run(
        &self,
        script: &ScriptInvocation<'_>,
        patience: Patience,
    ) -> Result<Value, Failure> {
        let mut wire = self.wire.clone();
        self.within(patience, pin!(script.invoke_async(&mut wire)))
            .await
    }

    /// Sends a command, and waits for as long as it takes.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(&mut self.wire.clone()).await
    }

    /// Waits for an answer that comes over this connection.
    pub(super) async fn within(
        &self,
        patience: Patience,
        mut answer: Pin<&mut impl Future<Output = RedisResult<Value>>>,
    ) -> Result<Value, Failure> {
        let mut until = patience.until;
        loop {
            let before = self.moved();
            match timeout_at(until, &mut answer).await {
                Ok(answer) => return Ok(answer?),
                Err(_) if until < patience.last && self.moved() != before => {
                    until = (until + patience.step).min(patience.last);
                }
                Err(_) => return Err(Failure::Late),
            }
        }
    }

    /// Bytes read so far: a server that is heard is not dead.
    pub(super) fn heard(&self) -> u64 {
        self.traffic.read.load(Ordering::Relaxed)
    }

    /// Bytes read and written so far. What is written may lie in a buffer of this machine, and proves little.
    pub(super) fn moved(&self) -> u64 {
        self.heard() + self.traffic.written.load(Ordering::Relaxed)
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        if !self.asking {
            return self.connection.req_packed_command(command);
        }
        Box::pin(async move {
            // One write, so that no other command of this connection comes between.
            let mut both = Pipeline::with_capacity(2);
            both.cmd("ASKING").add_command(command.clone());
            let mut answers = self.connection.req_packed_commands(&both, 0, 2).await?;
            match answers.pop() {
                Some(answer) => answer.extract_error(),
                // Not nil, which would say that nothing was there.
                None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(commands, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

impl Patience {
    /// Until this long from now, and no longer.
    pub(super) fn of(timeout: Duration) -> Self {
        let until = Instant::now() + timeout;
        Self {
            until,
            step: timeout,
            last: until,
        }
    }

    /// For a transfer that may take longer than one timeout: as long as bytes move, within bounds.
    pub(super) fn while_moving(self) -> Self {
        Self {
            last: self.until + self.step * BULK_STEPS,
            ..self
        }
    }

    /// For what follows a transfer: one that may take longer than a timeout leaves a whole one.
    pub(super) fn after_a_transfer(self) -> Self {
        if self.last > self.until {
            Self::of(self.step)
        } else {
            self
        }
    }

    /// Until when an answer is waited for at any rate.
    pub(super) fn until(self) -> Instant {
        self.until
    }

    /// The timeout it was made of.
    pub(super) fn timeout(self) -> Duration {
        self.step
    }
}

fn no_tls(error: io::Error) -> Failure {
    Failure::NoConnection(format!("TLS: {error}"))
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    // So that written bytes are soon bytes on their way, and a large write is seen to move.
    socket.set_send_buffer_size(SEND_BUFFER)
}

/// What the crate's connection goes over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The socket; below TLS, where bytes are seen to move that are not a whole record of it.
struct Metered {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        self.traffic.read.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.traffic
                .written
                .fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many more timeouts a large transfer is given, while bytes of it move.
const BULK_STEPS: u32 = 19;
const KEEPALIVE: Duration = Duration::from_secs(15);
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_BUFFER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_command_is_sent_at_once_and_a_dead_peer_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        configure(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
