//! How the proxy speaks where it speaks itself: the operator's words, names and listeners.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::{Body, ErrorBody, HeaderNames, Origins, Page, Problem, full};

/// How the proxy speaks where it speaks itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// The shape of problems; without one they are problem documents (RFC 9457).
    pub body: Option<ErrorBody>,
    /// What is said instead of a problem's own `detail`, by [`Code::kebab`](super::Code::kebab).
    pub details: BTreeMap<&'static str, String>,
    /// What its headers are called.
    pub names: HeaderNames,
    /// Whose pages may read it.
    pub origins: Origins,
}

impl Voice {
    /// The answer to a request, from `page` if from any, that went nowhere.
    pub fn answer<B: From<Bytes>>(&self, problem: Problem, page: Option<&Page>) -> Response<B> {
        let mut response = problem.head();
        let (content_type, body) = self.words(problem);
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        if let Some(page) = page {
            page.reads(response.headers_mut(), &self.names);
        }
        response.map(|()| B::from(body))
    }

    /// An answer with what is left to say: the words of a [`Problem::unsaid`], and which of the proxy's headers `page` may read, where
    /// it has any for being `keyed`.
    pub fn say(
        &self,
        mut response: Response<Body>,
        keyed: bool,
        page: Option<&Page>,
    ) -> Response<Body> {
        let problem = response.extensions_mut().remove::<Problem>();
        let own = problem.is_some();
        if let Some(problem) = problem {
            let (content_type, body) = self.words(problem);
            if let Some(content_type) = content_type {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            *response.body_mut() = full(body);
        }
        if let Some(page) = page {
            let headers = response.headers_mut();
            if own {
                page.reads(headers, &self.names);
            } else if keyed && headers.contains_key(&self.names.replay) {
                page.reads_replay(headers, &self.names, &self.origins);
            } else if keyed {
                page.reads_more(headers, &self.names);
            }
        }
        response
    }

    /// The body, and its type where it is no problem document.
    fn words(&self, mut problem: Problem) -> (Option<HeaderValue>, Bytes) {
        if let Some(detail) = self.details.get(problem.code.kebab()) {
            problem.detail = detail.clone().into();
        }
        match &self.body {
            None => (None, problem.document()),
            Some(body) => (
                Some(body.content_type.clone()),
                body.template.fill(&problem).into(),
            ),
        }
    }
}
