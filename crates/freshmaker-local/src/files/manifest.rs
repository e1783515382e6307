//! Reads the manifest `freshmaker.toml`: artifacts without a Containerfile, and names for a tree.
//!
//! ```toml
//! [tree]                                  # optional: a tree of Containerfiles
//! path = "images"                         # relative to the manifest; "." if left out
//! image = "registry.example.com/team/{path}:{tag}"
//!
//! [[tree.rules]]                          # images of files whose whole path fits an expression
//! file = "([^/]+)/v([^/]+)/Dockerfile"
//! image = "registry.example.com/{1}:{2}"
//!
//! [tree.images]                           # by path relative to the tree, whatever the file is called
//! "legacy/Dockerfile" = "registry.example.com/old/app:1"
//! "shop/api.recipe" = "registry.example.com/shop/api:1"
//!
//! [[policy.block]]                        # optional, see `freshmaker::policy`
//! artifact = ".*/experimental/.*"
//! because = "nobody uses it"
//!
//! [[artifact]]
//! name = "registry.example.com/team/site:2"
//! kind = "image"                          # rpm, image, module, image_repository or repository
//! source = "https://git.example.com/site" # without a source the artifact is external
//! revision = "4f2c"
//! parents = ["debian:12", { name = "openssl", kind = "runtime_content" }]
//! builders = ["golang:1.25"]              # like a parent of kind builder_stage
//! aliases = ["site"]
//! system = "command"
//! target = "stable"
//! digest = "sha256:0f"
//! estimate_s = 300
//! parameters = { no_cache = true, repositories = ["a", "b"] }
//! ```
//!
//! * Names and aliases of images are completed as container tools do.
//! * A parent without a kind is a `parent_image` of an image, and a `build_dependency` of anything
//!   else.
//! * A parent that is not declared is external. It is an image if an image is built from it, a
//!   package if an image only contains or needs it, else of the kind of the child.
//! * An image parent with a digest is pinned. It becomes a note in the graph, and is not a
//!   dependency.
//! * If an artifact is an image of the tree, the manifest adds to what the tree says.
//!
//! All mistakes are reported at once. Each names file, line and key, with artifacts counted from 0:
//! `freshmaker.toml:12: artifact[2].parrents: unknown key, did you mean "parents"?`

use super::Problem;
use super::reader::{At, Reader, nearest};
use super::rules;
use super::tree::Naming;
use super::tree_table;
use freshmaker::artifact::ImageReference;
use freshmaker::artifact::{Artifact, ArtifactId, ArtifactKind, Parameter};
use freshmaker::graph::{ArtifactGraph, EdgeKind, Note};
use freshmaker::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

const KINDS: [(&str, ArtifactKind); 5] = [
    ("rpm", ArtifactKind::Rpm),
    ("image", ArtifactKind::Image),
    ("module", ArtifactKind::Module),
    ("image_repository", ArtifactKind::ImageRepository),
    ("repository", ArtifactKind::Repository),
];
const EDGES: [(&str, EdgeKind); 7] = [
    ("parent_image", EdgeKind::ParentImage),
    ("builder_stage", EdgeKind::BuilderStage),
    ("build_dependency", EdgeKind::BuildDependency),
    ("repository", EdgeKind::Repository),
    ("runtime_content", EdgeKind::RuntimeContent),
    ("link", EdgeKind::Link),
    ("bundle_reference", EdgeKind::BundleReference),
];
const ARTIFACT_KEYS: [&str; 12] = [
    "name",
    "kind",
    "source",
    "revision",
    "parents",
    "builders",
    "aliases",
    "system",
    "target",
    "digest",
    "estimate_s",
    "parameters",
];

/// A manifest that was read without finding a mistake.
///
/// ```
/// use freshmaker_local::files::manifest::Manifest;
/// use freshmaker::ArtifactGraph;
///
/// let text =
///     "[[artifact]]\nname = 'app'\nkind = 'image'\nsource = 'app/'\nparents = ['debian:12']\n";
/// let mut graph = ArtifactGraph::new();
/// Manifest::parse("freshmaker.toml", text)?.add_to(&mut graph)?;
/// assert_eq!(graph.parents(&"docker.io/library/app:latest".into()).len(), 1);
///
/// let text = "[[artifact]]\nname = 'app'\nkind = 'imge'\n";
/// let problems = Manifest::parse("freshmaker.toml", text).unwrap_err();
/// assert_eq!(
///     problems[0].to_string(),
///     "freshmaker.toml:3: artifact[0].kind: \"imge\" is not allowed, did you mean \"image\"?"
/// );
/// # Ok::<(), Vec<freshmaker_local::files::Problem>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Manifest {
    path: PathBuf,
    tree: Option<(String, Naming)>,
    policy: Policy,
    tree_line: usize,
    artifacts: Vec<Declared>,
}

#[derive(Clone, Debug)]
struct Declared {
    artifact: Artifact,
    place: String,
    line: usize,
    parents: Vec<Parent>,
    aliases: Vec<(ArtifactId, usize)>,
}

#[derive(Clone, Debug)]
struct Parent {
    name: String,
    kind: EdgeKind,
    place: String,
    line: usize,
}

impl Manifest {
    /// Reads a manifest. The path is only used in reports of problems.
    ///
    /// # Errors
    /// All mistakes, by line.
    pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Self, Vec<Problem>> {
        let path = path.as_ref().to_owned();
        let mut reader = Reader::new(&path, text);
        let root = match DeTable::parse(text) {
            Ok(root) => root,
            Err(error) => {
                reader.syntax(&error);
                return Err(reader.into_problems());
            }
        };
        let root = root.get_ref();
        reader.keys("", root, &["tree", "policy", "artifact"]);
        let tree_line = root.get("tree").map_or(1, |value| {
            let path = value.get_ref().as_table().and_then(|tree| tree.get("path"));
            reader.line(path.unwrap_or(value).span().start)
        });
        let tree = root.get("tree").and_then(|value| tree_table::read(&mut reader, &At::new("tree", value)));
        let policy = rules::policy(&mut reader, text, root);
        let mut artifacts = Vec::new();
        if let Some(value) = root.get("artifact") {
            for at in reader.list(&At::new("artifact", value)) {
                artifacts.extend(reader.table(&at).and_then(|table| declared(&mut reader, &at, table)));
            }
        }
        unique(&mut reader, &artifacts);
        let problems = reader.into_problems();
        if problems.is_empty() { Ok(Self { path, tree, tree_line, policy, artifacts }) } else { Err(problems) }
    }

    /// Returns the policy of the manifest; it allows everything if the manifest has none.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the directory of the tree relative to the manifest, and how its images are named.
    #[must_use]
    pub fn tree(&self) -> Option<(&str, &Naming)> {
        self.tree.as_ref().map(|(path, naming)| (path.as_str(), naming))
    }

    /// Makes the report about a tree that cannot be read.
    pub(super) fn of_tree(&self, text: &str) -> Problem {
        self.problem(self.tree_line, format!("tree.path: {text}"))
    }

    /// Reports the artifacts that add nothing to a graph: their author probably meant others.
    pub(super) fn idle(&self, graph: &ArtifactGraph) -> Vec<Problem> {
        let known: Vec<&str> =
            graph.artifacts().filter(|known| known.buildable()).map(|known| known.id.as_str()).collect();
        let noted: BTreeSet<&ArtifactId> = graph.all_notes().map(|(_, note)| &note.parent).collect();
        let images = self.artifacts.iter().filter(|declared| declared.artifact.kind == ArtifactKind::Image);
        let idle = images.filter(|Declared { artifact, .. }| {
            let known = graph.get(&artifact.id);
            known.is_some_and(|known| {
                !known.buildable() && graph.children(&known.id).is_empty() && !noted.contains(&known.id)
            })
        });
        idle.map(|declared| {
            let id = &declared.artifact.id;
            let hint =
                nearest(id.as_str(), &known).map_or_else(String::new, |near| format!(", did you mean {near:?}?"));
            let text = format!(
                "{}.name: no file and no source builds {id}, and nothing is built from it{hint}",
                declared.place
            );
            self.problem(declared.line, text)
        })
        .collect()
    }

    /// Adds the artifacts to a graph that already has the images of the tree.
    ///
    /// # Errors
    /// Names that contradict those of the graph, by line.
    pub fn add_to(&self, graph: &mut ArtifactGraph) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for declared in &self.artifacts {
            let known = graph.get(&declared.artifact.id).cloned();
            let artifact = match known.filter(|_| !declared.artifact.buildable()) {
                Some(known) => overlay(known, &declared.artifact),
                None => declared.artifact.clone(),
            };
            graph.insert(artifact);
        }
        for declared in &self.artifacts {
            for (alias, line) in &declared.aliases {
                if graph.canonical(alias).is_some_and(|known| known == alias && *known != declared.artifact.id) {
                    let text = format!("{}.aliases: {alias} is the name of another artifact", declared.place);
                    problems.push(self.problem(*line, text));
                }
                let _ = graph.alias(alias.clone(), declared.artifact.id.clone());
            }
        }
        for declared in &self.artifacts {
            for parent in &declared.parents {
                if let Err(text) = self.link(graph, &declared.artifact, parent) {
                    problems.push(self.problem(parent.line, format!("{}: {text}", parent.place)));
                }
            }
        }
        problems.sort();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn problem(&self, line: usize, text: String) -> Problem {
        Problem { path: self.path.clone(), line: Some(line), text }
    }

    fn link(&self, graph: &mut ArtifactGraph, child: &Artifact, parent: &Parent) -> Result<(), String> {
        let exact = ArtifactId::from(parent.name.as_str());
        let image_role = matches!(parent.kind, EdgeKind::ParentImage | EdgeKind::BuilderStage);
        let mut pinned = false;
        let id = match graph.canonical(&exact).cloned() {
            Some(known) => known,
            None => match parent.name.parse::<ImageReference>() {
                Ok(image) => {
                    pinned = image_role && image.digest().is_some();
                    // Without a tag it names contents, and not what a tag leads to.
                    let named = if pinned && image.tag().is_none() { image } else { image.without_digest() };
                    let image = ArtifactId::from(&named);
                    match graph.canonical(&image).cloned() {
                        Some(known) => known,
                        None if image_role => image,
                        None => exact,
                    }
                }
                Err(error) if image_role => return Err(error.to_string()),
                Err(_) => exact,
            },
        };
        // The manifest may use a short name of an image of the tree.
        let child_id = graph.canonical(&child.id).unwrap_or(&child.id).clone();
        if id == child_id {
            return Err(format!("{id} cannot be its own parent"));
        }
        if graph.get(&id).is_none() {
            let kind = match (image_role, child.kind) {
                (true, _) => ArtifactKind::Image,
                (false, ArtifactKind::Image) => ArtifactKind::Rpm,
                (false, kind) => kind,
            };
            graph.insert(Artifact::new(id.clone(), kind));
        }
        let linked = if pinned {
            let text = format!("{}:{} pins {id} by digest", self.path.display(), parent.line);
            graph.note(&child_id, Note { parent: id, code: "pinned_by_digest".to_owned(), text })
        } else {
            graph.depend(child_id, id, parent.kind)
        };
        linked.map_err(|error| error.to_string())
    }
}

/// Returns what the tree knows about an artifact, with what the manifest adds.
fn overlay(known: Artifact, declared: &Artifact) -> Artifact {
    let mut artifact = Artifact { kind: declared.kind, ..known };
    artifact.system = declared.system.clone().or(artifact.system);
    artifact.digest = declared.digest.clone().or(artifact.digest);
    artifact.estimate = declared.estimate.or(artifact.estimate);
    if !declared.target.is_empty() {
        artifact.target.clone_from(&declared.target);
    }
    for (name, value) in declared.parameters.iter() {
        artifact.parameters.insert(name, value.clone());
    }
    artifact
}

fn declared(reader: &mut Reader<'_>, at: &At<'_>, table: &DeTable<'_>) -> Option<Declared> {
    reader.keys(&at.place, table, &ARTIFACT_KEYS);
    for key in ["name", "kind"] {
        if !table.contains_key(key) {
            reader.problem(at.start(), &at.place, format_args!("needs a {key}"));
        }
    }
    let get = |key: &str| table.get(key).map(|value| at.key(key, value));
    let mut text = |key: &str| get(key).and_then(|at| reader.text(&at));
    let (source, revision, system, target, digest) =
        (text("source"), text("revision"), text("system"), text("target"), text("digest"));
    let kind = get("kind").and_then(|at| reader.choice(&at, &KINDS));
    let name_at = get("name");
    let id = name_at.as_ref().and_then(|at| reader.text(at).and_then(|name| identity(reader, at, &name, kind)));
    let mut artifact = Artifact::new(id.clone().unwrap_or_else(|| "".into()), kind.unwrap_or(ArtifactKind::Image));
    match (source, revision) {
        (Some(source), revision) => artifact = artifact.with_source(source, revision.as_deref()),
        (None, Some(_)) => reader.problem(at.start(), &at.place, "a revision needs a source"),
        (None, None) => {}
    }
    artifact.system = system;
    artifact.target = target.unwrap_or_default();
    if let (Some(at), Some(digest)) = (get("digest"), digest) {
        match digest.parse() {
            Ok(digest) => artifact.digest = Some(digest),
            Err(error) => reader.problem(at.start(), &at.place, error),
        }
    }
    artifact.estimate = get("estimate_s").and_then(|at| reader.seconds(&at)).map(Duration::from_secs);
    if let Some(at) = get("parameters") {
        for (name, value) in reader.table(&at).into_iter().flatten() {
            if let Some(value) = parameter(reader, &at.key(name.get_ref(), value)) {
                artifact.parameters.insert(name.get_ref().to_string(), value);
            }
        }
    }
    let mut parents = Vec::new();
    let usual = if artifact.kind == ArtifactKind::Image { EdgeKind::ParentImage } else { EdgeKind::BuildDependency };
    for (key, usual) in [("parents", usual), ("builders", EdgeKind::BuilderStage)] {
        for at in get(key).map(|at| reader.list(&at)).unwrap_or_default() {
            parents.extend(parent(reader, &at, usual));
        }
    }
    let mut aliases = Vec::new();
    for at in get("aliases").map(|at| reader.list(&at)).unwrap_or_default() {
        let alias = reader.text(&at).and_then(|name| identity(reader, &at, &name, kind));
        aliases.extend(alias.map(|alias| (alias, reader.line(at.start()))));
    }
    let line = reader.line(name_at.map_or(at.start(), |at| at.start()));
    id.map(|_| Declared { artifact, place: at.place.clone(), line, parents, aliases })
}

/// Returns the id of an artifact. Names of images are completed, all others are taken as they are.
fn identity(reader: &mut Reader<'_>, at: &At<'_>, name: &str, kind: Option<ArtifactKind>) -> Option<ArtifactId> {
    if name.trim().is_empty() {
        reader.problem(at.start(), &at.place, "is empty");
        return None;
    }
    match kind {
        Some(ArtifactKind::Image) => {
            let image = reader.image(at, name)?;
            if image.digest().is_some() {
                reader.problem(at.start(), &at.place, "the name of an artifact has no digest: put it under \"digest\"");
                return None;
            }
            Some((&image).into())
        }
        Some(_) => Some(name.into()),
        None => None,
    }
}

fn parent(reader: &mut Reader<'_>, at: &At<'_>, usual: EdgeKind) -> Option<Parent> {
    let line = reader.line(at.start());
    if let DeValue::String(name) = at.value.get_ref() {
        return Some(Parent { name: name.to_string(), kind: usual, place: at.place.clone(), line });
    }
    let DeValue::Table(table) = at.value.get_ref() else {
        reader.wrong_type(at, "a string or a table with name and kind");
        return None;
    };
    reader.keys(&at.place, table, &["name", "kind"]);
    let kind = match table.get("kind") {
        Some(value) => reader.choice(&at.key("kind", value), &EDGES)?,
        None => usual,
    };
    let Some(name) = table.get("name") else {
        reader.problem(at.start(), &at.place, "needs a name");
        return None;
    };
    let name = reader.text(&at.key("name", name))?;
    Some(Parent { name, kind, place: at.place.clone(), line })
}

fn parameter(reader: &mut Reader<'_>, at: &At<'_>) -> Option<Parameter> {
    match at.value.get_ref() {
        DeValue::Boolean(flag) => Some(Parameter::Flag(*flag)),
        DeValue::Integer(_) => reader.integer(at).map(Parameter::Number),
        DeValue::String(text) => Some(Parameter::Text(text.to_string())),
        DeValue::Array(_) => {
            let items = reader.list(at);
            let texts: BTreeSet<String> = items.iter().filter_map(|at| reader.text(at)).collect();
            Some(Parameter::Set(texts))
        }
        _ => {
            reader.wrong_type(at, "a boolean, an integer, a string or an array of strings");
            None
        }
    }
}

/// Reports names and aliases that mean two artifacts.
fn unique(reader: &mut Reader<'_>, artifacts: &[Declared]) {
    let mut known: BTreeMap<&ArtifactId, (String, usize, usize)> = BTreeMap::new();
    let names = artifacts.iter().enumerate().map(|(at, declared)| (at, "name", &declared.artifact.id, declared.line));
    let aliases = artifacts
        .iter()
        .enumerate()
        .flat_map(|(at, declared)| declared.aliases.iter().map(move |(alias, line)| (at, "aliases", alias, *line)));
    for (at, key, id, line) in names.chain(aliases) {
        let place = format!("{}.{key}", artifacts[at].place);
        match known.get(id) {
            // An alias that an artifact has twice, or that is its own name, does no harm.
            Some((_, _, other)) if key == "aliases" && *other == at => {}
            Some((first, first_line, _)) => {
                let text = format!("{place}: {id} is already {first} on line {first_line}");
                reader.problem_on(line, text);
            }
            None => drop(known.insert(id, (place, line, at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let parsed = Manifest::parse("f.toml", text).and_then(|manifest| manifest.add_to(&mut ArtifactGraph::new()));
        parsed.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    fn artifact(more: &str) -> String {
        format!("[[artifact]]\nname = 'a'\nkind = 'image'\n{more}\n")
    }

    #[test]
    fn each_mistake_names_line_and_key() {
        for (text, expected) in [
            (artifact("parrents = []"), "f.toml:4: artifact[0].parrents: unknown key, did you mean \"parents\"?"),
            (
                artifact("zzz = 1"),
                "f.toml:4: artifact[0].zzz: unknown key: one of name, kind, source, revision, parents, builders, aliases, system, target, digest, estimate_s, parameters",
            ),
            ("[[artefact]]".to_owned(), "f.toml:1: artefact: unknown key, did you mean \"artifact\"?"),
            ("[artifact]\nname = 'a'".to_owned(), "f.toml:1: artifact: must be an array ([[artifact]]), not a table"),
            ("artifact = [1]".to_owned(), "f.toml:1: artifact[0]: must be a table, not an integer"),
            ("[[artifact]]\nname='a'".to_owned(), "f.toml:1: artifact[0]: needs a kind"),
            ("[[artifact]]\nkind='rpm'".to_owned(), "f.toml:1: artifact[0]: needs a name"),
            (
                "[[artifact]]\nkind='rpm'\nname=1".to_owned(),
                "f.toml:3: artifact[0].name: must be a string, not an integer",
            ),
            ("[[artifact]]\nkind='rpm'\nname=' '".to_owned(), "f.toml:3: artifact[0].name: is empty"),
            (
                "[[artifact]]\nkind='rmp'\nname='a'".to_owned(),
                "f.toml:2: artifact[0].kind: \"rmp\" is not allowed, did you mean \"rpm\"?",
            ),
            (
                "[[artifact]]\nkind='x'\nname='a'".to_owned(),
                "f.toml:2: artifact[0].kind: \"x\" is not allowed: one of rpm, image, module, image_repository, repository",
            ),
            (
                "[[artifact]]\nkind='image'\nname='A'".to_owned(),
                "f.toml:3: artifact[0].name: \"A\" is not an image name: the repository must be in lower case",
            ),
            (artifact("revision = 'x'"), "f.toml:1: artifact[0]: a revision needs a source"),
            (
                artifact("digest = 'x'"),
                "f.toml:4: artifact[0].digest: \"x\" is not a digest: expected algorithm:hexadecimal, such as sha256:4f2c…",
            ),
            (artifact("estimate_s = -1"), "f.toml:4: artifact[0].estimate_s: must not be negative"),
            (artifact("estimate_s = 1.5"), "f.toml:4: artifact[0].estimate_s: must be an integer, not a float"),
            (
                artifact("parents = ['b', 1]"),
                "f.toml:4: artifact[0].parents[1]: must be a string or a table with name and kind, not an integer",
            ),
            (
                artifact("parents = [\n  'b',\n  { name = 'c', knd = 'x' },\n]"),
                "f.toml:6: artifact[0].parents[1].knd: unknown key, did you mean \"kind\"?",
            ),
            (
                artifact("parents = [{ name = 'c', kind = 'build' }]"),
                "f.toml:4: artifact[0].parents[0].kind: \"build\" is not allowed: one of parent_image, builder_stage, build_dependency, repository, runtime_content, link, bundle_reference",
            ),
            (artifact("parents = [{ kind = 'builder_stage' }]"), "f.toml:4: artifact[0].parents[0]: needs a name"),
            (
                artifact("parents = ['a']"),
                "f.toml:4: artifact[0].parents[0]: docker.io/library/a:latest cannot be its own parent",
            ),
            (
                artifact("parents = ['B']"),
                "f.toml:4: artifact[0].parents[0]: \"B\" is not an image name: the repository must be in lower case",
            ),
            (artifact("aliases = 'b'"), "f.toml:4: artifact[0].aliases: must be an array, not a string"),
            (
                artifact("parameters = { a = 1.5 }"),
                "f.toml:4: artifact[0].parameters.a: must be a boolean, an integer, a string or an array of strings, not a float",
            ),
            (
                artifact("parameters = { a = [1] }"),
                "f.toml:4: artifact[0].parameters.a[0]: must be a string, not an integer",
            ),
            ("[tree]\npth = 'a'".to_owned(), "f.toml:2: tree.pth: unknown key, did you mean \"path\"?"),
            (
                "[tree]\nimage = 'x/A{path}'".to_owned(),
                "f.toml:2: tree.image: \"x/Aa/b\" is not an image name: the repository must be in lower case",
            ),
            (
                "[tree]\nimage = 'x/{nmae}:{tag}'".to_owned(),
                "f.toml:2: tree.image: {nmae} is not replaced, did you mean \"name\"?",
            ),
            (
                "[tree]\nimage = 'x/{directory}'".to_owned(),
                "f.toml:2: tree.image: {directory} is not replaced: one of path, name, tag",
            ),
            (
                "[[tree.rules]]\nfile = '('\nimage = 'a'".to_owned(),
                "f.toml:2: tree.rules[0].file: \"(\": unclosed group",
            ),
            (
                "[[tree.rules]]\nfile = 'a'\nimage = 'x/{1}'".to_owned(),
                "f.toml:3: tree.rules[0].image: {1} is not replaced: the expression has no such group",
            ),
            ("[[tree.rules]]\nfile = 'a'".to_owned(), "f.toml:1: tree.rules[0]: needs an image"),
            (
                "[[tree.rules]]\nfile = 'a'\nimages = 'b'\nimage = 'c'".to_owned(),
                "f.toml:3: tree.rules[0].images: unknown key, did you mean \"image\"?",
            ),
            ("image = 'x/{path}'".to_owned(), "f.toml:1: image: unknown key: one of tree, policy, artifact"),
            ("[tree]\npath = images".to_owned(), "f.toml:2: invalid float, expected `inf`; a text needs quotes"),
            (
                "[tree.images]\n'a/Dockerfile' = ''".to_owned(),
                "f.toml:2: tree.images.\"a/Dockerfile\": \"\" is not an image name: it is empty",
            ),
            (
                artifact("") + &artifact(""),
                "f.toml:6: artifact[1].name: docker.io/library/a:latest is already artifact[0].name on line 2",
            ),
            (
                artifact("aliases = ['b']") + "[[artifact]]\nname='b'\nkind='image'",
                "f.toml:4: artifact[0].aliases: docker.io/library/b:latest is already artifact[1].name on line 6",
            ),
        ] {
            assert_eq!(problems(&text), [expected], "{text}");
        }
    }

    #[test]
    fn the_documented_manifest_is_valid() {
        let documented = include_str!("manifest.rs").lines().skip_while(|line| !line.contains("```toml")).skip(1);
        let lines: Vec<&str> = documented
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches(['/', '!', ' ']))
            .collect();
        let text = lines.join("\n");
        let manifest = Manifest::parse("f.toml", &text).unwrap();
        assert_eq!(manifest.tree().unwrap().1.images.len(), 2);
        assert_eq!(manifest.tree().unwrap().1.rules.len(), 1);
        let mut graph = ArtifactGraph::new();
        manifest.add_to(&mut graph).unwrap();
        assert_eq!(graph.parents(&"docker.io/library/site:latest".into()).len(), 3);
        for key in ARTIFACT_KEYS {
            assert!(text.contains(&format!("\n{key} = ")), "{key} is not documented");
        }
    }

    #[test]
    fn a_short_name_may_mean_an_image_of_the_tree() {
        let mut graph = ArtifactGraph::new();
        graph.insert(Artifact::new("localhost/a:latest", ArtifactKind::Image).with_source("a", None));
        graph.alias("docker.io/library/a:latest", "localhost/a:latest").unwrap();
        let text = "[[artifact]]\nname='a'\nkind='image'\ntarget='t'\nparents=['b']";
        Manifest::parse("f.toml", text).unwrap().add_to(&mut graph).unwrap();
        let artifact = graph.get(&"localhost/a:latest".into()).unwrap();
        assert_eq!((artifact.target.as_str(), artifact.buildable()), ("t", true));
        assert_eq!(graph.len(), 2);
        assert_eq!(graph.parents(&"localhost/a:latest".into()).len(), 1);
    }

    #[test]
    fn all_mistakes_are_found_at_once() {
        let text = artifact("x1 = 1\nsource = 2") + &artifact("digest = ''");
        assert_eq!(problems(&text).len(), 4);
        assert!(problems("a = ")[0].starts_with("f.toml:1: "));
        assert!(problems("[tree]\n\npath = 'a' b")[0].starts_with("f.toml:3: "));
    }

    #[test]
    fn parents_that_nobody_declares_are_external() {
        let text = "[[artifact]]\nname='app'\nkind='image'\nsource='.'\nparents=['debian:12', {name='bash', kind='runtime_content'}]
builders=['golang@sha256:0000000000000000000000000000000000000000000000000000000000000000']
[[artifact]]\nname='mod'\nkind='module'\nparents=['app', 'other']\naliases=['m']";
        let mut graph = ArtifactGraph::new();
        Manifest::parse("f.toml", text).unwrap().add_to(&mut graph).unwrap();
        let kinds: Vec<_> = graph.artifacts().map(|artifact| (artifact.id.as_str(), artifact.kind)).collect();
        let pinned = format!("docker.io/library/golang@sha256:{}", "0".repeat(64));
        assert_eq!(
            kinds,
            [
                ("bash", ArtifactKind::Rpm),
                ("docker.io/library/app:latest", ArtifactKind::Image),
                ("docker.io/library/debian:12", ArtifactKind::Image),
                (pinned.as_str(), ArtifactKind::Image),
                ("mod", ArtifactKind::Module),
                ("other", ArtifactKind::Module),
            ]
        );
        let app = ArtifactId::new("docker.io/library/app:latest");
        assert_eq!(graph.parents(&app).len(), 2);
        assert_eq!(graph.notes(&app).next().unwrap().code, "pinned_by_digest");
        assert_eq!(
            graph.parents(&"m".into()),
            [(&app, EdgeKind::BuildDependency), (&"other".into(), EdgeKind::BuildDependency)]
        );
    }

    #[test]
    fn what_the_tree_knows_is_kept() {
        let mut graph = ArtifactGraph::new();
        graph.insert(
            Artifact::new("localhost/a:latest", ArtifactKind::Image).with_source("a", None).with_parameter("file", "f"),
        );
        let text = "[[artifact]]\nname='localhost/a'\nkind='image'\nsystem='x'\nestimate_s=9\nparameters={b=true}";
        Manifest::parse("f.toml", text).unwrap().add_to(&mut graph).unwrap();
        let artifact = graph.get(&"localhost/a:latest".into()).unwrap();
        assert!(artifact.buildable());
        assert_eq!((artifact.system.as_deref(), artifact.estimate), (Some("x"), Some(Duration::from_secs(9))));
        assert_eq!(artifact.parameters.iter().count(), 2);
    }
}
