//! The `idemproxy` program.

mod cli;
mod explain;
mod healthcheck;

use std::path::Path;
use std::process::ExitCode;

use cli::{Cli, Cmd, Flags};
use idemproxy::app;
use idemproxy::config::{self, Given, Overrides, Settings};

fn main() -> ExitCode {
    match Cli::read().command {
        Cmd::Run {
            config,
            settings: Flags(overrides),
        } => with_settings(config.as_deref(), &overrides, app::run),
        Cmd::Check {
            config,
            settings: Flags(overrides),
        } => with_settings(Some(&config), &overrides, |settings| {
            print!("{} is valid\n{}", config.display(), settings.describe());
            ExitCode::SUCCESS
        }),
        Cmd::Explain {
            config,
            asked,
            settings: Flags(overrides),
        } => with_settings(Some(&config), &overrides, |settings| {
            explain::run(asked, &settings)
        }),
        Cmd::Schema => {
            println!("{:#}", config::schema());
            ExitCode::SUCCESS
        }
        Cmd::Demo { listen } => with_settings(None, &demo(listen), app::demo),
        Cmd::Healthcheck { admin } => healthcheck::run(&admin),
    }
}

fn with_settings(
    config: Option<&Path>,
    overrides: &Overrides,
    then: impl FnOnce(Settings) -> ExitCode,
) -> ExitCode {
    match config::load(config, overrides) {
        Ok(settings) => then(settings),
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::from(BAD_USAGE)
        }
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
