//! A network between client and proxy, which does to each connection what it is told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::support::Gate;

/// What happens to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// Reset when the first bytes of a request have come, which go no further.
    LoseRequest,
    /// Reset while the upstream works.
    Leave,
    /// The request goes through; at this place of the answer the connection ends.
    Cut(Place, End),
}

/// A place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Start,
    Head,
    Body,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Reset,
    Close,
}

/// Listens on a port of its own.
pub struct Relay {
    address: SocketAddr,
    fired: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Relay {
    /// To `server`; connections meet `fates` in turn, the last of them for ever. [`Fate::Leave`] strikes when `leave` opens.
    pub async fn to(server: SocketAddr, fates: Vec<Fate>, leave: Gate) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let fired = Arc::new(AtomicUsize::new(0));
        let counting = fired.clone();
        let accepting = tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let fate = fates[number.min(fates.len() - 1)];
                let (fired, leave) = (counting.clone(), leave.clone());
                tokio::spawn(async move { connect(client, server, fate, leave, &fired).await });
            }
        });
        Self {
            address,
            fired,
            accepting: accepting.abort_handle(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections met a fault.
    pub fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Until the connection ends, of itself or by its fate.
async fn connect(
    mut client: TcpStream,
    server: SocketAddr,
    fate: Fate,
    leave: Gate,
    fired: &AtomicUsize,
) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let mut end = End::Reset;
    if fate == Fate::LoseRequest {
        if client.read(&mut [0; 1024]).await? == 0 {
            return Ok(());
        }
    } else {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let requests = tokio::io::copy(&mut from_client, &mut to_server);
        let answers = async {
            let Fate::Cut(place, cut) = fate else {
                return tokio::io::copy(&mut from_server, &mut to_client)
                    .await
                    .map(|_| false);
            };
            end = cut;
            let mut answer = Vec::new();
            loop {
                let length = cut_at(place, &answer);
                if let Some(length) = length.filter(|length| answer.len() > *length) {
                    to_client.write_all(&answer[..length]).await?;
                    return Ok(true);
                }
                if from_server.read_buf(&mut answer).await? == 0 {
                    return Ok(false);
                }
            }
        };
        let faulty = tokio::select! {
            done = answers => done?,
            done = requests => { done?; false }
            () = leave.cancelled(), if fate == Fate::Leave => true,
        };
        if !faulty {
            return Ok(());
        }
    }
    // Before the client can notice.
    fired.fetch_add(1, Ordering::SeqCst);
    if end == End::Reset {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Where an answer is cut, as far as that is known yet.
fn cut_at(place: Place, answer: &[u8]) -> Option<usize> {
    match place {
        Place::Start => Some(0),
        Place::Head => Some(20),
        Place::Body => {
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
            Some(head + 4 + 5)
        }
    }
}
