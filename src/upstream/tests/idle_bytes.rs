//! Bytes that nobody asked for, on a connection that goes back to the pool.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;

use super::*;

/// An upstream on a thread of its own. Of its first connection it answers two requests, the second without a body; then, when it is
/// told to, it sends what looks like an answer, and says that it did. On any other it answers `fresh`.
fn upstream(to_send: mpsc::Receiver<()>, sent: mpsc::Sender<()>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut first = listener.accept().unwrap().0;
        for answer in [
            "200 OK\r\nContent-Length: 1\r\n\r\n1",
            "204 No Content\r\n\r\n",
        ] {
            read(&mut first);
            write!(first, "HTTP/1.1 {answer}").unwrap();
        }
        to_send.recv().unwrap();
        first
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
            .unwrap();
        sent.send(()).unwrap();
        let mut second = listener.accept().unwrap().0;
        read(&mut second);
        write!(second, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh").unwrap();
    });
    address
}

fn read(stream: &mut std::net::TcpStream) {
    let mut head = [0; 4096];
    assert!(stream.read(&mut head).unwrap() > 0);
}

#[tokio::test]
async fn bytes_after_an_answer_without_a_body_are_nobodys_answer() {
    let (send, to_send) = mpsc::channel();
    let (said, sent) = mpsc::channel();
    let upstream = upstream_at(upstream(to_send, said));
    assert_eq!(
        text(upstream.send(get(), Reuse::Any).await.unwrap()).await,
        "1"
    );
    // Long enough for this upstream to be trusted with connections.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let bare = upstream.send(post("a"), Reuse::Any).await.unwrap();
    assert_eq!(text(bare).await, "");
    send.send(()).unwrap();
    // The runtime stands still meanwhile, so that it is not told of them.
    sent.recv().unwrap();
    let answer = upstream.send(post("b"), Reuse::Any).await.unwrap();
    assert_eq!(text(answer).await, "fresh");
}
