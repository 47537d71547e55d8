//! Certificates and keys in a configuration.

use idemproxy::config::{self, Overrides, Settings};

use crate::authority::Authority;

fn load(text: &str) -> Result<Settings, String> {
    let text = format!("upstream = \"https://127.0.0.1:1\"\nservice = \"s\"\n{text}");
    config::from_toml("f.toml", &text, &Overrides::default()).map_err(|faults| faults.to_string())
}

#[test]
fn what_is_wrong_with_a_file_is_told_at_its_setting() {
    let authority = Authority::new();
    authority
        .issue("a", &["localhost"])
        .issue("b", &["localhost"]);
    let [ca, a, key, other] = ["ca.pem", "a.pem", "a.key", "b.key"].map(|f| authority.file(f));
    for (section, cert, key_of) in [
        ("server", "tls_cert", "tls_key"),
        ("upstream_connections", "cert_file", "key_file"),
        ("store", "cert_file", "key_file"),
    ] {
        let url = if section == "store" {
            "url = \"rediss://h\"\n"
        } else {
            ""
        };
        let row = 4 + url.lines().count();
        let text =
            |key: &str| format!("[{section}]\n{url}{cert} = \"{a}\"\n{key_of} = \"{key}\"\n");
        assert!(load(&text(&key)).is_ok());
        let told = load(&text(&other)).unwrap_err();
        let place = format!("f.toml:{}:", row + 1);
        assert!(told.starts_with(&place), "{told}");
        let why = format!(
            "b.key\": expected the key of the first certificate in `{cert}`, and it is another one's"
        );
        assert!(told.contains(&why), "{told}");
    }
    let client_ca = format!("[server]\ntls_cert = \"{a}\"\ntls_key = \"{key}\"\ntls_client_ca = ");
    let told = load(&format!("{client_ca}\"{key}\"")).unwrap_err();
    assert!(told.starts_with("f.toml:6:17: "), "{told}");
    assert!(told.contains("expected certificates in PEM"), "{told}");
    let told = load(&format!("[store]\nurl = \"redis://h\"\nca_file = \"{ca}\"")).unwrap_err();
    assert!(
        told.contains("expected a `url` of rediss: with it"),
        "{told}"
    );

    let vain = load(&format!("[store]\nurl = \"memory:\"\nca_file = \"{ca}\"")).unwrap();
    let told = vain.warnings.join("\n");
    assert!(
        told.contains("of no use, since the store is not on a server"),
        "{told}"
    );
    let text = format!("upstream = \"http://h\"\n[upstream_connections]\nca_file = \"{ca}\"");
    let vain = config::from_toml("f.toml", &text, &Overrides::default()).unwrap();
    let told = vain.warnings.join("\n");
    assert!(
        told.contains("of no use, since no upstream is https:"),
        "{told}"
    );

    let settings = load(&format!("{client_ca}\"{ca}\"")).unwrap();
    let described = settings.describe().to_string();
    let listens = "127.0.0.1:8080 (HTTPS; clients must show a certificate)\n";
    assert!(described.contains(listens), "{described}");
}
