//! JSON bodies, and pointers into them.

use idemproxy::idempotency::json::{Json, JsonError, Pointer};
use serde_json::{Error, Value};

/// The first line is a pointer, the rest a JSON text. Another reader agrees with ours on both, and there is one canonical text for
/// all that mean the same, and for no others.
pub(crate) fn holds(input: &[u8]) {
    let newline = input.iter().position(|byte| *byte == b'\n');
    let (pointer, text) = input.split_at(newline.map_or(0, |at| at + 1));
    let pointer = pointer.strip_suffix(b"\n").unwrap_or(pointer);
    let pointer = std::str::from_utf8(pointer).ok().and_then(written_pointer);

    let read: Result<Value, Error> = serde_json::from_slice(text);
    let value = match Json::parse(text) {
        Ok(value) => value,
        Err(error) => return assert!(may_refuse(&error, text, read.as_ref().ok())),
    };
    let canonical = value.canonical();
    assert_eq!(
        reread(&canonical).canonical(),
        canonical,
        "its own canonical text"
    );
    let mut otherwise = String::new();
    rewrite(&value, &mut otherwise);
    let otherwise = reread(otherwise.as_bytes());
    assert_eq!(
        otherwise, value,
        "white space, escapes and order do not matter"
    );
    assert_eq!(otherwise.canonical(), canonical);
    let mut numbers = Vec::new();
    collect_numbers(&value, &mut numbers);
    stay_apart(&numbers);

    match &read {
        Ok(read) => is_same(&value, read),
        Err(error) => {
            let error = error.to_string();
            let narrower = ["number out of range", "recursion limit exceeded"];
            assert!(narrower.iter().any(|why| error.starts_with(why)), "{error}");
        }
    }
    if let Some((written, pointer)) = pointer {
        leads(value, read.ok(), &written, &pointer);
    }
}

/// A pointer that reads as it was written.
fn written_pointer(text: &str) -> Option<(String, Pointer)> {
    let pointer: Pointer = text.parse().ok()?;
    assert_eq!(pointer.to_string(), text);
    Some((text.to_owned(), pointer))
}

/// A pointer leads both readers to the same place, where nothing is once it was removed.
fn leads(mut value: Json, read: Option<Value>, written: &str, pointer: &Pointer) {
    let found = value.at(pointer).cloned();
    if let Some(read) = read {
        match (&found, read.pointer(written)) {
            (Some(ours), Some(theirs)) => is_same(ours, theirs),
            (ours, theirs) => assert!(ours.is_none() && theirs.is_none(), "{ours:?} {theirs:?}"),
        }
    }
    let before = value.clone();
    value.remove(pointer);
    assert!(matches!(value.at(pointer), None | Some(Json::Null)));
    assert!(
        found.is_some() || value == before,
        "nothing was there, and something is gone"
    );
    assert_eq!(reread(&value.canonical()).canonical(), value.canonical());
}

fn reread(text: &[u8]) -> Json {
    Json::parse(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

/// What another reader takes is refused for a name that occurs twice, or for an exponent out of all bounds.
fn may_refuse(error: &JsonError, text: &[u8], read: Option<&Value>) -> bool {
    match (error, read) {
        (_, None) | (JsonError::Number, _) => true,
        (JsonError::DuplicateName, Some(read)) => members_written(text) > members_read(read),
        (JsonError::Malformed(_) | JsonError::TooDeep, Some(_)) => false,
    }
}

/// Colons outside of strings.
fn members_written(text: &[u8]) -> usize {
    let (mut colons, mut in_string, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons
}

fn members_read(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members_read).sum(),
        Value::Object(members) => members.values().map(|value| 1 + members_read(value)).sum(),
        _ => 0,
    }
}

fn is_same(ours: &Json, theirs: &Value) {
    match (ours, theirs) {
        (Json::Null, Value::Null) => {}
        (Json::Bool(a), Value::Bool(b)) => assert_eq!(a, b),
        (Json::String(a), Value::String(b)) => assert_eq!(a, b),
        (Json::Number(a), Value::Number(b)) if b.is_f64() => {
            let (a, b): (f64, f64) = (a.parse().unwrap(), b.as_f64().unwrap());
            // The other reader is a little off.
            assert!(
                (a - b).abs() <= a.abs() * 1e-12 + f64::MIN_POSITIVE,
                "{a} {b}"
            );
        }
        (Json::Number(a), Value::Number(b)) => assert_eq!(*a, b.to_string()),
        (Json::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| is_same(a, b));
        }
        (Json::Object(a), Value::Object(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().for_each(|(name, a)| is_same(a, &b[name]));
        }
        _ => panic!("{ours:?} is not {theirs}"),
    }
}

/// The same value, written as differently as can be.
fn rewrite(value: &Json, text: &mut String) {
    text.push_str("\n\t ");
    match value {
        Json::Null => text.push_str("null"),
        Json::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Json::Number(literal) => text.push_str(literal),
        Json::String(string) => rewrite_string(string, text),
        Json::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(if place > 0 { "," } else { "" });
                rewrite(item, text);
            }
            text.push(']');
        }
        Json::Object(members) => {
            text.push('{');
            for (place, (name, value)) in members.iter().rev().enumerate() {
                text.push_str(if place > 0 { " ," } else { "" });
                rewrite_string(name, text);
                text.push_str("\r:");
                rewrite(value, text);
            }
            text.push('}');
        }
    }
    text.push(' ');
}

fn rewrite_string(string: &str, text: &mut String) {
    text.push('"');
    for unit in string.encode_utf16() {
        text.push_str(&format!("\\u{unit:04X}"));
    }
    text.push('"');
}

fn collect_numbers<'a>(value: &'a Json, numbers: &mut Vec<&'a str>) {
    match value {
        Json::Number(literal) => numbers.push(literal),
        Json::Array(items) => items.iter().for_each(|item| collect_numbers(item, numbers)),
        Json::Object(members) => members
            .iter()
            .for_each(|(_, value)| collect_numbers(value, numbers)),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

/// Two numbers have one text exactly if they are one number.
fn stay_apart(numbers: &[&str]) {
    let text = |literal: &str| Json::Number(literal.to_owned()).canonical();
    let plain: Vec<_> = numbers
        .iter()
        .filter_map(|literal| Some((text(literal), plain(literal)?)))
        .take(8)
        .collect();
    for (text, number) in &plain {
        for (other_text, other) in &plain {
            assert_eq!(text == other_text, number == other, "{number:?} {other:?}");
        }
    }
}

/// Sign, digits before and digits after the point; nothing for what would be too long.
fn plain(literal: &str) -> Option<(bool, String, String)> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let exponent: i32 = exponent
        .parse()
        .ok()
        .filter(|e: &i32| e.unsigned_abs() <= 400)?;
    let digits = mantissa.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let zeros = "0".repeat(400);
    let digits = format!("{zeros}{whole}{fraction}{zeros}");
    let point = usize::try_from(400 + whole.len() as i32 + exponent).ok()?;
    let (whole, fraction) = digits.split_at(point);
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    let negative = mantissa.starts_with('-') && !(whole.is_empty() && fraction.is_empty());
    Some((negative, whole.to_owned(), fraction.to_owned()))
}
