//! What a misspelt word was meant to be.

/// The one of `known` that `word` is most likely a slip of, if any is near.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (distance(word, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(2))
        // Half of it or more is something else.
        .filter(|(distance, known)| 2 * distance <= known.len().max(word.len()))
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        let known = ["lease", "retention", "unknown_retention", "mode"];
        for (word, meant) in [
            ("leese", Some("lease")),
            ("retension", Some("retention")),
            ("unkown_retention", Some("unknown_retention")),
            ("Mode", Some("mode")),
            ("elephant", None),
            ("m", None),
            ("xyde", Some("mode")),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }

    #[test]
    fn distance_counts_changed_missing_and_added_characters() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("listen", "lisetn", 2),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
