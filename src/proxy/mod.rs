//! The path of a request, one file a step:
//!
//! 1. `routes` finds the [`Policy`]; `source` finds the key, `key` names the operation and its record, within its `scope`.
//! 2. `receive` has the body read by `payload`, as much of it as `hold` says, and hashes what must not change (`upload` while it streams).
//! 3. `operation` outlives the client from here on; `acquire` claims the key in the store, or finds out
//!    what became of it; a duplicate may `wait` for the first one's answer, in its client's own time (`waiters`).
//! 4. `execute` asks the upstream (`send`, `collect`), and `judge` says what its answer means; one that is not kept goes on by itself, and
//!    is settled where it ends (`streaming`).
//! 5. `records` tells the store how it ended, until the store has it.
//! 6. `respond` answers, the first time or from the record; `account` counts and logs it, once, by what its `trail` noted. What the proxy says itself gets its
//!    words last, from the operator's [`Voice`](crate::wire::Voice).
//!
//! Beside the requests themselves the upstream may be asked (`ask`) for the answer to a duplicate (`reply`), whether an operation in
//! doubt took place, and whether credentials stand (`probe`).
//!
//! What no policy covers takes the short way, `pass`; so does what is only observed (`observe`), with a `tap` on either body, from which
//! an `observation` learns beside it what enforcement would have done.
//!
//! A request takes the settings as they are when it begins (`setup`), all of them together, and ends by them ([`Idempotency::replace`]); when
//! to `stop` is one for all. [`Idempotency`] is the [`Handler`] of the clients' connections, and a tower service: round one that forwards,
//! or round any other of the same program (`within`). Its errors are answers, so it never fails.

mod account;
mod acquire;
mod answered;
mod asides;
mod ask;
mod attempt;
mod canonical_path;
mod claim;
mod client_ip;
mod collect;
mod decode;
mod ended;
mod execute;
pub mod explain;
mod forward;
mod hold;
mod judge;
pub mod jwt;
mod key;
mod limits;
mod media;
mod observation;
mod observe;
mod operation;
mod outliving;
mod pass;
mod payload;
pub mod policy;
mod probe;
mod problem;
mod receive;
mod records;
mod relay;
mod renamed;
mod reply;
mod respond;
mod retry;
mod room;
mod routes;
mod scope;
mod send;
mod setup;
mod source;
mod stop;
mod streaming;
mod tap;
mod trail;
mod upload;
mod wait;
mod waiters;
mod within;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tower::Service;

use self::account::Account;
use self::client_ip::is_trusted;
use self::limits::InFlight;
use self::pass::{Passing, Sending};
use self::payload::Taken;
use self::policy::Mode;
use self::receive::{Named, Unclaimed};
use self::respond::Answer;
use self::setup::Shared;
use self::source::{BodySoFar, Sought};
use self::trail::Trail;
use crate::store::Store;
use crate::telemetry::Limit;
use crate::telemetry::trace::Asked as Incoming;
use crate::upstream::headers::{ForwardContext, prepare_request, prepare_response};
use crate::wire::{Body, BoxError, Code, Handler, Page, Peer, Problem};

pub use forward::{Forward, Way};
pub(crate) use key::has_dot_segment;
pub use policy::Policy;
pub use renamed::{Because, Naming, renamed};
#[doc(hidden)]
pub use respond::rebuild;
pub use routes::{Found, RouteError, Routes};
pub use setup::{Common, Parameters, Setup};
pub use stop::{Signal, Stop};
#[doc(hidden)]
pub use within::serve;
pub use within::{Advisor, ClientAddress, Within};

/// Gives the requests of its routes one effect a key, round a service that forwards, or does the work itself ([`Within`]): what an
/// [`IdempotencyLayer`](crate::IdempotencyLayer) makes. It is always ready and never fails: its errors are answers.
///
/// A service that forwards says of each failure what is known ([`crate::upstream::SendError`]), and is told which [`Way`] the request
/// goes. What becomes of a request is decided in the call, and a place among those that may run is taken there.
pub struct Idempotency<F, S>(Arc<ArcSwap<Shared<F, S>>>);

impl<F, S: Store> Idempotency<F, S> {
    /// A proxy of these parts.
    #[doc(hidden)]
    pub fn new(parameters: Parameters<F, S>) -> Self {
        let (setup, common) = parameters.split();
        Self::of(setup, common)
    }

    /// One of several.
    #[doc(hidden)]
    pub fn of(setup: Setup<F>, common: Common<S>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Shared::new(setup, common))))
    }

    /// Requests that begin from now on go by `setup`. Those under way end by what they began with, however long they take: their
    /// policy, their upstream, and how they are told of it. What is counted (exchanges, bodies, those who wait) goes on
    /// being counted, so that new limits hold for all there is. Call it from one place at a time.
    #[doc(hidden)]
    pub fn replace(&self, setup: Setup<F>) {
        let before = self.0.load_full();
        before
            .limits
            .resize(setup.max_in_flight, setup.max_buffered_total);
        before.waiters.resize(setup.max_waiters);
        let common = Common {
            secret: before.secret.clone(),
            service: before.service.clone(),
            records: before.records.clone(),
            limits: before.limits.clone(),
            waiters: before.waiters.clone(),
            asides: Arc::new(before.asides.for_other_settings()),
            metrics: before.metrics.clone(),
            traces: before.traces.clone(),
            log_keys: before.books.log_keys,
            tasks: before.tasks.clone(),
            stop: before.stop.clone(),
        };
        self.0.store(Arc::new(Shared::new(setup, common)));
    }
}

impl<F, S> Clone for Idempotency<F, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// An answer that is being made.
type Answering = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl<F, S, R> Service<Request<R>> for Idempotency<F, S>
where
    F: Forward,
    S: Store,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let proxy = self.0.load_full();
        let addr = proxy.inner.peer(request.extensions());
        proxy.answer(request, addr.map(|addr| Arc::new(Peer::new(addr, "http"))))
    }
}

impl<F: Forward, S: Store> Handler for Idempotency<F, S> {
    type Body = Body;
    type Future = Answering;

    fn handle(&self, request: Request<Body>, peer: Arc<Peer>) -> Answering {
        self.0.load_full().answer(request, Some(peer))
    }
}

impl<F: Forward, S: Store> Shared<F, S> {
    /// The path of a request. Which way it goes is known by its head, and only what that way takes is kept while it waits: most requests
    /// wait for little.
    fn answer(self: Arc<Self>, request: Request<Body>, peer: Option<Arc<Peer>>) -> Answering {
        let (head, body) = request.into_parts();
        let page = self.voice.origins.page(&head.headers);
        let found = self.routes.find(&head.method, head.uri.path());
        let (policy, covered) = (found.policy, found.covered);
        let span = self
            .traces
            .request(|| incoming(&head, peer.as_deref(), &found));
        let trail = Trail::begin(peer, span);
        let account = Account::open(self.books.clone(), policy, &head, trail);
        if policy.mode == Mode::Observe {
            let policy = policy.clone();
            return Box::pin(async move {
                let response = observe::answer(&self, head, body, &policy, covered, account).await;
                Ok(self.voice.say(response, false, page.as_ref()))
            });
        }
        match self.admit(&head, policy, covered, account.trail()) {
            Err(problem) => {
                let answer = Answer::problem(problem);
                account.close(&answer);
                let said = self.voice.say(answer.response, false, page.as_ref());
                Box::pin(std::future::ready(Ok(said)))
            }
            Ok((permit, Named::Nothing)) => {
                let passing = Passing::unread(&self, head, body, policy, permit);
                let sending = Sending::new(&self, passing, policy, account.trail().clone());
                let said = move |proxy: &Self, answer: Answer| {
                    account.close(&answer);
                    Ok(proxy.voice.say(answer.response, false, page.as_ref()))
                };
                Box::pin(sending.answer(self, said))
            }
            Ok((permit, named)) => {
                let (taken, place) = (Taken::head_alone(head), policy.place);
                Box::pin(self.keyed(named, taken, body, place, permit, account, page))
            }
        }
    }

    /// The rest of the path of a request that is keyed, or may be by its body.
    #[allow(clippy::too_many_arguments)]
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps what it is given twice"
    )]
    fn keyed(
        self: Arc<Self>,
        named: Named,
        taken: Box<Taken>,
        body: Body,
        place: usize,
        permit: InFlight,
        mut account: Account,
        page: Option<Page>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
        async move {
            // By its place: a count of who has it would be shared with all who have.
            let policy = self.routes.at(place);
            let received = self.receive(named, taken, body, policy, permit, &mut account);
            // What was received is not kept for as long as this waits.
            let answer = match received.await {
                Ok(operation) => Either::Left(operation.start(&self, account)),
                // Apart, since most have a key.
                Err(other) => Either::Right(Box::pin(self.unclaimed(other, policy, account))),
            };
            let keyed = matches!(answer, Either::Left(_));
            Ok(self.voice.say(answer.await, keyed, page.as_ref()))
        }
    }

    /// The answer to a request of which nothing is claimed.
    async fn unclaimed(
        self: &Arc<Self>,
        request: Unclaimed,
        policy: &Arc<Policy>,
        account: Account,
    ) -> Response<Body> {
        let answer = match request {
            Unclaimed::Passing(passing, _held) => {
                pass::pass(self, *passing, policy, account.trail().clone()).await
            }
            Unclaimed::Refused(problem) => Answer::problem(problem),
        };
        account.close(&answer);
        answer.response
    }

    /// What of a request is known by its head: whether there is room for it, and what names it if it is keyed.
    fn admit(
        &self,
        head: &Parts,
        policy: &Policy,
        covered: bool,
        trail: &Trail,
    ) -> Result<(InFlight, Named), Problem> {
        self.check_connection(&head.headers, policy)?;
        let early = if F::HOP { Some(self.enter()?) } else { None };
        let named = if covered {
            self.named(head, policy, trail)?
        } else {
            Named::Nothing
        };
        let permit = match (early, &named) {
            (Some(permit), _) => permit,
            (None, Named::Nothing) => self.enter_to_pass()?,
            (None, Named::Keyed(_) | Named::InBody) => self.enter()?,
        };
        Ok((permit, named))
    }

    /// That nothing is stripped of which the key, the scope or the caller is made.
    fn check_connection(&self, headers: &HeaderMap, policy: &Policy) -> Result<(), Problem> {
        if F::HOP {
            key::check_connection(headers, policy)?;
        }
        Ok(())
    }

    /// What names a covered request, as far as its head tells.
    fn named(&self, head: &Parts, policy: &Policy, trail: &Trail) -> Result<Named, Problem> {
        let sought = source::find(head, BodySoFar::Unread, policy, || self.records.now())?;
        Ok(match sought {
            Sought::InBody => Named::InBody,
            Sought::Key(key, _) => Named::of(self.name(Some(key), head, policy, trail)?),
            Sought::Nothing => Named::of(self.name(None, head, policy, trail)?),
        })
    }

    fn enter(&self) -> Result<InFlight, Problem> {
        self.limits.enter().ok_or_else(|| {
            self.metrics.limit_reached(Limit::MaxInFlight);
            Problem::new(Code::Overloaded, "max_in_flight is reached")
        })
    }

    /// Leave to run what needs no guarantee: a program has limits of its own for that.
    fn enter_to_pass(&self) -> Result<InFlight, Problem> {
        if F::HOP {
            self.enter()
        } else {
            Ok(self.limits.enter_beside())
        }
    }

    /// How long what needs no guarantee may stand still: `limit`, if there is one.
    fn patience_to_pass(&self, limit: Duration) -> Duration {
        if F::HOP { limit } else { FOREVER }
    }

    /// Makes a received head one for the upstream. A service of this program gets it as it came.
    fn prepare(&self, head: &mut Parts, policy: &Policy, trail: &Trail) {
        if !F::HOP {
            return;
        }
        let peer = trail.peer();
        // What the connection left there is for this proxy, and not for the one that forwards.
        head.extensions.clear();
        prepare_request(
            head,
            &ForwardContext {
                peer: peer.map(Peer::text),
                peer_is_trusted: peer.is_some_and(|peer| is_trusted(peer, &self.trust_forwarded)),
                scheme: peer.map_or("http", Peer::scheme),
                preserve_host: policy.preserve_host,
                upstream_authority: self.authorities.get(policy.upstream),
            },
        );
        head.version = http::Version::HTTP_11;
        if let Some(span) = trail.span() {
            span.propagate(&mut head.headers);
        }
    }

    /// Makes the upstream's answer one for the client.
    fn prepare_answer<B>(&self, response: &mut Response<B>) {
        if F::HOP {
            prepare_response(response.headers_mut());
        }
    }
}

/// What the span of a request tells of it.
fn incoming<'a>(head: &'a Parts, peer: Option<&Peer>, found: &Found<'a>) -> Incoming<'a> {
    Incoming {
        method: &head.method,
        version: head.version,
        scheme: peer.map_or("http", Peer::scheme),
        route: &found.policy.route,
        pattern: found.pattern,
        headers: &head.headers,
    }
}

/// Thirty years: more could not be added to the time of a clock.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);
