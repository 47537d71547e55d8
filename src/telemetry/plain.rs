//! Text of others, on one line.

/// Without what would make a log or a terminal show something else: commands, line breaks, and what turns the direction of writing.
pub fn plain(text: impl IntoIterator<Item = char>) -> String {
    let mut plain = String::new();
    for c in text {
        match c {
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                plain.extend(c.escape_unicode());
            }
            c if c.is_control() => plain.extend(c.escape_default()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_on_its_line_and_goes_one_way() {
        for (text, shown) in [
            ("a\nb\u{1b}[31m", "a\\nb\\u{1b}[31m"),
            ("\u{202a}\u{202e}", "\\u{202a}\\u{202e}"),
            ("\u{2066}\u{2069}", "\\u{2066}\\u{2069}"),
            ("\u{2028}\u{2029}ä…", "\\u{2028}\\u{2029}ä…"),
        ] {
            assert_eq!(plain(text.chars()), shown);
        }
    }
}
