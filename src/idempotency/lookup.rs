//! Values by their name, in a query and among cookies.

use std::borrow::Cow;

/// A `%` without two hexadecimal digits after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not well percent-encoded")]
pub struct BadEscape;

/// The values of all parameters of that name in a query (without its `?`). Names and values are percent-decoded (RFC 3986, section
/// 2.1), and a `+` stays a plus. A parameter without `=` is empty.
///
/// Each value may be a [`BadEscape`].
pub fn in_query<'a>(
    query: &'a str,
    name: &'a str,
) -> impl Iterator<Item = Result<Cow<'a, [u8]>, BadEscape>> {
    query.split('&').filter_map(move |parameter| {
        let (this, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        decode(this)
            .is_ok_and(|this| *this == *name.as_bytes())
            .then(|| decode(value))
    })
}

/// The values of all cookies of that name in a `Cookie` field (RFC 6265, section 4.2), as they stand.
pub fn in_cookies<'a>(field: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    field.split(|byte| *byte == b';').filter_map(move |cookie| {
        let equals = cookie.iter().position(|byte| *byte == b'=')?;
        let this = cookie[..equals].trim_ascii();
        (this == name.as_bytes()).then(|| cookie[equals + 1..].trim_ascii())
    })
}

fn decode(text: &str) -> Result<Cow<'_, [u8]>, BadEscape> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.as_bytes().split_at_checked(2).ok_or(BadEscape)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadEscape);
        // Two hexadecimal digits fit into a byte.
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        bytes.extend_from_slice(rest);
    }
    Ok(Cow::Owned(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(query: &str, name: &str) -> Vec<Result<String, BadEscape>> {
        in_query(query, name)
            .map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned()))
            .collect()
    }

    fn cookies(field: &str, name: &str) -> Vec<String> {
        in_cookies(field.as_bytes(), name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn every_parameter_of_the_name_is_found_however_it_is_spelled() {
        let text = "a=1&key=x%2Dy&b=key=z&ke%79=2&key&Key=4&keys=5&&key=a=b";
        let found = ["x-y", "2", "", "a=b"].map(|value| Ok(value.to_owned()));
        assert_eq!(query(text, "key"), found);
        assert!(query(text, "none").is_empty());
        assert_eq!(query("", "key"), []);
        assert_eq!(query("client%20id=1", "client id"), [Ok("1".to_owned())]);
    }

    #[test]
    fn a_plus_stays_a_plus() {
        assert_eq!(query("k=a+b", "k"), query("k=a%2Bb", "k"));
    }

    #[test]
    fn a_broken_escape_is_told_only_of_the_parameter_in_question() {
        for bad in ["k=%", "k=%4", "k=%zz", "k=a%+1", "k=%é"] {
            assert_eq!(query(bad, "k"), [Err(BadEscape)], "{bad}");
        }
        assert_eq!(query("a=%&%=1&k=2", "k"), [Ok("2".to_owned())]);
    }

    #[test]
    fn every_cookie_of_the_name_is_found() {
        let field = "a=1; op=x;op=\"y\" ; Op=3; xop=4; op; op=; op=a=b";
        assert_eq!(cookies(field, "op"), ["x", "\"y\"", "", "a=b"]);
        assert!(cookies(field, "none").is_empty());
        assert!(cookies("", "op").is_empty());
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_found_again(value: Vec<u8>, name in "[a-z]{1,5}") {
            let encoded: String = value.iter().map(|byte| format!("%{byte:02X}")).collect();
            let text = format!("{name}x=0&{name}={encoded}&0={name}");
            let found: Vec<_> = in_query(&text, &name).collect();
            prop_assert_eq!(found, vec![Ok(Cow::Owned(value))]);
        }

        #[test]
        fn any_text_is_searched(text: String, bytes: Vec<u8>) {
            in_query(&text, "k").for_each(drop);
            in_cookies(&bytes, "k").for_each(drop);
        }
    }
}
