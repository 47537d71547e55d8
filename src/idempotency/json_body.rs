//! A JSON body as a part of a fingerprint.

use super::digest::Hasher;
use super::fingerprint::Fingerprint;
use super::json::{Json, Pointer};

/// How a JSON body becomes a part of a fingerprint: its canonical text, without what changes from one try to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonBody {
    ignored: Vec<Pointer>,
    name: String,
}

impl JsonBody {
    /// Leaves out what `ignored` lead to.
    ///
    /// The part's name tells them apart, whatever their order: what was made with others is believed, not compared. A later release
    /// that takes other texts for JSON, or writes them otherwise, has to choose another name.
    pub fn ignoring(ignored: Vec<Pointer>) -> Self {
        let mut places: Vec<String> = ignored.iter().map(Pointer::to_string).collect();
        places.sort();
        places.dedup();
        let name = if places.is_empty() {
            NAME.to_owned()
        } else {
            let mut hasher = Hasher::new("ignored pointers");
            for place in &places {
                hasher.part(place.as_bytes());
            }
            format!("{NAME}:{:032x}", u128::from_be_bytes(hasher.finish()))
        };
        Self { ignored, name }
    }

    /// What is left out.
    pub fn ignored(&self) -> &[Pointer] {
        &self.ignored
    }

    /// Adds `body`. One that is not JSON is added as `body`, its raw bytes; and under the name of this part too, as what no JSON
    /// text is equal to, so that it is not taken for the same as a body that is JSON.
    pub fn add(&self, body: &[u8], fingerprint: &mut Fingerprint) {
        match Json::parse(body) {
            Ok(mut json) => {
                for pointer in &self.ignored {
                    json.remove(pointer);
                }
                fingerprint.add(&self.name, &json.canonical());
            }
            Err(_) => {
                fingerprint.add("body", body);
                fingerprint.add_list(&self.name, std::iter::once(body));
            }
        }
    }
}

/// The body, with nothing left out.
impl Default for JsonBody {
    fn default() -> Self {
        Self::ignoring(Vec::new())
    }
}

/// What a part is called for people: a JSON body is the body.
pub(super) fn shown(name: &str) -> &str {
    let json = name
        .strip_prefix(NAME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    if json { "body" } else { name }
}

const NAME: &str = "json-body";

#[cfg(test)]
mod tests {
    use super::*;

    fn ignoring(pointers: &[&str]) -> JsonBody {
        JsonBody::ignoring(pointers.iter().map(|p| p.parse().unwrap()).collect())
    }

    fn of(part: &JsonBody, body: &str) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        part.add(body.as_bytes(), &mut fingerprint);
        fingerprint
    }

    fn raw(body: &str) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add("body", body.as_bytes());
        fingerprint
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let part = JsonBody::default();
        let first = of(&part, r#"{"a": 1.0, "b": ["\u0061"]}"#);
        assert_eq!(first, of(&part, r#"{"b":["a"],"a":1}"#));
        let other = of(&part, r#"{"a":1,"b":["b"]}"#);
        assert_eq!(first.differences(&other), ["body"]);
        let (one, two) = ("9007199254740992", "9007199254740993");
        assert_eq!(of(&part, one).differences(&of(&part, two)), ["body"]);
    }

    #[test]
    fn two_parts_find_room_beside_all_others_that_may_be_configured() {
        let mut fingerprint = Fingerprint::default();
        let names: Vec<_> = (0..253).map(|n| format!("header:{n}")).collect();
        for name in &names {
            fingerprint.add(name, b"");
        }
        JsonBody::default().add(b"no JSON", &mut fingerprint);
        assert_eq!(fingerprint.parts().count(), 255);
    }

    #[test]
    fn what_is_ignored_may_differ_and_the_rest_may_not() {
        let part = ignoring(&["/sent_at", "/client/clock"]);
        let first = of(&part, r#"{"sent_at":1,"client":{"clock":2,"id":3}}"#);
        assert_eq!(
            first,
            of(&part, r#"{"client":{"id":3,"clock":9},"sent_at":8}"#)
        );
        assert_eq!(first, of(&part, r#"{"client":{"id":3}}"#));
        let other = of(&part, r#"{"sent_at":1,"client":{"clock":2,"id":4}}"#);
        assert_eq!(first.differences(&other), ["body"]);
    }

    #[test]
    fn what_was_made_with_other_pointers_is_believed() {
        let body = r#"{"a":1,"b":2}"#;
        let names = [&[][..], &["/a"], &["/b"], &["/a", "/b"]].map(|pointers| {
            let fingerprint = of(&ignoring(pointers), body);
            fingerprint.parts().next().unwrap().name.to_owned()
        });
        for (place, name) in names.iter().enumerate() {
            assert!(!names[..place].contains(name), "{names:?}");
            assert!(name.len() < 255);
            assert_eq!(shown(name), "body");
        }
        assert_eq!(
            of(&ignoring(&["/a", "/b"]), body),
            of(&ignoring(&["/b", "/a"]), body)
        );
        let first = of(&ignoring(&["/a"]), body);
        for changed in [&[][..], &["/b"]] {
            let other = of(&ignoring(changed), r#"{"a":1,"b":3}"#);
            assert!(first.differences(&other).is_empty());
        }
        assert!(first.differences(&raw("other")).is_empty());
    }

    #[test]
    fn a_body_that_is_not_json_is_compared_byte_by_byte() {
        let part = JsonBody::default();
        for text in ["", "a=1", "{", r#"{"a":1,"a":1}"#] {
            let first = of(&part, text);
            assert!(first.differences(&of(&part, text)).is_empty(), "{text}");
            // Also after a change of policy to the raw body, and back.
            assert!(first.differences(&raw(text)).is_empty(), "{text}");
            assert_eq!(first.differences(&raw("x")), ["body"], "{text}");
            assert_eq!(raw("x").differences(&first), ["body"], "{text}");
            assert_eq!(first.differences(&of(&part, "b=1")), ["body"], "{text}");
        }
    }

    #[test]
    fn json_and_what_is_not_json_differ() {
        let part = ignoring(&["/a"]);
        let (json, other) = (of(&part, r#"{"b":1}"#), of(&part, "b=1"));
        assert_eq!(json.differences(&other), ["body"]);
        assert_eq!(other.differences(&json), ["body"]);
    }
}
