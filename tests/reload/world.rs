//! A proxy with a configuration file that changes.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Answer, Client, Proxy, Request, Upstream, post};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");

/// Taken and refused so far.
pub const APPLIED: &str = r#"idemproxy_config_reloads_total{result="applied"}"#;
pub const REFUSED: &str = r#"idemproxy_config_reloads_total{result="refused"}"#;

/// A proxy with a configuration file, and an upstream.
pub struct World {
    pub upstream: Upstream,
    pub proxy: Proxy,
    pub file: File,
}

/// A configuration file in a directory of its own.
pub struct File {
    pub directory: TempDir,
    path: PathBuf,
}

impl World {
    /// With these sections below the addresses.
    pub async fn of(sections: &str) -> Self {
        let upstream = Upstream::start().await;
        let file = File::new(&configuration(&upstream, sections));
        Self {
            proxy: Proxy::of_file(file.path()).await,
            upstream,
            file,
        }
    }

    /// Writes other sections, and has them taken.
    pub async fn reload(&self, sections: &str) {
        let text = configuration(&self.upstream, sections);
        self.reload_text(&text).await;
    }

    /// Writes another file, and has it taken.
    pub async fn reload_text(&self, text: &str) {
        self.file.write(text);
        let answer = reload(&self.proxy, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.document()["reloaded"], true);
    }

    /// Writes other sections, which are refused for these faults.
    pub async fn refuses(&self, sections: &str, status: u16, faults: &[&str]) {
        let text = configuration(&self.upstream, sections);
        self.refuses_text(&text, status, faults).await;
    }

    pub async fn refuses_text(&self, text: &str, status: u16, faults: &[&str]) {
        self.file.write(text);
        let answer = reload(&self.proxy, "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        let document = answer.document();
        assert_eq!(document["reloaded"], false, "{document}");
        let told: Vec<&str> = document["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault.as_str().unwrap())
            .collect();
        let name = format!("{}:", self.file.path().display());
        let bare: Vec<&str> = told
            .iter()
            .map(|fault| fault.strip_prefix(&name).unwrap_or(fault))
            .collect();
        assert_eq!(bare, faults);
    }

    /// `POST /orders` with a key and a body.
    pub async fn post(&self, key: &str, body: &str) -> Answer {
        self.proxy.send(&post("/orders", key, body)).await
    }

    /// A client that has sent this request, and waits.
    pub async fn begin(&self, request: &Request) -> Client {
        let mut client = self.proxy.connect().await;
        client.send(&request.bytes()).await;
        client
    }
}

impl File {
    pub fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("idemproxy.toml");
        std::fs::write(&path, text).unwrap();
        Self { directory, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another content, all at once.
    pub fn write(&self, text: &str) {
        let beside = self.path.with_extension("next");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &self.path).unwrap();
    }

    /// A file beside it.
    pub fn beside(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// A configuration with ports of its own and records in memory; its first section is in the eighth line.
pub fn configuration(upstream: &Upstream, sections: &str) -> String {
    let url = upstream.url();
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{url}\"\nservice = \"tests\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"memory:\"\n{sections}"
    )
}

/// `POST /v1/reload`.
pub async fn reload(proxy: &Proxy, query: &str) -> Answer {
    let mut request = Request::new("POST", &format!("/v1/reload{query}"));
    request.fields = vec![("Host".to_owned(), proxy.admin().to_string().into_bytes())];
    Client::once(proxy.admin(), &request).await
}
