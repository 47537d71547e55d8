//! Records, for people.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use idemproxy::telemetry::plain;
use serde_json::Value;

/// A line each, within a hundred columns.
pub(super) fn table(keys: &[Value]) -> String {
    let mut text = line("ID", "STATE", "AGE", "TRIES", "STATUS", "REQUEST");
    for key in keys {
        let request = format!("{} {}", word(&key["method"]), word(&key["path"]));
        text += &line(
            &word(&key["id"]),
            &word(&key["state"]),
            &age(&key["created"]),
            &word(&key["attempts"]),
            &word(&key["status"]),
            request.trim(),
        );
    }
    text
}

/// A field a line, in the API's order.
pub(super) fn block(key: &Value) -> String {
    let mut text = String::new();
    for (name, value) in FIELDS.iter().map(|name| (*name, &key[*name])) {
        let value = match (name, value) {
            (_, Value::Null) => continue,
            ("lapsed" | "in_doubt", Value::Bool(false)) => continue,
            ("lapsed", _) => {
                "yes: whoever had the claim was not heard of for a whole lease".to_owned()
            }
            ("in_doubt", _) => "yes: an earlier attempt may have been carried out".to_owned(),
            ("created" | "settled", value) => format!("{} ({} ago)", word(value), age(value)),
            ("response_bytes", value) => format!("kept, {} bytes", word(value)),
            (_, value) => word(value),
        };
        if !value.is_empty() {
            let name = if name == "response_bytes" {
                "response"
            } else {
                name
            };
            let _ = writeln!(text, "{name:<10} {value}");
        }
    }
    text
}

fn line(id: &str, state: &str, age: &str, tries: &str, status: &str, request: &str) -> String {
    let head = format!("{id:<32}  {state:<9}  {age:>4}  {tries:>5}  {status:>6}  ");
    let room = WIDTH.saturating_sub(head.chars().count());
    let mut request = request.to_owned();
    if request.chars().count() > room {
        request = request.chars().take(room - 1).chain(['…']).collect();
    }
    let line = head + &request;
    line.trim_end().to_owned() + "\n"
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text.chars()),
        other => other.to_string(),
    }
}

/// In the largest unit that it has one of.
fn age(time: &Value) -> String {
    let since = time
        .as_str()
        .and_then(|time| humantime::parse_rfc3339(time).ok())
        .and_then(|time| SystemTime::now().duration_since(time).ok());
    match since {
        Some(age) => short(age),
        None => "-".to_owned(),
    }
}

fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

const WIDTH: usize = 100;
const FIELDS: [&str; 15] = [
    "id",
    "state",
    "lapsed",
    "route",
    "method",
    "path",
    "created",
    "settled",
    "expires",
    "attempts",
    "in_doubt",
    "status",
    "error",
    "response_bytes",
    "version",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_within_a_hundred_columns_whatever_the_path() {
        let key = serde_json::json!({
            "id": "0".repeat(32), "state": "in-flight", "created": null, "attempts": 4_000_000_000_u32,
            "status": 599, "method": "POST", "path": format!("/{}", "ä\u{1b}\u{202e}".repeat(50)),
        });
        let table = table(&[key]);
        for line in table.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'));
        }
        assert_eq!(table.lines().count(), 2);
        assert!(table.ends_with("…\n"));
    }

    #[test]
    fn ages_are_short() {
        for (seconds, told) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7_199, "1h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), told);
        }
    }
}
