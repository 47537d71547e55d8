//! The API behind the proxies.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::Wire;

/// Answers each request with the same 201 of some 400 bytes, on a thread of its own, and counts them. A request to `/after/20` is
/// answered after 20 ms.
pub(crate) struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Upstream {
    /// Listens on 127.0.0.1, until the bench ends.
    pub(crate) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let count = asked.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is not blocking");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, count.clone()));
                }
            });
        });
        Ok(Self { address, asked })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Until the other side closes, or something is wrong with the connection: the client sees both.
async fn serve(stream: TcpStream, asked: Arc<AtomicU64>) -> Result<()> {
    let mut wire = Wire::new(stream)?;
    let body = format!(r#"{{"id":"pay_1","amount":1999,"note":"{:d<260}"}}"#, "");
    let answer = format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-Request-Id: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    while let Some(head) = wire.receive().await? {
        let delay = delay(head);
        asked.fetch_add(1, Ordering::Relaxed);
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        wire.send(answer.as_bytes()).await?;
    }
    Ok(())
}

fn delay(head: &[u8]) -> Option<Duration> {
    let after = head.strip_prefix(b"POST /after/")?;
    let digits = after.split(|byte| *byte == b' ').next()?;
    let milliseconds = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}
