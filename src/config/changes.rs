//! What of a new configuration cannot take the place of the running one without more.

use super::fault::{Fault, Faults};
use super::origin::Configuration;
use super::settings::{AdminSettings, Settings};
use crate::proxy::{Because, Naming, renamed};

/// What of a new configuration cannot take the place of the running one without more: by effect, so that a default that is written
/// out, or another spelling of a duration, is no change.
#[derive(Debug)]
pub struct Changes {
    /// What holds from the start of a process to its end.
    pub restart: Option<Faults>,
    /// What names records otherwise, so that keys that were used would be taken for new.
    pub forgets: Option<Faults>,
}

impl Changes {
    pub(super) fn between(before: &Configuration, now: &Configuration) -> Self {
        Self {
            restart: Faults::of(restart(before, now)),
            forgets: Faults::of(forgets(before, now)),
        }
    }
}

fn restart(before: &Configuration, now: &Configuration) -> Vec<Fault> {
    // Whoever adds a setting says here what a reload does with it.
    let Settings {
        listen,
        service,
        admin,
        store,
        log,
        server,
        // Taken at once.
        upstreams: _,
        routes: _,
        jwt: _,
        reload: _,
        warnings: _,
    } = &now.settings;
    let was = &before.settings;
    let needs = |section: &str, key: &str| {
        let dotted = if section.is_empty() {
            key.to_owned()
        } else {
            format!("{section}.{key}")
        };
        let expected = format!("`{dotted}` is changed, which needs a restart");
        now.written.fault(section, key, None, expected)
    };
    let address = |admin: &Option<AdminSettings>| admin.as_ref().map(|admin| admin.listen);
    let mut faults = Vec::new();
    faults.extend((*listen != was.listen).then(|| needs("", "listen")));
    faults.extend((*service != was.service).then(|| needs("", "service")));
    if address(admin) != address(&was.admin) {
        faults.push(needs("admin", "listen"));
    }
    // Who connects in the clear would meet TLS, or the other way round, on the same port and from one moment to the next.
    if server.tls.is_some() != was.server.tls.is_some() {
        faults.push(needs("server", "tls_cert"));
    }
    for (section, is_changed) in [
        (
            "admin",
            *admin != was.admin && address(admin) == address(&was.admin),
        ),
        (
            "store",
            *store != was.store || now.store_files != before.store_files,
        ),
        ("log", *log != was.log),
    ] {
        if !is_changed {
            continue;
        }
        let keys = now.written.differing(&before.written, section);
        faults.extend(keys.iter().map(|key| needs(section, key)));
        if keys.is_empty() {
            let expected =
                format!("a file that [{section}] names is changed, which needs a restart");
            faults.push(now.written.fault(section, "", None, expected));
        }
    }
    faults
}

fn forgets<'a>(before: &'a Configuration, now: &'a Configuration) -> Vec<Fault> {
    let naming = |configuration: &'a Configuration| Naming {
        routes: &configuration.settings.routes,
        jwt: configuration.settings.jwt.as_deref(),
        trust_forwarded: &configuration.settings.server.trust_forwarded,
    };
    let renamed = renamed(naming(before), naming(now));
    let fault = |(index, because): (usize, Because)| {
        let route = &now.settings.routes.all()[index].route;
        let (section, key) = match because {
            Because::Scope => ("policy", "scope"),
            Because::Key => ("policy", "key"),
            Because::Fingerprint => ("policy", "fingerprint"),
            Because::FingerprintIgnore => ("policy", "fingerprint_ignore"),
            Because::Jwt => ("jwt", "keys"),
            Because::TrustForwarded => ("server", "trust_forwarded"),
            Because::Mode => ("policy", "mode"),
            Because::Methods => ("policy", "methods"),
        };
        if matches!(because, Because::Mode | Because::Methods) {
            let written = index.checked_sub(1);
            let expected = format!(
                "`{key}` takes requests out of route {route} whose keys were used so far, so that their retries would run again"
            );
            return now.written.fault(section, key, written, expected);
        }
        let what = match because {
            Because::Jwt => "[jwt]".to_owned(),
            Because::TrustForwarded => "`server.trust_forwarded`".to_owned(),
            _ => format!("`{key}`"),
        };
        // The default route is the first, and none of the file's own.
        let written = index.checked_sub(1).filter(|_| section == "policy");
        let expected = format!(
            "{what} is another for route {route}, so that the keys used there so far would be forgotten, and run again"
        );
        now.written.fault(section, key, written, expected)
    };
    renamed.into_iter().map(fault).collect()
}
