//! The plan as text, for programs, and as pictures: [`Plan::render`].

mod diagram;
mod dot;
mod embedded;
mod layout;
mod mermaid;
mod names;
mod picture;
mod svg;
mod text;

pub use diagram::{Diagram, DiagramBox, Mark};
pub(crate) use names::short;

use super::{Estimates, Plan, PlanNode};
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

/// A form in which a plan can be written.
///
/// The pictures have bounds, because a picture that shows everything cannot be read. What a wave
/// has beyond its share is one box "… 380 more", which the dependencies of all builds in it lead to
/// and from. The critical path is always drawn, as long as it has no more waves than the picture.
/// Names that are too long lose a part that they share with others; where the form has tooltips,
/// they have the full name and the reason. Expected times say whether they are a guess: nothing is
/// known of the artifact, so it is the usual time of its kind.
///
/// | format | boxes | waves | dependencies | exclusions |
/// |---|---|---|---|---|
/// | [`Dot`](Self::Dot) | 2000 | 300 | 10000 | 500 |
/// | [`Mermaid`](Self::Mermaid) | 150 | 40 | 400 | 20 |
/// | [`Svg`](Self::Svg) | 400 | 60 | 2000 | 40 |
///
/// Output is the same for equal plans, and safe to embed: whatever a name contains, it cannot end a
/// line, a quoted text or a tag.
///
/// ```
/// use freshmaker::plan::Format;
///
/// assert_eq!("svg".parse(), Ok(Format::Svg));
/// assert_eq!(Format::ALL.map(Format::as_str), ["text", "json", "dot", "mermaid", "svg"]);
/// assert!("png".parse::<Format>().unwrap_err().to_string().contains("only text, json"));
/// ```
#[doc(alias = "Graphviz")]
#[doc(alias = "diagram")]
#[doc(alias = "visualization")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A tree for people, each build below the reason that puts it into its wave; the `Display` of
    /// a plan.
    Text,
    /// For programs: the stored form, from which a [`Plan`] can be read again.
    Json,
    /// A graph for Graphviz.
    Dot,
    /// A flowchart in the language of Mermaid, small enough for its usual limits.
    Mermaid,
    /// A picture that needs nothing else: no script, no font, no link.
    Svg,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Text, Self::Json, Self::Dot, Self::Mermaid, Self::Svg];

    /// Returns the name: `text`, `json`, `dot`, `mermaid` or `svg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Dot => "dot",
            Self::Mermaid => "mermaid",
            Self::Svg => "svg",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is not the name of a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {text:?}, only text, json, dot, mermaid and svg")]
pub struct UnknownFormat {
    text: String,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let unknown = || UnknownFormat { text: text.chars().take(40).collect() };
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(unknown)
    }
}

impl Plan {
    /// Returns something that writes the plan in this format when it is displayed. Nothing is
    /// computed before.
    ///
    /// ```
    /// use freshmaker::plan::Format;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("debian", ArtifactKind::Image));
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// graph.depend("app", "debian", EdgeKind::ParentImage)?;
    /// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
    ///
    /// let format: Format = "mermaid".parse()?;
    /// assert!(plan.render(format).to_string().contains("n0 --> n1"));
    /// assert!(plan.render(Format::Svg).to_string().starts_with("<svg "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "nothing is written yet"]
    pub fn render(&self, format: Format) -> impl fmt::Display + '_ {
        Rendered { plan: self, format }
    }
}

struct Rendered<'a> {
    plan: &'a Plan,
    format: Format,
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Text => self.plan.fmt(f),
            // A plan has only texts for keys, so its JSON form exists.
            Format::Json => writeln!(f, "{}", serde_json::to_string_pretty(self.plan).map_err(|_| fmt::Error)?),
            Format::Dot => dot::write(self.plan, f),
            Format::Mermaid => mermaid::write(self.plan, f),
            Format::Svg => svg::write(self.plan, f),
        }
    }
}

/// A name or sentence on one line: characters that would break the line or change its direction are
/// replaced.
pub(super) struct Line<'a>(pub(super) &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(harmless(c)))
    }
}

/// Replaces control characters, separators of lines and paragraphs, changes of direction, and code
/// points that are no characters.
fn harmless(c: char) -> char {
    let separates = matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || separates || turns { '\u{fffd}' } else { c }
}

/// A duration in its two largest units.
struct About(Duration);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min"),
            (0, ..) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

/// A duration that these builds take together, and whether it is a guess.
struct Takes<'a>(&'a [&'a PlanNode], Duration);

impl fmt::Display for Takes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guesses = self.0.iter().filter(|node| is_guess(node)).count();
        let note = match guesses {
            0 => "",
            all if all == self.0.len() => " (a guess)",
            _ => " (partly a guess)",
        };
        write!(f, "{}{note}", About(self.1))
    }
}

/// Returns whether the duration is unknown: neither an earlier build nor a catalog gave one.
fn is_guess(node: &PlanNode) -> bool {
    node.artifact.estimate.is_none() && node.estimate == Estimates::default().of(&node.artifact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_two_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (3599, "59 min"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")] {
            assert_eq!(About(Duration::from_secs(seconds)).to_string(), text);
        }
        assert!(!About(Duration::MAX).to_string().is_empty());
    }

    #[test]
    fn formats_have_names() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        let error = "PNG".parse::<Format>().unwrap_err().to_string();
        assert_eq!(error, "there is no format \"PNG\", only text, json, dot, mermaid and svg");
    }
}
