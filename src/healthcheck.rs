//! `idemproxy healthcheck`: is the proxy ready?

use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode, Uri};

use crate::client::Client;

/// Asks the admin listener's `/readyz`.
pub(crate) fn run(admin: &Uri) -> ExitCode {
    let client = match Client::new(admin, TIMEOUT) {
        Ok(client) => client,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(crate::BAD_USAGE);
        }
    };
    let authority = client.authority();
    match client.ask(Method::GET, "/readyz", None) {
        Ok(answer) if answer.status == StatusCode::OK => ExitCode::SUCCESS,
        Ok(answer) => {
            let status = answer.status.as_u16();
            eprintln!("{authority} is not ready: it answered {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{authority} is not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Below the three seconds and more that orchestrators usually give a probe.
const TIMEOUT: Duration = Duration::from_secs(2);
