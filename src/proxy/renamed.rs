//! Which keys other settings would forget: those whose record would have another name.

use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// `mode`: what has records is not looked up any more.
    Mode,
    /// `methods`, in the same way.
    Methods,
}

/// The routes of `now`, by their index, whose requests had records by another name `before`, and why. A route that is new, or whose
/// path is, is compared with the one that its requests were under until now. Requests that were not enforced have no records; those that no longer are
/// have some, which nothing asks for.
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
            if !is_enforced(&was) {
                continue;
            }
            let because = match (is_enforced(&is), is.policy.mode) {
                (true, _) => differences(was.policy, is.policy, before, now),
                (false, Mode::Enforce) => vec![Because::Methods],
                (false, _) => vec![Because::Mode],
            };
            let all = now.routes.all();
            let index = all.iter().position(|policy| Arc::ptr_eq(policy, is.policy));
            renamed.extend(
                index
                    .into_iter()
                    .flat_map(|index| because.iter().map(move |because| (index, *because))),
            );
        }
    }
    renamed
}

fn is_enforced(found: &Found<'_>) -> bool {
    found.covered && found.policy.mode == Mode::Enforce
}

/// Whom both believe, in whatever order.
fn networks(naming: Naming<'_>) -> BTreeSet<&IpNet> {
    naming.trust_forwarded.iter().collect()
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
            scoped(|part| *part == ScopePart::ClientIp) && networks(before) != networks(now),
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
    Named,
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
        match plain.contains('{') {
            true if plain.contains("{*") => Segment::Rest,
            true => Segment::Named,
            false => Segment::Literal(text.replace("{{", "{").replace("}}", "}")),
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
            Segment::Named => path.push(ANY.to_owned()),
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
    use Segment::{Literal, Named, Rest};
    match (one, other) {
        (Literal(one), Literal(other)) => (one == other).then(|| one.clone()),
        // A name stands for something.
        (Literal(text), Named) | (Named, Literal(text)) => (!text.is_empty()).then(|| text.clone()),
        (Named, Named) => Some(ANY.to_owned()),
        (Rest, _) | (_, Rest) => None,
    }
}

/// What no pattern can say.
const ANY: &str = "|";

#[cfg(test)]
mod tests;
