//! Certificates and keys. Their files are read here, so that `check` tells what is wrong with them; what is made of them is read again where it is used.

use std::sync::Arc;

use super::reader::Reader;
use super::words::file;
use crate::tls::{BadTls, ClientFiles, ServerFiles, ServerTls};

/// `ca_file`, `cert_file` and `key_file` of a section. What a person should know of them is added to `notes`.
pub(super) fn client(table: &Reader<'_>, section: &str, notes: &mut Vec<String>) -> ClientFiles {
    let files = ClientFiles {
        ca_file: table.get("ca_file", file),
        cert_file: table.get("cert_file", file),
        key_file: table.get("key_file", file),
    };
    if table.sound(&["ca_file", "cert_file", "key_file"]) {
        match files.check() {
            Ok(note) => notes.extend(note.map(|note| format!("{section}.{note}"))),
            Err(error) => refuse(table, &error),
        }
    }
    files
}

/// `tls_cert`, `tls_key` and `tls_client_ca`; nothing where none is set, or one is at fault.
pub(super) fn server(table: &Reader<'_>) -> Option<Arc<ServerTls>> {
    let cert = table.get("tls_cert", file);
    let key = table.get("tls_key", file);
    let client_ca = table.get("tls_client_ca", file);
    if !table.sound(&["tls_cert", "tls_key", "tls_client_ca"]) {
        return None;
    }
    let loaded = match (cert, key) {
        (Some(cert), Some(key)) => ServerTls::load(ServerFiles {
            cert,
            key,
            client_ca,
        }),
        (None, None) => {
            if client_ca.is_some() {
                table.fault(
                    table.spot_of(&["tls_client_ca"]),
                    "expected `tls_cert` and `tls_key` with it: certificates are asked for over TLS",
                );
            }
            return None;
        }
        _ => Err(BadTls::Half("tls_cert", "tls_key")),
    };
    match loaded {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            refuse(table, &error);
            None
        }
    }
}

fn refuse(table: &Reader<'_>, error: &BadTls) {
    match error {
        BadTls::Half(certificate, key) => {
            table.fault(table.spot_of(&[certificate, key]), error.to_string());
        }
        other => {
            let (setting, why) = other.told();
            table.fault(table.spot_of(&[setting]), why);
        }
    }
}
