//! Suggests names for files of a tree: images that are used as if they came from elsewhere, but
//! that the tree probably builds.

use crate::Result;
use crate::out::say;
use crate::scan::{Naming, count, file, naming};
use freshmaker::artifact::ImageReference;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId};
use freshmaker_local::files::tree::{self, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Enough to see what is meant.
const SHOWN: usize = 10;
/// The most that are tried one by one if they do not work together: each time the tree is read
/// again.
const TRIED_MAX: usize = 50;

/// An image that is used, and the file that perhaps builds it.
#[derive(Debug)]
struct Alike {
    base: ImageReference,
    file: String,
    /// The pattern that would give the file this name, if its tag is right.
    pattern: String,
}

/// Says which images these are, and what to write into the manifest if they are: only what was
/// tried, and works.
pub(crate) fn show(graph: &ArtifactGraph, tree: &Path) -> Result<()> {
    let Some(Naming { root, naming }) = naming(tree)? else { return Ok(()) };
    let mut alike = find(graph, &root);
    // What a person has named is not called something else.
    alike.retain(|alike| !naming.images.contains_key(&alike.file));
    if alike.is_empty() {
        return Ok(());
    }
    say!("\nperhaps built here under another name: {}", count(alike.len(), "base"));
    for Alike { base, file, .. } in alike.iter().take(SHOWN) {
        say!("  {base} looks like {file}");
    }
    if alike.len() > SHOWN {
        say!("  and {} more", alike.len() - SHOWN);
    }
    let before = tree::scan(&root, &naming)?;
    let works = |naming: &tree::Naming, wanted: &[&Alike]| {
        tree::scan(&root, naming).is_ok_and(|after| is_better(&before, &after, wanted))
    };
    let all: Vec<&Alike> = alike.iter().collect();
    let written = "  if so, say it in freshmaker.toml (`--init` writes one)";
    // A tree has one pattern: it is a hint if it explains everything.
    if naming.pattern.is_none() {
        let mut patterns: Vec<&String> = alike.iter().map(|alike| &alike.pattern).collect();
        patterns.dedup();
        let works_with =
            |pattern: &&String| works(&tree::Naming { pattern: Some((*pattern).clone()), ..naming.clone() }, &all);
        let pattern = patterns.first().filter(|_| patterns.len() == 1).filter(|pattern| works_with(pattern));
        if let Some(pattern) = pattern {
            say!("{written}, under [tree]: image = \"{pattern}\"");
            return Ok(());
        }
    }
    let with = |alike: &[&Alike]| {
        let mut naming = naming.clone();
        naming.images.extend(alike.iter().map(|alike| (alike.file.clone(), alike.base.clone())));
        naming
    };
    let some: Vec<&Alike> = match works(&with(&all), &all) {
        true => all,
        false => all.into_iter().take(TRIED_MAX).filter(|alike| works(&with(&[alike]), &[alike])).collect(),
    };
    if !some.is_empty() && works(&with(&some), &some) {
        say!("{written}, under [tree.images]:");
        for Alike { base, file, .. } in some {
            say!("    {file:?} = \"{}\"", base.familiar());
        }
    }
    Ok(())
}

/// Returns the images that look like a file, each with the one file that fits.
fn find(graph: &ArtifactGraph, root: &Path) -> Vec<Alike> {
    let mut by_key: BTreeMap<String, Vec<(&Artifact, String)>> = BTreeMap::new();
    for artifact in graph.artifacts().filter(|artifact| artifact.buildable()) {
        let file = file(artifact, root);
        for key in keys(&file) {
            by_key.entry(key).or_default().push((artifact, file.clone()));
        }
    }
    let bases = graph.artifacts().filter(|artifact| !artifact.buildable() && !graph.children(&artifact.id).is_empty());
    let mut found: Vec<Alike> = Vec::new();
    for base in bases {
        let Ok(image) = base.id.as_str().parse::<ImageReference>() else { continue };
        let alike = names(&image).into_iter().find_map(|(name, from)| {
            let like: Vec<_> = by_key.get(&key(&name))?.iter().filter(|(_, file)| may_be(file, &name, from)).collect();
            // What is built from it only has its name.
            if like.iter().any(|(one, _)| uses(graph, one, &base.id)) {
                return None;
            }
            let same_tag: Vec<_> = like.iter().filter(|(one, _)| tag(one).as_deref() == image.tag()).collect();
            let (_, file) = match (same_tag.as_slice(), like.as_slice()) {
                ([one], _) => **one,
                ([], [one]) if !is_official(&image) => one,
                // Nobody can say which of them it is.
                _ => return None,
            };
            Some(Alike { base: image.clone(), file: file.clone(), pattern: pattern(&image, &name) })
        });
        found.extend(alike);
    }
    // Two images cannot come from one file: the one that is named as most others is more likely.
    let mut patterns: BTreeMap<String, usize> = BTreeMap::new();
    found.iter().for_each(|alike| *patterns.entry(alike.pattern.clone()).or_default() += 1);
    found
        .sort_by_key(|alike| (alike.file.clone(), std::cmp::Reverse(patterns[&alike.pattern]), alike.base.to_string()));
    found.dedup_by(|later, first| later.file == first.file);
    found
}

/// Returns whether the files build what they look like, and nothing else got worse.
fn is_better(before: &Tree, after: &Tree, wanted: &[&Alike]) -> bool {
    let built = wanted.iter().all(|alike| {
        let id = ArtifactId::from(&alike.base);
        after.files.get(&alike.file) == Some(&id) && !after.graph.children(&id).is_empty()
    });
    built
        && after.files.len() >= before.files.len()
        && after.graph.cycles().len() <= before.graph.cycles().len()
        && edges(before).is_subset(&edges(after))
}

/// Returns which file is built from which.
fn edges(tree: &Tree) -> BTreeSet<(&str, &str)> {
    let files: BTreeMap<&ArtifactId, &str> = tree.files.iter().map(|(file, id)| (id, file.as_str())).collect();
    tree.graph.edges().filter_map(|(child, parent, _)| Some((*files.get(child)?, *files.get(parent)?))).collect()
}

/// Returns what a file may be called after: its directory, the directory above as well, or what its
/// name adds.
fn keys(file: &str) -> BTreeSet<String> {
    let (directory, _) = file.rsplit_once('/').unwrap_or(("", file));
    let mut parts = directory.rsplit('/').filter(|part| !part.is_empty());
    let (last, above) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let added = added(file);
    [last.to_owned(), format!("{above}{last}"), format!("{last}{added}"), added]
        .iter()
        .map(|text| key(text))
        .filter(|key| !key.is_empty())
        .collect()
}

/// Returns what the name of a file adds to `Dockerfile` or `Containerfile`.
fn added(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default().to_lowercase();
    name.replace("dockerfile", "").replace("containerfile", "")
}

/// Returns whether a file may be called after a part of an image. `Dockerfile.debug` may be that of
/// `acme/debug`, but many images that have nothing to do with it have the tag `debug`.
fn may_be(file: &str, name: &str, from: Part) -> bool {
    from == Part::Name || key(&added(file)) != key(name)
}

/// Returns a name without what people write in different ways: case, dashes, underscores and dots.
fn key(name: &str) -> String {
    name.to_lowercase().replace(['-', '_', '.'], "")
}

fn tag(artifact: &Artifact) -> Option<String> {
    let image: ImageReference = artifact.id.as_str().parse().ok()?;
    image.tag().map(str::to_owned)
}

/// A part of an image that its file may be called after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Tag,
}

/// Returns what the file of an image may be called after.
fn names(image: &ImageReference) -> Vec<(String, Part)> {
    let tag = image.tag().filter(|tag| *tag != "latest");
    match image.repository().rsplit_once('/') {
        // What the tree has under this name and tag is found without a hint, so only another way of
        // writing is left.
        Some(("library", name)) if image.registry() == "docker.io" => vec![(name.to_owned(), Part::Name)],
        Some((_, name)) => {
            let tag = tag.map(|tag| (tag.to_owned(), Part::Tag));
            [Some((name.to_owned(), Part::Name)), tag].into_iter().flatten().collect()
        }
        None => vec![(image.repository().to_owned(), Part::Name)],
    }
}

/// Images of Docker Hub without a team are everybody's, so one with another tag is not of the tree.
fn is_official(image: &ImageReference) -> bool {
    image.registry() == "docker.io" && image.repository().starts_with("library/")
}

/// Returns the pattern that could make the image the name of its file.
fn pattern(image: &ImageReference, name: &str) -> String {
    let (registry, repository) = (image.registry(), image.repository());
    match repository.rsplit_once('/') {
        Some((team, last)) if last == name => format!("{registry}/{team}/{{name}}:{{tag}}"),
        None if repository == name => format!("{registry}/{{name}}:{{tag}}"),
        _ => format!("{registry}/{repository}:{{name}}"),
    }
}

fn uses(graph: &ArtifactGraph, artifact: &Artifact, base: &ArtifactId) -> bool {
    graph.parents(&artifact.id).iter().any(|(parent, _)| *parent == base)
        || graph.notes(&artifact.id).any(|note| note.parent == *base)
}
