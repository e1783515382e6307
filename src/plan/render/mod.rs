//! The plan as text and as pictures.

mod text;

use std::fmt;

/// A name or sentence on one line: what would break the line, or turn its direction, is replaced.
pub(super) struct Line<'a>(pub(super) &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| fmt::Write::write_char(f, if is_harmless(c) { c } else { '\u{fffd}' }))
    }
}

/// Control characters, separators of lines and paragraphs, changes of direction, and what is no character at all.
fn is_harmless(c: char) -> bool {
    let harmful = matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}');
    !c.is_control() && !harmful
}
