//! `[[route]]`.

use http::Uri;

use super::policy;
use super::reader::Reader;
use super::words::{name, origin, pattern};
use crate::proxy::{Policy, Routes};

/// The routes over `default`. Upstreams that they name are added to `origins`, each once; without those a route has none.
pub(super) fn read(
    root: &Reader<'_>,
    default: Policy,
    mut origins: Option<&mut Vec<Uri>>,
    has_jwt: bool,
) -> Routes {
    let mut routes = Routes::new(default.clone());
    root.sections("route", |route| {
        let path = route.get("path", pattern);
        let named = route.get("name", name);
        let mut policy = policy::read(route, &default, has_jwt);
        match &mut origins {
            Some(origins) => {
                if let Some(origin) = route.get("upstream", origin) {
                    policy.upstream = index_of(origin, origins);
                }
            }
            None => route.refuse(&["upstream", "preserve_host"]),
        }
        let Some(path) = path else {
            if route.spot_of(&["path"]).is_none() {
                route.fault(
                    None,
                    "`path` is missing, expected one, such as \"/orders/{id}\"",
                );
            }
            return;
        };
        // Routes that share a path, without names of their own, are one in logs and metrics.
        let chosen = named.is_some();
        policy.route = named.unwrap_or_else(|| path.clone());
        let taken = routes.all().iter().any(|other| other.route == policy.route);
        if chosen && taken {
            route.fault(
                route.spot_of(&["name"]),
                format!(
                    "another route is called {:?}, expected a name of its own",
                    policy.route
                ),
            );
        }
        // Methods that were not understood cover nothing that another route could overlap.
        if route.sound(&["methods"])
            && let Err(error) = routes.add(&path, policy)
        {
            route.fault(route.spot_of(&["path"]), error.to_string());
        }
    });
    routes
}

fn index_of(origin: Uri, origins: &mut Vec<Uri>) -> usize {
    match origins.iter().position(|known| *known == origin) {
        Some(index) => index,
        None => {
            origins.push(origin);
            origins.len() - 1
        }
    }
}
