//! What the program tells of itself: the metrics page, the log, and traces as a collector gets them.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/harness.rs"]
mod support;

#[cfg(feature = "otlp")]
mod collector;
mod logs;
mod names;
#[cfg(feature = "otlp")]
mod traces;
#[cfg(feature = "otlp")]
mod troubles;

use support::{Process, Upstream};

const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");

/// An upstream, and the program before it.
pub struct World {
    pub upstream: Upstream,
    pub proxy: Process,
}

impl World {
    /// With sections of the configuration, and variables of the environment.
    pub async fn start(sections: &str, variables: &[(&str, &str)]) -> Self {
        let upstream = Upstream::start().await;
        Self {
            proxy: Process::start_with(PROGRAM, &configuration(&upstream, sections), variables)
                .await,
            upstream,
        }
    }

    /// The log event of the only request so far whose outcome is this.
    pub async fn event(&self, outcome: &str) -> serde_json::Value {
        let found = || {
            let log = self.proxy.log();
            let events = log.lines().map(serde_json::from_str::<serde_json::Value>);
            let mut events = events.filter_map(Result::ok);
            events.find(|event| event["message"] == "request" && event["outcome"] == outcome)
        };
        support::eventually(|| found().is_some()).await;
        found().unwrap()
    }

    /// Waits until it has logged this; all that it logged so far.
    pub async fn says(&self, text: &str) -> String {
        support::eventually(|| self.proxy.log().contains(text)).await;
        self.proxy.log()
    }

    /// The value of a line of the metrics page.
    pub async fn metric(&self, line: &str) -> f64 {
        let page = self.proxy.page("/metrics").await.text();
        let mut values = page.lines().filter_map(|found| found.strip_prefix(line));
        values
            .next()
            .map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

fn configuration(upstream: &Upstream, sections: &str) -> String {
    format!(
        r#"
listen = "127.0.0.1:0"
upstream = "{}"
[admin]
listen = "127.0.0.1:0"
[store]
url = "memory:"
{sections}
"#,
        upstream.url()
    )
}
