//! The answer of a GET in the place of one that says that the thing is there already.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::ask::{Question, Told, ask};
use super::limits::Buffered;
use super::policy::Policy;
use super::{Forward, Shared};
use crate::idempotency::{Key, Template};
use crate::store::Store;

/// By whom and about what the upstream can be asked while a request is under way.
pub(super) struct Asker {
    /// The headers of the request, as they went upstream.
    pub(super) headers: HeaderMap,
    /// Its key.
    pub(super) key: Key,
}

impl Asker {
    /// Keeps what it takes, where the policy may ask.
    pub(super) fn of(policy: &Policy, headers: &HeaderMap, key: &Key) -> Option<Self> {
        let asks = policy
            .responses
            .iter()
            .any(|rule| rule.reply_from.is_some());
        asks.then(|| Self {
            headers: headers.clone(),
            key: key.clone(),
        })
    }

    /// What is there; nothing unless the upstream gives all of it, and with a 2xx.
    pub(super) async fn fetch<F: Forward, S: Store>(
        &self,
        proxy: &Shared<F, S>,
        policy: &Policy,
        from: &Template,
        held: &mut Buffered,
    ) -> Option<(Response<Bytes>, HeaderMap)> {
        let target = from.fill(&self.key)?;
        let question = Question::about(&self.headers, policy, target);
        match ask(proxy, policy, question, held).await? {
            Told::Whole(response, trailers) if response.status().is_success() => {
                Some((response, trailers))
            }
            told => {
                tracing::warn!(
                    route = policy.route,
                    status = told.status().as_u16(),
                    "reply_from got nothing to reply with"
                );
                None
            }
        }
    }
}
