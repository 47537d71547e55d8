//! `idemproxy explain`: what would a request come to?

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use idemproxy::config::Settings;
use idemproxy::idempotency::UnixMillis;
use idemproxy::proxy::explain::{End, Explained, Site, explain};
use idemproxy::wire::BoxError;

/// A request, as an operator writes it.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The request's method, in capitals.
    method: Method,
    /// Its URL, or its path and query alone.
    #[arg(value_parser = url)]
    url: Uri,
    /// A header of it; may be given again.
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The file with its body; - for the standard input.
    #[arg(long, value_name = "FILE|-")]
    body: Option<String>,
}

/// Tells what the request would come to, which it does of a refusal too; or the exit code, where that was said.
pub(crate) fn run(asked: Asked, settings: &Settings) -> Result<String, ExitCode> {
    let request = asked.request().map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(crate::BAD_USAGE)
    })?;
    let told = explained(request, settings).map_err(|error| {
        eprintln!("idemproxy: {error}");
        ExitCode::FAILURE
    })?;
    let mut text = told.to_string();
    if let End::Keyed { id, .. } = told.end
        && let Some(key) = settings.store.redis_key(id)
    {
        text += &format!("{:<13} {key}\n", "redis key");
    }
    Ok(text)
}

fn explained(request: Request<Bytes>, settings: &Settings) -> Result<Explained, BoxError> {
    let site = Site {
        routes: &settings.routes,
        service: &settings.service,
        secret: &settings.store.secret,
        jwt: settings.jwt.as_deref(),
        trust_forwarded: &settings.server.trust_forwarded,
        upstreams: settings.upstreams.iter().map(|u| &u.origin).collect(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = UnixMillis(u64::try_from(now.as_millis())?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    Ok(runtime.block_on(explain(&site, request, now)))
}

impl Asked {
    fn request(self) -> Result<Request<Bytes>, BoxError> {
        let body = match self.body.as_deref() {
            None => Vec::new(),
            Some("-") => read(io::stdin()).map_err(|error| format!("--body: -: {error}"))?,
            Some(file) => File::open(Path::new(file))
                .and_then(read)
                .map_err(|error| format!("--body: {file}: cannot be read: {error}"))?,
        };
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = self.method;
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        // As it comes over the wire.
        let parts = self.url.into_parts();
        if let Some(authority) = parts.authority
            && !request.headers().contains_key(HOST)
        {
            let host = HeaderValue::from_str(authority.as_str())?;
            request.headers_mut().insert(HOST, host);
        }
        let root = PathAndQuery::from_static("/");
        *request.uri_mut() = parts.path_and_query.unwrap_or(root).into();
        Ok(request)
    }
}

fn read(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    from.read_to_end(&mut body)?;
    Ok(body)
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let absolute = matches!(url.scheme_str(), Some("http" | "https"));
    if absolute || url.path().starts_with('/') && url.authority().is_none() {
        Ok(url)
    } else {
        Err("expected http://HOST/PATH or /PATH".to_owned())
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let expected = "expected 'NAME: VALUE'";
    let (name, value) = text.split_once(':').ok_or(expected)?;
    let name = name.trim().parse::<HeaderName>();
    let name = name.map_err(|error| format!("{expected}: {error}"))?;
    let value = HeaderValue::from_str(value.trim());
    let value = value.map_err(|error| format!("{expected}: {error}"))?;
    Ok((name, value))
}
