//! The run of a bench, to its end or to an end before.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Runs a bench until it is done or this process is told to end. Fails where it did not come to an end, which it says, and where it is
/// not as it should be.
pub(crate) async fn run(bench: impl Future<Output = Result<bool, String>>) -> ExitCode {
    // What is dropped here ends the programs that it started.
    let ended = tokio::select! {
        ended = bench => ended,
        () = told_to_end() => Err("ended by a signal".to_owned()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until this process is told to end. Whoever waits then drops what it started.
async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => terminated.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
