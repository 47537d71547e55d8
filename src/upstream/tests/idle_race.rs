//! An upstream that closes its connections at the very moment they are used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Answers one request on each connection and closes it 0 to 2 ms later, whatever has arrived by then. Counts the closes, and
/// those that met a request.
#[derive(Default)]
struct Closer {
    closes: AtomicUsize,
    races: AtomicUsize,
}

impl Closer {
    async fn listen(self: &Arc<Self>) -> SocketAddr {
        let closer = Arc::clone(self);
        listen(move |number, mut stream| {
            let closer = Arc::clone(&closer);
            async move {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                answer(&mut stream, "done").await;
                pause(number).await;
                let met = stream.try_read(&mut [0; 16]).is_ok_and(|read| read > 0);
                closer.races.fetch_add(usize::from(met), Ordering::SeqCst);
                drop(stream);
                closer.closes.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await
    }
}

/// 0 to 2 ms, scattered.
async fn pause(seed: usize) {
    let micros = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    tokio::time::sleep(Duration::from_micros(micros % 2000)).await;
}

/// Sends `count` requests one after the other in each of `lanes`; says how many were in doubt. All others must be answered.
async fn in_doubt(upstream: &Upstream, lanes: usize, count: usize, reuse: Reuse) -> usize {
    let lost = AtomicUsize::new(0);
    let lanes = (0..lanes).map(|lane| {
        let lost = &lost;
        async move {
            for turn in 0..count {
                match upstream.send(post("pay"), reuse).await {
                    Ok(response) => assert_eq!(text(response).await, "done"),
                    Err(SendError::Unanswered(_)) => drop(lost.fetch_add(1, Ordering::SeqCst)),
                    Err(not_sent) => panic!("{not_sent}"),
                }
                pause(turn * 5 + lane + 7).await;
            }
        }
    });
    futures_util::future::join_all(lanes).await;
    lost.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_requests_do_not_meet_the_close() {
    let closer = Arc::new(Closer::default());
    let upstream = upstream_at(closer.listen().await);
    let lost = in_doubt(&upstream, 1, 1500, Reuse::OnlyYoung).await;
    assert!(lost <= 1, "{lost} in doubt");
    assert!(
        closer.closes.load(Ordering::SeqCst) >= 1400,
        "the upstream did close"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_upstream_does_race_with_a_plain_pool() {
    let closer = Arc::new(Closer::default());
    let upstream = upstream_at(closer.listen().await);
    // Until it is beyond doubt, however the machine schedules.
    for _ in 0..50 {
        let lost = in_doubt(&upstream, 4, 25, Reuse::Any).await;
        if lost > 0 && closer.races.load(Ordering::SeqCst) >= 10 {
            return;
        }
    }
    panic!("{:?} races in 5000 requests", closer.races);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_once_trusted_that_starts_to_close_costs_one_request_at_most() {
    // Patient on its first connection, a closer from then on.
    let closer = Arc::new(Closer::default());
    let closing = closer.listen().await;
    let patient = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mode = Arc::clone(&patient);
    let address = listen(move |number, mut stream| {
        let patient = Arc::clone(&mode);
        async move {
            if patient.load(Ordering::SeqCst) {
                for _ in 0..2 {
                    read_request(&mut stream).await;
                    answer(&mut stream, "done").await;
                }
                pause(number).await;
            } else if let Ok(mut other) = TcpStream::connect(closing).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
            }
        }
    })
    .await;
    let upstream = upstream_at(address);
    text(upstream.send(post("x"), Reuse::OnlyYoung).await.unwrap()).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    // Reused: from here on the upstream is trusted.
    text(upstream.send(post("x"), Reuse::OnlyYoung).await.unwrap()).await;
    patient.store(false, Ordering::SeqCst);
    let mut lost = 0;
    for turn in 0..300 {
        match upstream.send(post("pay"), Reuse::OnlyYoung).await {
            Ok(response) => assert_eq!(text(response).await, "done"),
            Err(SendError::Unanswered(_)) => lost += 1,
            Err(not_sent) => panic!("{not_sent}"),
        }
        pause(turn).await;
    }
    assert!(lost <= 1, "{lost} in doubt");
    assert!(
        closer.closes.load(Ordering::SeqCst) >= 290,
        "the upstream did close"
    );
}
