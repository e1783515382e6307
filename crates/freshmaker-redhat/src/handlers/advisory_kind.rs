use crate::contracts::Advisory;
use std::fmt;

/// What an advisory ships, which decides what is rebuilt because of it.
///
/// ```
/// use freshmaker_redhat::handlers::AdvisoryKind;
/// use freshmaker_redhat::contracts::Advisory;
///
/// let bundles = Advisory { reporter: "botas/jenkins@EXAMPLE.COM".into(), ..Advisory::default() };
/// assert_eq!(bundles.kind(), AdvisoryKind::Bundles);
/// assert_eq!(Advisory::default().kind(), AdvisoryKind::TextOnly);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AdvisoryKind {
    /// Packages or modules. Container images that contain them are rebuilt.
    Packages,
    /// Images whose operators are described by bundles, which are not rebuilt yet.
    Bundles,
    /// Container images that are built already.
    Images,
    /// Nothing but a text.
    TextOnly,
    /// Something else.
    Other,
}

impl fmt::Display for AdvisoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packages => "packages or modules",
            Self::Bundles => "operator bundles",
            Self::Images => "container images",
            Self::TextOnly => "a text alone",
            Self::Other => "something else",
        })
    }
}

impl Advisory {
    /// Returns what the advisory ships. Its reporter tells whether it is about operators; else the
    /// types of its contents do.
    #[must_use]
    pub fn kind(&self) -> AdvisoryKind {
        let ships = |names: &[&str]| self.content_types.iter().any(|kind| names.contains(&kind.as_str()));
        if self.reporter.starts_with("botas") {
            AdvisoryKind::Bundles
        } else if ships(&["rpm", "module"]) {
            AdvisoryKind::Packages
        } else if ships(&["docker"]) {
            AdvisoryKind::Images
        } else if self.content_types.is_empty() {
            AdvisoryKind::TextOnly
        } else {
            AdvisoryKind::Other
        }
    }

    /// Returns in a sentence why no images are rebuilt because of the advisory, whatever they
    /// contain; `None` if images may be.
    pub(super) fn unsuited(&self) -> Option<String> {
        let Self { name, content_types, .. } = self;
        let kinds: Vec<_> = content_types.iter().map(String::as_str).collect();
        match self.kind() {
            AdvisoryKind::Packages => None,
            AdvisoryKind::Bundles => Some(format!("{name} ships operator bundles, which are not rebuilt yet")),
            AdvisoryKind::TextOnly => Some(format!("{name} ships a text alone")),
            AdvisoryKind::Images | AdvisoryKind::Other => {
                Some(format!("{name} ships no packages or modules, but [{}]", kinds.join(", ")))
            }
        }
    }
}
