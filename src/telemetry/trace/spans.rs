//! Spans, by OpenTelemetry's conventions for HTTP.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::Asked;
use crate::idempotency::RecordId;
use crate::telemetry::Outcome;

/// Whether requests are traced. By default they are not.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<SdkTracer>);

/// The span of a request. Clones are the same span, which ends once.
#[derive(Clone)]
pub struct Span(Arc<Inner>);

struct Inner {
    tracer: SdkTracer,
    context: SpanContext,
    /// Whether the client named a trace.
    continued: bool,
    span: Mutex<SdkSpan>,
}

/// The span of one try to ask the upstream. Dropped before its end, nobody waited for that.
pub struct Attempt(Option<SdkSpan>);

impl Traces {
    /// By this tracer.
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// Begins the span of a request, in the trace that the request names; nothing where requests are not traced.
    pub fn request<'a>(&self, asked: impl FnOnce() -> Asked<'a>) -> Option<Span> {
        let tracer = self.0.as_ref()?;
        let asked = asked();
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &Carried::by(asked.headers));
        let (method, original) = known(asked.method);
        let named = if original { "HTTP" } else { method };
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", asked.scheme),
            KeyValue::new("network.protocol.version", version(asked.version)),
            KeyValue::new("idemproxy.route", asked.route.to_owned()),
        ];
        if !asked.pattern.is_empty() {
            attributes.push(KeyValue::new("http.route", asked.pattern.to_owned()));
        }
        let span = SpanBuilder::from_name(format!("{named} {}", asked.route))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(tracer, &parent);
        Some(Span(Arc::new(Inner {
            tracer: tracer.clone(),
            context: span.span_context().clone(),
            continued: parent.has_active_span(),
            span: Mutex::new(span),
        })))
    }
}

impl Span {
    /// Trace id and span id.
    pub fn ids(&self) -> ([u8; 16], [u8; 8]) {
        let context = &self.0.context;
        (context.trace_id().to_bytes(), context.span_id().to_bytes())
    }

    /// Whether it is recorded, and so can be found.
    pub fn is_sampled(&self) -> bool {
        self.0.context.is_sampled()
    }

    /// Has the upstream see it as parent.
    pub fn propagate(&self, headers: &mut HeaderMap) {
        self.carry(&self.0.context, headers);
    }

    /// Refers to another span: that of the request whose answer this one gets, or waits for.
    pub fn link(&self, trace: [u8; 16], span: [u8; 8]) {
        let first = SpanContext::new(
            TraceId::from_bytes(trace),
            SpanId::from_bytes(span),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        self.span().add_link(first, Vec::new());
    }

    /// Begins to ask the upstream at `authority`, after so many tries; the upstream sees this span as parent.
    pub fn attempt(
        &self,
        method: &Method,
        authority: &str,
        resends: u32,
        headers: &mut HeaderMap,
    ) -> Attempt {
        let (method, original) = known(method);
        let mut attributes = vec![KeyValue::new("http.request.method", method)];
        if resends > 0 {
            attributes.push(KeyValue::new(
                "http.request.resend_count",
                i64::from(resends),
            ));
        }
        address(authority, &mut attributes);
        let span = SpanBuilder::from_name(if original { "HTTP" } else { method })
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .start_with_context(
                &self.0.tracer,
                &Context::new().with_remote_span_context(self.0.context.clone()),
            );
        self.carry(span.span_context(), headers);
        Attempt(Some(span))
    }

    /// Ends it: the request was answered so long ago, or is not to be.
    pub fn end(
        &self,
        outcome: Outcome,
        id: Option<RecordId>,
        status: Option<StatusCode>,
        ago: Duration,
    ) {
        let mut span = self.span();
        span.set_attribute(KeyValue::new("idemproxy.outcome", outcome.as_str()));
        if let Some(id) = id {
            span.set_attribute(KeyValue::new("idemproxy.id", id.to_string()));
        }
        if let Some(status) = status {
            answered(&mut span, status, status.is_server_error());
        }
        let now = SystemTime::now();
        span.end_with_timestamp(now.checked_sub(ago).unwrap_or(now));
    }

    fn carry(&self, context: &SpanContext, headers: &mut HeaderMap) {
        let flags = context.trace_flags() & TraceFlags::SAMPLED;
        let parent = format!(
            "00-{}-{}-{flags:02x}",
            context.trace_id(),
            context.span_id()
        );
        if let Ok(parent) = HeaderValue::try_from(parent) {
            headers.insert(TRACEPARENT, parent);
        }
        if !self.0.continued {
            // It belongs to no trace, and least of all to this one.
            headers.remove(TRACESTATE);
        }
    }

    fn span(&self) -> MutexGuard<'_, SdkSpan> {
        // Whatever panicked while it had the lock left a span behind.
        self.0.span.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The upstream answered.
    pub fn answered(mut self, status: StatusCode) {
        if let Some(mut span) = self.0.take() {
            let failed = status.is_client_error() || status.is_server_error();
            answered(&mut span, status, failed);
        }
    }

    /// It did not, for this reason: a word, of which there are few.
    pub fn failed(mut self, why: &'static str) {
        self.fail(why);
    }

    fn fail(&mut self, why: &'static str) {
        if let Some(mut span) = self.0.take() {
            span.set_attribute(KeyValue::new("error.type", why));
            span.set_status(Status::error(why));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.fail("given_up");
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Span")
            .field(&self.0.context)
            .finish()
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Attempt").finish_non_exhaustive()
    }
}

/// The trace that headers name. Two `traceparent` name none (W3C Trace Context 3.2.4); several `tracestate` are one list (3.3.1).
struct Carried<'a> {
    parent: Option<&'a str>,
    state: Option<String>,
}

impl<'a> Carried<'a> {
    fn by(headers: &'a HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(parent), None) => parent.to_str().ok(),
            _ => None,
        };
        let states = headers.get_all(TRACESTATE).iter();
        let states: Vec<&str> = states.filter_map(|state| state.to_str().ok()).collect();
        Self {
            parent,
            state: (!states.is_empty()).then(|| states.join(",")),
        }
    }
}

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.parent,
            TRACESTATE => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

fn answered(span: &mut SdkSpan, status: StatusCode, failed: bool) {
    span.set_attribute(KeyValue::new(
        "http.response.status_code",
        i64::from(status.as_u16()),
    ));
    if failed {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
}

/// A method as it is named, and whether that is not its own: others are a client's free choice.
fn known(method: &Method) -> (&'static str, bool) {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    const NAMES: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    match KNOWN.iter().position(|known| known == method) {
        Some(at) => (NAMES[at], false),
        None => ("_OTHER", true),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn address(authority: &str, attributes: &mut Vec<KeyValue>) {
    let Ok(authority) = authority.parse::<Authority>() else {
        return;
    };
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    attributes.push(KeyValue::new("server.address", host));
    if let Some(port) = authority.port_u16() {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
