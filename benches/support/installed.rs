//! Which programs there are.

use std::env;

/// Whether a program of this name is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    env::split_paths(&search_path()).any(|directory| directory.join(program).is_file())
}

/// Where programs are looked for: `PATH`, and where Debian puts those for administrators.
pub(crate) fn search_path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/usr/local/sbin")
}
