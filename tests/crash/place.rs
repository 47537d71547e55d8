//! Where the program dies, and what must have become of the request that was there.

use crate::verdict::Found;

/// Where the program dies, in the order of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    BeforeClaim,
    AfterClaim,
    BeforeConnection,
    AfterConnection,
    BeforeFirstByte,
    AfterFirstByte,
    BeforeLastByte,
    AfterLastByte,
    BeforeResponseHead,
    AfterResponseHead,
    BeforeBody,
    AfterBody,
    BeforeSettle,
    AfterSettle,
    BeforeAnswer,
    AfterAnswer,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeClaim => "before-claim",
            Self::AfterClaim => "after-claim",
            Self::BeforeConnection => "before-connection",
            Self::AfterConnection => "after-connection",
            Self::BeforeFirstByte => "before-first-byte",
            Self::AfterFirstByte => "after-first-byte",
            Self::BeforeLastByte => "before-last-byte",
            Self::AfterLastByte => "after-last-byte",
            Self::BeforeResponseHead => "before-response-head",
            Self::AfterResponseHead => "after-response-head",
            Self::BeforeBody => "before-body",
            Self::AfterBody => "after-body",
            Self::BeforeSettle => "before-settle",
            Self::AfterSettle => "after-settle",
            Self::BeforeAnswer => "before-answer",
            Self::AfterAnswer => "after-answer",
        }
    }

    /// What the retry finds of a request that was at this place, and how often the upstream has carried it out in the end.
    pub fn leaves(self) -> (&'static [Found], std::ops::RangeInclusive<usize>) {
        use Place::*;
        match self {
            BeforeClaim => (&[Found::Executed], 1..=1),
            AfterClaim | BeforeConnection | AfterConnection | BeforeFirstByte | BeforeLastByte => {
                (&[Found::Unknown], 0..=0)
            }
            AfterFirstByte => (&[Found::Unknown], 0..=1),
            AfterLastByte | BeforeResponseHead | AfterResponseHead | BeforeBody | AfterBody
            | BeforeSettle => (&[Found::Unknown], 1..=1),
            AfterSettle | BeforeAnswer => (&[Found::Replayed, Found::NotStored], 1..=1),
            // Its own answer may have arrived, and the next request have met a program about to be gone.
            AfterAnswer => (&[Found::Replayed, Found::NotStored, Found::Executed], 1..=1),
        }
    }
}

pub const PLACES: [Place; 16] = [
    Place::BeforeClaim,
    Place::AfterClaim,
    Place::BeforeConnection,
    Place::AfterConnection,
    Place::BeforeFirstByte,
    Place::AfterFirstByte,
    Place::BeforeLastByte,
    Place::AfterLastByte,
    Place::BeforeResponseHead,
    Place::AfterResponseHead,
    Place::BeforeBody,
    Place::AfterBody,
    Place::BeforeSettle,
    Place::AfterSettle,
    Place::BeforeAnswer,
    Place::AfterAnswer,
];
