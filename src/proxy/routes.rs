//! Which policy a request is under.

use std::sync::Arc;

use http::Method;

use super::policy::{Mode, Policy};

/// The routes of a configuration, compiled: one lookup a request.
#[derive(Clone, Debug)]
pub struct Routes {
    paths: matchit::Router<Vec<Arc<Policy>>>,
    default: Arc<Policy>,
    all: Vec<Arc<Policy>>,
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
        let default = Arc::new(default);
        Self {
            paths: matchit::Router::new(),
            all: vec![default.clone()],
            default,
        }
    }

    /// Adds a route. Two may share a path if their methods are disjoint.
    ///
    /// # Errors
    ///
    /// The pattern is malformed or ambiguous, or another route covers one of the methods already.
    pub fn add(&mut self, pattern: &str, policy: Policy) -> Result<(), RouteError> {
        let policy = Arc::new(policy);
        match self.paths.insert(pattern, vec![policy.clone()]) {
            Ok(()) => {}
            Err(matchit::InsertError::Conflict { with }) if with == pattern => {
                let here = self
                    .paths
                    .at_mut(pattern)
                    .map_err(|e| RouteError::Pattern(e.to_string()))?
                    .value;
                for other in here.iter() {
                    if let Some(method) = other.methods.iter().find(|m| policy.methods.contains(m))
                    {
                        return Err(RouteError::Overlap(
                            other.route.clone(),
                            policy.route.clone(),
                            method.clone(),
                        ));
                    }
                }
                here.push(policy.clone());
            }
            Err(error) => return Err(RouteError::Pattern(error.to_string())),
        }
        self.all.push(policy);
        Ok(())
    }

    /// The policy of a request, or nothing where the request passes uncovered; and which upstream it goes to.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(matched) = self.paths.at(path) else {
            return Found::of(&self.default, method);
        };
        let here = matched.value;
        let covering = here.iter().find(|p| p.methods.contains(method));
        Found::of(covering.unwrap_or(&here[0]), method)
    }

    /// Every policy, the default one first.
    pub fn all(&self) -> &[Arc<Policy>] {
        &self.all
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
