//! `idemproxy healthcheck`: is the proxy ready?

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;

/// Asks the admin listener's `/readyz`.
pub(crate) fn run(admin: &Uri) -> ExitCode {
    let authority = match admin.authority() {
        Some(authority) if admin.scheme_str() == Some("http") => authority,
        _ => {
            eprintln!("--admin: {admin}: expected an address such as \"http://127.0.0.1:9090\"");
            return ExitCode::from(crate::BAD_USAGE);
        }
    };
    match status(authority) {
        Ok(status) if status == "200" => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{authority} is not ready: it answered {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{authority} is not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

fn status(authority: &Authority) -> io::Result<String> {
    let mut stream = connect(authority)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // To its end, so that the proxy sees no connection reset.
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    match status {
        Some(status) => Ok(String::from_utf8_lossy(status).into_owned()),
        None => Err(io::Error::other("not an HTTP/1.1 answer")),
    }
}

fn connect(authority: &Authority) -> io::Result<TcpStream> {
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let mut failure = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Below the three seconds and more that orchestrators usually give a probe.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the answer that are read: many times what `/readyz` says.
const ANSWER_MAX: u64 = 64 << 10;
