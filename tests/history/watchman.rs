//! Notes when the machine stands still: a machine that does not run us, a Redis or a disk in time may not run the proxies in time either.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::faults::{Fault, On, STALL};
use super::history::{At, now};
use super::world::World;

/// Watches until it is dropped.
pub async fn watch(world: Arc<World>) {
    let store = async {
        match world.redis_address {
            Some(_) => watch_redis(&world).await,
            None => watch_disk(&world).await,
        }
    };
    tokio::join!(watch_the_clock(&world), store);
}

async fn watch_the_clock(world: &World) {
    loop {
        let from = now();
        sleep(PAUSE).await;
        note(world, from, PAUSE + STANDS_STILL);
    }
}

/// Redis, on a connection of its own, past all links.
async fn watch_redis(world: &World) {
    let address = world.redis_address.expect("a run over Redis");
    let mut connection: Option<TcpStream> = None;
    loop {
        sleep(PAUSE).await;
        let from = now();
        let pinged = async {
            let mut stream = match connection.take() {
                Some(stream) => stream,
                None => TcpStream::connect(address).await.ok()?,
            };
            stream.write_all(b"PING\r\n").await.ok()?;
            // Or what else it says when it is loading or full.
            (stream.read(&mut [0; 512]).await.ok()? > 0).then_some(stream)
        };
        connection = timeout(Duration::from_secs(5), pinged).await.ok().flatten();
        note(world, from, STANDS_STILL);
    }
}

/// What a commit of the embedded store waits for.
async fn watch_disk(world: &World) {
    let path = world.path().join("watchman");
    loop {
        sleep(4 * PAUSE).await;
        let from = now();
        let path = path.clone();
        let written = spawn_blocking(move || {
            let mut file = File::create(path)?;
            file.write_all(b"watching")?;
            file.sync_all()
        });
        written.await.unwrap().unwrap();
        note(world, from, 2 * STANDS_STILL);
    }
}

/// What took longer than this is a stall, unless the store was hindered on purpose.
fn note(world: &World, from: At, longest: Duration) {
    let until = now();
    if until - from <= longest {
        return;
    }
    let hindered = |fault: &Fault| fault.on == On::Store && fault.overlaps(from, until);
    if !world.faults.all().iter().any(hindered) {
        world.faults.add(Fault {
            on: On::Machine,
            kind: STALL.to_owned(),
            from,
            until,
            fired: true,
        });
    }
}

const PAUSE: Duration = Duration::from_millis(20);
const STANDS_STILL: Duration = Duration::from_millis(100);
