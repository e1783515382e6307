//! Reads a tree of Containerfiles and reports what it contains, without changing it.

use crate::out::{complain, say};
use crate::summary::plain;
use crate::{Outcome, Result, lookalike};
use freshmaker::artifact::Parameter;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, EdgeKind, Policy};
use freshmaker_local::files::manifest::Manifest;
use freshmaker_local::files::{FilesCatalog, FilesError, Problem, tree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) const MANIFEST: &str = "freshmaker.toml";

/// Of what is built at once; a line with thousands of names is read by nobody.
const NAMES_SHOWN: usize = 12;

pub(crate) fn directory(tree: &Path) -> Result<()> {
    if tree.is_dir() {
        return Ok(());
    }
    let why = if tree.exists() { "this is not a directory" } else { "there is no such directory" };
    Err(format!("{}: {why}", tree.display()).into())
}

/// Reads the manifest of a tree if there is one, else all its Containerfiles.
pub(crate) fn catalog(tree: &Path) -> Result<FilesCatalog> {
    directory(tree)?;
    let manifest = tree.join(MANIFEST);
    if manifest.is_file() {
        return Ok(FilesCatalog::from_manifest(manifest)?);
    }
    Ok(FilesCatalog::from_tree(tree)?)
}

/// Where the Containerfiles of a tree are, and how their images are named.
pub(crate) struct Naming {
    pub(crate) root: PathBuf,
    pub(crate) naming: tree::Naming,
}

/// What the manifest of a tree says of that; `None` if it names no Containerfiles.
pub(crate) fn naming(tree: &Path) -> Result<Option<Naming>> {
    let path = tree.join(MANIFEST);
    if !path.is_file() {
        return Ok(Some(Naming { root: tree.to_owned(), naming: tree::Naming::default() }));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let manifest = Manifest::parse(&path, &text).map_err(FilesError::Manifest)?;
    Ok(manifest.tree().map(|(root, naming)| {
        let root = tree.join(root).components().collect();
        Naming { root, naming: naming.clone() }
    }))
}

pub(crate) fn run(tree: &Path) -> Result<Outcome> {
    let catalog = catalog(tree)?;
    let graph = catalog.graph();
    show_graph(graph, tree);
    show_pins(graph);
    show_changes(graph);
    lookalike::show(graph, tree)?;
    if !catalog.passed_over().is_empty() {
        say!("\npassed over: {}", catalog.passed_over());
    }
    // Last, where it is seen.
    show_problems("to know", "remark", catalog.remarks());
    show_problems("wrong", "problem", catalog.problems());
    Ok(Outcome::Good)
}

fn show_problems(title: &str, what: &str, problems: &[Problem]) {
    if problems.is_empty() {
        return;
    }
    say!("\n{title}: {}", count(problems.len(), what));
    for problem in problems {
        say!("  {}", plain(&problem.to_string()));
    }
}

/// Says what is wrong with a tree, where the output is for something else.
pub(crate) fn complain_of(catalog: &FilesCatalog) {
    if !catalog.passed_over().is_empty() {
        complain!("passed over: {}", catalog.passed_over());
    }
    for problem in catalog.problems() {
        complain!("problem: {}", plain(&problem.to_string()));
    }
}

fn show_graph(graph: &ArtifactGraph, tree: &Path) {
    let (built, external): (Vec<_>, Vec<_>) = graph.artifacts().partition(|artifact| artifact.buildable());
    say!("built here: {}", count(built.len(), "image"));
    if built.is_empty() {
        let why = if tree.join(MANIFEST).is_file() {
            "none of the tree that freshmaker.toml names: without [tree] in it, no Containerfile is read"
        } else {
            "no file is called Containerfile or Dockerfile, with something before or after it perhaps"
        };
        say!("  {why}, or none can be read");
    }
    for artifact in built {
        say!("  {}  ({})", artifact.id, file(artifact, tree));
        for (parent, kind) in graph.parents(&artifact.id) {
            say!("    {} {parent}", role(kind));
        }
        let notes: BTreeSet<_> = graph.notes(&artifact.id).map(|note| (&note.parent, &note.code)).collect();
        for (parent, code) in notes {
            say!("    not followed: {parent} ({code})");
        }
    }
    say!("\nfrom elsewhere: {}", count(external.len(), "base"));
    for artifact in external {
        say!("  {}", artifact.id);
    }
}

pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Where the recipe is, from the root of the tree.
pub(crate) fn file(artifact: &Artifact, tree: &Path) -> String {
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
    say!("\nnot followed: {}", count(notes.len(), "use"));
    for (child, note) in notes {
        say!("  {child} — {}: {}", note.code, note.text);
    }
}

fn show_changes(graph: &ArtifactGraph) {
    // What is named by its content only cannot change.
    let changes = |base: &&Artifact| !base.buildable() && !base.id.as_str().contains('@');
    if !graph.artifacts().any(|artifact| changes(&artifact)) {
        return;
    }
    say!("\nwhat the change of a base would rebuild");
    for base in graph.artifacts().filter(changes) {
        show_change(graph, &base.id);
    }
}

fn show_change(graph: &ArtifactGraph, base: &ArtifactId) {
    let plan = match graph.plan(std::slice::from_ref(base), &Policy::allow_all()) {
        Ok(plan) => plan,
        Err(error) => {
            say!("  {base}: {error}");
            return;
        }
    };
    say!("  {base}: {}", count(plan.len(), "image"));
    for (number, wave) in plan.waves().enumerate() {
        let names: Vec<_> = wave.iter().map(|node| node.artifact.id.as_str()).take(NAMES_SHOWN).collect();
        let more = wave.len() - names.len();
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        say!("    {}. {}{more}", number + 1, names.join(", "));
    }
    for (id, exclusion) in plan.exclusions() {
        say!("    not {id} — {}: {}", exclusion.code, exclusion.text);
    }
}
