//! Which policy a request is under.

use std::sync::Arc;

use http::Method;

use super::policy::{Mode, Policy};

/// The routes of a configuration, compiled: one lookup a request.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Index into `groups`.
    paths: matchit::Router<usize>,
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
    /// Two routes share a path and go to different upstreams: where would its other methods go?
    #[error("the routes {0} and {1} share this path, and so must share an upstream")]
    Upstreams(String, String),
}

impl Routes {
    /// Routes of `default` alone.
    pub fn new(default: Policy) -> Self {
        let default = Arc::new(default);
        Self {
            paths: matchit::Router::new(),
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
    /// The pattern is malformed or ambiguous, or another route of this path covers one of the methods already or has
    /// another upstream.
    pub fn add(&mut self, pattern: &str, policy: Policy) -> Result<(), RouteError> {
        let policy = Arc::new(policy);
        match self.groups.iter_mut().find(|(known, _)| known == pattern) {
            Some((_, group)) => {
                for other in group.iter() {
                    tell_apart(other, &policy)?;
                }
                group.push(policy.clone());
            }
            None => {
                self.paths
                    .insert(pattern, self.groups.len())
                    .map_err(|error| {
                        RouteError::Pattern(match error {
                            matchit::InsertError::Conflict { with } => {
                                format!("expected a path that can be told apart from {with}")
                            }
                            error => error.to_string(),
                        })
                    })?;
                let group = vec![policy.clone()];
                self.groups.push((pattern.to_owned(), group));
            }
        }
        self.all.push(policy);
        self.patterns.push(pattern.to_owned());
        Ok(())
    }

    /// The policy of a request, or nothing where the request passes uncovered; and which upstream it goes to.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(matched) = self.paths.at(path) else {
            return Found::of(&self.default, method);
        };
        let (_, here) = &self.groups[*matched.value];
        let covering = here.iter().find(|p| p.methods.contains(method));
        Found::of(covering.unwrap_or(&here[0]), method)
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
    let (here, there) = (one.route.clone(), other.route.clone());
    if one.upstream != other.upstream {
        return Err(RouteError::Upstreams(here, there));
    }
    match one.methods.iter().find(|m| other.methods.contains(m)) {
        Some(method) => Err(RouteError::Overlap(here, there, method.clone())),
        None => Ok(()),
    }
}

/// What the routes say of a request.
#[derive(Debug)]
pub struct Found<'a> {
    /// The route's policy; where `covered` is not set only for its upstream and limits.
    pub policy: &'a Arc<Policy>,
    /// Whether the route covers this method and is not off.
    pub covered: bool,
}

impl<'a> Found<'a> {
    fn of(policy: &'a Arc<Policy>, method: &Method) -> Self {
        Self {
            policy,
            covered: policy.mode != Mode::Off && policy.methods.contains(method),
        }
    }
}
