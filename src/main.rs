//! The `idemproxy` program.
fn main() {}
