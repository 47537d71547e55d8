//! `idemproxy keys`: the records of a running proxy, listed, shown and settled over its admin listener.

mod args;
mod show;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use idemproxy::telemetry::plain;
use serde_json::{Map, Value, json};

use crate::client::{Answer, Client};

pub(crate) use args::Keys;
use args::{Change, Cmd, List};

/// Asks the proxy. What is to be printed, and how it ended; what went wrong is said already.
pub(crate) fn run(keys: &Keys) -> (String, ExitCode) {
    let asked = || {
        let mut client = Client::new(&keys.reach.admin, TIMEOUT)?;
        if let Some(file) = &keys.reach.token_file {
            client = client.with_token(file)?;
        }
        let order = Order::of(&keys.command)?;
        Ok::<_, String>((client, order))
    };
    let (client, order) = match asked() {
        Ok(asked) => asked,
        Err(fault) => {
            eprintln!("{fault}");
            return (String::new(), ExitCode::from(crate::BAD_USAGE));
        }
    };
    let mut text = String::new();
    let done = match order {
        Order::List(list) => pages(&client, list, keys.reach.json, &mut text),
        Order::One(method, target, body) => one(
            ask(&client, method, &target, body),
            keys.reach.json,
            &mut text,
        ),
    };
    match done {
        Ok(()) => (text, ExitCode::SUCCESS),
        Err(Failure(said)) => {
            if !said.is_empty() {
                eprintln!("{said}");
            }
            (text, ExitCode::FAILURE)
        }
    }
}

/// What is to be said of a failure; nothing where the answer is printed as it is.
struct Failure(String);

/// What is asked of the proxy.
enum Order<'a> {
    List(&'a List),
    /// Method, target, body.
    One(Method, String, Option<String>),
}

impl<'a> Order<'a> {
    fn of(command: &'a Cmd) -> Result<Self, String> {
        let (method, target, change, more) = match command {
            Cmd::List(list) => return Ok(Self::List(list)),
            Cmd::Show { id } => {
                return Ok(Self::One(Method::GET, format!("/v1/keys/{id}"), None));
            }
            Cmd::Release { id, change } => {
                let target = format!("/v1/keys/{id}/release");
                (Method::POST, target, change, Map::new())
            }
            Cmd::Delete { id, change } => {
                let target = format!("/v1/keys/{id}");
                (Method::DELETE, target, change, Map::new())
            }
            Cmd::Resolve {
                id,
                executed,
                response,
                change,
            } => {
                let target = format!("/v1/keys/{id}/resolve");
                let mut more = Map::from_iter([("executed".to_owned(), json!(executed))]);
                if let Some(file) = response {
                    more.insert("response".to_owned(), read(file)?);
                }
                (Method::POST, target, change, more)
            }
        };
        let body = Value::Object(body(change, more)).to_string();
        Ok(Self::One(method, target, Some(body)))
    }
}

fn body(change: &Change, mut body: Map<String, Value>) -> Map<String, Value> {
    if let Some(reason) = &change.reason {
        body.insert("reason".to_owned(), json!(reason));
    }
    body.insert("force".to_owned(), json!(change.force));
    if let Some(version) = &change.if_version {
        body.insert("version".to_owned(), json!(version));
    }
    body
}

/// The answer that is to be given, as the API takes it.
fn read(file: &Path) -> Result<Value, String> {
    let fault = |what: String| format!("--response: {}: {what}", file.display());
    let text = std::fs::read(file).map_err(|error| fault(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| fault(format!("not JSON: {error}")))
}

/// Page by page, until there are as many as were asked for, or no more.
fn pages(client: &Client, list: &List, json: bool, text: &mut String) -> Result<(), Failure> {
    let mut left = list.limit;
    let mut cursor: Option<String> = None;
    let mut keys = Vec::new();
    let mut unreadable = 0;
    loop {
        let target = list.target(left.min(PAGE), cursor.as_deref());
        let mut page = told(ask(client, Method::GET, &target, None), json, text)?;
        unreadable += page["unreadable"].as_u64().unwrap_or(0);
        let Value::Array(found) = page["keys"].take() else {
            return Err(Failure(STRANGE.to_owned()));
        };
        left = left.saturating_sub(found.len());
        keys.extend(found);
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || left == 0 {
            break;
        }
    }
    if !json {
        text.push_str(&show::table(&keys));
    }
    if cursor.is_some() {
        eprintln!("there may be more: raise --limit, or narrow it down");
    }
    if unreadable > 0 {
        eprintln!("{unreadable} more cannot be read: made by a newer version, or damaged");
    }
    Ok(())
}

/// One record, or what has become of it.
fn one(answer: Result<Answer, Failure>, json: bool, text: &mut String) -> Result<(), Failure> {
    let record = told(answer, json, text)?;
    if !json {
        text.push_str(&show::block(&record));
    }
    Ok(())
}

/// What an answer says, if it is no refusal. As JSON, either is printed as it is.
fn told(answer: Result<Answer, Failure>, json: bool, text: &mut String) -> Result<Value, Failure> {
    let answer = answer?;
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if json && !document.is_null() {
        text.push_str(&String::from_utf8_lossy(&answer.body));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    match (answer.status.is_success(), document["detail"].as_str()) {
        (true, _) if document.is_object() => Ok(document),
        (false, Some(_)) if json => Err(Failure(String::new())),
        (false, Some(detail)) => {
            let detail = plain(detail.chars());
            Err(Failure(format!("{}: {detail}", answer.status)))
        }
        _ => Err(Failure(format!("{}: {STRANGE}", answer.status))),
    }
}

fn ask(
    client: &Client,
    method: Method,
    target: &str,
    body: Option<String>,
) -> Result<Answer, Failure> {
    let answer = client.ask(method, target, body);
    answer.map_err(|error| Failure(format!("{}: no answer: {error}", client.authority())))
}

const STRANGE: &str = "this is not the answer of an admin listener of idemproxy";
/// The largest page that the API gives.
const PAGE: usize = 1_000;
/// Longer than a store needs for a page: it tells what it has after a while, and goes on from there.
const TIMEOUT: Duration = Duration::from_secs(60);
