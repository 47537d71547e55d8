//! Which keys other settings would forget: those whose record would have another name.

use std::collections::BTreeSet;

use http::Method;
use ipnet::IpNet;

use super::jwt::TokenVerifier;
use super::policy::{KeySource, Mode, Policy, ScopePart};
use super::routes::{Found, Routes};

/// What the name of a record depends on, besides the request and the service.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'a> {
    /// Which policy a request is under.
    pub routes: &'a Routes,
    /// Verifies tokens.
    pub jwt: Option<&'a TokenVerifier>,
    /// Whose word on the client's address is believed.
    pub trust_forwarded: &'a [IpNet],
}

/// What has records named otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// `scope`
    Scope,
    /// `key`
    Key,
    /// `fingerprint`, where the key is the content.
    Fingerprint,
    /// `fingerprint_ignore`, where the key is the content.
    FingerprintIgnore,
    /// `[jwt]`, where the scope has a claim.
    Jwt,
    /// `trust_forwarded`, where the scope has the client's address.
    TrustForwarded,
}

/// The routes of `now`, by their index, whose requests had records by another name `before`, and why. A route that is new, or whose
/// path is, is compared with the one that its requests were under until now. Requests that were or are not enforced have no records.
pub fn renamed(before: Naming<'_>, now: Naming<'_>) -> BTreeSet<(usize, Because)> {
    let mut renamed = BTreeSet::new();
    let policies = || before.routes.all().iter().chain(now.routes.all());
    let methods: Vec<&Method> = {
        let all: BTreeSet<&str> = policies()
            .flat_map(|policy| policy.methods.iter().map(Method::as_str))
            .collect();
        let of = |name: &&str| {
            policies()
                .flat_map(|p| &p.methods)
                .find(|m| m.as_str() == *name)
        };
        all.iter().filter_map(of).collect()
    };
    let patterns = |routes: &Routes| -> Vec<Vec<Segment>> {
        routes
            .patterns()
            .iter()
            .map(|pattern| segments(pattern))
            .collect()
    };
    let (old, new) = (patterns(before.routes), patterns(now.routes));
    let longest = old.iter().chain(&new).map(Vec::len).max().unwrap_or(0);
    for path in old
        .iter()
        .flat_map(|one| new.iter().flat_map(|other| meet(one, other, longest)))
    {
        for method in &methods {
            let (was, is) = (
                before.routes.find(method, &path),
                now.routes.find(method, &path),
            );
            if !has_records(&was) || !has_records(&is) {
                continue;
            }
            for because in differences(was.policy, is.policy, before, now) {
                let index = now
                    .routes
                    .all()
                    .iter()
                    .position(|policy| std::sync::Arc::ptr_eq(policy, is.policy));
                renamed.extend(index.map(|index| (index, because)));
            }
        }
    }
    renamed
}

fn has_records(found: &Found<'_>) -> bool {
    found.covered && found.policy.mode == Mode::Enforce
}

fn differences(was: &Policy, is: &Policy, before: Naming<'_>, now: Naming<'_>) -> Vec<Because> {
    let sorted = |policy: &Policy| {
        let mut parts = policy.scope.clone();
        parts.sort_by(|one, other| one.place().cmp(&other.place()));
        parts
    };
    let scoped = |is_part: fn(&ScopePart) -> bool| is.scope.iter().any(is_part);
    let by_content = was.key.contains(&KeySource::Content);
    let tests = [
        (Because::Scope, sorted(was) != sorted(is)),
        // A source after those that were there is for requests that had no key.
        (Because::Key, !is.key.starts_with(&was.key)),
        (
            Because::Fingerprint,
            by_content && was.fingerprint != is.fingerprint,
        ),
        (
            Because::FingerprintIgnore,
            by_content && was.json_body != is.json_body,
        ),
        (
            Because::Jwt,
            scoped(|part| matches!(part, ScopePart::Jwt(_))) && before.jwt != now.jwt,
        ),
        (
            Because::TrustForwarded,
            scoped(|part| *part == ScopePart::ClientIp)
                && before.trust_forwarded != now.trust_forwarded,
        ),
    ];
    tests
        .into_iter()
        .filter_map(|(because, differs)| differs.then_some(because))
        .collect()
}

/// A segment of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(String),
    /// Something between these two.
    Named(String, String),
    Rest,
}

/// Of a pattern; the default route, which has none, takes every path.
fn segments(pattern: &str) -> Vec<Segment> {
    let pattern = if pattern.is_empty() {
        "/{*rest}"
    } else {
        pattern
    };
    let canonical = super::canonical_path::canonical(pattern);
    let segment = |text: &str| {
        let plain = text.replace("{{", "").replace("}}", "");
        match (text.split_once('{'), text.rsplit_once('}')) {
            (Some(_), _) if plain.contains("{*") => Segment::Rest,
            (Some((before, _)), Some((_, after))) if plain.contains('{') => {
                Segment::Named(before.to_owned(), after.to_owned())
            }
            _ => Segment::Literal(text.replace("{{", "{").replace("}}", "}")),
        }
    };
    canonical.split('/').map(segment).collect()
}

/// Paths that both patterns match. Whatever routes two configurations have for some path of both, they have for one of these: each has
/// in the place of a name what no pattern says, so that another route matches it only if it matches all; and where the rest is left
/// open, it has every length up to the `longest` pattern's and one more, with empty segments, which no name stands for, and without.
fn meet(one: &[Segment], other: &[Segment], longest: usize) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = 0;
    loop {
        let segment = match (one.get(at), other.get(at)) {
            (None, None) => return vec![path.join("/")],
            (Some(Segment::Rest), Some(_)) => return with_rest(&path, &other[at..], longest),
            (Some(_), Some(Segment::Rest)) => return with_rest(&path, &one[at..], longest),
            (Some(one), Some(other)) => both(one, other),
            _ => None,
        };
        match segment {
            Some(segment) => path.push(segment),
            None => return Vec::new(),
        }
        at += 1;
    }
}

fn with_rest(path: &[String], rest: &[Segment], longest: usize) -> Vec<String> {
    let mut path = path.to_vec();
    for segment in rest {
        match segment {
            Segment::Literal(text) => path.push(text.clone()),
            Segment::Named(before, after) => path.push(format!("{before}{ANY}{after}")),
            Segment::Rest => {
                let open = (1..=longest + 1).flat_map(|length| {
                    let one_empty = (0..length).map(move |empty| {
                        let of = move |at| if at == empty { "" } else { ANY };
                        (0..length).map(of).collect()
                    });
                    one_empty.chain([vec![ANY; length], vec![""; length]])
                });
                let path = path.join("/");
                return open
                    .map(|rest: Vec<&str>| format!("{path}/{}", rest.join("/")))
                    .collect();
            }
        }
    }
    vec![path.join("/")]
}

fn both(one: &Segment, other: &Segment) -> Option<String> {
    use Segment::{Literal, Named};
    match (one, other) {
        (Literal(one), Literal(other)) => (one == other).then(|| one.clone()),
        (Literal(text), Named(before, after)) | (Named(before, after), Literal(text)) => {
            let fits = text.len() > before.len() + after.len()
                && text.starts_with(before)
                && text.ends_with(after);
            fits.then(|| text.clone())
        }
        (Named(before, after), Named(also_before, also_after)) => {
            let starts = before.starts_with(also_before) || also_before.starts_with(before);
            let ends = after.ends_with(also_after) || also_after.ends_with(after);
            let longer = |one: &String, other: &String| {
                if one.len() > other.len() {
                    one.clone()
                } else {
                    other.clone()
                }
            };
            (starts && ends).then(|| longer(before, also_before) + ANY + &longer(after, also_after))
        }
        (Segment::Rest, _) | (_, Segment::Rest) => None,
    }
}

/// What no pattern can say.
const ANY: &str = "|";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::idempotency::JsonBody;

    type Route = (&'static str, Policy);

    fn with(change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = Policy::default();
        change(&mut policy);
        policy
    }

    fn by(scope: &[ScopePart]) -> Policy {
        with(|policy| policy.scope = scope.to_vec())
    }

    fn routes(default: Policy, routes: &[Route]) -> Routes {
        let mut all = Routes::new(default);
        for (pattern, policy) in routes {
            all.add(pattern, policy.clone()).unwrap();
        }
        all
    }

    fn of(before: &Routes, now: &Routes) -> Vec<(usize, Because)> {
        let naming = |routes| Naming {
            routes,
            jwt: None,
            trust_forwarded: &[],
        };
        renamed(naming(before), naming(now)).into_iter().collect()
    }

    const NONE: [(usize, Because); 0] = [];

    #[test]
    fn a_scope_that_says_the_same_in_another_order_names_the_same_records() {
        let one = routes(by(&[ScopePart::Path, ScopePart::Method]), &[]);
        let other = routes(by(&[ScopePart::Method, ScopePart::Path]), &[]);
        assert_eq!(of(&one, &other), NONE);
        assert_eq!(
            of(&one, &routes(by(&[ScopePart::Path]), &[])),
            [(0, Because::Scope)]
        );
    }

    #[test]
    fn a_new_route_is_compared_with_what_its_requests_were_under() {
        let plain = Policy::default;
        let narrow = || by(&[ScopePart::Caller]);
        let before = routes(plain(), &[("/a/{x}", narrow())]);
        for (now, expected) in [
            (vec![("/a/{x}", narrow()), ("/b", plain())], vec![]),
            (vec![("/a/{x}", narrow()), ("/a/b", narrow())], vec![]),
            (
                vec![("/a/{x}", narrow()), ("/a/b", plain())],
                vec![(2, Because::Scope)],
            ),
            (
                vec![("/a/{x}", narrow()), ("/{*rest}", narrow())],
                vec![(2, Because::Scope)],
            ),
            // Renamed variables are the same pattern.
            (vec![("/a/{y}", narrow())], vec![]),
            // Gone, its requests are under the default.
            (vec![], vec![(0, Because::Scope)]),
            // Of the requests for /a/b, which no pattern here spells out.
            (vec![("/a/{x}", narrow()), ("/{x}/b", plain())], vec![]),
            (
                vec![("/{x}/b", plain())],
                vec![(0, Because::Scope), (1, Because::Scope)],
            ),
            (
                vec![("/a/x{y}", plain()), ("/a/{y}", narrow())],
                vec![(1, Because::Scope)],
            ),
        ] {
            let patterns: Vec<&str> = now.iter().map(|(pattern, _)| *pattern).collect();
            assert_eq!(
                of(&before, &routes(plain(), &now)),
                expected,
                "{patterns:?}"
            );
        }
        // Only where two wildcards meet does the winner differ.
        let before = routes(plain(), &[("/{x}/b", narrow())]);
        let now = routes(plain(), &[("/{x}/b", narrow()), ("/a/{y}", plain())]);
        assert_eq!(of(&before, &now), [(2, Because::Scope)]);
        let before = routes(plain(), &[("/{x}/b/{*rest}", narrow())]);
        let now = routes(
            plain(),
            &[("/{x}/b/{*rest}", narrow()), ("/a/{*rest}", plain())],
        );
        assert_eq!(of(&before, &now), [(2, Because::Scope)]);
    }

    #[test]
    fn methods_and_modes_without_records_forget_none() {
        let put = |scope: &[ScopePart]| {
            with(|policy| {
                policy.methods = vec![Method::PUT];
                policy.scope = scope.to_vec();
            })
        };
        let post = || with(|policy| policy.methods = vec![Method::POST]);
        let before = routes(
            Policy::default(),
            &[("/a", post()), ("/a", put(&[ScopePart::Path]))],
        );
        let now = routes(Policy::default(), &[("/a", post()), ("/a", put(&[]))]);
        assert_eq!(of(&before, &now), [(2, Because::Scope)]);
        for mode in [Mode::Observe, Mode::Off] {
            let idle = routes(
                with(|policy| (policy.mode, policy.scope) = (mode, vec![])),
                &[],
            );
            let busy = routes(Policy::default(), &[]);
            assert_eq!(of(&idle, &busy), NONE);
            assert_eq!(of(&busy, &idle), NONE);
        }
    }

    #[test]
    fn a_key_from_elsewhere_is_another_and_one_more_source_is_not() {
        let keyed =
            |sources: &[KeySource]| routes(with(|policy| policy.key = sources.to_vec()), &[]);
        let (query, cookie) = (
            KeySource::Query("k".to_owned()),
            KeySource::Cookie("k".to_owned()),
        );
        let one = keyed(std::slice::from_ref(&query));
        assert_eq!(of(&one, &keyed(&[query.clone(), cookie.clone()])), NONE);
        assert_eq!(of(&one, &keyed(&[cookie, query])), [(0, Because::Key)]);
        let content = |fields: Vec<_>| {
            routes(
                with(|policy| {
                    policy.key = vec![KeySource::Content];
                    policy.json_body = JsonBody::ignoring(fields);
                }),
                &[],
            )
        };
        let ignoring = content(vec!["/at".parse().unwrap()]);
        assert_eq!(
            of(&content(vec![]), &ignoring),
            [(0, Because::FingerprintIgnore)]
        );
    }

    #[test]
    fn whom_to_trust_matters_where_the_address_of_the_client_is_in_the_scope() {
        let nets: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        for (scope, expected) in [
            (ScopePart::ClientIp, vec![(0, Because::TrustForwarded)]),
            (ScopePart::Path, vec![]),
        ] {
            let routes = routes(by(&[scope]), &[]);
            let naming = |trust_forwarded| Naming {
                routes: &routes,
                jwt: None,
                trust_forwarded,
            };
            let found: Vec<_> = renamed(naming(&[]), naming(&nets)).into_iter().collect();
            assert_eq!(found, expected);
        }
    }

    /// Whatever the routes are, no request has its record renamed that they do not tell of.
    #[test]
    fn nothing_is_renamed_in_silence() {
        use proptest::prelude::*;

        let pattern = prop::collection::vec(
            // Without `{x}b`: of two patterns where one has that and the other `{x}`, the router finds only the one for some paths of
            // both, so that no path stands for them all.
            prop::sample::select(vec!["a", "b", "a{x}", "{x}", "{*r}"]),
            1..4,
        );
        let route = (pattern, prop::bool::ANY);
        let some = || prop::collection::vec(route.clone(), 0..5);
        let build = |written: &[(Vec<&str>, bool)], narrow_default: bool| {
            let policy = |narrow| {
                if narrow {
                    by(&[ScopePart::Path])
                } else {
                    by(&[])
                }
            };
            let mut all = Routes::new(policy(narrow_default));
            for (segments, narrow) in written {
                // A pattern that cannot be told from another is none.
                let _ = all.add(&format!("/{}", segments.join("/")), policy(*narrow));
            }
            all
        };
        let segments = ["a", "b", "c", "ab", "ac", "cb", ""];
        let mut paths: Vec<String> = vec![String::new()];
        for _ in 0..4 {
            let longer = |path: &String| segments.map(|segment| format!("{path}/{segment}"));
            let next: Vec<String> = paths.iter().flat_map(longer).collect();
            paths.extend(next);
            paths.sort();
            paths.dedup();
        }
        let told = std::cell::Cell::new(0);
        let config = ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        runner
            .run(
                &(some(), any::<bool>(), some(), any::<bool>()),
                |(one, d1, other, d2)| {
                    let (before, now) = (build(&one, d1), build(&other, d2));
                    let found: BTreeSet<usize> = of(&before, &now)
                        .into_iter()
                        .map(|(index, _)| index)
                        .collect();
                    let mut really = BTreeSet::new();
                    for path in paths.iter().filter(|path| !path.is_empty()) {
                        let (was, is) = (
                            before.find(&Method::POST, path),
                            now.find(&Method::POST, path),
                        );
                        if was.policy.scope != is.policy.scope {
                            let same = |policy: &std::sync::Arc<Policy>| {
                                std::sync::Arc::ptr_eq(policy, is.policy)
                            };
                            really.extend(now.all().iter().position(same));
                        }
                    }
                    told.set(told.get() + really.len());
                    prop_assert!(really.is_subset(&found), "{really:?} of {found:?}");
                    Ok(())
                },
            )
            .unwrap();
        assert!(told.get() > 100, "only {} were renamed", told.get());
    }
}
