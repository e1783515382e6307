//! Patterns of the shell in `${NAME%pattern}`, `${NAME#pattern}` and `${NAME/pattern/text}`.
//!
//! `*` stands for any characters and `?` for one. Brackets have no special meaning. A backslash
//! escapes `*`, `?`, `\`, `/` and `}`; no other character may follow it.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Exactly(char),
    One,
    Many,
}

/// Whether `*` takes as much as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Shortest,
    Longest,
}

#[derive(Debug)]
struct Glob(Vec<Token>);

/// Longest pattern and longest value, in characters. Names of images are shorter, and the cost
/// grows with the product.
const LENGTH_MAX: usize = 512;

fn chars(text: &str) -> Result<Vec<char>, String> {
    let chars: Vec<char> = text.chars().take(LENGTH_MAX + 1).collect();
    if chars.len() > LENGTH_MAX {
        return Err(format!("a pattern or its value is longer than {LENGTH_MAX} characters"));
    }
    Ok(chars)
}

impl Glob {
    fn parse(pattern: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = chars(pattern)?.into_iter();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Token::Exactly(c),
                    Some(c) => return Err(format!("\\{c} is not allowed in a pattern")),
                    None => return Err("a pattern ends with \\".to_owned()),
                },
                c => Token::Exactly(c),
            });
        }
        Ok(Self(tokens))
    }

    /// Returns where the match ends that begins at `start`; `None` if there is no match.
    ///
    /// Between two `*` is a piece of fixed length. With the shortest `*` each piece is as far to
    /// the left as it can be, with the longest as far to the right: what a backtracking search
    /// finds first, without backtracking. Cost: O(tokens · characters).
    fn end_of_match(&self, text: &[char], start: usize, length: Length) -> Option<usize> {
        let mut pieces = self.0.split(|token| *token == Token::Many);
        let first = pieces.next().unwrap_or_default();
        let begin = fits(first, text, start).then_some(start + first.len())?;
        let pieces: Vec<&[Token]> = pieces.collect();
        match length {
            Length::Shortest => pieces.iter().try_fold(begin, |from, piece| {
                let place = (from..=text.len()).find(|at| fits(piece, text, *at))?;
                Some(place + piece.len())
            }),
            Length::Longest => {
                let (mut end, mut limit) = (None, text.len());
                for piece in pieces.iter().rev() {
                    let last = limit.checked_sub(piece.len()).filter(|last| *last >= begin)?;
                    limit = (begin..=last).rev().find(|at| fits(piece, text, *at))?;
                    end = end.or(Some(limit + piece.len()));
                }
                end.or(Some(begin))
            }
        }
    }
}

/// Returns whether a piece of a pattern, without `*`, fits at this place.
fn fits(piece: &[Token], text: &[char], at: usize) -> bool {
    let Some(text) = text.get(at..at + piece.len()) else { return false };
    piece.iter().zip(text).all(|(token, c)| *token == Token::One || *token == Token::Exactly(*c))
}

/// Removes what the pattern matches at the beginning.
pub(super) fn trim_start(value: &str, pattern: &str, length: Length) -> Result<String, String> {
    let glob = Glob::parse(pattern)?;
    let text = chars(value)?;
    let end = glob.end_of_match(&text, 0, length).unwrap_or(0);
    Ok(text[end..].iter().collect())
}

/// Removes what the pattern matches at the end.
pub(super) fn trim_end(value: &str, pattern: &str, length: Length) -> Result<String, String> {
    let mut glob = Glob::parse(pattern)?;
    glob.0.reverse();
    let mut text = chars(value)?;
    text.reverse();
    let end = glob.end_of_match(&text, 0, length).unwrap_or(0);
    Ok(text[end..].iter().rev().collect())
}

/// Which of the matches are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matches {
    First,
    All,
}

/// Replaces what the pattern matches. A match takes as much as it can.
///
/// An empty match directly after another match is no match, as with regular expressions.
pub(super) fn replace(value: &str, pattern: &str, with: &str, which: Matches) -> Result<String, String> {
    let glob = Glob::parse(pattern)?;
    let text = chars(value)?;
    let mut out = String::with_capacity(value.len());
    let (mut copied, mut from) = (0, 0);
    while from <= text.len() {
        let found =
            (from..=text.len()).find_map(|start| Some((start, glob.end_of_match(&text, start, Length::Longest)?)));
        let Some((start, end)) = found else { break };
        out.extend(&text[copied..start]);
        if end > copied || start == 0 {
            out.push_str(with);
        }
        copied = end;
        if which == Matches::First {
            break;
        }
        from = end.max(from + 1);
    }
    out.extend(&text[copied..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_removed() {
        for (value, pattern, shortest, longest) in [
            ("foobarbaz", "foo", "barbaz", "barbaz"),
            ("foobarbaz", "f*b", "arbaz", "az"),
            ("foobarbaz", "*a", "rbaz", "z"),
            ("foobarbaz", "x", "foobarbaz", "foobarbaz"),
            ("1.2.3", "*.", "2.3", "3"),
            ("a*b", "a\\*", "b", "b"),
            ("äöü", "?", "öü", "öü"),
            ("abc", "", "abc", "abc"),
            ("abc", "*", "abc", ""),
        ] {
            assert_eq!(trim_start(value, pattern, Length::Shortest).as_deref(), Ok(shortest), "{value} # {pattern}");
            assert_eq!(trim_start(value, pattern, Length::Longest).as_deref(), Ok(longest), "{value} ## {pattern}");
        }
    }

    #[test]
    fn suffixes_are_removed() {
        for (value, pattern, shortest, longest) in [
            ("foobarbaz", "baz", "foobar", "foobar"),
            ("foobarbaz", "b*", "foobar", "foo"),
            ("1.2.3", ".*", "1.2", "1"),
            ("a/b", "\\/b", "a", "a"),
            ("a\\b", "\\\\b", "a", "a"),
        ] {
            assert_eq!(trim_end(value, pattern, Length::Shortest).as_deref(), Ok(shortest), "{value} % {pattern}");
            assert_eq!(trim_end(value, pattern, Length::Longest).as_deref(), Ok(longest), "{value} %% {pattern}");
        }
    }

    #[test]
    fn matches_are_replaced() {
        for (value, pattern, with, first, all) in [
            ("3_20_1", "_", ".", "3.20_1", "3.20.1"),
            ("foobarbaz", "ba?", "X", "fooXbaz", "fooXX"),
            ("foobarbaz", "b*", "X", "fooX", "fooX"),
            ("abc", "x", "y", "abc", "abc"),
            ("abc", "", "-", "-abc", "-a-b-c-"),
            ("abc", "?", "", "bc", ""),
            ("", "a", "b", "", ""),
        ] {
            assert_eq!(replace(value, pattern, with, Matches::First).as_deref(), Ok(first), "{value} / {pattern}");
            assert_eq!(replace(value, pattern, with, Matches::All).as_deref(), Ok(all), "{value} // {pattern}");
        }
    }

    #[test]
    fn wrong_escapes_are_refused_and_many_stars_cost_little() {
        assert_eq!(trim_start("a", "\\a", Length::Shortest), Err("\\a is not allowed in a pattern".to_owned()));
        assert_eq!(trim_end("a", "\\", Length::Shortest), Err("a pattern ends with \\".to_owned()));
        let (value, pattern) = ("a".repeat(512), format!("{}b", "*a".repeat(255)));
        assert_eq!(trim_start(&value, &pattern, Length::Longest), Ok(value.clone()));
        assert_eq!(replace(&value, &pattern, "", Matches::All), Ok(value.clone()));
        for (value, pattern) in [("a".repeat(513), "a".to_owned()), ("a".to_owned(), "*".repeat(513))] {
            let expected = Err("a pattern or its value is longer than 512 characters".to_owned());
            assert_eq!(trim_end(&value, &pattern, Length::Longest), expected);
        }
    }
}
