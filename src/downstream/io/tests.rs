use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::link::Open;
use super::*;
use crate::wire::Paced;

struct Fixture {
    io: ClientIo<Paced<DuplexStream>, ()>,
    handed_back: oneshot::Receiver<Leftover<Paced<DuplexStream>, ()>>,
    client: DuplexStream,
    link: Arc<Link>,
}

fn fixture() -> Fixture {
    let (client, socket) = duplex(64);
    let link = Arc::new(Link::default());
    let settings = ServerSettings {
        max_connections: 1,
        max_in_flight: 1,
        max_buffered_total: 0,
        max_waiters: 0,
        header_timeout: Duration::from_secs(10),
        body_idle_timeout: Duration::from_secs(30),
        max_header_bytes: 1024,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        trust_forwarded: Vec::new(),
        voice: Arc::default(),
        tls: None,
    };
    let socket = Paced::new(socket, settings.body_idle_timeout);
    let (io, handed_back) = ClientIo::new(socket, (), Instant::now(), link.clone(), &settings);
    Fixture {
        io,
        handed_back,
        client,
        link,
    }
}

impl Fixture {
    /// Seconds until a read fails.
    async fn patience(&mut self) -> u64 {
        let start = Instant::now();
        let error = self.io.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed().as_secs()
    }

    async fn exchange(&mut self) -> Open {
        self.client.write_all(b"G").await.unwrap();
        self.io.read_u8().await.unwrap();
        Open::new(self.link.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_head_is_bounded_from_the_accept() {
    let mut silent = fixture();
    assert_eq!(silent.patience().await, 10);

    let mut half = fixture();
    half.client.write_all(b"P").await.unwrap();
    half.io.read_u8().await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(half.patience().await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_longer_than_a_head_may_take() {
    let mut fixture = fixture();
    drop(fixture.exchange().await);
    assert_eq!(fixture.patience().await, 75);
}

#[tokio::test(start_paused = true)]
async fn a_later_head_is_bounded_from_its_first_byte() {
    let mut fixture = fixture();
    drop(fixture.exchange().await);
    fixture.io.flush().await.unwrap();
    tokio::time::sleep(Duration::from_secs(70)).await;
    fixture.client.write_all(b"GE").await.unwrap();
    fixture.io.read_u8().await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    fixture.io.read_u8().await.unwrap();
    assert_eq!(fixture.patience().await, 4);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_expected_while_an_exchange_is_open() {
    let mut fixture = fixture();
    let _open = fixture.exchange().await;
    let read = tokio::time::timeout(Duration::from_secs(3600), fixture.io.read_u8()).await;
    assert!(read.is_err(), "the read ended");
}

#[tokio::test(start_paused = true)]
async fn a_write_may_take_long_as_long_as_it_moves() {
    let mut fixture = fixture();
    let _open = fixture.exchange().await;
    let writing = tokio::spawn(async move {
        let written = fixture.io.write_all(&[b'x'; 256]).await;
        (written, Instant::now())
    });
    let mut buffer = [0; 64];
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(29)).await;
        fixture.client.read_exact(&mut buffer).await.unwrap();
    }
    let moved = Instant::now();
    let (written, ended) = writing.await.unwrap();
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(ended.duration_since(moved).as_secs(), 30);
}

#[tokio::test]
async fn an_answer_of_hypers_own_is_held_and_handed_back() {
    let own = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut fixture = fixture();
    fixture
        .io
        .write_all(&[b"before".as_slice(), own].concat())
        .await
        .unwrap();
    drop(fixture.io);
    let leftover = fixture.handed_back.await.unwrap();
    assert_eq!(leftover.held, own.as_slice());
    drop(leftover);
    let mut sent = Vec::new();
    fixture.client.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"before");
}

#[tokio::test]
async fn what_was_held_is_sent_if_the_connection_goes_on() {
    let own = b"HTTP/1.1 431 X\r\ncontent-length: 0\r\n\r\n";
    let mut fixture = fixture();
    fixture.io.write_all(own).await.unwrap();
    fixture.io.write_all(b"after").await.unwrap();
    drop((fixture.io, fixture.handed_back));
    let mut sent = Vec::new();
    fixture.client.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, [own.as_slice(), b"after"].concat());
}
