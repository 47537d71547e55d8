//! Which policy a request is under.

use std::sync::Arc;

use http::Method;

use super::canonical_path::canonical;
use super::policy::{Mode, Policy};

/// The routes of a configuration, compiled: one lookup a request.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Patterns that say how many segments there are; index into `groups`.
    exact: matchit::Router<usize>,
    /// Patterns that end in `{*rest}`, apart since one router takes no `{name}` and `{*rest}` in one place.
    open: matchit::Router<usize>,
    /// A pattern, and the policies that share it.
    groups: Vec<(String, Vec<Arc<Policy>>)>,
    default: Arc<Policy>,
    all: Vec<Arc<Policy>>,
    /// The pattern of each of `all`; the default one has none.
    patterns: Vec<String>,
}

/// The same policies under the same patterns.
impl PartialEq for Routes {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all && self.patterns == other.patterns
    }
}

/// Why routes do not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The pattern itself is wrong, or says the same as another.
    #[error("{0}")]
    Pattern(String),
    /// Two routes cover one method of one path.
    #[error("the routes {0} and {1} both cover {2} of this path")]
    Overlap(String, String, Method),
}

impl Routes {
    /// Routes of `default` alone.
    pub fn new(default: Policy) -> Self {
        let default = Arc::new(Policy {
            place: 0,
            ..default
        });
        Self {
            exact: matchit::Router::new(),
            open: matchit::Router::new(),
            groups: Vec::new(),
            all: vec![default.clone()],
            default,
            patterns: vec![String::new()],
        }
    }

    /// Adds a route. Two may share a path if their methods are disjoint.
    ///
    /// # Errors
    ///
    /// The pattern is malformed or ambiguous, or another route of this path covers one of the methods already.
    pub fn add(&mut self, pattern: &str, mut policy: Policy) -> Result<(), RouteError> {
        policy.place = self.all.len();
        let policy = Arc::new(policy);
        if !has_whole_names(pattern) {
            return Err(RouteError::Pattern(
                "expected {name} to be a whole segment".to_owned(),
            ));
        }
        let (written, pattern) = (pattern, &*canonical(pattern));
        match self.groups.iter_mut().find(|(known, _)| known == pattern) {
            Some((_, group)) => {
                for other in group.iter() {
                    tell_apart(other, &policy)?;
                }
                group.push(policy.clone());
            }
            None => {
                let told_apart = |error| {
                    RouteError::Pattern(match error {
                        matchit::InsertError::Conflict { with } => {
                            format!("expected a path that can be told apart from {with}")
                        }
                        matchit::InsertError::InvalidParamSegment => {
                            "expected no more than one {name} in a segment".to_owned()
                        }
                        matchit::InsertError::InvalidParam => {
                            "expected a name in each pair of braces, as in {id} or {*rest}"
                                .to_owned()
                        }
                        matchit::InsertError::InvalidCatchAll => {
                            "expected {*rest} at the end alone".to_owned()
                        }
                        error => format!("expected a pattern such as /orders/{{id}}: {error}"),
                    })
                };
                let group = self.groups.len();
                match pattern.split_once("{*") {
                    None => self.exact.insert(pattern, group).map_err(told_apart)?,
                    Some((before, _)) => {
                        self.open.insert(pattern, group).map_err(told_apart)?;
                        // The remainder may be empty, which the router does not think.
                        self.open.insert(before, group).map_err(told_apart)?;
                    }
                }
                let group = vec![policy.clone()];
                self.groups.push((pattern.to_owned(), group));
            }
        }
        self.all.push(policy);
        self.patterns.push(written.to_owned());
        Ok(())
    }

    /// The policy that has this place among all.
    ///
    /// # Panics
    ///
    /// There is none.
    pub(super) fn at(&self, place: usize) -> &Arc<Policy> {
        &self.all[place]
    }

    /// The policy of a request by the most specific pattern that its path matches, segment by segment: a literal before `{name}`, that
    /// before `{*rest}`. Another spelling of a path, by escapes or dot segments, finds the same. Methods that no route of the path
    /// covers pass; they go to the routes' upstream if they have one in common, and else to the default one.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let path = canonical(path);
        let group = |router: &matchit::Router<usize>| {
            router
                .at(&path)
                .ok()
                .map(|matched| &self.groups[*matched.value])
        };
        let (pattern, here) = match (group(&self.exact), group(&self.open)) {
            (Some(exact), Some(open)) if specificity(&open.0).gt(specificity(&exact.0)) => open,
            (Some(found), _) | (None, Some(found)) => found,
            (None, None) => return Found::of(&self.default, method, ""),
        };
        if let Some(covering) = here.iter().find(|policy| policy.methods.contains(method)) {
            return Found::of(covering, method, pattern);
        }
        let shared = here
            .iter()
            .all(|policy| policy.upstream == here[0].upstream);
        Found {
            policy: if shared { &here[0] } else { &self.default },
            covered: false,
            pattern,
        }
    }

    /// Every policy, the default one first.
    pub fn all(&self) -> &[Arc<Policy>] {
        &self.all
    }

    /// The pattern of each of [`all`](Self::all); empty for the default one.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

/// Whether two policies can share a path.
fn tell_apart(one: &Policy, other: &Policy) -> Result<(), RouteError> {
    match one.methods.iter().find(|m| other.methods.contains(m)) {
        Some(method) => Err(RouteError::Overlap(
            one.route.clone(),
            other.route.clone(),
            method.clone(),
        )),
        None => Ok(()),
    }
}

/// Whether each name is a whole segment. The router knows names within one too, but does not come back from `/{a}.json` to `/{a}/b`,
/// so that a path might go round its route.
fn has_whole_names(pattern: &str) -> bool {
    pattern.split('/').all(|segment| {
        let names = segment.replace("{{", "").replace("}}", "");
        let is_whole = names.starts_with('{') && (names.ends_with('}') || !names.contains('}'));
        is_whole || !names.contains('{')
    })
}

/// How much each segment of a pattern says; of two patterns that match a path, the greater one is the more specific.
fn specificity(pattern: &str) -> impl Iterator<Item = u8> {
    pattern.split('/').map(|segment| match segment {
        rest if rest.contains("{*") => 0,
        name if name.contains('{') => 1,
        _ => 2,
    })
}

/// What the routes say of a request.
#[derive(Debug)]
pub struct Found<'a> {
    /// The route's policy; where `covered` is not set only for its upstream and limits.
    pub policy: &'a Arc<Policy>,
    /// Whether the route covers this method and is not off.
    pub covered: bool,
    /// What the path matched; empty where it matched no route.
    pub pattern: &'a str,
}

impl<'a> Found<'a> {
    fn of(policy: &'a Arc<Policy>, method: &Method, pattern: &'a str) -> Self {
        Self {
            policy,
            pattern,
            covered: policy.mode != Mode::Off && policy.methods.contains(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(patterns: &[&str]) -> Routes {
        let mut routes = Routes::new(Policy::default());
        for pattern in patterns {
            let policy = Policy {
                route: (*pattern).to_owned(),
                ..Policy::default()
            };
            routes.add(pattern, policy).unwrap();
        }
        routes
    }

    #[test]
    fn the_most_specific_pattern_wins_whatever_the_order() {
        let mut patterns = [
            "/{*r}",
            "/a/{*r}",
            "/a/{x}",
            "/a/b",
            "/a/{x}/c",
            "/a/b/{*r}",
            "/{x}",
        ];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            let routes = routes(&patterns);
            for (path, expected) in [
                ("/a/b", "/a/b"),
                ("/a/z", "/a/{x}"),
                ("/a/z/c", "/a/{x}/c"),
                ("/a/z/d", "/a/{*r}"),
                ("/a/b/c", "/a/b/{*r}"),
                ("/z", "/{x}"),
                ("/z/y", "/{*r}"),
                ("/", "/{*r}"),
                ("/a/", "/a/{*r}"),
                ("/a/b/", "/a/b/{*r}"),
            ] {
                assert_eq!(
                    routes.find(&Method::POST, path).policy.route,
                    expected,
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn no_spelling_of_a_path_goes_round_its_route() {
        let routes = routes(&["/pay", "/caf%c3%a9/{x}"]);
        for (path, expected) in [
            ("/%70ay", "/pay"),
            ("/x/%2e%2e/pay", "/pay"),
            ("/caf%C3%A9/%7E", "/caf%c3%a9/{x}"),
            ("/pay%2f", "default"),
        ] {
            let found = routes.find(&Method::POST, path);
            assert_eq!(found.policy.route, expected, "{path}");
        }
    }

    #[test]
    fn routes_of_a_path_may_go_to_upstreams_of_their_own() {
        let mut routes = Routes::new(Policy::default());
        for (method, upstream) in [(Method::PUT, 1), (Method::POST, 2)] {
            let policy = Policy {
                methods: vec![method],
                upstream,
                ..Policy::default()
            };
            routes.add("/a", policy).unwrap();
        }
        let upstream = |method| routes.find(&method, "/a").policy.upstream;
        assert_eq!(
            (
                upstream(Method::PUT),
                upstream(Method::POST),
                upstream(Method::GET)
            ),
            (1, 2, 0)
        );
        assert!(!routes.find(&Method::DELETE, "/a").covered);
    }
}
