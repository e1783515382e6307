//! Images from elsewhere that are perhaps built in the tree, under a name that the tree does not
//! tell.

use crate::out::say;
use crate::scan::{count, file};
use freshmaker::artifact::ImageReference;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId};
use std::collections::BTreeMap;
use std::path::Path;

/// Enough to see what is meant.
const SHOWN: usize = 10;

/// Says which images these are, and what to write into the manifest if they are.
pub(crate) fn show(graph: &ArtifactGraph, tree: &Path) {
    let mut directories: BTreeMap<String, Vec<(&Artifact, String)>> = BTreeMap::new();
    for artifact in graph.artifacts().filter(|artifact| artifact.buildable()) {
        let file = file(artifact, tree);
        let name = Path::new(&file).parent().and_then(Path::file_name);
        if let Some(name) = name.and_then(|name| name.to_str()) {
            directories.entry(name.to_lowercase()).or_default().push((artifact, file));
        }
    }
    let mut likes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for base in graph.artifacts().filter(|artifact| !artifact.buildable() && !graph.children(&artifact.id).is_empty()) {
        let Ok(image) = base.id.as_str().parse::<ImageReference>() else { continue };
        let found = names(&image).into_iter().find_map(|(name, pattern)| {
            let like = directories.get(name)?;
            // What is built from it only has its name, and so has what would get another tag.
            let wrong = like.iter().any(|(one, _)| uses(graph, one, &base.id));
            let (_, file) = like
                .iter()
                .find(|(one, _)| !pattern.contains("{tag}") || tag(one) == image.tag().map(str::to_owned))?;
            (!wrong).then(|| (pattern, format!("  {} looks like {file}", base.id)))
        });
        if let Some((pattern, line)) = found {
            likes.entry(pattern).or_default().push(line);
        }
    }
    // A tree has one pattern: the one that explains most.
    let Some((pattern, lines)) = likes.into_iter().max_by_key(|(_, lines)| lines.len()) else { return };
    say!("\nperhaps built here under another name: {}", count(lines.len(), "base"));
    for line in lines.iter().take(SHOWN) {
        say!("{line}");
    }
    if lines.len() > SHOWN {
        say!("  and {} more", lines.len() - SHOWN);
    }
    say!("  if so, say it in freshmaker.toml (`--init` writes one), under [tree]: image = \"{pattern}\"");
}

fn tag(artifact: &Artifact) -> Option<String> {
    let image: ImageReference = artifact.id.as_str().parse().ok()?;
    image.tag().map(str::to_owned)
}

/// What a directory may be called after, and the pattern that would make the image its own.
fn names(image: &ImageReference) -> Vec<(&str, String)> {
    let (registry, repository) = (image.registry(), image.repository());
    let mut names = Vec::new();
    // Those without a team are everybody's.
    if let Some((team, name)) = repository.rsplit_once('/')
        && team != "library"
    {
        names.push((name, format!("{registry}/{team}/{{name}}:{{tag}}")));
        if let Some(tag) = image.tag().filter(|tag| *tag != "latest") {
            names.push((tag, format!("{registry}/{repository}:{{name}}")));
        }
    }
    names
}

fn uses(graph: &ArtifactGraph, artifact: &Artifact, base: &ArtifactId) -> bool {
    graph.parents(&artifact.id).iter().any(|(parent, _)| *parent == base)
        || graph.notes(&artifact.id).any(|note| note.parent == *base)
}
