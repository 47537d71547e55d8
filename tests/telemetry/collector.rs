//! A collector of spans: an upstream that is sent them.

use std::collections::BTreeMap;
use std::io::Read;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::{Entry, Upstream, eventually};

/// A collector on 127.0.0.1.
pub struct Collector {
    pub server: Upstream,
    url: String,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub span: Span,
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::at(Upstream::start().await)
    }

    pub fn at(server: Upstream) -> Self {
        let url = server.url();
        Self { server, url }
    }

    /// The variables by which a program sends its spans here, soon.
    pub fn variables<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ];
        variables.extend_from_slice(more);
        variables
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Arrived> {
        let ledger = self.server.ledger();
        let exports = ledger.iter().filter(|entry| entry.whole).map(decoded);
        exports
            .flat_map(|export| export.resource_spans)
            .flat_map(|of_resource| of_resource.scope_spans)
            .flat_map(|of_scope| of_scope.spans)
            .map(|span| Arrived {
                attributes: texts(&span.attributes),
                span,
            })
            .collect()
    }

    /// What the program says of itself with each export.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let export = decoded(&self.server.ledger()[0]);
        texts(
            &export.resource_spans[0]
                .resource
                .as_ref()
                .unwrap()
                .attributes,
        )
    }

    /// Waits for so many spans.
    pub async fn has(&self, count: usize) -> Vec<Arrived> {
        eventually(|| self.spans().len() >= count).await;
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

impl Arrived {
    /// The one with this attribute.
    pub fn find<'a>(spans: &'a [Self], attribute: &str, value: &str) -> &'a Self {
        let mut found = spans
            .iter()
            .filter(|span| span.attribute(attribute) == Some(value));
        let first = found.next();
        assert!(found.next().is_none(), "{attribute}={value}: {spans:#?}");
        first.unwrap_or_else(|| panic!("{attribute}={value}: {spans:#?}"))
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decoded(entry: &Entry) -> ExportTraceServiceRequest {
    assert_eq!((&*entry.method, &*entry.target), ("POST", "/v1/traces"));
    assert_eq!(entry.field("content-type"), Some("application/x-protobuf"));
    let mut plain = Vec::new();
    match entry.field("content-encoding") {
        Some("gzip") => {
            let mut gzip = flate2::read::GzDecoder::new(&*entry.body);
            gzip.read_to_end(&mut plain).unwrap();
        }
        other => {
            assert_eq!(other, None);
            plain.extend_from_slice(&entry.body);
        }
    }
    ExportTraceServiceRequest::decode(&*plain).unwrap()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(&attribute.value)))
        .collect()
}
