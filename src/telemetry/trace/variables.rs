//! What the environment says of traces, by the names of OpenTelemetry's specification.

use std::time::Duration;

use http::Uri;

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No traces.
    Nothing,
    /// Traces, and none can be had, for this reason.
    Impossible(String),
    /// Traces for the collector at this origin.
    Export(Uri),
}

/// How spans wait for their export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queueing {
    /// Spans that wait at most; others are dropped.
    pub(super) room: usize,
    /// Spans that are sent together at most.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
    /// How long an export may take.
    pub(super) timeout: Duration,
}

/// What the environment asks for. Headers, time limits, the sampler and the resource are read by the SDK.
pub fn wanted() -> Wanted {
    wanted_by(|name| std::env::var(name).ok())
}

impl Queueing {
    pub(super) fn by_environment() -> Self {
        Self::by(|name| std::env::var(name).ok())
    }

    fn by(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name)?.trim().parse::<u64>().ok();
        let millis = |name: &str, otherwise| {
            number(name).map_or(otherwise, |millis| Duration::from_millis(millis.max(1)))
        };
        let spans = |name: &str, otherwise: usize| {
            let given = number(name).and_then(|number| usize::try_from(number).ok());
            given.map_or(otherwise, |spans| spans.clamp(1, MOST_SPANS))
        };
        let timeout = millis("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT);
        Self {
            room: spans("OTEL_BSP_MAX_QUEUE_SIZE", ROOM),
            batch: spans("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH),
            delay: millis("OTEL_BSP_SCHEDULE_DELAY", DELAY),
            timeout: millis("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", timeout),
        }
    }
}

fn wanted_by(variable: impl Fn(&str) -> Option<String>) -> Wanted {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let of_traces = |name: &str| {
        set(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| set(&format!("OTEL_EXPORTER_OTLP_{name}")))
    };
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let exporter = set("OTEL_TRACES_EXPORTER").unwrap_or_else(|| "otlp".to_owned());
    let Some(endpoint) = of_traces("ENDPOINT").filter(|_| !disabled && exporter != "none") else {
        return Wanted::Nothing;
    };
    if exporter != "otlp" {
        return Wanted::Impossible(format!(
            "OTEL_TRACES_EXPORTER is {exporter:?}, expected otlp"
        ));
    }
    let protocol = of_traces("PROTOCOL").unwrap_or_else(|| PROTOCOL.to_owned());
    if protocol != PROTOCOL {
        return Wanted::Impossible(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol:?}, expected {PROTOCOL} (a collector takes it at port 4318)"
        ));
    }
    // What it says is not repeated: there may be a password in it.
    // Blanks around it are not forgiven: the SDK reads it for itself, and does not forgive them.
    let uri = endpoint.parse::<Uri>().ok();
    let known = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
    });
    known.map_or_else(
        || {
            Wanted::Impossible(
                "OTEL_EXPORTER_OTLP_ENDPOINT is no URL, expected one such as http://127.0.0.1:4318"
                    .to_owned(),
            )
        },
        Wanted::Export,
    )
}

const PROTOCOL: &str = "http/protobuf";

// The defaults of the specification.
const ROOM: usize = 2048;
const BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A queue has to fit into memory, whatever is asked for.
const MOST_SPANS: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Wanted {
        wanted_by(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_off_unless_an_endpoint_is_set() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_SERVICE_NAME", "a")],
            &[endpoint, ("OTEL_SDK_DISABLED", "TRUE")],
            &[endpoint, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(of(variables), Wanted::Nothing, "{variables:?}");
        }
        assert_eq!(
            of(&[endpoint]),
            Wanted::Export(Uri::from_static("http://127.0.0.1:4318"))
        );
    }

    #[test]
    fn what_is_said_of_traces_goes_before_what_is_said_of_all() {
        let wanted = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://b/v1/traces"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ]);
        assert_eq!(
            wanted,
            Wanted::Export(Uri::from_static("https://b/v1/traces"))
        );
    }

    #[test]
    fn what_cannot_be_done_is_said_without_the_address() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@a:4318");
        let otlp = ("OTEL_TRACES_EXPORTER", "otlp");
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for variables in [
            [endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            [(all, "http://me:secret@a:4318 "), otlp],
            [(all, "\thttp://me:secret@a:4318"), otlp],
            [endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")],
            [(all, "me:secret@a"), otlp],
        ] {
            match of(&variables) {
                Wanted::Impossible(why) => assert!(!why.contains("secret"), "{why}"),
                other => panic!("{variables:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_queue_is_as_the_specification_has_it_and_never_without_an_end() {
        let queueing = Queueing::by(|_| None);
        assert_eq!((queueing.room, queueing.batch), (2048, 512));
        let queueing = Queueing::by(|name| match name {
            "OTEL_BSP_MAX_QUEUE_SIZE" => Some("99999999999".to_owned()),
            "OTEL_BSP_SCHEDULE_DELAY" => Some("0".to_owned()),
            "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("250".to_owned()),
            _ => Some("soon".to_owned()),
        });
        assert_eq!(
            queueing,
            Queueing {
                room: MOST_SPANS,
                batch: BATCH,
                delay: Duration::from_millis(1),
                timeout: Duration::from_millis(250),
            }
        );
    }
}
