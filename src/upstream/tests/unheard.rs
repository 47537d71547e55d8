//! What arrives on a connection in the pool, and of which the runtime was not told.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::lanes::Threads;

/// What a connection does while it is in the pool.
#[derive(Clone, Copy)]
enum Then {
    /// It ends.
    Ends,
    /// It has bytes that nobody asked for, and that look like an answer.
    Answers,
}

/// An upstream on a thread of its own. Of its first connection it answers two requests, the second with `second`; `then` follows when it
/// is told to, and it says that it did. On any other it answers `fresh`.
fn upstream(
    second: &'static str,
    then: Then,
    to_go_on: mpsc::Receiver<()>,
    gone_on: mpsc::Sender<()>,
) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut first = listener.accept().unwrap().0;
        for answer in ["200 OK\r\nContent-Length: 1\r\n\r\n1", second] {
            read(&mut first);
            write!(first, "HTTP/1.1 {answer}").unwrap();
        }
        to_go_on.recv().unwrap();
        match then {
            Then::Ends => drop(first),
            Then::Answers => first
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
                .unwrap(),
        }
        gone_on.send(()).unwrap();
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

/// Sends three requests. Before the third comes what nobody has asked for, while the thread stands still, so that the runtime is not told:
/// for `still` at least. With `asks` it has asked the system once more before, where it asks for all connections at once.
async fn the_third_gets_a_fresh_one(
    second: &'static str,
    then: Then,
    reuse: Reuse,
    asks: bool,
    still: Duration,
) {
    let (go_on, to_go_on) = mpsc::channel();
    let (went_on, gone_on) = mpsc::channel();
    let upstream = upstream_at(upstream(second, then, to_go_on, went_on));
    assert_eq!(text(upstream.send(get(), reuse).await.unwrap()).await, "1");
    // Long enough for this upstream to be trusted with connections.
    tokio::time::sleep(Duration::from_millis(60)).await;
    text(upstream.send(post("a"), reuse).await.unwrap()).await;
    if asks {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    go_on.send(()).unwrap();
    gone_on.recv().unwrap();
    thread::sleep(still);
    let answer = upstream.send(post("b"), reuse).await.unwrap();
    assert_eq!(text(answer).await, "fresh");
}

/// Does something on a lane.
async fn on_a_lane<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let threads = Threads::start(1, Duration::from_secs(1)).unwrap();
    let done = threads.lanes().runtime(0).unwrap().spawn(work).await;
    tokio::task::spawn_blocking(|| threads.stop())
        .await
        .unwrap();
    done.unwrap()
}

const NO_BODY: &str = "204 No Content\r\n\r\n";
const BODY: &str = "200 OK\r\nContent-Length: 1\r\n\r\n2";
/// Longer than a lane's word is believed.
const LONG: Duration = Duration::from_millis(5);

#[tokio::test]
async fn bytes_after_an_answer_without_a_body_are_nobodys_answer() {
    let at_once = Duration::ZERO;
    the_third_gets_a_fresh_one(NO_BODY, Then::Answers, Reuse::Any, false, at_once).await;
    for reuse in [Reuse::Any, Reuse::OnlyYoung] {
        on_a_lane(the_third_gets_a_fresh_one(
            NO_BODY,
            Then::Answers,
            reuse,
            true,
            at_once,
        ))
        .await;
    }
}

#[tokio::test]
async fn what_must_not_end_in_doubt_meets_no_end_of_which_its_lane_could_not_hear() {
    for (asks, still) in [(false, Duration::ZERO), (true, LONG)] {
        on_a_lane(the_third_gets_a_fresh_one(
            BODY,
            Then::Ends,
            Reuse::OnlyYoung,
            asks,
            still,
        ))
        .await;
    }
}
