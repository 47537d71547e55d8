//! What an upstream's answer says about the operation.

use std::time::Duration;

use super::json::{Json, Pointer};
use super::statuses::Statuses;
use super::template::Template;

/// What an upstream's answer says about the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// It was carried out, or refused for good: keep the answer.
    Store,
    /// It was not carried out: the key is free again.
    Release,
    /// It may or may not have been carried out.
    Unknown,
}

/// What the operator says of some answers. All of its conditions must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseRule {
    /// The statuses that it is for; nothing for all.
    pub status: Option<Statuses>,
    /// Strings, numbers and booleans that stand in these places of a JSON body.
    pub json: Vec<(Pointer, Json)>,
    /// Header fields that have such a line; names in lower case, values exact.
    pub header: Vec<(String, String)>,
    /// What such an answer says.
    pub outcome: Finality,
    /// How long the record is kept then, instead of as the policy says.
    pub retention: Option<Duration>,
    /// The status that client and duplicates get instead.
    pub reply_status: Option<u16>,
    /// A GET on the upstream whose answer client and duplicates get instead.
    pub reply_from: Option<Template>,
}

/// An answer, as far as it is there.
pub struct Answer<'a, H> {
    /// Its status.
    pub status: u16,
    /// Whether a header of this name has a line of exactly this value.
    pub has: H,
    /// Its body.
    pub body: Body<'a>,
}

/// What is known of an answer's body.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Not read yet.
    Unread,
    /// It never will be read as a whole, or is no JSON: no rule that asks for JSON matches it.
    Opaque,
    /// It may be JSON and cannot be read: whether a rule that asks for JSON matches it stays open.
    Unreadable,
    /// All of it, as JSON.
    Json(&'a Json),
}

/// Which rule an answer falls under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judged<'a> {
    /// The first that matches.
    Rule(&'a ResponseRule),
    /// None.
    Unruled,
    /// That depends on the body.
    ReadOn,
    /// This one, or none, if no rule matches that could not be decided and says that the operation may have been carried out: nothing may
    /// be released by it.
    Undecided(Option<&'a ResponseRule>),
}

impl ResponseRule {
    /// Whether status and headers meet it.
    fn meets_head<H: Fn(&str, &str) -> bool>(&self, answer: &Answer<'_, H>) -> bool {
        self.status
            .is_none_or(|statuses| statuses.contains(answer.status))
            && self
                .header
                .iter()
                .all(|(name, value)| (answer.has)(name, value))
    }

    fn meets_json(&self, body: &Json) -> bool {
        self.json.iter().all(|(pointer, expected)| {
            body.at(pointer)
                .is_some_and(|found| same_scalar(found, expected))
        })
    }
}

/// The first of `rules` that the answer meets; asks for the body only where a rule that asks for it would be the first.
pub fn judge<'a, H: Fn(&str, &str) -> bool>(
    rules: &'a [ResponseRule],
    answer: &Answer<'_, H>,
) -> Judged<'a> {
    let mut undecided = false;
    let mut found = None;
    for rule in rules.iter().filter(|rule| rule.meets_head(answer)) {
        let matches = match answer.body {
            _ if rule.json.is_empty() => true,
            Body::Unread => return Judged::ReadOn,
            Body::Json(body) => rule.meets_json(body),
            Body::Opaque => false,
            Body::Unreadable => {
                undecided |= rule.outcome != Finality::Release;
                false
            }
        };
        if matches {
            found = Some(rule);
            break;
        }
    }
    match found {
        found if undecided => Judged::Undecided(found),
        Some(rule) => Judged::Rule(rule),
        None => Judged::Unruled,
    }
}

/// Of one type, and the same value; numbers to the last digit, however they are written.
fn same_scalar(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::String(one), Json::String(other)) => one == other,
        (Json::Bool(one), Json::Bool(other)) => one == other,
        (Json::Number(_), Json::Number(_)) => one.canonical() == other.canonical(),
        _ => false,
    }
}

/// The built-in rules, by status alone.
///
/// 2xx, 3xx and 4xx are final, but for those by which an API says "not you", "not now" or "not like this": a caller who was
/// not logged in, hit a conflict or was throttled may try the same key again. 502 and 504 come from
/// a gateway that lost the answer. Every other 5xx is a broken upstream. A status beyond these says nothing.
pub const fn built_in(status: u16) -> Finality {
    match status {
        401 | 403 | 407 | 408 | 409 | 421 | 423 | 425 | 429 => Finality::Release,
        502 | 504 => Finality::Unknown,
        200..=499 => Finality::Store,
        500..=599 => Finality::Release,
        _ => Finality::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_finality_that_the_contract_names() {
        for status in 200..600 {
            let expected = match status {
                401 | 403 | 407 | 408 | 409 | 421 | 423 | 425 | 429 => Finality::Release,
                502 | 504 => Finality::Unknown,
                500.. => Finality::Release,
                _ => Finality::Store,
            };
            assert_eq!(built_in(status), expected, "{status}");
        }
    }

    #[test]
    fn a_status_beyond_the_classes_leaves_the_outcome_unknown() {
        for status in [0, 100, 101, 199, 600, 799, 999, u16::MAX] {
            assert_eq!(built_in(status), Finality::Unknown, "{status}");
        }
    }

    fn rule(status: &str) -> ResponseRule {
        ResponseRule {
            status: Some(status.parse().unwrap()),
            json: Vec::new(),
            header: Vec::new(),
            outcome: Finality::Store,
            retention: None,
            reply_status: None,
            reply_from: None,
        }
    }

    fn with_json(status: &str, members: &[(&str, Json)]) -> ResponseRule {
        ResponseRule {
            json: members
                .iter()
                .map(|(pointer, value)| (pointer.parse().unwrap(), value.clone()))
                .collect(),
            ..rule(status)
        }
    }

    /// The place of the rule that an answer falls under; nothing for none.
    fn place(rules: &[ResponseRule], status: u16, body: &str) -> Option<usize> {
        let json = Json::parse(body.as_bytes());
        let body = json.as_ref().map_or(Body::Opaque, Body::Json);
        let answer = Answer {
            status,
            has: |_: &str, _: &str| false,
            body,
        };
        match judge(rules, &answer) {
            Judged::Rule(found) => rules.iter().position(|rule| std::ptr::eq(rule, found)),
            Judged::Unruled => None,
            Judged::ReadOn | Judged::Undecided(_) => panic!("the body is there"),
        }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = [rule("409"), rule("400-499"), rule("4xx"), rule("5xx")];
        let places = [409, 410, 503, 200].map(|status| place(&rules, status, ""));
        assert_eq!(places, [Some(0), Some(1), Some(3), None]);
    }

    #[test]
    fn every_pointer_must_lead_to_its_value_by_type_and_value() {
        let text = |text: &str| Json::String(text.to_owned());
        let number = |literal: &str| Json::Number(literal.to_owned());
        let rules = [with_json(
            "409",
            &[("/error/code", text("23505")), ("/n", number("1.50"))],
        )];
        for (body, matches) in [
            (r#"{"error":{"code":"23505"},"n":1.5}"#, true),
            (r#"{"error":{"code":"23505"},"n":15e-1}"#, true),
            (
                r#"{"error":{"code":"23505"},"n":1.5000000000000001}"#,
                false,
            ),
            (r#"{"error":{"code":"23505"},"n":"1.50"}"#, false),
            (r#"{"error":{"code":23505},"n":1.5}"#, false),
            (r#"{"error":{"code":"23505"}}"#, false),
            (r#"{"error":{"code":"23505"},"error":{},"n":1.5}"#, false),
            ("duplicate key", false),
            ("", false),
        ] {
            assert_eq!(place(&rules, 409, body).is_some(), matches, "{body}");
        }
        assert_eq!(
            place(&rules, 400, r#"{"error":{"code":"23505"},"n":1.5}"#),
            None
        );
        let large = [with_json("2xx", &[("/id", number("9007199254740993"))])];
        assert_eq!(place(&large, 200, r#"{"id":9007199254740992}"#), None);
        assert_eq!(place(&large, 200, r#"{"id":9007199254740993}"#), Some(0));
        let done = [with_json("200", &[("/success", Json::Bool(false))])];
        assert_eq!(place(&done, 200, r#"{"success":false}"#), Some(0));
        for other in [
            r#"{"success":"false"}"#,
            r#"{"success":null}"#,
            r#"{"success":0}"#,
        ] {
            assert_eq!(place(&done, 200, other), None, "{other}");
        }
    }

    #[test]
    fn the_body_is_asked_for_only_where_it_decides() {
        let json = with_json("4xx", &[("/a", Json::Bool(true))]);
        let rules = [rule("404"), json, rule("409")];
        let by_head = |status| {
            let answer = Answer {
                status,
                has: |_: &str, _: &str| false,
                body: Body::Unread,
            };
            judge(&rules, &answer)
        };
        assert_eq!(by_head(404), Judged::Rule(&rules[0]));
        assert_eq!(by_head(409), Judged::ReadOn);
        assert_eq!(by_head(200), Judged::Unruled);
        // A body that nobody will read matches none that asks for it.
        assert_eq!(place(&rules, 409, "no JSON"), Some(2));
        assert_eq!(place(&rules, 400, "no JSON"), None);
    }

    #[test]
    fn where_an_answer_cannot_be_read_a_rule_that_might_have_kept_it_stays_undecided() {
        let says = |outcome, rule: ResponseRule| ResponseRule { outcome, ..rule };
        let json = |status| with_json(status, &[("/a", Json::Bool(true))]);
        let rules = [
            says(Finality::Release, json("4xx")),
            says(Finality::Store, json("409")),
            says(Finality::Unknown, json("5xx")),
            says(Finality::Release, rule("409")),
            says(Finality::Release, rule("503")),
        ];
        let judged = |status| {
            let answer = Answer {
                status,
                has: |_: &str, _: &str| false,
                body: Body::Unreadable,
            };
            judge(&rules, &answer)
        };
        assert_eq!(judged(409), Judged::Undecided(Some(&rules[3])));
        assert_eq!(judged(503), Judged::Undecided(Some(&rules[4])));
        assert_eq!(judged(500), Judged::Undecided(None));
        // Nothing was missed but a rule that would free the key.
        assert_eq!(judged(404), Judged::Unruled);
        assert_eq!(judged(200), Judged::Unruled);
    }

    #[test]
    fn every_header_must_have_its_line() {
        let mut rule = rule("503");
        rule.header = vec![
            ("server".to_owned(), "envoy".to_owned()),
            ("x-a".to_owned(), "1".to_owned()),
        ];
        let rules = [rule];
        let judged = |lines: &[(&str, &str)]| {
            let answer = Answer {
                status: 503,
                has: |name: &str, value: &str| lines.contains(&(name, value)),
                body: Body::Unread,
            };
            judge(&rules, &answer)
        };
        assert_eq!(
            judged(&[("server", "envoy"), ("x-a", "0"), ("x-a", "1")]),
            Judged::Rule(&rules[0])
        );
        assert_eq!(judged(&[("server", "envoy")]), Judged::Unruled);
        assert_eq!(
            judged(&[("server", "Envoy"), ("x-a", "1")]),
            Judged::Unruled
        );
    }
}
