//! Under which names a Containerfile uses its parents, so that a builder can be given the content
//! that each of these names means during one build.

use freshmaker_local::files::containerfile::{Recipe, UsedImage};
use std::collections::BTreeSet;

/// The keywords of instructions that may name an image.
const KEYWORDS: [&str; 4] = ["FROM", "COPY", "ADD", "RUN"];

/// Returns all names under which builders may look for an image that a file uses: as it is
/// written, and as it is completed.
///
/// # Errors
/// A sentence, if one of them is the name of a stage as well: then a builder could not tell which
/// of both is meant.
pub(crate) fn names(text: &str, used: &UsedImage) -> Result<BTreeSet<String>, String> {
    let image = used.image.without_digest();
    let familiar = image.familiar();
    let mut names: BTreeSet<String> = [image.to_string(), familiar.clone()].into();
    names.extend(familiar.strip_suffix(":latest").map(str::to_owned));
    names.extend(written(text, used.line));
    let stages = stages(text);
    match names.iter().find(|name| stages.contains(&name.to_lowercase())) {
        Some(name) => Err(format!(
            "line {}: a stage is called {name}, like the image: builders cannot tell them apart, so rename the stage",
            used.line
        )),
        None => Ok(names),
    }
}

/// Returns the names of all stages, in lower case.
fn stages(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
            && let [.., r#as, name] = words[..]
            && r#as.eq_ignore_ascii_case("AS")
        {
            found.insert(name.to_lowercase());
        }
    }
    found
}

/// Returns what an instruction itself says, with its variables.
fn written(text: &str, line: usize) -> Vec<String> {
    let mut instruction = String::new();
    for part in text.lines().skip(line.saturating_sub(1)) {
        let part = part.trim();
        let continued = part.strip_suffix(['\\', '`']);
        instruction.push_str(continued.unwrap_or(part));
        instruction.push(' ');
        if continued.is_none() && !part.starts_with('#') {
            break;
        }
    }
    let mut words = instruction.split_whitespace();
    let Some(keyword) = words.find(|word| KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))) else {
        return Vec::new();
    };
    let bare = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    if keyword.eq_ignore_ascii_case("FROM") {
        return words.find(|word| !word.starts_with("--")).map(bare).into_iter().collect();
    }
    let flags = words.take_while(|word| word.starts_with("--"));
    let parts = flags.flat_map(|flag| flag.trim_start_matches("--").trim_start_matches("mount=").split(','));
    parts.filter_map(|part| part.strip_prefix("from=")).map(bare).collect()
}

/// Returns the images of a file whose content is given to a build.
pub(crate) fn followed(recipe: &Recipe) -> impl Iterator<Item = &UsedImage> {
    recipe.images.iter().filter(|used| used.edge().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker_local::files::containerfile::parse;

    fn all(text: &str) -> Result<Vec<Vec<String>>, String> {
        let recipe = parse(text).unwrap();
        followed(&recipe).map(|used| names(text, used).map(Vec::from_iter)).collect()
    }

    #[test]
    fn names_are_as_written_and_as_completed() {
        let found = all("ARG V=12\nFROM --platform=linux/amd64 \\\n  \"debian:$V\"\n").unwrap();
        assert_eq!(found, [["debian:$V", "debian:12", "docker.io/library/debian:12"]]);
        let found = all("FROM r.io/x:1\nCOPY --chown=1 --from=r.io/tools /a /a\n").unwrap();
        assert_eq!(found[0], ["r.io/x:1"]);
        assert_eq!(found[1], ["r.io/tools", "r.io/tools:latest"]);
        let found = all("FROM r.io/x:1\nRUN --mount=type=bind,from=r.io/y:2,target=/y ls\n").unwrap();
        assert_eq!(found[1], ["r.io/y:2"]);
        assert_eq!(all("FROM scratch\nCOPY a /a\n").unwrap(), Vec::<Vec<String>>::new());
    }

    #[test]
    fn what_is_pinned_already_is_left_alone() {
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert!(all(&format!("FROM debian@{digest}\n")).unwrap().is_empty());
    }

    #[test]
    fn a_stage_with_the_name_of_an_image_is_refused() {
        let error = all("FROM golang AS golang\nFROM alpine\nCOPY --from=golang /a /a\n").unwrap_err();
        assert!(error.contains("a stage is called golang"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[FROM asRUN=,\\\\\n\"$#`-]{0,60}", line in 0_usize..9) {
            let _ = written(&text, line);
            let _ = stages(&text);
        }
    }
}
