#![allow(clippy::unwrap_used)]

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
    let keyed = |sources: &[KeySource]| routes(with(|policy| policy.key = sources.to_vec()), &[]);
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
