//! The `idemproxy` program.

mod cli;
mod client;
mod explain;
mod healthcheck;
mod keys;
mod man;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use cli::{Cli, Cmd, Flags};
use idemproxy::app;
use idemproxy::config::{self, Faults, Given, Origin, Overrides, Settings};

/// A request makes and frees some eighty small things, which costs half of what it does with the C library's; musl's has one lock for all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::read().command {
        Cmd::Run {
            config,
            settings: Flags(overrides),
        } => with(Origin::new(config.as_deref(), &overrides).load(), app::run),
        Cmd::Check {
            config,
            settings: Flags(overrides),
        } => with_settings(Some(&config), &overrides, |settings| {
            let valid = format!("{} is valid\n", config.display());
            say(valid + &settings.describe().to_string())
        }),
        Cmd::Explain {
            config,
            asked,
            settings: Flags(overrides),
        } => with_settings(Some(&config), &overrides, |settings| {
            explain::run(asked, &settings).map_or_else(|code| code, say)
        }),
        Cmd::Schema => say(format!("{:#}\n", config::schema())),
        Cmd::Demo { listen } => with_settings(None, &demo(listen), app::demo),
        Cmd::Keys(asked) => {
            let (text, code) = keys::run(&asked);
            match say(text) {
                ExitCode::SUCCESS => code,
                failed => failed,
            }
        }
        Cmd::Healthcheck { admin } => healthcheck::run(&admin),
        Cmd::Completions { shell } => say(man::completions(shell)),
        Cmd::Man => match man::page() {
            Ok(page) => say(page),
            Err(error) => {
                eprintln!("idemproxy: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn with_settings(
    config: Option<&Path>,
    overrides: &Overrides,
    then: impl FnOnce(Settings) -> ExitCode,
) -> ExitCode {
    with(config::load(config, overrides), then)
}

fn with<T>(loaded: Result<T, Faults>, then: impl FnOnce(T) -> ExitCode) -> ExitCode {
    match loaded {
        Ok(loaded) => then(loaded),
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// Prints what was asked for. A reader that has seen enough, `head` for one, is no failure.
fn say(text: String) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("idemproxy: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// A demo leaves nothing behind; its toy API takes the place of the upstream.
fn demo(listen: Option<String>) -> Overrides {
    Overrides {
        listen: listen.map(|address| Given::new("--listen", address)),
        upstream: Some(Given::new("demo", "http://127.0.0.1:3000")),
        store: Some(Given::new("demo", "memory:")),
        // Its port may be taken, by the real thing for one.
        admin: Some(Given::new("demo", "off")),
        ..Overrides::default()
    }
}

/// Bad usage or configuration; as clap has it.
const BAD_USAGE: u8 = 2;
