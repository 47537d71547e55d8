//! Operators who ask, and do not read.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::patiently;
use crate::world::{Backing, World};

/// More than the listener has places, and answers than fit in between.
const READERS: usize = 64;
const PAGES: usize = 200;

#[tokio::test]
async fn who_does_not_read_keeps_no_place_from_a_probe() {
    let world = World::start(Backing::Memory, "").await;
    let address = world.proxy.admin();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(PAGES);
    let page = world.proxy.page("/").await.body.len();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = narrow(address);
        reader.write_all(request.as_bytes()).await.unwrap();
        readers.push(reader);
    }
    // All places are taken: this one is answered when one of them is given up.
    assert_eq!(patiently(world.proxy.page("/livez")).await.status, 200);
    // Else they had not taken them.
    let ends = readers.into_iter().map(|reader| tokio::spawn(read(reader)));
    let mut broken_off = 0;
    for end in ends.collect::<Vec<_>>() {
        let (bytes, whole) = (patiently(end).await.unwrap(), PAGES * page);
        broken_off += usize::from(bytes < whole);
    }
    assert!(broken_off > 0);
}

/// A connection with little room for what comes.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket.into()).unwrap()
}

/// How many bytes come before the end, however it ends.
async fn read(mut reader: TcpStream) -> usize {
    let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = reader.read(&mut buffer).await {
        bytes += read;
    }
    bytes
}
