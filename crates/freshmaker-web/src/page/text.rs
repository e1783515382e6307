//! Texts as HTML: escaped, isolated, cut.
//!
//! *Invariant:* every text that is stored is escaped by [`Name`], [`Sentence`] or the templates. A
//! text of another writing direction stays within its own element, and no text is longer than its
//! bound.

use askama::filters::HtmlSafe;
use freshmaker::time::Timestamp;
use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

/// Characters of a name, in a table or a sentence.
const NAME_ROOM: usize = 64;

/// Characters of a sentence.
const SENTENCE_ROOM: usize = 320;

/// Characters of a tooltip.
const TITLE_ROOM: usize = 400;

/// Writes a text with what HTML reads replaced, for contents and quoted attributes.
fn escaped(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '&' => f.write_str("&amp;"),
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '"' => f.write_str("&quot;"),
        '\'' => f.write_str("&#39;"),
        c => f.write_char(harmless(c)),
    })
}

/// Replaces what would change the direction of the text around it, or is no character to be seen.
fn harmless(c: char) -> char {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
    if turns || breaks || c.is_control() && c != '\n' { '\u{fffd}' } else { c }
}

/// Cuts the middle out of a text that has more characters than there is room.
fn shortened(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    // The end of a name has its version.
    let tail = room.saturating_sub(1) * 2 / 3;
    let head = room.saturating_sub(1) - tail;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// A text for places without markup, such as the title of a page: on one line, cut.
pub(crate) fn plain(text: &str) -> String {
    shortened(text, NAME_ROOM).chars().map(|c| if c == '\n' { ' ' } else { harmless(c) }).collect()
}

/// A name, cut in its middle; the whole of it is its tooltip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a>(&'a str);

pub(crate) fn name(text: &str) -> Name<'_> {
    Name(text)
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        isolated(f, self.0, NAME_ROOM)
    }
}

impl HtmlSafe for Name<'_> {}

/// A sentence that is stored, cut if it is very long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sentence<'a>(&'a str);

pub(crate) fn sentence(text: &str) -> Sentence<'_> {
    Sentence(text)
}

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        isolated(f, self.0, SENTENCE_ROOM)
    }
}

impl HtmlSafe for Sentence<'_> {}

fn isolated(f: &mut Formatter<'_>, text: &str, room: usize) -> fmt::Result {
    let short = shortened(text, room);
    if short == text {
        f.write_str("<bdi>")?;
    } else {
        f.write_str("<bdi title=\"")?;
        escaped(f, &shortened(text, TITLE_ROOM))?;
        f.write_str("\">")?;
    }
    escaped(f, &short)?;
    f.write_str("</bdi>")
}

/// A moment in UTC. The script of the page shows how long ago it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Timestamp);

pub(crate) fn moment(at: &Timestamp) -> Moment {
    Moment(*at)
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (machine, people) = (self.0.format("%Y-%m-%dT%H:%M:%SZ"), self.0.format("%Y-%m-%d %H:%M:%S UTC"));
        write!(f, "<time datetime=\"{machine}\">{people}</time>")
    }
}

impl HtmlSafe for Moment {}

/// A duration in its two largest units.
pub(crate) fn about(duration: &Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A text as the beginning of a sentence.
pub(crate) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A number with its noun: `1 build`, `1,200 builds`.
pub(crate) fn count(number: &(impl Copy + TryInto<u64>), noun: &str) -> String {
    let number = (*number).try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(&number))
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: &u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_element() {
        let hostile = "<b>\"'&\u{202e}\u{2066}\0";
        assert_eq!(name(hostile).to_string(), "<bdi>&lt;b&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}\u{fffd}</bdi>");
        let long = "x".repeat(10_000);
        assert!(name(&long).to_string().len() < 600, "a name is cut");
        assert!(sentence(&long).to_string().len() < 1000, "a sentence is cut");
        assert_eq!(plain("a\nb\u{200f}"), "a b\u{fffd}");
    }

    #[test]
    fn names_keep_their_ends() {
        let text = format!("registry/{}:1.2.3", "x".repeat(100));
        let short = shortened(&text, 20);
        assert_eq!(short.chars().count(), 20);
        assert!(short.starts_with("registr…") && short.ends_with(":1.2.3"), "{short}");
    }

    #[test]
    fn numbers_have_commas_and_nouns() {
        assert_eq!([1, 2, 1234, 1_000_000].map(|n: u64| grouped(&n)), ["1", "2", "1,234", "1,000,000"]);
        assert_eq!((count(&1_u64, "build"), count(&0_usize, "build")), ("1 build".into(), "0 builds".into()));
        assert_eq!(about(&Duration::from_secs(90_000)), "1 d 1 h");
    }
}
