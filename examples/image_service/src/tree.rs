//! What a tree of Containerfiles says about the parents of its images.

use crate::Result;
use crate::site::manifest;
use freshmaker::artifact::ImageReference;
use freshmaker::graph::Cycle;
use freshmaker::{ArtifactGraph, ArtifactId};
use freshmaker_local::files::containerfile::{self, Usage};
use freshmaker_local::files::tree::{self, Naming};
use freshmaker_oci::staleness::{Parent, Role};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The Containerfile of an image.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) file: PathBuf,
    pub(crate) parents: Vec<Parent>,
    /// References that cannot be resolved, as sentences: perhaps further parents.
    pub(crate) problems: Vec<String>,
}

/// The recipes of a tree, by image.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    graph: ArtifactGraph,
    by_image: BTreeMap<String, Recipe>,
    /// The images whose Containerfiles cannot be read, and why.
    left_out: BTreeMap<ArtifactId, String>,
    /// The images that are built from each other, and why that is so.
    in_cycles: BTreeMap<ArtifactId, String>,
    /// What is wrong with the tree, as sentences.
    pub(crate) problems: Vec<String>,
}

/// Says what is wrong with the images of a cycle.
pub(crate) fn from_each_other(cycle: &Cycle) -> String {
    format!("images are built from each other: {cycle}")
}

/// Returns the images of cycles, with what is wrong with them.
fn in_cycles(graph: &ArtifactGraph) -> BTreeMap<ArtifactId, String> {
    let cycles = graph.cycles();
    let members = cycles.iter().flat_map(|cycle| cycle.members().iter().map(move |member| (member, cycle)));
    members.map(|(member, cycle)| (member.clone(), from_each_other(cycle))).collect()
}

impl Recipes {
    /// Reads a directory, with the names that its manifest gives, if it has one.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let (root, naming) = match manifest(directory)? {
            None => (directory.to_owned(), Naming::default()),
            Some(manifest) => {
                let (root, naming) = manifest.tree().ok_or_else(|| {
                    format!("{}: without [tree] in its manifest, no Containerfile is read", directory.display())
                })?;
                (directory.join(root).components().collect(), naming.clone())
            }
        };
        Self::scan(&root, &naming)
    }

    /// Reads several trees. Of an image that two of them build, the first counts.
    pub(crate) fn of_trees(trees: &[(PathBuf, Naming)]) -> Result<Self> {
        let mut all = Self::default();
        for (root, naming) in trees {
            let next = Self::scan(root, naming)?;
            all.graph.merge(&next.graph);
            for (image, recipe) in next.by_image {
                match all.by_image.entry(image) {
                    Entry::Vacant(entry) => drop(entry.insert(recipe)),
                    Entry::Occupied(entry) => {
                        let (image, first, file) = (entry.key(), entry.get().file.display(), recipe.file.display());
                        all.problems
                            .push(format!("{file}: {image} is already built by {first}; this file is left out"));
                    }
                }
            }
            all.left_out.extend(next.left_out);
            all.problems.extend(next.problems);
        }
        let Self { by_image, left_out, .. } = &mut all;
        left_out.retain(|image, _| !by_image.contains_key(image.as_str()));
        // Images of two trees can be built from each other as well.
        all.in_cycles = in_cycles(&all.graph);
        let known: BTreeSet<_> = all.problems.iter().cloned().collect();
        all.problems.extend(
            all.in_cycles.values().collect::<BTreeSet<_>>().into_iter().filter(|it| !known.contains(*it)).cloned(),
        );
        Ok(all)
    }

    /// Reads a tree whose images have these names.
    pub(crate) fn scan(root: &Path, naming: &Naming) -> Result<Self> {
        let tree = tree::scan(root, naming).map_err(|error| format!("{}: {error}", root.display()))?;
        let mut by_image = BTreeMap::new();
        for (path, image) in &tree.files {
            let recipe = recipe(&root.join(path), &tree.graph)?;
            by_image.insert(image.to_string(), recipe);
        }
        let mut problems: Vec<_> = tree.problems.iter().map(ToString::to_string).collect();
        let left_out = tree.left_out.iter().map(|(image, problem)| (image.clone(), problem.to_string())).collect();
        let in_cycles = in_cycles(&tree.graph);
        problems.extend(in_cycles.values().collect::<BTreeSet<_>>().into_iter().cloned());
        Ok(Self { graph: tree.graph, by_image, left_out, in_cycles, problems })
    }

    /// Returns the recipe of an image, which may be named as in the tree.
    pub(crate) fn of(&self, image: &ImageReference) -> Option<&Recipe> {
        let id = ArtifactId::from(&image.without_digest());
        let id = self.graph.canonical(&id).unwrap_or(&id);
        self.by_image.get(id.as_str())
    }

    /// Returns the images whose Containerfiles cannot be read, and why.
    pub(crate) fn left_out(&self) -> &BTreeMap<ArtifactId, String> {
        &self.left_out
    }

    /// Returns the image that cannot be read and is meant by a name: its own, or the end of it.
    pub(crate) fn left_out_as(&self, name: &str) -> Option<ArtifactId> {
        let is_meant = |id: &&ArtifactId| {
            let short = id.as_str().strip_suffix(":latest").unwrap_or(id.as_str());
            let is_end = |of: &str| of == name || of.strip_suffix(name).is_some_and(|before| before.ends_with('/'));
            is_end(id.as_str()) || is_end(short)
        };
        let id = ArtifactId::new(name);
        let is_known = self.graph.canonical(&id).is_some();
        self.left_out.keys().find(is_meant).filter(|_| !is_known).cloned()
    }

    /// Says why an image cannot be built: because it is built from itself.
    pub(crate) fn cycle(&self, image: &ArtifactId) -> Option<&str> {
        self.in_cycles.get(image).map(String::as_str)
    }

    /// Returns all images of the tree that can be read.
    pub(crate) fn images(&self) -> Vec<ImageReference> {
        self.by_image.keys().filter_map(|image| image.parse().ok()).collect()
    }
}

fn recipe(file: &Path, graph: &ArtifactGraph) -> Result<Recipe> {
    let place = file.display();
    let bytes = std::fs::read(file).map_err(|error| format!("{place}: {error}"))?;
    let read = containerfile::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| format!("{place}: {error}"))?;
    let mut parents: Vec<Parent> = Vec::new();
    for used in &read.images {
        let role = match used.usage {
            Usage::Parent => Role::Base,
            Usage::Builder => Role::Builder,
            // The image is not built from these.
            _ => continue,
        };
        // An image of the tree may be used under a shorter name.
        let canonical = graph.canonical(&ArtifactId::from(&used.image)).filter(|_| used.image.digest().is_none());
        let image = canonical.and_then(|id| id.as_str().parse().ok()).unwrap_or_else(|| used.image.clone());
        parents.push(Parent { image, role, line: Some(used.line) });
    }
    let bases: Vec<_> =
        parents.iter().filter(|parent| parent.role == Role::Base).map(|base| base.image.clone()).collect();
    // One build uses one content for one name: evidence about the base is evidence about both.
    parents.retain(|parent| parent.role == Role::Base || !bases.contains(&parent.image));
    let mut seen = BTreeSet::new();
    parents.retain(|parent| seen.insert((parent.image.clone(), parent.role)));
    let problems = read.problems.iter().map(|problem| format!("{place}:{}: {}", problem.line, problem.text)).collect();
    Ok(Recipe { file: file.to_owned(), parents, problems })
}
