//! What a value may be, in general: each function gives a reader of one kind of value.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::DeValue;

/// A value and where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// What a value says, or what is wrong with it; a list may be wrong in several places.
pub(super) type Read<T> = Result<T, Vec<Wrong>>;

/// Something in a value that does not fit.
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) expected: String,
}

/// That `value` is not what was `expected`.
pub(super) fn wrong<T>(value: &Value<'_>, expected: impl Display) -> Read<T> {
    Err(vec![Wrong {
        span: value.span(),
        expected: format!("expected {expected}"),
    }])
}

/// A string that `parse` takes.
pub(super) fn text<T>(
    expected: impl Display,
    parse: impl Fn(&str) -> Option<T>,
) -> impl Fn(&Value<'_>) -> Read<T> {
    move |value| match value.get_ref().as_str().and_then(&parse) {
        Some(parsed) => Ok(parsed),
        None => wrong(value, &expected),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Read<T> {
    let names: Vec<String> = words
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    text(names.join(" or "), move |text| {
        let (_, meaning) = words.iter().find(|(name, _)| *name == text)?;
        Some(*meaning)
    })
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Read<bool> {
    match value.get_ref().as_bool() {
        Some(flag) => Ok(flag),
        None => wrong(value, "true or false"),
    }
}

/// A whole number in `range`.
pub(super) fn number<N>(range: RangeInclusive<N>) -> impl Fn(&Value<'_>) -> Read<N>
where
    N: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let integer = value.get_ref().as_integer();
        let number = integer.and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        match number.and_then(|number| N::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(number),
            _ => wrong(
                value,
                format!("a whole number from {} to {}", range.start(), range.end()),
            ),
        }
    }
}

/// A share, 0 to 1.
pub(super) fn share(value: &Value<'_>) -> Read<f64> {
    let number = match value.get_ref() {
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
        _ => None,
    };
    match number {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => wrong(value, "a number from 0.0 to 1.0"),
    }
}

/// A duration in `range`. Units are required, so that nobody takes seconds for milliseconds.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value<'_>) -> Read<Duration> {
    move |value| {
        let parsed = value.get_ref().as_str().map(humantime::parse_duration);
        match parsed {
            Some(Ok(duration)) if range.contains(&duration) => Ok(duration),
            Some(Ok(_)) => wrong(
                value,
                format!(
                    "a duration from {} to {}",
                    short(*range.start()),
                    short(*range.end())
                ),
            ),
            _ => wrong(
                value,
                "a duration with its unit, such as \"500ms\", \"30s\" or \"24h\"",
            ),
        }
    }
}

/// A number of bytes in `range`. `MiB` counts in 1024, `MB` in 1000, as their standards have it.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Value<'_>) -> Read<u64> {
    move |value| {
        let size = match value.get_ref() {
            DeValue::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok(),
            _ => None,
        };
        match size {
            Some(size) if range.contains(&size) => Ok(size),
            Some(_) => wrong(
                value,
                format!(
                    "a size from {} to {}",
                    ByteSize(*range.start()),
                    ByteSize(*range.end())
                ),
            ),
            None => wrong(value, "a size in bytes, such as \"64KiB\" or \"1MiB\""),
        }
    }
}

/// A list of at least `min` items, none twice.
pub(super) fn list<T: PartialEq>(
    min: usize,
    item: impl Fn(&Value<'_>) -> Read<T>,
) -> impl Fn(&Value<'_>) -> Read<Vec<T>> {
    move |value| {
        let Some(values) = value.get_ref().as_array() else {
            return wrong(value, "a list, in [ ]");
        };
        if values.len() < min {
            return wrong(value, format!("a list of at least {min}"));
        }
        let mut items = Vec::with_capacity(values.len());
        let mut wrongs = Vec::new();
        for value in values {
            match item(value) {
                Ok(item) if items.contains(&item) => {
                    wrongs.extend(
                        wrong::<T>(value, "each only once")
                            .err()
                            .into_iter()
                            .flatten(),
                    );
                }
                Ok(item) => items.push(item),
                Err(more) => wrongs.extend(more),
            }
        }
        if wrongs.is_empty() {
            Ok(items)
        } else {
            Err(wrongs)
        }
    }
}

/// A `list` of at most `max` items.
pub(super) fn at_most<T>(
    max: usize,
    list: impl Fn(&Value<'_>) -> Read<Vec<T>>,
) -> impl Fn(&Value<'_>) -> Read<Vec<T>> {
    move |value| match list(value)? {
        items if items.len() > max => wrong(value, format!("a list of at most {max}")),
        items => Ok(items),
    }
}

/// A duration as it would be written in a configuration, to the millisecond.
pub(super) fn short(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, name) in UNITS {
        if rest >= unit {
            text += &format!("{}{name}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Days at most: humantime's own months and years have fractions of a day.
const UNITS: [(u128, &str); 5] = [
    (86_400_000, "d"),
    (3_600_000, "h"),
    (60_000, "m"),
    (1_000, "s"),
    (1, "ms"),
];
