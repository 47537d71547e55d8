//! Uploads over HTTP/2 that end, and that only stop.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, SendStream};
use http::{HeaderMap, Request};

use super::support::*;

#[tokio::test]
async fn an_upload_that_its_client_resets_never_ends_cleanly() {
    let server = Server::start().await;
    let mut client = handshake(&server).await;
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        for length in [None, Some(8)] {
            let mut body = upload(&mut client, length).await;
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            body.send_reset(reason);
            let end = server.upload().await;
            assert!(end.is_err(), "{reason} of {length:?}: {end:?}");
        }
        let mut body = upload(&mut client, None).await;
        body.send_reset(reason);
        let end = server.upload().await;
        assert!(end.is_err(), "{reason} before the first byte: {end:?}");
    }
}

#[tokio::test]
async fn an_upload_whose_connection_ends_never_ends_cleanly() {
    let server = Server::start().await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut body = upload(&mut client, None).await;
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    server.called(1).await;
    connection.abort();
    assert!(server.upload().await.is_err());
}

#[tokio::test]
async fn an_upload_that_is_ended_ends_cleanly() {
    let server = Server::start().await;
    let mut client = handshake(&server).await;
    for length in [None, Some(4)] {
        let mut body = upload(&mut client, length).await;
        body.send_data(Bytes::from_static(b"full"), true).unwrap();
        assert_eq!(server.upload().await, Ok(4));

        let mut body = upload(&mut client, length).await;
        body.send_data(Bytes::from_static(b"full"), false).unwrap();
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(server.upload().await, Ok(4));

        let mut body = upload(&mut client, length).await;
        body.send_data(Bytes::from_static(b"full"), false).unwrap();
        body.send_trailers(HeaderMap::new()).unwrap();
        assert_eq!(server.upload().await, Ok(4));
    }
    let mut body = upload(&mut client, None).await;
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(server.upload().await, Ok(0));
}

async fn handshake(server: &Server) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Begins an upload, of `length` if one is stated.
async fn upload(client: &mut SendRequest<Bytes>, length: Option<u64>) -> SendStream<Bytes> {
    *client = patiently(client.clone().ready()).await.unwrap();
    let mut request = Request::post("http://a/upload");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    let (answer, body) = client
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    // Its end is no news here, and dropped it would reset the stream.
    tokio::spawn(answer);
    body
}
