//! Addresses within the page.

use super::text::{Name, name};
pub(crate) use crate::api::messages::encoded;
use askama::filters::HtmlSafe;
use freshmaker::ArtifactId;
use std::fmt::{self, Display, Formatter};

/// Longer addresses are refused by many servers and proxies; what would need one has no link.
const LENGTH_MAX: usize = 2000;

/// The page of an artifact, from the root.
pub(crate) fn artifact_path(id: &ArtifactId) -> Option<String> {
    let path = format!("artifacts/{}", encoded(id.as_str()));
    // A browser takes these for steps of the path, also when they are encoded.
    let is_step = ["", ".", ".."].contains(&id.as_str());
    (!is_step && path.len() <= LENGTH_MAX).then_some(path)
}

/// The form that asks for a rebuild of an artifact, from the root.
pub(crate) fn rebuild_path(id: &ArtifactId) -> Option<String> {
    let path = format!("plans/new?rebuild={}", encoded(id.as_str()));
    (path.len() <= LENGTH_MAX).then_some(path)
}

/// The name of an artifact, which leads to its page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArtifactLink<'a> {
    root: &'a str,
    id: &'a ArtifactId,
    query: &'a str,
}

pub(crate) fn artifact<'a>(root: &'a str, id: &'a ArtifactId) -> ArtifactLink<'a> {
    ArtifactLink { root, id, query: "" }
}

/// The same, with the event that is asked about.
pub(crate) fn artifact_in<'a>(root: &'a str, id: &'a ArtifactId, query: &'a str) -> ArtifactLink<'a> {
    ArtifactLink { root, id, query }
}

impl Display for ArtifactLink<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name: Name<'_> = name(self.id.as_str());
        match artifact_path(self.id) {
            Some(path) => write!(f, "<a href=\"{}{path}{}\">{name}</a>", self.root, self.query),
            None => name.fmt(f),
        }
    }
}

impl HtmlSafe for ArtifactLink<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment() {
        assert_eq!(encoded("docker.io/library/app:1"), "docker.io%2Flibrary%2Fapp%3A1");
        assert_eq!(encoded("a b?c#d'\"<"), "a%20b%3Fc%23d%27%22%3C");
        assert_eq!(artifact_path(&"x".repeat(10_000).into()), None);
        assert_eq!(artifact("../", &"".into()).to_string(), "<bdi></bdi>");
    }
}
