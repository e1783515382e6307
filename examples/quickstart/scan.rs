//! What a tree of Containerfiles says, without touching it.

use crate::{Outcome, Result};
use freshmaker::adapter::files::FilesCatalog;
use freshmaker::artifact::Parameter;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, EdgeKind, Policy};
use std::path::Path;

pub(crate) const MANIFEST: &str = "freshmaker.toml";

/// Reads the manifest of a tree if there is one, else all its Containerfiles.
pub(crate) fn catalog(tree: &Path) -> Result<FilesCatalog> {
    if !tree.is_dir() {
        return Err(format!("{}: there is no such directory", tree.display()).into());
    }
    let manifest = tree.join(MANIFEST);
    if manifest.is_file() {
        return Ok(FilesCatalog::from_manifest(manifest)?);
    }
    Ok(FilesCatalog::from_tree(tree)?)
}

pub(crate) fn run(tree: &Path) -> Result<Outcome> {
    let catalog = catalog(tree)?;
    let graph = catalog.graph();
    show_graph(graph, tree);
    show_pins(graph);
    let problems = catalog.problems();
    if !problems.is_empty() {
        println!("\nwrong: {}", count(problems.len(), "problem"));
        for problem in problems {
            println!("  {problem}");
        }
    }
    show_changes(graph);
    Ok(Outcome::Good)
}

fn show_graph(graph: &ArtifactGraph, tree: &Path) {
    let (built, external): (Vec<_>, Vec<_>) = graph.artifacts().partition(|artifact| artifact.buildable());
    println!("built here: {}", count(built.len(), "image"));
    for artifact in built {
        println!("  {}  ({})", artifact.id, file(artifact, tree));
        for (parent, kind) in graph.parents(&artifact.id) {
            println!("    {} {parent}", role(kind));
        }
    }
    println!("\nfrom elsewhere: {}", count(external.len(), "base"));
    for artifact in external {
        println!("  {}", artifact.id);
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Where the recipe is, from the root of the tree.
fn file(artifact: &Artifact, tree: &Path) -> String {
    let Some(source) = &artifact.source else { return String::new() };
    let location = Path::new(&source.location);
    let directory = location.strip_prefix(tree).unwrap_or(location);
    match artifact.parameters.get("file") {
        Some(Parameter::Text(file)) => directory.join(file).display().to_string(),
        _ => directory.display().to_string(),
    }
}

fn role(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::ParentImage => "from",
        EdgeKind::BuilderStage => "builder stage from",
        EdgeKind::RuntimeContent => "with content of",
        _ => "needs",
    }
}

fn show_pins(graph: &ArtifactGraph) {
    let notes: Vec<_> = graph.all_notes().collect();
    if notes.is_empty() {
        return;
    }
    println!("\nnot followed: {}", count(notes.len(), "use"));
    for (child, note) in notes {
        println!("  {child} — {}: {}", note.code, note.text);
    }
}

fn show_changes(graph: &ArtifactGraph) {
    println!("\nwhat the change of a base would rebuild");
    for base in graph.artifacts().filter(|artifact| !artifact.buildable()) {
        show_change(graph, &base.id);
    }
}

fn show_change(graph: &ArtifactGraph, base: &ArtifactId) {
    let plan = match graph.plan(std::slice::from_ref(base), &Policy::allow_all()) {
        Ok(plan) => plan,
        Err(error) => {
            println!("  {base}: {error}");
            return;
        }
    };
    println!("  {base}: {}", count(plan.len(), "image"));
    for (number, wave) in plan.waves().enumerate() {
        let names: Vec<_> = wave.iter().map(|node| node.artifact.id.as_str()).collect();
        println!("    {}. {}", number + 1, names.join(", "));
    }
    for (id, exclusion) in plan.exclusions() {
        println!("    not {id} — {}: {}", exclusion.code, exclusion.text);
    }
}
