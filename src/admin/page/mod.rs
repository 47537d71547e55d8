//! A page to look at and settle records with.
//!
//! One document, put together from the files beside this one when it is first asked for: there is nothing to build, and nothing to fetch from
//! elsewhere. It holds no data. What it shows comes from `/v1`, with the operator's token where one is set.
//!
//! The browser is told to run this script and this style and nothing else, by their hashes, to ask nobody but this listener, and to refuse
//! every way to make markup of text (`require-trusted-types-for`): paths and errors come from strangers.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

use super::answer::{Answer, typed};

/// The page.
pub(super) fn answer() -> Answer {
    let mut answer = typed(
        StatusCode::OK,
        "text/html; charset=utf-8",
        PAGE.document.clone(),
    );
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

struct Page {
    document: Bytes,
    policy: HeaderValue,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let document = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n{HEAD}<style>{STYLE}</style>\n</head>\n<body>\n{BODY}\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    Page {
        document: document.into(),
        policy: HeaderValue::try_from(policy).expect("base64 and words of ASCII"),
    }
});

fn hash(source: &str) -> String {
    STANDARD.encode(digest(&SHA256, source.as_bytes()))
}

const HEAD: &str = "<meta charset=\"utf-8\">\n\
                    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
                    <meta name=\"color-scheme\" content=\"light dark\">\n\
                    <title>idemproxy</title>\n";
const STYLE: &str = include_str!("style.css");
const BODY: &str = include_str!("body.html");
/// One script, in the order in which the files use each other.
const SCRIPT: &str = concat!(
    include_str!("dom.js"),
    include_str!("api.js"),
    include_str!("activity.js"),
    include_str!("lists.js"),
    include_str!("orders.js"),
    include_str!("record.js"),
    include_str!("main.js"),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn between<'a>(document: &'a str, start: &str, end: &str) -> &'a str {
        let (_, rest) = document.split_once(start).expect(start);
        let (found, rest) = rest.split_once(end).expect(end);
        assert!(!rest.contains(start), "one {start}");
        found
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_document() {
        let document = std::str::from_utf8(&PAGE.document).expect("text");
        let policy = PAGE.policy.to_str().expect("ASCII");
        for (directive, source) in [
            ("script-src", between(document, "<script>", "</script>")),
            ("style-src", between(document, "<style>", "</style>")),
        ] {
            let expected = format!("{directive} 'sha256-{}';", hash(source));
            assert!(policy.contains(&expected), "{expected} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_document_is_small_and_refers_to_nothing_outside() {
        let document = std::str::from_utf8(&PAGE.document).expect("text");
        assert!(document.len() < 60_000, "{} bytes", document.len());
        // The name of a vocabulary, which nobody fetches.
        let document = document.replace("'http://www.w3.org/2000/svg'", "");
        for outside in [
            "//www", "http:", "https:", "url(", "@import", " src=", "href=\"h",
        ] {
            assert!(!document.contains(outside), "{outside}");
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "Function(",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
        for way in [" style=", " onclick=", " onsubmit="] {
            assert!(!BODY.contains(way), "{way}: the policy refuses it");
        }
    }
}
