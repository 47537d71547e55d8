//! One text for all ways to write a number.

/// One text for all ways to write a number: that of RFC 8785 (a 64-bit float's shortest) where a float holds the number, and
/// all its digits where it does not, so that 9007199254740993 is not taken for its neighbour.
///
/// `literal` is a JSON number that [`is_bounded`].
pub(super) fn canonical(literal: &str) -> String {
    let exact = Decimal::of(literal);
    let float = literal.parse::<f64>().unwrap_or(f64::NAN);
    if float.is_finite() {
        let shortest = ryu_js::Buffer::new().format_finite(float).to_owned();
        if Decimal::of(&shortest) == exact {
            return shortest;
        }
    }
    exact.to_string()
}

/// Whether the exponent is one that a number may have, as it is written and in its canonical text.
pub(super) fn is_bounded(literal: &str) -> bool {
    literal.split_once(['e', 'E']).is_none_or(|(_, exponent)| {
        exponent.parse::<i32>().is_ok() && i32::try_from(Decimal::of(literal).exponent).is_ok()
    })
}

/// A number, exactly: `digits` × 10 to the power of `exponent`. The digits neither begin nor end with a zero.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(literal: &str) -> Self {
        let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let kept = all.trim_end_matches('0');
        let digits = kept.trim_start_matches('0');
        if digits.is_empty() {
            // There is no negative zero in RFC 8785.
            return Self {
                negative: false,
                digits: "0".to_owned(),
                exponent: 0,
            };
        }
        let written: i64 = exponent.parse().unwrap_or_default();
        let shift = (all.len() - kept.len()) as i64 - fraction.len() as i64;
        Self {
            negative,
            digits: digits.to_owned(),
            exponent: written.saturating_add(shift),
        }
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{}", self.digits)?;
        match self.exponent {
            0 => Ok(()),
            exponent => write!(f, "e{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_float_holds_is_written_as_rfc_8785_has_it() {
        // Appendix B of RFC 8785, and ways to write the same.
        for (literal, text) in [
            ("0", "0"),
            ("-0", "0"),
            ("0e5", "0"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740992", "-9007199254740992"),
            ("9.999999999999997e22", "9.999999999999997e+22"),
            ("1e23", "1e+23"),
            ("1000000000000000000000", "1e+21"),
            ("100000000000000000000", "100000000000000000000"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("333333333.3333333", "333333333.3333333"),
            ("1.0", "1"),
            ("1E0", "1"),
            ("10e-1", "1"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
        ] {
            assert_eq!(canonical(literal), text, "{literal}");
        }
    }

    #[test]
    fn what_no_float_holds_keeps_its_digits() {
        for (literal, text) in [
            ("9007199254740993", "9007199254740993"),
            ("-9007199254740993.0", "-9007199254740993"),
            ("333333333.33333329", "33333333333333329e-8"),
            ("0.10000000000000000001", "10000000000000000001e-20"),
            ("1e400", "1e400"),
            ("10e399", "1e400"),
            ("1e-400", "1e-400"),
        ] {
            assert_eq!(canonical(literal), text, "{literal}");
        }
    }

    #[test]
    fn a_number_is_bounded_if_its_canonical_text_is() {
        for bounded in ["1e2147483647", "15e-2147483648", "0e2147483647"] {
            assert!(
                is_bounded(bounded) && is_bounded(&canonical(bounded)),
                "{bounded}"
            );
        }
        for unbounded in ["1e2147483648", "10e2147483647", "1.5e-2147483648"] {
            assert!(!is_bounded(unbounded), "{unbounded}");
        }
    }

    proptest! {
        #[test]
        fn equal_texts_are_equal_numbers(a in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?(e-?[0-9]{1,3})?", zeros in 0_usize..4) {
            // The same number written with a shifted exponent.
            let (mantissa, exponent) = a.split_once('e').unwrap_or((&a, "0"));
            let point = if mantissa.contains('.') { "" } else { "." };
            let exponent: i64 = exponent.parse().unwrap();
            let padded = format!("{mantissa}{point}{}0E{exponent:+}", "0".repeat(zeros));
            prop_assert_eq!(canonical(&a), canonical(&padded));
            prop_assert!(Decimal::of(&canonical(&a)) == Decimal::of(&a), "no digit is lost");
        }
    }
}
