//! The program, wired.

use std::process::ExitCode;

use crate::config::Settings;

/// Runs the proxy until it is told to stop.
pub fn run(_settings: Settings) -> ExitCode {
    eprintln!("not wired yet");
    ExitCode::FAILURE
}

/// Runs a toy API behind the proxy; the settings' upstream is replaced by it.
pub fn demo(_settings: Settings) -> ExitCode {
    eprintln!("not wired yet");
    ExitCode::FAILURE
}
