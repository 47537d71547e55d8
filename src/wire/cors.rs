//! Pages of other origins, and what they may read (the CORS protocol of the Fetch standard).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::HeaderNames;

/// The origins whose pages may read the proxy's own answers and headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// These, as browsers write them.
    pub named: Vec<HeaderValue>,
    /// And all others, without credentials.
    pub any: bool,
}

impl Origins {
    /// The page that a request comes from, if it may read the answer.
    pub fn page(&self, request: &HeaderMap) -> Option<Page> {
        if self.named.is_empty() && !self.any {
            return None;
        }
        let mut lines = request.get_all(ORIGIN).iter();
        let (Some(origin), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let named = self.named.contains(origin);
        (named || self.any).then(|| Page {
            origin: origin.clone(),
            named,
        })
    }
}

/// A page that may read the answer to its request.
#[derive(Clone, Debug)]
pub struct Page {
    origin: HeaderValue,
    /// As opposed to any page.
    named: bool,
}

impl Page {
    /// Lets it read an answer of the proxy's own.
    pub(super) fn reads(&self, headers: &mut HeaderMap, names: &HeaderNames) {
        if self.named {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        } else {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        }
        headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, names.exposed());
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }

    /// Lets it read a stored answer that the upstream gave to a page of another origin, where its `Vary` shows that it names whoever
    /// asks. One without a word on origins stays without: the upstream may have refused.
    pub(super) fn reads_replay(
        &self,
        headers: &mut HeaderMap,
        names: &HeaderNames,
        origins: &Origins,
    ) {
        let allowed = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
        let is_other =
            allowed.is_some_and(|other| *other != self.origin && origins.named.contains(other));
        if self.named && is_other && varies_by_origin(headers) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        }
        self.reads_more(headers, names);
    }

    /// Lets it read the proxy's headers on an answer that the upstream lets it read.
    pub(super) fn reads_more(&self, headers: &mut HeaderMap, names: &HeaderNames) {
        let allowed = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
        if allowed.is_some_and(|allowed| [&self.origin, &ANY].contains(&allowed)) {
            headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, names.exposed());
        }
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    headers
        .get_all(VARY)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"origin"))
}

const ANY: HeaderValue = HeaderValue::from_static("*");
