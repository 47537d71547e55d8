//! What an upstream's answer says about the operation.

/// What an upstream's answer says about the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// It was carried out, or refused for good: keep the answer.
    Store,
    /// It was not carried out: the key is free again.
    Release,
    /// It may or may not have been carried out.
    Unknown,
}

/// The built-in rules, by status alone.
///
/// 2xx, 3xx and 4xx are final, but for those by which an API says "not you", "not now" or "not like this": a caller who was
/// not logged in, hit a conflict or was throttled may try the same key again. 502 and 504 come from
/// a gateway that lost the answer. Every other 5xx is a broken upstream. A status beyond these says nothing.
pub const fn built_in(status: u16) -> Finality {
    match status {
        401 | 403 | 407 | 408 | 409 | 421 | 423 | 425 | 429 => Finality::Release,
        502 | 504 => Finality::Unknown,
        200..=499 => Finality::Store,
        500..=599 => Finality::Release,
        _ => Finality::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Finality, built_in};

    #[test]
    fn every_status_has_the_finality_that_the_contract_names() {
        for status in 200..600 {
            let expected = match status {
                401 | 403 | 407 | 408 | 409 | 421 | 423 | 425 | 429 => Finality::Release,
                502 | 504 => Finality::Unknown,
                500.. => Finality::Release,
                _ => Finality::Store,
            };
            assert_eq!(built_in(status), expected, "{status}");
        }
    }

    #[test]
    fn a_status_beyond_the_classes_leaves_the_outcome_unknown() {
        for status in [0, 100, 101, 199, 600, 799, 999, u16::MAX] {
            assert_eq!(built_in(status), Finality::Unknown, "{status}");
        }
    }
}
