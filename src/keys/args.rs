//! What `idemproxy keys` is asked.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Uri;

/// `idemproxy keys`.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(super) command: Cmd,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Which proxy, and how it is asked.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The admin listener, over http.
    #[arg(
        long,
        value_name = "URL",
        env = "IDEMPROXY_ADMIN_URL",
        default_value = "http://127.0.0.1:9090",
        global = true
    )]
    pub(super) admin: Uri,
    /// Holds the token of admin.token_file.
    #[arg(long, value_name = "FILE", env = "IDEMPROXY_TOKEN_FILE", global = true)]
    pub(super) token_file: Option<PathBuf>,
    /// Print what the API answers, as it is; a refusal too.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Cmd {
    /// List records, in the order of their ids.
    List(List),
    /// Show one record: never a key, a body or a credential.
    Show {
        /// The record id: X-Idempotency-Id of an answer, or of the log.
        #[arg(value_parser = id)]
        id: String,
    },
    /// Let the next duplicate run: nothing was carried out, or it may be carried out again.
    Release {
        /// The record id.
        #[arg(value_parser = id)]
        id: String,
        #[command(flatten)]
        change: Change,
    },
    /// Say what became of a request whose outcome is unknown.
    Resolve {
        /// The record id.
        #[arg(value_parser = id)]
        id: String,
        /// Whether it was carried out: if so, duplicates do not run; if not, the next one does.
        #[arg(long, action = clap::ArgAction::Set, value_name = "true|false")]
        executed: bool,
        /// The answer that duplicates get, as JSON: {"status": 201, "headers": {…}, "body": "…"}. Without it they get
        /// response-not-stored.
        #[arg(long, value_name = "FILE")]
        response: Option<PathBuf>,
        #[command(flatten)]
        change: Change,
    },
    /// Let the next duplicate run, and forget what the record holds of the request and its answer.
    Delete {
        /// The record id.
        #[arg(value_parser = id)]
        id: String,
        #[command(flatten)]
        change: Change,
    },
}

/// Which records to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those in this state.
    #[arg(long, value_parser = ["in-flight", "unknown", "released", "completed"])]
    state: Option<String>,
    /// Only those of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only those of this idempotency key.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// Only those first seen at least so long ago.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<String>,
    /// Only those first seen since.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    newer_than: Option<String>,
    /// At most so many.
    #[arg(
        long,
        value_name = "N",
        default_value = "100",
        allow_negative_numbers = true,
        value_parser = limit
    )]
    pub(super) limit: usize,
}

/// What every change says.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// Why; it is logged.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Also if somebody may be at work on it, or it is settled already.
    #[arg(long)]
    pub(super) force: bool,
    /// Only if the record still has this version, as `show` tells it.
    #[arg(long, value_name = "VERSION")]
    pub(super) if_version: Option<String>,
}

impl List {
    /// The page of `limit` records after `cursor`.
    pub(super) fn target(&self, limit: usize, cursor: Option<&str>) -> String {
        let given = [
            ("state", self.state.as_deref()),
            ("route", self.route.as_deref()),
            ("key", self.key.as_deref()),
            ("older_than", self.older_than.as_deref()),
            ("newer_than", self.newer_than.as_deref()),
            ("cursor", cursor),
        ];
        let path = "/v1/keys?";
        let mut query = form_urlencoded::Serializer::for_suffix(path.to_owned(), path.len());
        query.append_pair("limit", &limit.to_string());
        for (name, value) in given {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

fn id(text: &str) -> Result<String, String> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("expected a record id, 32 hex digits".to_owned()),
    }
}

fn duration(text: &str) -> Result<String, String> {
    match humantime::parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected a duration, such as 90s, 5m or 2h".to_owned()),
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| "expected a number from 1 on".to_owned())
}
