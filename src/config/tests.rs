#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::Method;

use super::*;
use crate::idempotency::KeyFormat;
use crate::proxy::policy::{FingerprintPart, KeySource, Meanwhile, Mode, ScopePart};
use crate::store::Location;

const UPSTREAM: &str = "upstream = \"http://127.0.0.1:3000\"\n";

/// The faults of `text`, which stands after a good `upstream`, as `f.toml:2:…` and on.
fn faults(text: &str) -> Vec<String> {
    let text = format!("{UPSTREAM}{text}");
    match from_toml("f.toml", &text, &Overrides::default()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(Fault::to_string).collect(),
    }
}

fn good(text: &str) -> Settings {
    let text = format!("{UPSTREAM}{text}");
    from_toml("f.toml", &text, &Overrides::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn upstream_given() -> Overrides {
    Overrides {
        upstream: Some(Given::new("--upstream", "http://127.0.0.1:3000")),
        ..Overrides::default()
    }
}

const DURATION: &str = r#"expected a duration with its unit, such as "500ms", "30s" or "24h""#;
const ADDRESS: &str = r#"expected an IP address and port, such as "127.0.0.1:8080" or "[::]:8080""#;
const ORIGIN: &str = r#"expected http:// or https:// with a host and no more than a port, such as "http://127.0.0.1:3000""#;
const STORE: &str = "expected memory:, embedded:DIR, redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/PRIMARY[/DATABASE] or redis+cluster://[USER:PASSWORD@]HOST[:PORT],…; the last three over TLS with rediss in the place of redis";
const STATUSES: &str = r#"expected statuses from 200 to 599, such as "409", "2xx" or "500-599""#;
const NO_FILE: &str = "expected a file that can be read: No such file or directory (os error 2)";
const TEMPLATE: &str = r#"expected a path, percent-encoded, such as "/orders?client_id={key}""#;
const ABSENT: &str = r#"expected statuses that say that there is nothing, such as "404", and none of 2xx, 3xx, 401, 403, 407, 408, 425, 429 and 5xx"#;
const BARE_REPLY: &str = "expected `json` or `header` with it, or neither 2xx nor 3xx in `status`: if nothing can be fetched the key is free, though the request may have been carried out";
const METHOD: &str = r#"expected a request method in capitals, such as "POST""#;
const SOURCE: &str = r#"expected a source of keys: "header:NAME", "query:NAME", "cookie:NAME", "json:/pointer" or "content""#;
const FORMAT: &str = r#"expected "any", "uuid", "uuid4", "uuid7" or "regex:PATTERN""#;
const POINTER: &str = r#"expected a JSON pointer, such as "/sent_at""#;
const SCOPE: &str = r#"expected a part of the scope: "method", "path", "caller", "query", "header:NAME", "cookie:NAME", "jwt:CLAIM" or "client-ip""#;
const ENCRYPTION_KEY: &str = "expected a file with a key of 32 bytes: as they are, as 64 hex digits (openssl rand -hex 32), or in base64";
const ALGORITHM: &str = r#"expected an algorithm of signatures: "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", or with `secret_file` "HS256", "HS384", "HS512""#;
const PATTERN: &str =
    r#"expected a path such as "/orders/{id}", percent-encoded and without a query"#;

fn by_content(what: &str) -> String {
    format!(
        "`{what}` asks by {{key}}, expected no \"content\" in `key` with it: the upstream has never seen such a key"
    )
}

#[test]
fn each_fault_is_told_with_its_place_the_text_and_what_was_expected() {
    let cases = [
        ("lisetn = \"127.0.0.1:1\"", "2:1: lisetn: unknown key, did you mean `listen`?".to_owned()),
        ("[policy]\nretension = \"1h\"", "3:1: retension: unknown key, did you mean `retention`?".to_owned()),
        ("[server]\ntls_crt = \"x\"", "3:1: tls_crt: unknown key, did you mean `tls_cert`?".to_owned()),
        ("[policy.retry]\nforever = true", "3:1: forever: unknown key, expected one of: on, attempts, base, max, jitter".to_owned()),
        ("[policy]\nin_flight = \"wiat\"", "3:13: \"wiat\": expected \"reject\" or \"wait\"".to_owned()),
        ("[policy]\nwait_timeout = \"0s\"", "3:16: \"0s\": expected a duration from 1ms to 30d".to_owned()),
        ("[policy]\nwait_timout = \"1s\"", "3:1: wait_timout: unknown key, did you mean `wait_timeout`?".to_owned()),
        ("[reload]\nabcdefgh = true", "3:1: abcdefgh: unknown key, expected one of: watch".to_owned()),
        ("[log]\nabcdefgh = true", "3:1: abcdefgh: unknown key, expected one of: keys".to_owned()),
        ("listen = \"localhost:80\"", format!("2:10: \"localhost:80\": {ADDRESS}")),
        ("listen = 8080", format!("2:10: 8080: {ADDRESS}")),
        ("service = \"\"", "2:11: \"\": expected a name of 1 to 100 printable characters".to_owned()),
        ("store = 1", "2:9: 1: expected a table, [store]".to_owned()),
        ("route = 1", "2:9: 1: expected tables, [[route]]".to_owned()),
        ("[admin]\nlisten = \"on\"", format!("3:10: \"on\": {ADDRESS}, or \"off\"")),
        ("[admin]\nlisten = \"0.0.0.0:9090\"", "3:10: \"0.0.0.0:9090\": not a loopback address, expected `admin.token_file` with it: whoever reaches it can release keys".to_owned()),
        ("[admin]\nlisten = \"127.0.0.1:8080\"", "3:10: \"127.0.0.1:8080\": expected different addresses for `listen` and `admin.listen`".to_owned()),
        ("listen = \"127.0.0.1:9090\"", "2:10: \"127.0.0.1:9090\": expected different addresses for `listen` and `admin.listen`".to_owned()),
        ("[store]\nurl = \"embeded:x\"", format!("3:7: \"embeded:x\": {STORE}")),
        ("[store]\nurl = \"embedded:\"", format!("3:7: \"embedded:\": {STORE}")),
        ("[store]\nurl = \"redis://u:pw@h:99999\"", format!("3:7: \"redis:…\": {STORE}")),
        ("[store]\nurl = \"redis+sentinel://u:pw@h\"", format!("3:7: \"redis+sentinel:…\": {STORE}")),
        ("[store]\nurl = \"redis+sentinel://h/p?sentinel_password=a&b\"", format!("3:7: \"redis+sentinel:…\": {STORE}")),
        ("[store]\nurl = \"redis+sentinel://h/p\"", "3:7: \"redis+sentinel://h/p\": expected `service` with it: others may share this store, and the name keeps their keys apart".to_owned()),
        ("[store]\nurl = \"redis+cluster://u:pw@h,g/1\"", format!("3:7: \"redis+cluster:…\": {STORE}")),
        ("[store]\nurl = \"redis+cluster://h,g\"", "3:7: \"redis+cluster://h,g\": expected `service` with it: others may share this store, and the name keeps their keys apart".to_owned()),
        ("[store]\nurl = \"redis://h\"", "3:7: \"redis://h\": expected `service` with it: others may share this store, and the name keeps their keys apart".to_owned()),
        ("[store]\nprefix = \"a{b}\"", "3:10: \"a{b}\": expected 1 to 64 letters, digits and any of . _ : -".to_owned()),
        ("[store]\ntimeout = 500", format!("3:11: 500: {DURATION}")),
        ("[store]\ntimeout = \"500\"", format!("3:11: \"500\": {DURATION}")),
        ("[store]\ntimeout = \"0s\"", "3:11: \"0s\": expected a duration from 1ms to 30d".to_owned()),
        ("[store]\nsync = \"sometimes\"", "3:8: \"sometimes\": expected \"always\" or \"never\"".to_owned()),
        ("[store]\nmax_bytes = \"4 GB of disk\"", "3:13: \"4 GB of disk\": expected a size in bytes, such as \"64KiB\" or \"1MiB\"".to_owned()),
        ("[store]\nwait_replicas = -1", "3:17: -1: expected a whole number from 0 to 100".to_owned()),
        ("[store]\nallow_eviction = \"no\"", "3:18: \"no\": expected true or false".to_owned()),
        ("[server]\nmax_header_bytes = \"1KiB\"", "3:20: \"1KiB\": expected a size from 8.0 KiB to 16.0 MiB".to_owned()),
        ("[server]\nmax_connections = 0", "3:19: 0: expected a whole number from 1 to 10000000".to_owned()),
        ("[server]\ntrust_forwarded = [\"loopback\", \"10.0.0.0/40\"]", "3:32: \"10.0.0.0/40\": expected \"loopback\", \"private\", an IP address or a network such as \"10.0.0.0/8\"".to_owned()),
        ("[upstream_connections]\ncert_file = \"a.pem\"", "3:13: \"a.pem\": expected `cert_file` and `key_file` together".to_owned()),
        ("[upstream_connections]\nca_file = \"/nowhere.pem\"", format!("3:11: \"/nowhere.pem\": {NO_FILE}")),
        ("[server]\ntls_cert = \"a.pem\"", "3:12: \"a.pem\": expected `tls_cert` and `tls_key` together".to_owned()),
        ("[server]\ntls_key = \"a.key\"", "3:11: \"a.key\": expected `tls_cert` and `tls_key` together".to_owned()),
        ("[server]\ntls_client_ca = \"a.pem\"", "3:17: \"a.pem\": expected `tls_cert` and `tls_key` with it: certificates are asked for over TLS".to_owned()),
        ("[server]\ntls_cert = \"/nowhere.pem\"\ntls_key = \"a.key\"", format!("3:12: \"/nowhere.pem\": {NO_FILE}")),
        ("[server]\ntls_cert = 1\ntls_key = \"a.key\"", "3:12: 1: expected the path of a file".to_owned()),
        ("[store]\ncert_file = \"a.pem\"", "3:13: \"a.pem\": expected `cert_file` and `key_file` together".to_owned()),
        ("[policy]\nmode = true", "3:8: true: expected \"enforce\" or \"observe\" or \"off\"".to_owned()),
        ("[policy]\nmethods = []", "3:11: []: expected a list of at least 1".to_owned()),
        ("[policy]\nmethods = \"POST\"", "3:11: \"POST\": expected a list, in [ ]".to_owned()),
        ("[policy]\nmethods = [\"post\"]", format!("3:12: \"post\": {METHOD}")),
        ("[policy]\nmethods = [\"A B\"]", format!("3:12: \"A B\": {METHOD}")),
        ("[policy]\nkey = [\"header:a b\"]", format!("3:8: \"header:a b\": {SOURCE}")),
        ("[policy]\nkey = [\"header:Connection\"]", format!("3:8: \"header:Connection\": {SOURCE}")),
        ("[policy]\nkey = [\"query:\"]", format!("3:8: \"query:\": {SOURCE}")),
        ("[policy]\nkey = [\"cookie:a=b\"]", format!("3:8: \"cookie:a=b\": {SOURCE}")),
        ("[policy]\nkey = [\"json:id\"]", format!("3:8: \"json:id\": {SOURCE}")),
        ("[policy]\nkey = [\"json:\"]", format!("3:8: \"json:\": {SOURCE}")),
        ("[policy]\nkey = [\"json:/a~2\"]", format!("3:8: \"json:/a~2\": {SOURCE}")),
        ("[policy]\nkey = [\"contents\"]", format!("3:8: \"contents\": {SOURCE}")),
        ("[policy]\nkey = [\"content\"]", "3:7: [\"content\"]: expected `retention` here too, with \"content\": within it, two requests that are alike count as one".to_owned()),
        ("[policy]\nretention = \"5s\"\n[[route]]\npath = \"/\"\nkey = [\"content\"]", "6:7: [\"content\"]: expected `retention` here too, with \"content\": within it, two requests that are alike count as one".to_owned()),
        ("[policy]\nkey = [\"content\", \"query:a\"]\nretention = \"5s\"", "3:7: [\"content\", \"query:a\"]: expected \"content\" last: every request has one, and what stands after it is never asked".to_owned()),
        ("[policy]\nkey = [\"content\"]\nretention = \"5s\"\nfingerprint = []", "5:15: []: expected \"body\" or \"json-body\" in `fingerprint` with the key \"content\": requests with different bodies would have one key".to_owned()),
        ("[policy]\nfingerprint = [\"path\", \"query\"]\n[[route]]\npath = \"/\"\nretention = \"5s\"\nkey = [\"content\"]", "7:7: [\"content\"]: expected \"body\" or \"json-body\" in `fingerprint` with the key \"content\": requests with different bodies would have one key".to_owned()),
        ("[policy]\nkey = [\"content\"]\nretention = \"5s\"\nprobe = { path = \"/o/{key}\" }", format!("5:9: {{ path = \"/o/{{key}}\" }}: {}", by_content("probe"))),
        ("[policy]\nprobe = { path = \"/o/{key}\" }\nunknown_outcome = \"probe\"\n[[route]]\npath = \"/\"\nretention = \"5s\"\nkey = [\"header:A\", \"content\"]", format!("8:7: [\"header:A\", \"content\"]: {}", by_content("probe"))),
        ("[policy]\nkey = [\"content\"]\nretention = \"5s\"\n[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nreply_from = \"/o/{key}\"", format!("5:1: [[policy.response]]: {}", by_content("reply_from"))),
        ("[policy]\nkey_format = \"uuid5\"", format!("3:14: \"uuid5\": {FORMAT}")),
        ("[policy]\nkey_format = \"regex:(a\"", "3:14: \"regex:(a\": expected a regular expression after regex: (unclosed group)".to_owned()),
        ("[policy]\nuuid7_max_age = 7", format!("3:17: 7: {DURATION}")),
        ("[policy]\nuuid7_max_futur = \"1m\"", "3:1: uuid7_max_futur: unknown key, did you mean `uuid7_max_future`?".to_owned()),
        ("[policy]\nfingerprint = [\"body\", \"json-body\"]", "3:15: [\"body\", \"json-body\"]: expected \"body\" or \"json-body\", not both".to_owned()),
        ("[policy]\nfingerprint_ignore = [\"/a\"]", "3:22: [\"/a\"]: expected \"json-body\" in `fingerprint` with it: pointers lead into JSON".to_owned()),
        ("[policy]\nfingerprint = [\"json-body\"]\nfingerprint_ignore = [\"\"]", format!("4:23: \"\": {POINTER}")),
        ("[policy]\nfingerprint = [\"json-body\"]\nfingerprint_ignore = [\"a\"]", format!("4:23: \"a\": {POINTER}")),
        ("[policy]\nkey_max_length = 0", "3:18: 0: expected a whole number from 1 to 4096".to_owned()),
        ("[policy]\nscope = [\"path\", \"path\"]", "3:18: \"path\": expected each only once".to_owned()),
        ("[policy]\nscope = [\"colour\"]", format!("3:10: \"colour\": {SCOPE}")),
        ("[policy]\nscope = [\"header:\"]", format!("3:10: \"header:\": {SCOPE}")),
        ("[policy]\nscope = [\"header:Connection\"]", format!("3:10: \"header:Connection\": {SCOPE}")),
        ("[policy]\nscope = [\"header:X-Forwarded-For\"]", format!("3:10: \"header:X-Forwarded-For\": {SCOPE}")),
        ("[policy]\nscope = [\"header:Cookie\"]", format!("3:10: \"header:Cookie\": {SCOPE}")),
        ("[policy]\nscope = [\"cookie:a b\"]", format!("3:10: \"cookie:a b\": {SCOPE}")),
        ("[policy]\nscope = [\"query:a\"]", format!("3:10: \"query:a\": {SCOPE}")),
        ("[policy]\nscope = [\"jwt:\"]", format!("3:10: \"jwt:\": {SCOPE}")),
        ("[policy]\nscope = [\"header:A\", \"header:a\"]", "3:22: \"header:a\": expected each only once".to_owned()),
        ("[policy]\nscope = [\"jwt:sub\"]", "3:9: [\"jwt:sub\"]: expected a [jwt] with \"jwt:\": a claim counts only if the token verifies".to_owned()),
        ("[[route]]\npath = \"/\"\nscope = [\"jwt:sub\"]", "4:9: [\"jwt:sub\"]: expected a [jwt] with \"jwt:\": a claim counts only if the token verifies".to_owned()),
        ("jwt = 1", "2:7: 1: expected a table, [jwt]".to_owned()),
        ("[store]\nsecret_file = \"/\"", "3:15: \"/\": expected a file that can be read: it is no file".to_owned()),
        ("[store]\nencryption_keys = [\"Cargo.toml\"]", format!("3:20: \"Cargo.toml\": {ENCRYPTION_KEY}")),
        ("[store]\nencryption_keys = [\"src/missing\"]", "3:20: \"src/missing\": expected a file that can be read: No such file or directory (os error 2)".to_owned()),
        ("[store]\nencryption_keys = []", "3:19: []: expected a list of at least 1".to_owned()),
        ("[store]\nencryption_keys = \"Cargo.toml\"", "3:19: \"Cargo.toml\": expected a list, in [ ]".to_owned()),
        ("[store]\nencryption_key = \"Cargo.toml\"", "3:1: encryption_key: unknown key, did you mean `encryption_keys`?".to_owned()),
        ("[jwt]\nissuer = \"me\"", "2:1: [jwt]: expected `keys`, the file of a JSON Web Key Set, or `secret_file`".to_owned()),
        ("[jwt]\nissuers = \"me\"\nsecret_file = \"Cargo.toml\"", "3:1: issuers: unknown key, did you mean `issuer`?".to_owned()),
        ("[jwt]\nkeys = \"/no/such/file\"", "3:8: \"/no/such/file\": expected a file that can be read: No such file or directory (os error 2)".to_owned()),
        ("[jwt]\nsecret_file = \"/\"", "3:15: \"/\": expected a file that can be read: it is no file".to_owned()),
        ("[jwt]\nkeys = \"/dev/null\"", "3:8: \"/dev/null\": expected a file that can be read: it is no file".to_owned()),
        ("[jwt]\nkeys = \"Cargo.toml\"", "3:8: \"Cargo.toml\": the file is no JSON Web Key Set, {\"keys\": [...]}".to_owned()),
        ("[jwt]\nkeys = \"Cargo.toml\"\nsecret_file = \"Cargo.toml\"", "4:15: \"Cargo.toml\": expected `keys` or `secret_file`, not both".to_owned()),
        ("[jwt]\nkeys = \"Cargo.toml\"\nalgorithms = [\"RS256\", \"HS256\"]", "4:14: [\"RS256\", \"HS256\"]: HS256 is none for these keys, expected RS…, PS…, ES… or EdDSA with `keys`, which are public".to_owned()),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nalgorithms = [\"ES256\"]", "4:14: [\"ES256\"]: ES256 is none for these keys, expected HS256, HS384 or HS512 with `secret_file`".to_owned()),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nalgorithms = []", "4:14: []: expected a list of at least 1".to_owned()),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nalgorithms = [\"none\"]", format!("4:15: \"none\": {ALGORITHM}")),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nissuer = \"\"", "4:10: \"\": expected a text that is not empty, without control characters".to_owned()),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nleeway = 60", format!("4:10: 60: {DURATION}")),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nleeway = \"999ms\"", "4:10: \"999ms\": expected whole seconds".to_owned()),
        ("[jwt]\nsecret_file = \"Cargo.toml\"\nleeway = \"1500ms\"", "4:10: \"1500ms\": expected whole seconds".to_owned()),
        ("[policy]\nfingerprint = [\"header:A\", \"header:a\"]", "3:28: \"header:a\": expected each only once".to_owned()),
        ("[policy]\nlease = \"1ms\"", "3:9: \"1ms\": expected a duration from 100ms to 1h".to_owned()),
        ("[policy]\nlease = 30", format!("3:9: 30: {DURATION}")),
        ("[policy]\nunknown_retention = \"6m\"\nlease = \"31s\"", "3:21: \"6m\": unknown_retention is 6m here, expected at least upstream_timeout + 2 × lease, 6m2s".to_owned()),
        ("[policy]\nupstream_timeout = \"8d\"", "3:20: \"8d\": unknown_retention is 7d here, expected at least upstream_timeout + 2 × lease, 8d1m".to_owned()),
        ("[policy]\nmax_buffered_request = \"1GiB\"", "3:24: \"1GiB\": expected a size from 0 B to 256.0 MiB".to_owned()),
        ("[policy]\nmax_request_body = \"some\"", "3:20: \"some\": expected \"none\", or a size in bytes such as \"10MiB\"".to_owned()),
        ("[policy]\nretry = 3", "3:9: 3: expected a table, [policy.retry]".to_owned()),
        ("[policy.retry]\njitter = 1.5", "3:10: 1.5: expected a number from 0.0 to 1.0".to_owned()),
        ("[policy.retry]\njitter = nan", "3:10: nan: expected a number from 0.0 to 1.0".to_owned()),
        ("[policy.retry]\nattempts = 0", "3:12: 0: expected a whole number from 1 to 100".to_owned()),
        ("[policy.retry]\nbase = \"9s\"", "3:8: \"9s\": retry.max is 8s here, expected at least retry.base, 9s".to_owned()),
        ("[policy.retry]\non = [\"200\"]", "3:7: \"200\": expected \"connect\" or a status from \"400\" to \"599\"".to_owned()),
        ("[policy.retry]\non = [\"+503\"]", "3:7: \"+503\": expected \"connect\" or a status from \"400\" to \"599\"".to_owned()),
        ("[[policy.response]]\noutcome = \"store\"", "2:1: [[policy.response]]: expected `status`, `json` or `header`: without any it would match every answer".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"", "2:1: [[policy.response]]: `outcome` is missing, expected \"store\", \"release\" or \"unknown\"".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"keep\"", "4:11: \"keep\": expected \"store\" or \"release\" or \"unknown\"".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nretention = \"1y 1\"", format!("5:13: \"1y 1\": {DURATION}")),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"unknown\"\nretention = \"5m\"", "5:13: \"5m\": expected at least upstream_timeout + 2 × lease, 6m, for what may be under way".to_owned()),
        ("[[policy.response]]\nstatuss = \"409\"\nstatus = \"409\"\noutcome = \"store\"", "3:1: statuss: unknown key, did you mean `status`?".to_owned()),
        ("[[policy.response]]\nstatus = 409\noutcome = \"store\"", format!("3:10: 409: {STATUSES}")),
        ("[[policy.response]]\nstatus = \"599-500\"\noutcome = \"store\"", format!("3:10: \"599-500\": {STATUSES}")),
        ("[[policy.response]]\nstatus = \"6xx\"\noutcome = \"store\"", format!("3:10: \"6xx\": {STATUSES}")),
        ("[[policy.response]]\njson = { \"error/code\" = \"1\" }\noutcome = \"store\"", "3:10: \"error/code\": expected a JSON pointer: a JSON pointer begins with /".to_owned()),
        ("[[policy.response]]\njson = { \"/a\" = [] }\noutcome = \"store\"", "3:17: []: expected a string, a number, true or false".to_owned()),
        ("[[policy.response]]\njson = { \"/a\" = nan }\noutcome = \"store\"", "3:17: nan: expected a string, a number, true or false".to_owned()),
        ("[[policy.response]]\njson = {}\noutcome = \"store\"", "3:8: {}: expected a table such as { \"/error/code\" = \"23505\" }".to_owned()),
        ("[[policy.response]]\nheader = { \"a b\" = \"1\" }\noutcome = \"store\"", "3:12: \"a b\": expected the name of a header that goes from end to end".to_owned()),
        ("[[policy.response]]\nheader = { server = 1 }\noutcome = \"store\"", "3:21: 1: expected the header's value, a string".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nreply_status = 199", "5:16: 199: expected a whole number from 200 to 599".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nreply_status = 204", "5:16: 204: expected a status whose answers have a body".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nreply_from = \"orders\"", format!("5:14: \"orders\": {TEMPLATE}")),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"store\"\nreply_from = \"/o/{id}\"", "5:14: \"/o/{id}\": expected no placeholder but {key}".to_owned()),
        ("[[policy.response]]\nstatus = \"409\"\noutcome = \"release\"\nreply_from = \"/o\"", "5:14: \"/o\": expected `outcome = \"store\"` with it: what is fetched is kept".to_owned()),
        ("[[policy.response]]\nstatus = \"200-409\"\noutcome = \"store\"\nreply_from = \"/o\"", format!("5:14: \"/o\": {BARE_REPLY}")),
        ("[[route]]\npath = \"/\"\nupstream_timeout = \"1h\"\n[policy]\n[[policy.response]]\nstatus = \"503\"\noutcome = \"unknown\"\nretention = \"6m\"", "4:20: \"1h\": a response rule of [policy] keeps what is unknown for 6m, expected at least upstream_timeout + 2 × lease, 1h1m here".to_owned()),
        ("[[route]]\npath = \"/\"\n[[route.response]]\nstatus = \"5\"\noutcome = \"store\"", format!("5:10: \"5\": {STATUSES}")),
        ("[policy]\nunknown_outcome = \"probe\"", "3:19: \"probe\": expected `probe` with it, such as { path = \"/orders?client_id={key}\" }".to_owned()),
        ("[policy]\nprobe = { found = \"2xx\" }", "3:9: { found = \"2xx\" }: `path` is missing, expected one, such as \"/orders\"".to_owned()),
        ("[policy]\nprobe = { path = \"o\" }", format!("3:18: \"o\": {TEMPLATE}")),
        ("[policy]\nprobe = { path = \"/o\", absent = \"200\" }", format!("3:33: \"200\": {ABSENT}")),
        ("[policy]\nprobe = { path = \"/o\", absent = \"404-410\" }", format!("3:33: \"404-410\": {ABSENT}")),
        ("[policy]\nprobe = { path = \"/o\", absent = \"503\" }", format!("3:33: \"503\": {ABSENT}")),
        ("[policy]\nprobe = { path = \"/o\", found = \"400-404\" }", "3:32: \"400-404\": expected no status that is both found (400-404) and absent (404)".to_owned()),
        ("[policy]\nprobe = { path = \"/o\", after = 60 }", format!("3:32: 60: {DURATION}")),
        ("[policy]\nprobe = { path = \"/o\", afterr = \"1m\" }", "3:24: afterr: unknown key, did you mean `after`?".to_owned()),
        ("[policy]\nreplay_check = { path = \"/me/{key}\" }", "3:25: \"/me/{key}\": expected a path without {key}: it is about credentials, and not about a key".to_owned()),
        ("[policy]\nreplay_check = { path = \"/me\", ok = \"1xx\" }", format!("3:37: \"1xx\": {STATUSES}")),
        ("[policy]\nreplay_check = { path = \"/me\", ok = \"200-404\" }", "3:37: \"200-404\": expected statuses within 2xx: others say nothing good of credentials".to_owned()),
        ("[policy]\nreplay_check = true", "3:16: true: expected a table, [policy.replay_check]".to_owned()),
        ("[[route]]\nname = \"a\"", "2:1: [[route]]: `path` is missing, expected one, such as \"/orders/{id}\"".to_owned()),
        ("[[route]]\npath = \"orders\"", format!("3:8: \"orders\": {PATTERN}")),
        ("[[route]]\npath = \"/a?b=c\"", format!("3:8: \"/a?b=c\": {PATTERN}")),
        ("[[route]]\npath = \"/a/{id\"", "3:8: \"/a/{id\": expected a name in each pair of braces, as in {id} or {*rest}".to_owned()),
        ("[[route]]\npath = \"/{*a}/b\"", "3:8: \"/{*a}/b\": expected {*rest} at the end alone".to_owned()),
        ("[[route]]\npath = \"/{a}{b}\"", "3:8: \"/{a}{b}\": expected no more than one {name} in a segment".to_owned()),
        ("[[route]]\npath = \"/v{a}\"", "3:8: \"/v{a}\": expected {name} to be a whole segment".to_owned()),
        ("[[route]]\npath = \"/a/../b\"", "3:8: \"/a/../b\": expected a path without dot segments: requests for it are refused".to_owned()),
        ("[[route]]\npath = \"/a/%2E\"", "3:8: \"/a/%2E\": expected a path without dot segments: requests for it are refused".to_owned()),
        ("[policy]\nretry = { on = [], attempt = 3 }", "3:20: attempt: unknown key, did you mean `attempts`?".to_owned()),
        ("[policy]\nretry = { x = 3 }", "3:11: x: unknown key, expected one of: on, attempts, base, max, jitter".to_owned()),
        ("[policy]\nretry.jiter = 0", "3:7: jiter: unknown key, did you mean `jitter`?".to_owned()),
        ("[policy]\nresponse = { status = \"409\", outcome = \"store\" }", "3:12: { status = \"409\", outcome = \"store\" }: expected tables, [[policy.response]]".to_owned()),
        ("[[policy]]\nlease = \"1s\"", "2:1: [[policy]]: expected a table, [policy]".to_owned()),
        ("[route]\npath = \"/\"", "2:1: [route]: expected tables, [[route]]".to_owned()),
        ("route = [{ path = \"/\" }, \"/a\"]", "2:26: \"/a\": expected tables, [[route]]".to_owned()),
        ("[[store]]\nurl = \"memory:\"\n[[store]]\nurl = \"memory:\"", "2:1: [[store]]: expected a table, [store]".to_owned()),
        ("[[route]]\npath = \"/\"\n[[route.respons]]", "4:9: respons: unknown key, did you mean `response`?".to_owned()),
        ("[policy]\nretention = 2020-01-01", format!("3:13: 2020-01-01: {DURATION}")),
        ("[policy]\nretention = \"99999999999999999999h\"", format!("3:13: \"99999999999999999999h\": {DURATION}")),
        ("[policy]\nretention = \"-1h\"", format!("3:13: \"-1h\": {DURATION}")),
        ("[policy]\nkey_max_length = 0x100000000", "3:18: 0x100000000: expected a whole number from 1 to 4096".to_owned()),
        ("[policy]\nmethods = [[\"POST\"]]", format!("3:12: [\"POST\"]: {METHOD}")),
        ("[[route]]\nname = \"default\"\npath = \"/\"", "3:8: \"default\": another route is called \"default\", expected a name of its own".to_owned()),
        ("[[route]]\npath = \"/\"\nupstream = \"ftp://h\"", format!("4:12: \"ftp://h\": {ORIGIN}")),
        ("[[route]]\npath = \"/\"\nlease = \"1h\"\nunknown_retention = \"1h\"", "5:21: \"1h\": unknown_retention is 1h here, expected at least upstream_timeout + 2 × lease, 2h5m".to_owned()),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(text), [format!("f.toml:{expected}")], "{text}");
    }
}

#[test]
fn faults_of_the_operators_voice_are_told_as_all_others() {
    const NAME: &str = "expected the name of a header that has no other meaning, which begins with \"X-\" or contains \"Idempoten\", such as \"Idempotent-Replayed\"";
    const ORIGIN: &str = "expected an origin as browsers send it, such as \"https://app.example\" or \"http://localhost:5173\", or \"*\"";
    const MEDIA: &str =
        "expected a media type, such as \"application/json\" or \"text/plain; charset=utf-8\"";
    const WORDS: &str = "expected {code}, {detail}, {status} or {id} in the place of";
    const NO_JSON: &str = "expected placeholders within strings, as in {\"code\":\"{code}\"}, or another `content_type`";
    let cases = [
        ("[errors]\nbody = 1", "3:8: 1: expected a text".to_owned()),
        ("[errors]\nbody = '{\"m\":\"{detial}\"}'", format!("3:8: '{{\"m\":\"{{detial}}\"}}': {WORDS} {{detial}}, did you mean {{detail}}?")),
        ("[errors]\nbody = '{\"m\":\"{message}\"}'", format!("3:8: '{{\"m\":\"{{message}}\"}}': {WORDS} {{message}}")),
        ("[errors]\nbody = '{detail}'", format!("3:8: '{{detail}}': not JSON once it is filled in (EOF while parsing a value at line 1 column 0), {NO_JSON}")),
        ("[errors]\nbody = '{\"id\":{id}}'\ncontent_type = \"application/problem+json; charset=utf-8\"", format!("3:8: '{{\"id\":{{id}}}}': not JSON once it is filled in (expected value at line 1 column 7), {NO_JSON}")),
        ("[errors]\nbody = '{code}'\ncontent_type = \"text\"", format!("4:16: \"text\": {MEDIA}")),
        ("[errors]\nbody = '{code}'\ncontent_type = \"text/a\\nb\"", format!("4:16: \"text/a\\nb\": {MEDIA}")),
        ("[errors]\ncontent_type = \"text/plain\"", "3:16: \"text/plain\": expected `body` with it: without one the answers are application/problem+json".to_owned()),
        ("[errors]\nbdoy = \"\"", "3:1: bdoy: unknown key, did you mean `body`?".to_owned()),
        ("[errors.detail]\nin_progress = \"x\"", "3:1: in_progress: unknown key, did you mean `in-progress`?".to_owned()),
        ("[errors.detail]\nin-progress = 1", "3:15: 1: expected a text".to_owned()),
        ("[errors]\ncors_origins = [\"https://a\", \"https://a\"]", "3:30: \"https://a\": expected each only once".to_owned()),
        ("[headers]\nreplay = \"a b\"", format!("3:10: \"a b\": {NAME}")),
        ("[headers]\nstored = \"Content-Length\"", format!("3:10: \"Content-Length\": {NAME}")),
        ("[headers]\nreplay = \"Connection\"", format!("3:10: \"Connection\": {NAME}")),
        ("[headers]\nreplay = \"X-Idempotency-Id\"", format!("3:10: \"X-Idempotency-Id\": {NAME}")),
        ("[headers]\nstored = \"Retry-After\"", format!("3:10: \"Retry-After\": {NAME}")),
        ("[headers]\nstored = \"Access-Control-Allow-Origin\"", format!("3:10: \"Access-Control-Allow-Origin\": {NAME}")),
        ("[headers]\nreplay = \"X-Kept\"\nstored = \"x-kept\"", "4:10: \"x-kept\": expected different names for `replay` and `stored`".to_owned()),
        ("[headers]\nreplay = \"X-Idempotency-Stored\"", format!("3:10: \"X-Idempotency-Stored\": {NAME}")),
        ("[headers]\nstored = \"X-Idempotency-Replay\"", format!("3:10: \"X-Idempotency-Replay\": {NAME}")),
        ("[headers]\nreplay = \"Server\"", format!("3:10: \"Server\": {NAME}")),
        ("[headers]\nreplay = \"Idempotency-Key\"", format!("3:10: \"Idempotency-Key\": {NAME}")),
        ("[headers]\nreplay = \"X-Request-Id\"", format!("3:10: \"X-Request-Id\": {NAME}")),
        ("[headers]\nreplay = \"X-Forwarded-Replay\"", format!("3:10: \"X-Forwarded-Replay\": {NAME}")),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(text), [format!("f.toml:{expected}")], "{text}");
    }
    for origin in [
        "app.example",
        "https://",
        "https://app.example/",
        "https://App.example",
        "https://app.example:443",
        "http://app.example:80",
        "http://app.example:",
        "https://user@app.example",
        "https://*.app.example",
        "null",
        "",
    ] {
        let [fault] = faults(&format!("[errors]\ncors_origins = [\"{origin}\"]"))
            .try_into()
            .unwrap();
        assert!(fault.ends_with(ORIGIN), "{fault}");
    }
    good(
        "[errors]\ncors_origins = [\"*\", \"https://app.example\", \"http://localhost:5173\", \"http://[::1]:3000\", \"capacitor://localhost\", \"https://app.example:80\"]",
    );
}

#[test]
fn the_operators_voice_is_told_and_warned_about() {
    let settings = good(
        r#"
        [headers]
        replay = "Idempotent-Replayed"
        [errors]
        body = '{"success":false,"code":"{code}","status":{status}}'
        cors_origins = ["https://app.example", "*"]
        [errors.detail]
        in-progress = "Bitte warten."
        "#,
    );
    let told = settings.describe().to_string();
    for line in [
        "headers               replay idempotent-replayed, stored x-idempotency-stored\n",
        "errors                application/json, by template\n",
        "errors.detail         in-progress\n",
        "errors.cors_origins   https://app.example *\n",
        "errors: body has no object `error`: stripe-node takes a 409 without one for a success\n",
        "errors: cors_origins has *: ",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    let plain = good("[errors]\nbody = \"{code}: {detail}\"\ncontent_type = \"text/plain\"");
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
    let quiet = good("[errors]\nbody = '{\"error\":{\"code\":\"{code}\"}}'");
    assert!(quiet.warnings.is_empty(), "{:?}", quiet.warnings);
}

#[test]
fn keys_are_logged_if_asked_for_and_that_is_told_and_warned_about() {
    let settings = good("[log]\nkeys = true");
    assert!(settings.log.keys);
    let told = settings.describe().to_string();
    for line in ["log.keys              true\n", "  - log: keys is true: "] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    let settings = good("");
    assert!(!settings.log.keys && settings.warnings.is_empty());
    assert_eq!(
        faults("[log]\nkeys = \"yes\"\nkey = true"),
        [
            "f.toml:3:8: \"yes\": expected true or false",
            "f.toml:4:1: key: unknown key, did you mean `keys`?"
        ]
    );
}

#[test]
fn keys_that_are_taken_for_longer_than_they_are_known_are_warned_about() {
    let warned = |policy: &str| {
        let settings = good(&format!("[policy]\n{policy}"));
        let warnings = settings.warnings.iter();
        warnings
            .filter(|warning| warning.contains("uuid7_max_age"))
            .count()
    };
    let uuid7 = "key_format = \"uuid7\"";
    assert_eq!(warned(""), 0);
    assert_eq!(warned(uuid7), 1);
    assert_eq!(warned(&format!("{uuid7}\nretention = \"7d\"")), 1);
    assert_eq!(warned(&format!("{uuid7}\nretention = \"7d 1m\"")), 0);
    assert_eq!(warned(&format!("{uuid7}\nuuid7_max_age = \"23h\"")), 0);
}

#[test]
fn a_fingerprint_fits_into_a_record() {
    let header = |length| {
        format!(
            "[policy]\nfingerprint = [\"header:{}\"]",
            "n".repeat(length)
        )
    };
    good(&header(200));
    let [fault] = faults(&header(201)).try_into().unwrap();
    assert!(
        fault.ends_with("expected a header name of at most 200 characters"),
        "{fault}"
    );

    let parts = |count| {
        let parts: Vec<String> = (0..count).map(|n| format!("\"header:n{n}\"")).collect();
        format!("[policy]\nfingerprint = [{}]", parts.join(", "))
    };
    good(&parts(254));
    let [fault] = faults(&parts(255)).try_into().unwrap();
    assert!(fault.ends_with("expected a list of at most 254"), "{fault}");
}

#[test]
fn an_upstream_is_a_scheme_and_an_authority_alone() {
    for url in [
        "127.0.0.1:3000",
        "/",
        "ftp://h",
        "http://",
        "http://:80",
        "http://h:",
        "http://h:0",
        "http://h:99999",
        "http://h/a",
        "http://h/#a",
        "http://h#a",
    ] {
        let text = format!("upstream = \"{url}\"");
        let faults = from_toml("f.toml", &text, &Overrides::default()).unwrap_err();
        assert_eq!(
            faults.to_string(),
            format!("f.toml:1:12: \"{url}\": {ORIGIN}")
        );
    }
    for url in [
        "http://h",
        "https://h:8443/",
        "http://[::1]:3000",
        "http://a-b.c_d",
    ] {
        let text = format!("upstream = \"{url}\"");
        let settings = from_toml("f.toml", &text, &Overrides::default()).unwrap();
        let origin = &settings.upstreams[0].origin;
        assert_eq!(
            origin.to_string().trim_end_matches('/'),
            url.trim_end_matches('/')
        );
    }
}

#[test]
fn a_password_is_never_part_of_a_fault() {
    let over = Overrides {
        upstream: Some(Given::new("--upstream", "http://me:hunter2@h")),
        store: Some(Given::new(
            "IDEMPROXY_STORE",
            "redis+unix:///s?pass=hunter2",
        )),
        ..Overrides::default()
    };
    let text = "[store]\nurl = \"redis:/me:hunter2@h\"\n[[route]]\npath = \"/\"\nupstream = \"http://me:hunter2@h\"";
    let faults = from_toml("f.toml", text, &over).unwrap_err();
    assert_eq!(faults.iter().count(), 4, "{faults}");
    assert!(!faults.to_string().contains("hunter2"), "{faults}");
    assert!(!format!("{over:?}").contains("hunter2"));
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file_and_flags_last() {
    let text = "listn = 1\n[policy]\nlease = 5\nmode = \"on\"\n[[route]]\npath = \"x\"\n[store]\nurl = \"x\"";
    let over = Overrides {
        admin: Some(Given::new("--admin", "nowhere")),
        ..Overrides::default()
    };
    let faults = from_toml("f.toml", text, &over).unwrap_err().to_string();
    let places: Vec<&str> = faults
        .lines()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    let expected = [
        "f.toml:1:1",
        "f.toml:1:1",
        "f.toml:3:9",
        "f.toml:4:8",
        "f.toml:6:8",
        "f.toml:8:7",
        "--admin",
    ];
    assert_eq!(places, expected, "{faults}");
    assert!(
        faults.contains("f.toml:1:1: upstream: missing, expected"),
        "{faults}"
    );
}

#[test]
fn a_fault_is_not_told_again_by_what_compares_with_it_or_builds_on_it() {
    assert_eq!(
        faults("[policy]\nunknown_retention = \"x\"\nupstream_timeout = \"20d\"").len(),
        1
    );
    assert_eq!(
        faults("[policy]\nlease = \"x\"\n[[route]]\npath = \"/\"\nunknown_retention = \"1s\"")
            .len(),
        1
    );
    assert_eq!(
        faults("[policy]\nunknown_retention = \"1s\"\n[[route]]\npath = \"/\"").len(),
        1
    );
    let two = "[policy]\nlease = \"40s\"\n[[route]]\npath = \"/a\"\nlease = \"x\"\n[[route]]\npath = \"/b\"\nunknown_retention = \"1s\"";
    assert_eq!(faults(two).len(), 2);
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    assert_eq!(
        faults("listen = \"a\n[admin]\n[admin]"),
        [
            "f.toml:2:12: not TOML: invalid basic string, expected `\"`",
            "f.toml:4:2: admin: not TOML: duplicate key",
        ]
    );
    assert_ne!(faults("é = 1 x"), [""; 0]);
}

#[test]
fn what_stands_there_twice_hides_no_other_fault() {
    assert_eq!(
        faults(
            "[policy]\nlease = \"1s\"\nlease = \"2s\"\nretention = 5\n[polcy]\n[store]\nsync = 1"
        ),
        [
            "f.toml:4:1: lease: not TOML: duplicate key".to_owned(),
            format!("f.toml:5:13: 5: {DURATION}"),
            "f.toml:6:2: polcy: unknown key, did you mean `policy`?".to_owned(),
            "f.toml:8:8: 1: expected \"always\" or \"never\"".to_owned(),
        ]
    );
    for twice in [
        "[policy]\nlease = \"1s\"\n[policy]\nmode = \"off\"\n",
        "[policy.retry]\nattempts = 3\n[policy]\nlease = \"5s\"\n[policy.retry]\nbase = \"1s\"\n",
        "[policy]\nretry.base = \"1s\"\nretry = { base = \"1s\" }\n",
        "[[route]]\npath = \"/a\"\n[route.retry]\nbase = \"1s\"\n[route.retry]\nmax = \"2s\"\n[[route]]\npath = \"/b\"\n",
        "[admin]\nlisten = \"off\"\n[[admin]]\nlisten = \"off\"\n",
    ] {
        let [fault] = faults(twice).try_into().unwrap();
        assert!(fault.contains("not TOML: "), "{fault}");
    }
}

#[test]
fn a_byte_order_mark_is_no_column() {
    let faults = from_toml("f.toml", "\u{feff}listen = 1", &upstream_given()).unwrap_err();
    let faults = faults.to_string();
    assert_eq!(faults, format!("f.toml:1:10: 1: {ADDRESS}"));
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        faults("[policy]\nkey = [\"header:é\", \"héader:é\"]")[1]
            .split(' ')
            .next(),
        Some("f.toml:3:20:")
    );
}

#[test]
fn a_flag_comes_before_the_file_and_that_before_the_default() {
    let text = "listen = \"127.0.0.1:1\"\nservice = \"of-file\"";
    let over = Overrides {
        service: Some(Given::new("--service", "of-flag")),
        admin: Some(Given::new("IDEMPROXY_ADMIN", "off")),
        store: Some(Given::new("--store", "redis://h/1")),
        ..upstream_given()
    };
    let settings = from_toml("f.toml", text, &over).unwrap();
    assert_eq!(settings.listen.port(), 1);
    assert_eq!(settings.service, "of-flag");
    assert_eq!(settings.admin, None);
    assert_eq!(
        settings.store.location,
        Location::Redis("redis://h/1".to_owned())
    );
    assert_eq!(settings.store.timeout, Duration::from_millis(500));
}

#[test]
fn a_fault_names_the_flag_or_the_variable() {
    let over = Overrides {
        listen: Some(Given::new("IDEMPROXY_LISTEN", "here")),
        store: Some(Given::new("--store", "redis://h")),
        log_format: Some(Given::new("--log-format", "xml")),
        ..Overrides::default()
    };
    assert_eq!(
        load(None, &over).unwrap_err().to_string(),
        format!(
            "--log-format: \"xml\": expected \"text\" or \"json\"\n\
             --store: \"redis://h\": expected `service` with it: others may share this store, and the name keeps their keys apart\n\
             --upstream: missing, expected the API's address, such as \"http://127.0.0.1:3000\" (or --upstream, or IDEMPROXY_UPSTREAM)\n\
             IDEMPROXY_LISTEN: \"here\": {ADDRESS}"
        )
    );
}

#[test]
fn a_route_sets_what_it_names_and_takes_the_rest_from_the_policy() {
    let settings = good(
        r#"
        [policy]
        retention = "2h"
        key = ["header:X-Request-Id", "header:Idempotency-Key"]
        retry = { attempts = 5, on = ["connect", "503"] }
        [[route]]
        name = "orders"
        path = "/orders/{id}"
        methods = ["PUT"]
        upstream = "https://other"
        scope = ["method"]
        fingerprint = ["body", "header:Content-Type"]
        max_request_body = "10MB"
        retry = { base = "1s" }
        [[route]]
        path = "/orders/{id}"
        methods = ["POST"]
        upstream = "https://other/"
        mode = "off"
        "#,
    );
    let [default, orders, off] = settings.routes.all() else {
        panic!("{:?}", settings.routes.patterns());
    };
    assert_eq!(default.retention, Duration::from_secs(7200));
    assert_eq!(orders.retention, default.retention);
    let header = |name: &str| KeySource::Header(name.parse().unwrap());
    assert_eq!(
        orders.key,
        [header("x-request-id"), header("idempotency-key")]
    );
    assert_eq!(orders.methods, [Method::PUT]);
    assert_eq!(orders.scope, [ScopePart::Method]);
    let content_type = FingerprintPart::Header(http::header::CONTENT_TYPE);
    assert_eq!(orders.fingerprint, [FingerprintPart::Body, content_type]);
    assert_eq!(orders.max_request_body, Some(10_000_000));
    assert_eq!(orders.retry.base, Duration::from_secs(1));
    assert_eq!(
        (orders.retry.attempts, &*orders.retry.on_status),
        (5, &[503][..])
    );
    assert_eq!((default.upstream, orders.upstream, off.upstream), (0, 1, 1));
    assert_eq!(settings.upstreams.len(), 2);
    assert_eq!((off.mode, &*off.route), (Mode::Off, "/orders/{id}"));
}

#[test]
fn a_route_says_where_keys_come_from_and_what_they_look_like() {
    let settings = good(
        r#"
        [policy]
        key = ["header:X-Id", "query:client id", "cookie:op", "json:/op/id"]
        key_format = "uuid7"
        uuid7_max_future = "0s"
        fingerprint = ["json-body"]
        fingerprint_ignore = ["/at"]
        [[route]]
        path = "/clicks"
        key = ["content"]
        retention = "5s"
        key_format = "regex:[a-z]+"
        [[route]]
        path = "/clicks/raw"
        fingerprint = ["body"]
        "#,
    );
    let [default, clicks, raw] = settings.routes.all() else {
        panic!("{:?}", settings.routes.patterns());
    };
    assert_eq!(
        default.key,
        [
            KeySource::Header("x-id".parse().unwrap()),
            KeySource::Query("client id".to_owned()),
            KeySource::Cookie("op".to_owned()),
            KeySource::Json("/op/id".parse().unwrap()),
        ]
    );
    assert_eq!(default.key_format, KeyFormat::Uuid7);
    assert_eq!(default.uuid7.max_future, Duration::ZERO);
    assert_eq!(default.uuid7.max_age, Duration::from_secs(7 * 86_400));
    assert_eq!(clicks.key, [KeySource::Content]);
    assert_eq!(clicks.json_body, default.json_body);
    assert!(matches!(&clicks.key_format, KeyFormat::Pattern(p) if p.as_str() == "[a-z]+"));
    assert_eq!(raw.fingerprint, [FingerprintPart::Body]);
    let told = settings.describe().to_string();
    for line in [
        "header:x-id query:client id cookie:op json:/op/id\n",
        "key_format            uuid7, at most 0s ahead and 7d behind\n",
        "fingerprint_ignore    /at\n",
        "key                   content\n",
        "key_format            regex:[a-z]+\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
}

#[test]
fn a_route_may_have_duplicates_wait_and_says_for_how_long() {
    let settings = good(
        "[server]\nmax_waiters = 7\n[policy]\nwait_timeout = \"5s\"\n[[route]]\npath = \"/x\"\nin_flight = \"wait\"\n",
    );
    let [default, route] = settings.routes.all() else {
        panic!("{:?}", settings.routes);
    };
    assert_eq!(default.in_flight, Meanwhile::Reject);
    assert_eq!(route.in_flight, Meanwhile::Wait);
    assert_eq!(route.wait_timeout, Duration::from_secs(5));
    assert_eq!(settings.server.max_waiters, 7);
    assert_eq!(settings.warnings, good("").warnings);
    let told = settings.describe().to_string();
    assert_eq!(told.matches("wait_timeout").count(), 1, "{told}");
    for line in [
        "in_flight             reject\n",
        "in_flight             wait\n",
        "wait_timeout          5s\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
}

#[test]
fn routes_without_names_may_share_a_path() {
    let settings = good(
        "[[route]]\npath = \"/x\"\nmethods = [\"PUT\"]\n[[route]]\npath = \"/x\"\nmethods = [\"POST\"]\n",
    );
    let names: Vec<_> = settings.routes.all().iter().map(|p| &*p.route).collect();
    assert_eq!(names, ["default", "/x", "/x"]);
    let twice = faults("[[route]]\npath = \"/x\"\n[[route]]\npath = \"/x\"\n");
    assert_eq!(
        twice,
        ["f.toml:5:8: \"/x\": the routes /x and /x both cover POST of this path"]
    );
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let two = |first: &str, second: &str| {
        faults(&format!(
            "[[route]]\nname = \"a\"\n{first}\n[[route]]\nname = \"b\"\n{second}"
        ))
    };
    let all = "path = \"/x/{id}\"";
    let put = "path = \"/x/{id}\"\nmethods = [\"PUT\"]";
    assert_eq!(
        two(all, put),
        ["f.toml:7:8: \"/x/{id}\": the routes a and b both cover PUT of this path"]
    );
    assert_eq!(
        two(all, "path = \"/x/{name}\""),
        ["f.toml:7:8: \"/x/{name}\": expected a path that can be told apart from /x/{id}"]
    );
    let post = "path = \"/x/{id}\"\nmethods = [\"POST\"]\nupstream = \"http://h\"";
    assert_eq!(two(put, post), [""; 0]);
    assert_eq!(two(all, "path = \"/x/{*rest}\""), [""; 0]);
    assert_eq!(two(all, "path = \"/x/y\""), [""; 0]);
    assert_eq!(two(all, "path = \"/{*rest}\""), [""; 0]);
}

#[test]
fn the_most_specific_path_wins_and_its_methods_say_what_is_covered() {
    let routes = good(
        r#"
        [[route]]
        path = "/{*rest}"
        name = "rest-put"
        methods = ["PUT"]
        [[route]]
        path = "/a/{id}"
        name = "one"
        [[route]]
        path = "/{*rest}"
        name = "rest-post"
        methods = ["POST"]
        [[route]]
        path = "/a/off"
        name = "off"
        mode = "off"
        "#,
    )
    .routes;
    for (method, path, name, covered) in [
        (Method::PUT, "/a/b/c", "rest-put", true),
        (Method::POST, "/{*rest}", "rest-post", true),
        (Method::DELETE, "/b", "rest-put", false),
        (Method::POST, "/a/b", "one", true),
        (Method::GET, "/a/b", "one", false),
        (Method::POST, "/a/off", "off", false),
        (Method::POST, "/", "rest-post", true),
    ] {
        let found = routes.find(&method, path);
        assert_eq!(found.policy.route, name, "{method} {path}");
        assert_eq!(found.covered, covered, "{method} {path}");
    }
}

#[test]
fn every_part_of_a_scope_is_read_and_described() {
    let settings = good(
        r#"
        [jwt]
        secret_file = "Cargo.toml"
        [policy]
        scope = ["client-ip", "jwt:org", "cookie:sid", "header:X-Tenant", "query", "caller", "path", "method"]
        "#,
    );
    assert_eq!(
        settings.routes.all()[0].scope,
        [
            ScopePart::ClientIp,
            ScopePart::Jwt("org".to_owned()),
            ScopePart::Cookie("sid".to_owned()),
            ScopePart::Header("x-tenant".parse().unwrap()),
            ScopePart::Query,
            ScopePart::Caller,
            ScopePart::Path,
            ScopePart::Method,
        ]
    );
    let text = settings.describe().to_string();
    let line = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_default()
            .trim_start()
            .trim_start_matches(name)
            .trim_start()
            .to_owned()
    };
    assert_eq!(
        line("scope"),
        "client-ip jwt:org cookie:sid header:x-tenant query caller path method"
    );
    assert_eq!(line("jwt"), "HS256, issuer any, audience any, leeway 1m");
}

#[test]
fn a_scope_that_tells_callers_apart_badly_is_warned_about() {
    let warnings = |scope: &str| -> Vec<String> {
        let text = format!(
            "[jwt]\nsecret_file = \"Cargo.toml\"\nissuer = \"me\"\naudience = \"us\"\n[policy]\nscope = [{scope}]"
        );
        let warnings = good(&text).warnings;
        warnings
            .iter()
            .map(|warning| warning.split(':').nth(1).unwrap().trim().to_owned())
            .collect()
    };
    for scope in [
        r#""method", "path", "caller""#,
        r#""jwt:sub""#,
        r#""cookie:sid""#,
        r#""header:Authorization""#,
        r#""header:X-Tenant", "caller""#,
        r#""client-ip", "cookie:sid""#,
    ] {
        assert_eq!(warnings(scope), [""; 0], "{scope}");
    }
    for (scope, warning) in [
        (r#""method", "path", "query""#, "scope has no caller"),
        (
            r#""path", "header:X-User""#,
            "scope tells callers apart by a header alone",
        ),
        (
            r#""path", "client-ip""#,
            "scope tells callers apart by client-ip alone",
        ),
    ] {
        assert_eq!(warnings(scope), [warning], "{scope}");
    }
    let jwt = good("[jwt]\nsecret_file = \"Cargo.toml\"").warnings;
    assert_eq!(jwt.len(), 2, "{jwt:?}");
    assert!(jwt[0].starts_with("jwt: issuer is not set"), "{jwt:?}");
    assert!(jwt[1].starts_with("jwt: audience is not set"), "{jwt:?}");
}

#[test]
fn each_thing_that_weakens_the_guarantee_is_warned_about_with_its_routes() {
    assert_eq!(good("").warnings, [""; 0]);
    let settings = good(
        r#"
        [store]
        url = "memory:"
        [policy]
        unknown_outcome = "retry"
        [[route]]
        path = "/a"
        scope = []
        fingerprint = []
        cut_upload = "release"
        store_error = "forward"
        retry = { on = ["503"] }
        [[route]]
        path = "/off"
        mode = "off"
        "#,
    );
    let starts: Vec<String> = settings
        .warnings
        .iter()
        .map(|warning| warning.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    let starts: Vec<&str> = starts.iter().map(|s| &s[..s.len().min(40)]).collect();
    assert_eq!(
        starts,
        [
            "store: url is memory",
            "route /a: scope has no caller",
            "route /a: fingerprint has no body",
            "routes default, /a: unknown_outcome is r",
            "route /a: cut_upload is release",
            "route /a: store_error is forward",
            "route /a: retry.on names statuses",
        ]
    );
    let of_policy = |text: &str| good(&format!("[policy]\n{text}")).warnings;
    for (text, words) in [
        ("key = [\"content\"]\nretention = \"5s\"", "key has content"),
        (
            "unknown_outcome = \"probe\"\nprobe = { path = \"/me\", after = \"6m\" }",
            "probe.path has no {key}",
        ),
        (
            "key = [\"query:id\"]\nfingerprint = [\"body\"]",
            "fingerprint has no query",
        ),
        (
            "key = [\"json:/op/id\"]\nfingerprint = [\"json-body\"]\nfingerprint_ignore = [\"/op\"]",
            "a place that a key comes from",
        ),
        ("key = [\"json:/id\"]\nfingerprint = [\"path\"]", "no body"),
        (
            "retry = { attempts = 1, on = [\"503\"] }",
            "they free the key",
        ),
        (
            "key = [\"json:/client_id\", \"header:Idempotency-Key\"]\nmethods = [\"POST\"]\nunknown_outcome = \"probe\"\nprobe = { path = \"/o/{key}\", after = \"6m\" }",
            "several sources",
        ),
        (
            "[[policy.response]]\nstatus = \"200\"\njson = { \"/duplicate\" = true }\noutcome = \"store\"\nreply_from = \"/o\"",
            "has reply_from",
        ),
        (
            "unknown_outcome = \"probe\"\nprobe = { path = \"/o/{key}\", after = \"6m\" }",
            "probe asks by {key} alone",
        ),
        (
            "key = [\"json:/id\", \"header:A\"]\nprobe = { path = \"/o/{key}\" }",
            "probe is never asked",
        ),
    ] {
        let [warning] = of_policy(text).try_into().unwrap();
        assert!(warning.contains(words), "{warning}");
    }
    for sound in [
        "key = [\"query:id\", \"json:/id\"]",
        "fingerprint = [\"json-body\"]\nfingerprint_ignore = [\"/at\"]",
        "probe = { path = \"/o/{key}\", after = \"6m\" }\n[[route]]\npath = \"/o\"\nmethods = [\"POST\"]\nunknown_outcome = \"probe\"",
    ] {
        assert_eq!(of_policy(sound), [""; 0]);
    }
    // What is only observed has one weakness, which is above all others.
    let [warning] = of_policy("mode = \"observe\"\nscope = []")
        .try_into()
        .unwrap();
    assert!(
        warning.starts_with("route default: mode is observe: nothing is guaranteed"),
        "{warning}"
    );
    let told = good("[policy]\nmode = \"observe\"").describe().to_string();
    for line in [
        "  mode                  observe (every request passes as it is; what enforcement would do is counted)",
        "  may run again         always: nothing is enforced",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}\n{told}");
    }
    let probed = "unknown_outcome = \"probe\"\nprobe = { path = \"/o/{key}\", after = \"6m\" }\nmethods = [\"POST\"]\n";
    assert_eq!(of_policy(probed), [""; 0]);
    let rejected = "[[route]]\npath = \"/a\"\nunknown_outcome = \"reject\"";
    let [warning] = of_policy(&format!("{probed}{rejected}"))
        .try_into()
        .unwrap();
    assert!(
        warning.starts_with("route default: probe asks by"),
        "{warning}"
    );
    let segment = format!("[[route]]\npath = \"/a/{{id}}\"\n{probed}");
    let [warning] = good(&segment).warnings.try_into().unwrap();
    assert!(
        warning.starts_with("route /a/{id}: probe asks by"),
        "{warning}"
    );
    let of_store = |text: &str| good(text).warnings.len();
    assert_eq!(of_store("[store]\nsync = \"never\""), 1);
    let of_redis = |rest: &str| of_store(&format!("service = \"s\"\n[store]\nurl = \"redis{rest}"));
    assert_eq!(of_redis("://h\"\nallow_eviction = true"), 1);
    assert_eq!(of_redis("://h\""), 0);
    assert_eq!(of_redis("+sentinel://a,b/c\""), 1);
    assert_eq!(of_redis("+sentinel://a,b/c\"\nwait_replicas = 1"), 0);
    let told = good("service = \"s\"\n[store]\nurl = \"redis+sentinel://u:hunter2@a,b/c\"");
    let told = told.describe().to_string();
    assert!(told.contains(" redis+sentinel://…\n"), "{told}");
}

#[test]
fn a_routes_response_rules_come_before_the_policys() {
    let settings = good(
        r#"
        [policy]
        probe = { path = "/o/{key}", after = "2m" }
        replay_check = { path = "/me" }
        [[policy.response]]
        status = "409"
        json = { "/error/code" = "23505", "/n" = 0x10, "/f" = 1.50, "/b" = true }
        outcome = "store"
        reply_from = "/o?id={key}"
        reply_status = 200
        [[policy.response]]
        status = "5xx"
        header = { Server = "envoy" }
        outcome = "unknown"
        retention = "3d"
        [[route]]
        path = "/a"
        unknown_outcome = "probe"
        probe = { found = "200" }
        [[route.response]]
        status = "404"
        outcome = "release"
        "#,
    );
    let [default, route] = settings.routes.all() else {
        panic!("{:?}", settings.routes.patterns());
    };
    assert_eq!(default.responses.len(), 2);
    assert_eq!(route.responses[1..], default.responses);
    let json: Vec<_> = default.responses[0]
        .json
        .iter()
        .map(|(pointer, value)| (pointer.to_string(), value.text().unwrap().to_owned()))
        .collect();
    let pairs: Vec<_> = json.iter().map(|(p, v)| (&**p, &**v)).collect();
    assert_eq!(
        pairs,
        [
            ("/b", "true"),
            ("/error/code", "23505"),
            ("/f", "1.50"),
            ("/n", "16")
        ]
    );
    assert_eq!(
        default.responses[1].header,
        [("server".to_owned(), "envoy".to_owned())]
    );
    let probe = route.probe.as_ref().unwrap();
    assert_eq!(probe.path.to_string(), "/o/{key}");
    assert_eq!(
        (
            probe.found.to_string(),
            probe.absent.to_string(),
            probe.after
        ),
        ("200".to_owned(), "404".to_owned(), Duration::from_secs(120))
    );
    assert_eq!(route.replay_check, default.replay_check);

    let told = settings.describe().to_string();
    for line in [
        "  response              409, json /b = true, json /error/code = \"23505\", json /f = 1.5, json /n = 16: store, reply from GET /o?id={key}, reply with 200",
        "  response              5xx, header server = \"envoy\": unknown for 3d",
        "  response              404: release",
        "  probe                 GET /o/{key}, found 2xx (replied with 200), absent 404 after 2m",
        "  replay_check          GET /me, ok 2xx, cache 30s",
        "  may run again         after 401, 403, 407-408, 421, 423, 425, 429; by their response rules also after 409, 500-501, 503, 505-599",
        "  may run again         after 401, 403-404, 407-408, 421, 423, 425, 429; by their response rules also after 409, 500-501, 503, 505-599; and after unknown outcomes if the upstream says that it was not done (unknown_outcome)",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}\n{told}");
    }
    let warned: Vec<&str> = settings
        .warnings
        .iter()
        .map(|warning| warning.split(": ").nth(1).unwrap_or_default())
        .collect();
    assert_eq!(
        warned,
        [
            "a response rule releases answers that would be kept or leave the outcome unknown",
            "probe.after is shorter than upstream_timeout",
            "probe asks by {key} alone, and a record is one of a method, a path and a caller",
        ]
    );
}

const REFERENCE: &str = include_str!("../../config/idemproxy.toml");

#[test]
fn the_reference_says_the_defaults() {
    let defaults = from_toml("", "", &upstream_given()).unwrap();
    let reference = from_toml("idemproxy.toml", REFERENCE, &Overrides::default()).unwrap();
    assert_eq!(reference, defaults);
}

#[test]
fn a_public_key_is_no_secret_file_in_any_form_and_a_short_secret_is_warned_about() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("secret");
    let with = |content: &[u8], algorithm: &str| {
        std::fs::write(&file, content).unwrap();
        format!(
            "[jwt]\nsecret_file = {:?}\nissuer = \"me\"\naudience = \"us\"\nalgorithms = [{algorithm:?}]",
            file.display().to_string()
        )
    };
    for public in [
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
        "Bag Attributes: none\n-----BEGIN CERTIFICATE-----\nMIIB",
        r#"{"keys":[]}"#,
        r#" {"kty":"RSA","n":"AQAB"}"#,
        "\u{feff}{\"keys\":[]}",
        "\u{feff}-----BEGIN PUBLIC KEY-----",
        "ssh-rsa AAAAB3NzaC1yc2E",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    ]
    .map(str::as_bytes)
    .into_iter()
    .chain([&[0x30, 0x82, 1, 0x22, 0x30][..]])
    {
        let [fault] = faults(&with(public, "HS256")).try_into().unwrap();
        assert!(fault.contains("public keys go into `keys`"), "{fault}");
    }
    for (bytes, algorithm, is_short) in [
        (31, "HS256", true),
        (32, "HS256", false),
        (47, "HS384", true),
        (63, "HS512", true),
        (64, "HS512", false),
    ] {
        let warnings = good(&with(&vec![b'x'; bytes], algorithm)).warnings;
        let short = |warning: &String| warning.starts_with("jwt: secret_file is shorter");
        assert_eq!(warnings.iter().any(short), is_short, "{warnings:?}");
        assert_eq!(warnings.len(), usize::from(is_short), "{warnings:?}");
    }
}

#[test]
fn a_token_that_operators_could_not_bring_is_refused_at_start() {
    let directory = tempfile::TempDir::new().unwrap();
    let write = |text: &[u8]| {
        let path = directory.path().join("admin.token");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let told = |path: &str| faults(&format!("[admin]\ntoken_file = \"{path}\""));
    for bad in [
        &b""[..],
        b" \n",
        b"two words",
        b"a\0b",
        "ä".as_bytes(),
        &[b'x'; 5_000],
    ] {
        let path = write(bad);
        let expected = "a file with one token of 1 to 4096 letters, digits and -._~+/=";
        assert_eq!(
            told(&path),
            [format!("f.toml:3:14: \"{path}\": expected {expected}")]
        );
    }
    let missing = directory.path().join("nowhere").display().to_string();
    let faults_of = |path: &str| told(path).join("\n");
    let fault =
        format!("f.toml:3:14: \"{missing}\": expected a file that can be read: No such file");
    assert!(
        faults_of(&missing).starts_with(&fault),
        "{}",
        faults_of(&missing)
    );
    let folder = directory.path().display().to_string();
    assert!(
        faults_of(&folder).ends_with("it is no file"),
        "{}",
        faults_of(&folder)
    );

    let path = write(b"s3cret\n");
    let text = format!(
        "[admin]\nlisten = \"0.0.0.0:9090\"\ntoken_file = \"{path}\"\nhosts = [\"Proxy.internal\"]"
    );
    let admin = good(&text).admin.unwrap();
    assert_eq!(
        admin.token,
        Some(crate::admin::OperatorToken::new(b"s3cret"))
    );
    assert_eq!(admin.hosts, ["proxy.internal"]);
    assert_eq!(
        faults("[admin]\nhosts = [\"a:1\"]"),
        [
            "f.toml:3:10: \"a:1\": expected the name of a host without a port, such as \"idemproxy.internal\""
        ]
    );
}

#[test]
fn secrets_of_the_store_are_read_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let first = write("first", &"6b".repeat(32));
    let again = write("again", &format!("{}\n", "6B".repeat(32)));
    let second = write("second", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\n");
    let other = write("other", "b2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\n");
    let secret = write("secret", "correct horse battery staple cor\n");
    let short = write("short", "correct horse battery staple co\n");
    let keys = |list: &[&String]| format!("[store]\nencryption_keys = {list:?}");

    let settings = good(&format!(
        "{}\nsecret_file = {secret:?}",
        keys(&[&first, &other])
    ));
    assert_eq!(settings.store.codec.keys(), Some(2));
    assert!(settings.store.secret.is_set());
    let shown = format!("{}{settings:?}", settings.describe());
    assert!(
        shown.contains("stored answers, by the first of 2 keys"),
        "{shown}"
    );
    for secret in ["horse", "6b6b6b", "a2tra2", "107, 107", "kkkk"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let none = good("");
    assert_eq!(none.store.codec.keys(), None);
    assert!(!none.store.secret.is_set());

    for twice in [&again, &second] {
        let faults = faults(&keys(&[&first, twice]));
        assert!(faults[0].contains("expected each only once"), "{faults:?}");
    }
    let faults = faults(&format!("[store]\nsecret_file = {short:?}"));
    assert!(
        faults[0].contains("a secret of at least 32 bytes"),
        "{faults:?}"
    );
    assert!(!faults[0].contains("horse"), "{faults:?}");
}
