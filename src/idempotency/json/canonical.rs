//! One text for all JSON texts that mean the same.

use super::{Json, number};

impl Json {
    /// One text for all that mean the same: RFC 8785, but for numbers that a 64-bit float does not hold, which keep all their digits.
    pub fn canonical(&self) -> Vec<u8> {
        let mut text = Vec::new();
        write(self, &mut text);
        text
    }
}

fn write(value: &Json, text: &mut Vec<u8>) {
    match value {
        Json::Null => text.extend(b"null"),
        Json::Bool(true) => text.extend(b"true"),
        Json::Bool(false) => text.extend(b"false"),
        Json::Number(literal) => text.extend(number::canonical(literal).bytes()),
        Json::String(string) => write_string(string, text),
        Json::Array(items) => {
            text.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                write(item, text);
            }
            text.push(b']');
        }
        Json::Object(members) => {
            text.push(b'{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                write_string(name, text);
                text.push(b':');
                write(value, text);
            }
            text.push(b'}');
        }
    }
}

/// As ECMAScript has it (RFC 8785, section 3.2.2.2): what must be escaped, and nothing else.
fn write_string(string: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in string.bytes() {
        match byte {
            b'"' => text.extend(br#"\""#),
            b'\\' => text.extend(br"\\"),
            0x08 => text.extend(br"\b"),
            b'\t' => text.extend(br"\t"),
            b'\n' => text.extend(br"\n"),
            0x0c => text.extend(br"\f"),
            b'\r' => text.extend(br"\r"),
            0x00..=0x1f => text.extend(format!("\\u{byte:04x}").bytes()),
            _ => text.push(byte),
        }
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        String::from_utf8(Json::parse(text.as_bytes()).unwrap().canonical()).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_8785_hold() {
        // Section 3.2.2, whose first number no float holds: there the digits are kept, which it does not do.
        assert_eq!(
            canonical(
                r#"{
                  "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                  "literals": [null, true, false]
                }"#
            ),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        // Section 3.2.3: by UTF-16 units, not by code points.
        assert_eq!(
            canonical(
                r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#
            ),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
        );
    }

    proptest! {
        #[test]
        fn canonical_text_is_its_own_canonical_text(value in value()) {
            let once = value.canonical();
            prop_assert_eq!(&Json::parse(&once).unwrap().canonical(), &once);
        }

        #[test]
        fn another_reader_takes_it_for_the_same(value in value()) {
            let text = String::from_utf8(value.canonical()).unwrap();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let again = serde_json::to_vec_pretty(&read).unwrap();
            prop_assert_eq!(String::from_utf8(Json::parse(&again).unwrap().canonical()).unwrap(), text);
        }
    }

    fn value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i32>().prop_map(|number| Json::Number(number.to_string())),
            // Serde reads others a little off.
            any::<i16>().prop_map(|eighths| Json::Number((f64::from(eighths) / 8.0).to_string())),
            any::<String>().prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|members| {
                    let mut members: Vec<_> = members.into_iter().collect();
                    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                    Json::Object(members)
                }),
            ]
        })
    }
}
