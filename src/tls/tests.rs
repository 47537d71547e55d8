#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

struct Files {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
            issuer,
        };
        files.write("ca.pem", &files.issuer.pem());
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn server(&self, cert: &str, key: &str, client_ca: Option<&str>) -> Result<ServerTls, BadTls> {
        ServerTls::load(ServerFiles {
            cert: self.path(cert),
            key: self.path(key),
            client_ca: client_ca.map(|name| self.path(name)),
        })
    }
}

#[track_caller]
fn is_at(error: &BadTls, setting: &str, path: &Path, why: &str) {
    let shown = error.to_string();
    assert!(
        shown.starts_with(&format!("{setting}: {}: ", path.display())),
        "{shown}"
    );
    assert!(shown.contains(why), "{shown}");
}

#[test]
fn what_cannot_be_used_names_its_setting_its_file_and_what_was_expected() {
    let files = Files::new();
    files.issue("a", |_| ());
    files.issue("b", |_| ());
    let secret = "c2VjcmV0IG9mIHRoZSB0ZXN0";
    files.write("empty.pem", "");
    files.write(
        "torn.pem",
        &format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"),
    );
    files.write(
        "nonsense.pem",
        &format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
    );
    files.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    files.write(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let kind_of_key = "expected a private key of a kind that TLS uses";
    for (cert, key, client_ca, setting, file, why) in [
        (
            "none.pem",
            "a.key",
            None,
            "tls_cert",
            "none.pem",
            "expected a file that can be read: No such file",
        ),
        (".", "a.key", None, "tls_cert", ".", "it is no file"),
        (
            "empty.pem",
            "a.key",
            None,
            "tls_cert",
            "empty.pem",
            "-----BEGIN CERTIFICATE-----); it holds none",
        ),
        ("a.key", "a.key", None, "tls_cert", "a.key", "it holds none"),
        (
            "garbage.pem",
            "a.key",
            None,
            "tls_cert",
            "garbage.pem",
            "expected certificates in PEM",
        ),
        (
            "a.pem",
            "none.key",
            None,
            "tls_key",
            "none.key",
            "expected a file that can be read",
        ),
        (
            "a.pem",
            "a.pem",
            None,
            "tls_key",
            "a.pem",
            "-----BEGIN PRIVATE KEY-----); it holds none",
        ),
        (
            "a.pem",
            "b.key",
            None,
            "tls_key",
            "b.key",
            "expected the key of the first certificate in `tls_cert`",
        ),
        (
            "a.pem",
            "torn.pem",
            None,
            "tls_key",
            "torn.pem",
            "it cannot be read as PEM",
        ),
        (
            "a.pem",
            "nonsense.pem",
            None,
            "tls_key",
            "nonsense.pem",
            kind_of_key,
        ),
        (
            "a.pem",
            "locked.pem",
            None,
            "tls_key",
            "locked.pem",
            "without a passphrase",
        ),
        (
            "a.pem",
            "a.key",
            Some("none.pem"),
            "tls_client_ca",
            "none.pem",
            "expected a file that can be read",
        ),
        (
            "a.pem",
            "a.key",
            Some("a.key"),
            "tls_client_ca",
            "a.key",
            "it holds none",
        ),
        (
            "a.pem",
            "a.key",
            Some("garbage.pem"),
            "tls_client_ca",
            "garbage.pem",
            "expected certificates in PEM",
        ),
    ] {
        let error = files.server(cert, key, client_ca).unwrap_err();
        is_at(&error, setting, &files.path(file), why);
        assert!(!error.to_string().contains(secret), "{error}");
    }
    let client = |ca: Option<&str>, cert: Option<&str>, key: Option<&str>| ClientFiles {
        ca_file: ca.map(|name| files.path(name)),
        cert_file: cert.map(|name| files.path(name)),
        key_file: key.map(|name| files.path(name)),
    };
    for (given, setting, file) in [
        (client(Some("a.key"), None, None), "ca_file", "a.key"),
        (
            client(Some("ca.pem"), Some("none"), Some("a.key")),
            "cert_file",
            "none",
        ),
        (
            client(Some("ca.pem"), Some("a.pem"), Some("b.key")),
            "key_file",
            "b.key",
        ),
    ] {
        let error = given.check().unwrap_err();
        is_at(&error, setting, &files.path(file), "expected ");
        assert_eq!(given.load(&[]).err(), Some(error));
    }
    let half = BadTls::Half("cert_file", "key_file");
    assert_eq!(client(None, Some("a.pem"), None).check(), Err(half.clone()));
    assert_eq!(client(None, None, Some("a.key")).check(), Err(half));
    let whole = client(Some("ca.pem"), Some("a.pem"), Some("a.key"));
    assert_eq!(whole.check(), Ok(None));
    assert_eq!(
        whole.load(&["http/1.1"]).unwrap().config().alpn_protocols,
        [b"http/1.1"]
    );
}

#[test]
fn a_certificate_out_of_its_time_is_taken_and_told_of() {
    let files = Files::new();
    files.issue("past", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 3, 4);
    });
    files.issue("future", |params| {
        params.not_before = date_time_ymd(2901, 1, 1);
        params.not_after = date_time_ymd(2902, 1, 1);
    });
    files.issue("client", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(2002, 3, 4);
        params.not_before = date_time_ymd(2001, 1, 1);
    });
    files.issue("present", |_| ());
    let note = |name| {
        let server = files.server(&format!("{name}.pem"), &format!("{name}.key"), None);
        server.unwrap().note().unwrap_or_default().to_owned()
    };
    let past = "tls_cert expired on Mon, 04 Mar 2002 00:00:00 GMT";
    assert!(note("past").starts_with(past), "{}", note("past"));
    let future = "tls_cert is not valid before Sat, 01 Jan 2901 00:00:00 GMT";
    assert!(note("future").starts_with(future), "{}", note("future"));
    assert_eq!(note("present"), "");
    let client = ClientFiles {
        ca_file: None,
        cert_file: Some(files.path("client.pem")),
        key_file: Some(files.path("client.key")),
    };
    let note = client.check().unwrap().unwrap();
    assert!(note.starts_with("cert_file expired on Mon"), "{note}");
}
