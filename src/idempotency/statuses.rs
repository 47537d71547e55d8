//! Some statuses of answers, as an operator names them.

use std::fmt;
use std::str::FromStr;

/// Some statuses: one (`409`), a class (`2xx`) or a range (`500-599`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

/// Not statuses from 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected statuses from 200 to 599, such as \"409\", \"2xx\" or \"500-599\"")]
pub struct BadStatuses;

impl Statuses {
    /// 2xx.
    pub const SUCCESSFUL: Self = Self::class(2);

    /// All that begin with this digit, 2 to 5.
    pub const fn class(digit: u16) -> Self {
        Self {
            first: digit * 100,
            last: digit * 100 + 99,
        }
    }

    /// This one.
    pub const fn one(status: u16) -> Self {
        Self {
            first: status,
            last: status,
        }
    }

    /// Whether `status` is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    /// Whether all of them are among `others`.
    pub fn are_within(self, others: Self) -> bool {
        others.first <= self.first && self.last <= others.last
    }

    /// Whether any status is one of both.
    pub fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for Statuses {
    type Err = BadStatuses;

    fn from_str(text: &str) -> Result<Self, BadStatuses> {
        let one = |text: &str| {
            let plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|status| plain && (200..=599).contains(status))
                .ok_or(BadStatuses)
        };
        let (first, last) = match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) if class.len() == 1 => {
                (one(&format!("{class}00"))?, one(&format!("{class}99"))?)
            }
            (_, Some((first, last))) => (one(first)?, one(last)?),
            _ => (one(text)?, one(text)?),
        };
        if first > last {
            return Err(BadStatuses);
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = *self;
        match last - first {
            0 => write!(f, "{first}"),
            99 if first % 100 == 0 => write!(f, "{}xx", first / 100),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_class_or_a_range() {
        for (text, first, last) in [
            ("409", 409, 409),
            ("2xx", 200, 299),
            ("5xx", 500, 599),
            ("500-503", 500, 503),
            ("200-599", 200, 599),
        ] {
            let statuses: Statuses = text.parse().unwrap();
            assert_eq!(statuses, Statuses { first, last });
            assert_eq!(statuses.to_string(), text);
            assert!(statuses.contains(first) && statuses.contains(last));
            assert!(!statuses.contains(first - 1) && !statuses.contains(last + 1));
        }
        assert_eq!("2xx".parse(), Ok(Statuses::SUCCESSFUL));
        assert_eq!("404".parse(), Ok(Statuses::one(404)));
        assert_eq!("5xx".parse(), Ok(Statuses::class(5)));
    }

    #[test]
    fn some_lie_within_others_and_some_only_meet() {
        let range = |text: &str| text.parse::<Statuses>().unwrap();
        for within in ["200", "299", "2xx", "201-204"] {
            assert!(range(within).are_within(Statuses::SUCCESSFUL), "{within}");
        }
        for meets in ["200-300", "200-599"] {
            assert!(!range(meets).are_within(Statuses::SUCCESSFUL), "{meets}");
            assert!(range(meets).meets(Statuses::SUCCESSFUL), "{meets}");
        }
        assert!(!range("404").meets(Statuses::SUCCESSFUL));
    }

    #[test]
    fn what_no_answer_has_is_refused() {
        for text in [
            "",
            "20",
            "2000",
            "+20",
            "199",
            "600",
            "1xx",
            "6xx",
            "xx",
            "2XX",
            "22xx",
            "299-200",
            "200-",
            "-200",
            "200-600",
            "200-299-300",
            "é00",
        ] {
            assert_eq!(text.parse::<Statuses>(), Err(BadStatuses), "{text}");
        }
    }
}
