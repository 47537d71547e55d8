//! Queries of pages that take a flag at most.

use super::answer::Refusal;
use super::body::printable;

/// Whether a query sets the flag of this name: `name` or `name=true`; `name=false` is the same as nothing.
///
/// # Errors
///
/// Of anything else in it, by its name.
pub(super) fn flag(query: Option<&str>, name: &str) -> Result<bool, Refusal> {
    let mut set = None;
    for (given, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if given != name {
            return Err(unknown(&given));
        }
        let value = match &*value {
            "" | "true" => true,
            "false" => false,
            _ => {
                return Err(Refusal::bad(format!("{name}: expected {name}=true")));
            }
        };
        if set.replace(value).is_some() {
            return Err(Refusal::bad(format!("{name}: expected it once")));
        }
    }
    Ok(set.unwrap_or(false))
}

/// Of a page that takes no query.
pub(super) fn none(query: Option<&str>) -> Result<(), Refusal> {
    match form_urlencoded::parse(query.unwrap_or_default().as_bytes()).next() {
        Some((given, _)) => Err(unknown(&given)),
        None => Ok(()),
    }
}

/// Of a parameter that a page does not take.
pub(super) fn unknown(name: &str) -> Refusal {
    Refusal::bad(format!("unknown parameter: {}", printable(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_set_or_not_or_named_as_a_fault() {
        for (query, told) in [
            (None, Ok(false)),
            (Some(""), Ok(false)),
            (Some("force"), Ok(true)),
            (Some("force="), Ok(true)),
            (Some("force=true"), Ok(true)),
            (Some("force=false"), Ok(false)),
            (Some("force=1"), Err("force: expected force=true")),
            (Some("force=True"), Err("force: expected force=true")),
            (Some("force&force"), Err("force: expected it once")),
            (Some("forec=true"), Err("unknown parameter: forec")),
            (Some("force&x%0A=1"), Err("unknown parameter: x\\n")),
        ] {
            let read = flag(query, "force").map_err(|refusal| refusal.detail);
            assert_eq!(read, told.map_err(Into::into), "{query:?}");
        }
        assert!(none(Some("")).is_ok() && none(None).is_ok() && none(Some("a")).is_err());
    }
}
