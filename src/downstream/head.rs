//! A look at a request head for what hyper settles without a word.

use memchr::memchr;

/// Counts the `Content-Length` lines of a head that arrives in pieces; hyper reduces equal ones to one.
///
/// It starts where hyper may have the beginning of the head already, so the first line it sees counts for nothing,
/// whatever it is. What it counts is there; what came before it, or behind another head, it does not see.
#[derive(Debug)]
pub(super) struct HeadScan {
    /// How much of [`LENGTH`] the line began with; none if with something else.
    matched: Option<usize>,
    /// Nothing of the line was seen but a CR.
    empty: bool,
    /// The empty line was seen: what follows is none of the head.
    over: bool,
    lengths: usize,
}

impl HeadScan {
    pub(super) fn new() -> Self {
        Self {
            matched: None,
            empty: true,
            over: false,
            lengths: 0,
        }
    }

    /// Takes the next piece, and says whether the length is repeated so far.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() && !self.over {
            let end = memchr(b'\n', rest);
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.look(line);
            if end.is_some() {
                self.over = self.empty;
                self.empty = true;
                self.matched = Some(0);
            }
            rest = after.get(1..).unwrap_or_default();
        }
        self.lengths > 1
    }

    /// Takes more of the line.
    fn look(&mut self, more: &[u8]) {
        // Most lines are told by their first byte.
        if self.empty && !matches!(more, [] | [b'c' | b'C' | b'\r', ..]) {
            (self.empty, self.matched) = (false, None);
            return;
        }
        self.empty = self.empty && more.iter().all(|byte| *byte == b'\r');
        let Some(at) = self.matched else { return };
        let wanted = &LENGTH[at..];
        let compared = wanted.len().min(more.len());
        let (more, expected) = (&more[..compared], &wanted[..compared]);
        let same = more.eq_ignore_ascii_case(expected);
        let whole = same && compared == wanted.len();
        self.matched = (same && !whole).then_some(at + compared);
        self.lengths += usize::from(whole);
    }
}

const LENGTH: &[u8] = b"content-length:";

#[cfg(test)]
mod tests {
    use super::*;

    /// Over every way to cut it in two, and byte by byte.
    #[track_caller]
    fn assert_scan(head: &str, repeated: bool) {
        for at in 0..=head.len() {
            let mut scan = HeadScan::new();
            scan.feed(&head.as_bytes()[..at]);
            assert_eq!(
                scan.feed(&head.as_bytes()[at..]),
                repeated,
                "{head:?} at {at}"
            );
        }
        let mut scan = HeadScan::new();
        let pieces = head.as_bytes().chunks(1).map(|byte| scan.feed(byte));
        assert_eq!(pieces.last(), Some(repeated), "{head:?} byte by byte");
    }

    #[test]
    fn a_repeated_length_is_seen_however_the_head_arrives() {
        let once = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n";
        assert_scan(&format!("{once}\r\n"), false);
        assert_scan(&format!("{once}content-LENGTH:1\r\n\r\n"), true);
        assert_scan(&format!("{once}X: y\nContent-Length: 1\n\n"), true);
        assert_scan(
            &format!("{once}X-Content-Length: 1\r\nContent-Length-X: 1\r\n\r\n"),
            false,
        );
    }

    #[test]
    fn neither_a_body_nor_what_may_be_the_end_of_another_line_counts() {
        let lengths = "Content-Length: 1\r\nContent-Length: 1\r\n\r\n";
        assert_scan(
            &format!("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n{lengths}"),
            false,
        );
        assert_scan(&format!("\r\n{lengths}"), false);
        assert_scan(&format!("\n{lengths}"), false);
        assert_scan(lengths, false);
    }
}
