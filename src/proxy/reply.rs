//! The answer of a GET in the place of one that says that the thing is there already.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};

use super::ask::{Asking, Question, Told, ask};
use super::judge::Whole;
use super::limits::Buffered;
use super::policy::Policy;
use super::{Forward, Shared};
use crate::idempotency::{Key, Template};
use crate::store::Store;

/// By whom and about what the upstream can be asked while a request is under way.
pub(super) struct Asker {
    /// On behalf of the request.
    pub(super) asking: Asking,
    /// Its key.
    pub(super) key: Key,
}

impl Asker {
    /// Keeps what it takes, where the policy may ask.
    pub(super) fn of(policy: &Policy, head: &Parts, key: &Key) -> Option<Self> {
        let asks = policy
            .responses
            .iter()
            .any(|rule| rule.reply_from.is_some());
        asks.then(|| Self {
            asking: Asking::of(head),
            key: key.clone(),
        })
    }

    /// What is there; nothing unless the upstream gives all of it, with a 2xx that has a body. Where it stops for the proxy's own end it
    /// never comes back, and ends with the exchange around it.
    pub(super) async fn fetch<F: Forward, S: Store>(
        &self,
        proxy: &Shared<F, S>,
        policy: &Policy,
        from: &Template,
        held: &mut Buffered,
    ) -> Option<Whole> {
        let target = from.fill(&self.key)?;
        let question = Question::about(&self.asking, policy, target);
        let Some(told) = ask(proxy, policy, question, held).await else {
            if proxy.stop.deadline.is_cancelled() {
                std::future::pending::<()>().await;
            }
            return None;
        };
        match told {
            Told::Whole(response, trailers) if is_a_thing(&response) => {
                Some(Whole { response, trailers })
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

/// Whether an answer gives something: neither nothing nor a part of it.
fn is_a_thing(response: &Response<Bytes>) -> bool {
    let nothing = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::PARTIAL_CONTENT,
    ];
    let status = response.status();
    status.is_success() && !nothing.contains(&status) && !response.body().is_empty()
}
