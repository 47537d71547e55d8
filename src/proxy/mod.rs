//! The path of a request.
pub mod policy;
mod routes;
pub use policy::Policy;
pub use routes::{Found, RouteError, Routes};
