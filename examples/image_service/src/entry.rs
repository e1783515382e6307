//! The lines of a report about one image.

pub(crate) use crate::plain::plain;
use crate::tree::Recipe;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker_oci::staleness::{Freshness, Role, State};
use freshmaker_oci::{Examined, Finding};
use std::path::{Path, PathBuf};

/// One image, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) image: ImageReference,
    pub(crate) recipe: Option<Recipe>,
    /// The directory of the service that builds it, if there is one.
    pub(crate) service: Option<PathBuf>,
    /// What was found, or why nothing could be.
    pub(crate) found: std::result::Result<Examined, String>,
}

impl Entry {
    /// `fresh`, `pinned`, `unknown`, `stale` or `error`.
    pub(crate) fn state(&self) -> &'static str {
        match self.found.as_ref().map(|found| found.freshness) {
            Ok(Freshness::Fresh) => "fresh",
            Ok(Freshness::Pinned) => "pinned",
            Ok(Freshness::Stale) => "stale",
            Ok(_) => "unknown",
            Err(_) => "error",
        }
    }

    /// Returns the command that would build the image on what its parents are today. A pinned image
    /// would become what it is, so there is none for it.
    pub(crate) fn command(&self) -> Option<String> {
        let found = self.found.as_ref().ok()?;
        if !matches!(found.freshness, Freshness::Stale | Freshness::Unknown) {
            return None;
        }
        let file = &self.recipe.as_ref()?.file;
        if let Some(service) = &self.service {
            let [image, service] = [self.image.to_string(), service.display().to_string()].map(|word| quoted(&word));
            // The service tests and signs it, and knows what is built on it.
            return Some(format!("image_service send {image} --dir {service}"));
        }
        let directory = file.parent().filter(|directory| *directory != Path::new("")).unwrap_or(Path::new("."));
        let [image, file, directory] =
            [self.image.to_string(), file.display().to_string(), directory.display().to_string()]
                .map(|word| quoted(&word));
        Some(format!("docker build --pull --tag {image} --file {file} {directory} && docker push {image}"))
    }

    /// Returns what is to be done about an image that has no such command.
    pub(crate) fn advice(&self) -> Option<String> {
        let found = self.found.as_ref().ok()?;
        match (found.freshness, self.command()) {
            (Freshness::Stale, None) => {
                Some("build it again, with --pull; --tree tells the command if its Containerfile is there".to_owned())
            }
            _ => None,
        }
    }
}

/// Says how an image stands to one of its parents.
pub(crate) fn sentence(finding: &Finding) -> String {
    let role = if finding.role == Role::Base { "built on" } else { "with content of" };
    let parent = finding.parent.familiar();
    let short = |digest: &Digest| format!("{}…", digest.short());
    let text = match &finding.state {
        State::Fresh { current, evidence } => format!("as it is today, {} ({evidence})", short(current)),
        State::Stale { built_on, current, evidence } => {
            let what = if finding.parent.digest().is_some() { "the Containerfile pins" } else { "today it is" };
            let built_on = built_on.as_ref().map_or_else(|| "other content".to_owned(), short);
            format!("as it was: {built_on}, {what} {} ({evidence})", short(current))
        }
        State::Pinned { pinned, current } => match current {
            Some(current) if current == pinned => "pinned to what it is today".to_owned(),
            Some(current) => format!("pinned to {}, today the tag is {current}", short(pinned)),
            None => format!("pinned to {}, without a tag to follow", short(pinned)),
        },
        State::Unknown { why } => format!("unknown: {why}"),
        other => format!("{other:?}"),
    };
    format!("{role} {parent}, {text}")
}

/// Quotes a word for a shell, if it needs that.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+=,".contains(c);
    // A word that begins like an option is none.
    let word = if word.starts_with('-') { format!("./{word}") } else { word.to_owned() };
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_shells() {
        for (word, wanted) in [
            ("a/b.c:1", "a/b.c:1"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("-x", "./-x"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }
}
