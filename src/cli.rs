//! The command line.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use idemproxy::config::{Given, Overrides};

use crate::explain::Asked;
use crate::keys::Keys;

/// A reverse proxy that makes any HTTP API idempotent.
///
/// Exit codes: 0 done, 1 failed at run time, 2 bad usage or configuration.
#[derive(Debug, Parser)]
#[command(version = VERSION, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Cmd,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Cmd {
    /// Run the proxy; `--upstream` is enough.
    ///
    /// A flag comes before its environment variable, that before the file, that before the default.
    /// SIGTERM and SIGINT stop it once running exchanges have settled. SIGHUP reads the configuration again.
    Run {
        /// The configuration; file names in it are relative to the working directory.
        #[arg(long, value_name = "FILE", env = "IDEMPROXY_CONFIG")]
        config: Option<PathBuf>,
        #[command(flatten)]
        settings: Flags,
    },
    /// Validate a configuration as `run` would take it; print each route's effective policy and what weakens it.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", env = "IDEMPROXY_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        settings: Flags,
    },
    /// Tell what a request would come to: its route, key, scope, fingerprint and record id. Nothing is sent, and no store asked.
    Explain {
        /// The configuration.
        #[arg(long, value_name = "FILE", env = "IDEMPROXY_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        settings: Flags,
    },
    /// List, show and settle the records of a running proxy.
    Keys(Keys),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Run a toy API behind the proxy, to see it work.
    Demo {
        /// Where clients connect [default: 127.0.0.1:8080].
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Exit with 0 if the proxy is ready, else 1: for images without a shell.
    Healthcheck {
        /// The admin listener, over http.
        #[arg(
            long,
            value_name = "URL",
            env = "IDEMPROXY_ADMIN_URL",
            default_value = "http://127.0.0.1:9090"
        )]
        admin: http::Uri,
    },
    /// Print the script by which a shell completes this command line.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page: `idemproxy man | man -l -`.
    Man,
}

impl Cli {
    /// Reads the process's arguments and environment; ends the process on bad usage, `--help` and `--version`.
    pub(crate) fn read() -> Self {
        Self::parse()
    }
}

/// The flags that come before the file's settings. They are not derived, because a fault must name the flag or the
/// variable that the value came by.
#[derive(Debug)]
pub(crate) struct Flags(pub(crate) Overrides);

const VERSION: &str = if cfg!(feature = "faults") {
    concat!(env!("CARGO_PKG_VERSION"), " with faults, for tests only")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Flag, its variable, what it takes, help.
type Flag = (&'static str, &'static str, &'static str, &'static str);

const FLAGS: [Flag; 8] = [
    (
        "listen",
        "IDEMPROXY_LISTEN",
        "ADDR",
        "Where clients connect [default: 127.0.0.1:8080]",
    ),
    (
        "upstream",
        "IDEMPROXY_UPSTREAM",
        "URL",
        "The API, such as http://127.0.0.1:3000",
    ),
    (
        "store",
        "IDEMPROXY_STORE",
        "URL",
        "The records: memory:, embedded:DIR, redis://…, redis+sentinel://… or redis+cluster://…; over TLS rediss://… and so on [default: embedded:idemproxy-data]",
    ),
    (
        "service",
        "IDEMPROXY_SERVICE",
        "NAME",
        "Part of every record id; required with redis",
    ),
    (
        "admin",
        "IDEMPROXY_ADMIN",
        "ADDR|off",
        "Where operators connect [default: 127.0.0.1:9090]",
    ),
    (
        "admin-token-file",
        "IDEMPROXY_ADMIN_TOKEN_FILE",
        "FILE",
        "Holds the token that operators have to bring; required where --admin is no loopback address",
    ),
    (
        "log",
        "IDEMPROXY_LOG",
        "FILTER",
        "What is logged, such as warn,idemproxy=debug [default: info]",
    ),
    (
        "log-format",
        "IDEMPROXY_LOG_FORMAT",
        "text|json",
        "The shape of a log line [default: text]",
    ),
];

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.map(|(name, variable, takes, help)| {
            // The values are hidden: a store's URL may carry a password.
            let arg = Arg::new(name).long(name).value_name(takes).help(help);
            arg.env(variable).hide_env_values(true)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> clap::error::Result<Self> {
        let given = |name: &str| {
            let (flag, variable, _, _) = FLAGS.iter().find(|(flag, ..)| *flag == name)?;
            let by = match matches.value_source(name)? {
                ValueSource::EnvVariable => (*variable).to_owned(),
                _ => format!("--{flag}"),
            };
            Some(Given::new(by, matches.get_one::<String>(name)?))
        };
        Ok(Self(Overrides {
            listen: given("listen"),
            upstream: given("upstream"),
            store: given("store"),
            service: given("service"),
            admin: given("admin"),
            admin_token_file: given("admin-token-file"),
            log: given("log"),
            log_format: given("log-format"),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> clap::error::Result<()> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
