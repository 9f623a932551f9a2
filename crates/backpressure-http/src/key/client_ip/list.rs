//! The elements of a list, from the last to the first.

use std::iter::Rev;

use http::header::{GetAll, HeaderValue, ValueIter};

/// The elements of a field that is a list (RFC 9110 section 5.6.1), from the last to the first, without the spaces round them.
///
/// Lines of the same name are one list in the order of the lines (RFC 9110 section 5.3). Empty elements are skipped (section
/// 5.6.1.2). Ends early, as if the list were shorter, where it has looked at [`MAX_BYTES`].
#[derive(Debug)]
pub(super) struct Elements<'a> {
    lines: Rev<ValueIter<'a, HeaderValue>>,
    /// What is left of the line: all that stands before the last comma seen.
    line: Option<&'a [u8]>,
    bytes_left: usize,
    last_comma: fn(&[u8]) -> Option<usize>,
}

impl<'a> Elements<'a> {
    /// Reads the lines with a function that finds the last comma which separates elements.
    pub(super) fn of(lines: &GetAll<'a, HeaderValue>, last_comma: fn(&[u8]) -> Option<usize>) -> Self {
        Self { lines: lines.iter().rev(), line: None, bytes_left: MAX_BYTES, last_comma }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let line = match self.line.take() {
                Some(line) => line,
                None => self.lines.next()?.as_bytes(),
            };
            let unseen = line.len().saturating_sub(self.bytes_left);
            let element = match (self.last_comma)(&line[unseen..]) {
                Some(comma) => {
                    self.line = Some(&line[..unseen + comma]);
                    &line[unseen + comma + 1..]
                }
                None => &line[unseen..],
            };
            // One more than the element: its comma, or the end of the line, so that empty ones count too.
            self.bytes_left = self.bytes_left.checked_sub(element.len() + 1)?;
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

/// Finds the last comma.
pub(super) fn last_comma(line: &[u8]) -> Option<usize> {
    line.iter().rposition(|byte| *byte == b',')
}

/// How many bytes of a list are looked at: enough for 32 elements of `Forwarded` with all four parameters.
pub(super) const MAX_BYTES: usize = 8 * 1_024;

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn elements(lines: &[&str]) -> Vec<String> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append("list", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Elements::of(&fields.get_all("list"), last_comma).map(|element| String::from_utf8_lossy(element).into_owned()).collect()
    }

    /// RFC 9110 sections 5.3 and 5.6.1.2.
    #[test]
    fn several_lines_are_one_list_and_empty_elements_are_none() {
        assert_eq!(elements(&["a, b", "c", " ,, d\t,", ""]), ["d", "c", "b", "a"]);
        assert_eq!(elements(&["", ",", " , "]), [""; 0]);
        assert_eq!(elements(&[]), [""; 0]);
    }

    #[test]
    fn elements_within_the_bound_are_seen_and_one_that_begins_before_it_is_not() {
        let last = "b".repeat(MAX_BYTES - 3);
        assert_eq!(elements(&[&format!("a,{last}")]), [last.as_str(), "a"]);
        assert_eq!(elements(&[&format!("aa,{last}")]), [last.as_str()]);
        assert_eq!(elements(&["a", &last]), [last.as_str(), "a"]);
        assert_eq!(elements(&["aa", &last]), [last.as_str()]);
        assert_eq!(elements(&["a".repeat(MAX_BYTES).as_str()]), [""; 0]);
        assert_eq!(elements(&["a".repeat(65_536).as_str()]), [""; 0]);
    }

    #[test]
    fn no_more_than_the_bound_is_searched() {
        let mut fields = HeaderMap::new();
        fields.append("list", HeaderValue::from_bytes(&[b'a'; 65_536]).unwrap());
        fields.append("list", HeaderValue::from_static("b"));
        let searched = |line: &[u8]| {
            assert!(line.len() <= MAX_BYTES);
            last_comma(line)
        };
        assert_eq!(Elements::of(&fields.get_all("list"), searched).count(), 1);
    }

    #[test]
    fn lines_without_anything_in_them_count_too() {
        let lines = vec![""; MAX_BYTES - 2];
        assert_eq!(elements(&[&["a"][..], &lines].concat()), ["a"]);
        assert_eq!(elements(&[&["a"][..], &lines, &[""]].concat()), [""; 0]);
    }
}
