use super::Problem;
use super::manifest::Manifest;
use super::tree::{self, Naming, PassedOver};
use async_trait::async_trait;
use freshmaker::artifact::ImageReference;
use freshmaker::artifact::{Artifact, ArtifactId};
use freshmaker::backend::{Catalog, CatalogAnswer, Result};
use freshmaker::graph::{ArtifactGraph, EdgeKinds};
use freshmaker::policy::Policy;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A catalog that was read from files once. To see later changes of the files, make a new one.
///
/// A name is looked up as it is, then as an alias. If it is the name of an image, it is then
/// [completed](ImageReference) and looked up again, and at last without its digest if it also has a
/// tag. The sentence about an unknown name has up to three similar names.
///
/// ```
/// use freshmaker_local::files::FilesCatalog;
/// use freshmaker::backend::Catalog;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let root = tempfile::tempdir()?;
/// std::fs::write(
///     root.path().join("Containerfile"),
///     "# freshmaker: image=team/app\nFROM debian:12\n",
/// )?;
///
/// let catalog = FilesCatalog::from_tree(root.path())?;
/// let graph = catalog.dependents(&["debian:12".into()]).await?.complete()?;
/// assert!(graph.get(&"docker.io/team/app:latest".into()).is_some());
/// assert!(catalog.problems().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FilesCatalog {
    graph: ArtifactGraph,
    policy: Policy,
    problems: Vec<Problem>,
    remarks: Vec<Problem>,
    passed_over: PassedOver,
    left_out: BTreeMap<ArtifactId, Problem>,
}

/// Says why a catalog cannot be read from files.
#[derive(Debug)]
#[non_exhaustive]
pub enum FilesError {
    /// A file or directory cannot be read.
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The manifest has mistakes. All that were found, by line.
    Manifest(Vec<Problem>),
}

impl FilesCatalog {
    /// Reads a [tree](super::tree) of Containerfiles.
    ///
    /// # Errors
    /// [`FilesError::Read`] if the root cannot be read. Files below it that cannot be read are
    /// among the [`problems`](Self::problems).
    pub fn from_tree(root: impl AsRef<Path>) -> Result<Self, FilesError> {
        Self::tree(root.as_ref(), &Naming::default())
    }

    /// Reads a tree of Containerfiles, with other names for its images than the usual ones.
    ///
    /// ```
    /// use freshmaker_local::files::FilesCatalog;
    /// use freshmaker_local::files::tree::Naming;
    ///
    /// # let root = tempfile::tempdir()?;
    /// # std::fs::create_dir(root.path().join("app"))?;
    /// # std::fs::write(root.path().join("app/Containerfile"), "FROM debian:12\n")?;
    /// let pattern = Some("registry.example.org/{path}:{tag}".to_owned());
    /// let catalog = FilesCatalog::from_named_tree(root.path(), &Naming { pattern, ..Naming::default() })?;
    /// assert!(catalog.graph().get(&"registry.example.org/app:latest".into()).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Read`](FilesError::Read) if the root cannot be read. Everything else that is wrong is
    /// among the [`problems`](Self::problems).
    pub fn from_named_tree(root: impl AsRef<Path>, naming: &Naming) -> Result<Self, FilesError> {
        Self::tree(root.as_ref(), naming)
    }

    /// Reads a [manifest](super::manifest), and the tree that it names.
    ///
    /// # Errors
    /// [`FilesError::Read`] if the manifest cannot be read; [`FilesError::Manifest`] if it has
    /// mistakes, or if the root of its tree cannot be read.
    pub fn from_manifest(path: impl AsRef<Path>) -> Result<Self, FilesError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| FilesError::Read { path: path.to_owned(), error })?;
        let manifest = Manifest::parse(path, &text).map_err(FilesError::Manifest)?;
        let mut catalog = match manifest.tree() {
            Some((root, naming)) => {
                let root = path.parent().unwrap_or(Path::new("")).join(root);
                Self::tree(&root, naming)
                    .map_err(|error| FilesError::Manifest(vec![manifest.of_tree(&error.to_string())]))?
            }
            None => Self::default(),
        };
        manifest.add_to(&mut catalog.graph).map_err(FilesError::Manifest)?;
        catalog.policy = manifest.policy().clone();
        catalog.problems.extend(manifest.idle(&catalog.graph));
        Ok(catalog)
    }

    /// Makes a catalog of a graph that was made in another way.
    #[must_use]
    pub fn from_graph(graph: ArtifactGraph) -> Self {
        Self { graph, ..Self::default() }
    }

    /// Adds what another catalog knows, such as that of another tree. Of an image that both build,
    /// the recipe of this one counts, and the other is a problem. The other's policy counts if this
    /// one has none.
    ///
    /// Short names and aliases have their meaning within a tree: by its whole name, a file means an
    /// image of another tree.
    ///
    /// ```
    /// use freshmaker_local::files::FilesCatalog;
    /// use freshmaker_local::files::tree::Naming;
    ///
    /// # let root = tempfile::tempdir()?;
    /// let named = |name: &str, from: &str| {
    ///     let tree = root.path().join(name);
    ///     std::fs::create_dir(&tree)?;
    ///     std::fs::write(tree.join("Containerfile"), format!("FROM {from}\n"))?;
    ///     let pattern = Some("registry.example.org/{name}".to_owned());
    ///     let naming = Naming { pattern, ..Naming::default() };
    ///     FilesCatalog::from_named_tree(&tree, &naming).map_err(std::io::Error::other)
    /// };
    /// let mut catalog = named("base", "debian:12")?;
    /// catalog.merge(named("app", "registry.example.org/base")?);
    /// let affected = catalog.graph().affected_by(&["docker.io/library/debian:12".into()]);
    /// assert!(affected.get(&"registry.example.org/app:latest".into()).is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn merge(&mut self, mut other: Self) {
        let place = |artifact: &Artifact| {
            let source = artifact.source.as_ref();
            source.map_or_else(|| artifact.id.to_string(), |source| source.location.clone())
        };
        let theirs: Vec<_> = other.graph.artifacts().filter(|artifact| artifact.buildable()).cloned().collect();
        for theirs in theirs {
            let Some(ours) = self.graph.get(&theirs.id).filter(|ours| ours.buildable()) else { continue };
            let text = format!("{} is already built by {}; this recipe is left out", ours.id, place(ours));
            self.problems.push(Problem { path: place(&theirs).into(), line: None, text });
            let parents: Vec<_> =
                other.graph.parents(&theirs.id).into_iter().map(|(parent, _)| parent.clone()).collect();
            for parent in parents {
                // Both are in the graph.
                let _ = other.graph.forget(&theirs.id, &parent, EdgeKinds::ALL);
            }
            other.graph.insert(Artifact::new(theirs.id, theirs.kind));
        }
        self.graph.merge(&other.graph);
        if self.policy.is_empty() {
            self.policy = other.policy;
        }
        self.problems.append(&mut other.problems);
        self.remarks.append(&mut other.remarks);
        self.passed_over.extend(other.passed_over);
        let graph = &self.graph;
        other.left_out.retain(|image, _| !graph.get(image).is_some_and(Artifact::buildable));
        self.left_out.append(&mut other.left_out);
    }

    /// Returns what was left out when the files were read.
    ///
    /// The problems of the tree come first, then those of the manifest.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns what was taken for granted when the files of the tree were read.
    #[must_use]
    pub fn remarks(&self) -> &[Problem] {
        &self.remarks
    }

    /// Returns the files of the tree that look like Containerfiles and were not read.
    #[must_use]
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// Returns the images of files that are [left out](super::tree::Tree::left_out), each with the
    /// problem.
    #[must_use]
    pub fn left_out(&self) -> &BTreeMap<ArtifactId, Problem> {
        &self.left_out
    }

    /// Returns the policy of the manifest; it allows everything if the manifest has none.
    ///
    /// The engine does not use it by itself: pass it to
    /// [`EngineBuilder::policy`](freshmaker::engine::EngineBuilder::policy).
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns all artifacts that the catalog knows.
    #[must_use]
    pub fn graph(&self) -> &ArtifactGraph {
        &self.graph
    }

    fn tree(root: &Path, naming: &Naming) -> Result<Self, FilesError> {
        let tree = tree::scan(root, naming).map_err(|error| FilesError::Read { path: root.to_owned(), error })?;
        Ok(Self {
            graph: tree.graph,
            problems: tree.problems,
            remarks: tree.remarks,
            passed_over: tree.passed_over,
            left_out: tree.left_out,
            policy: Policy::default(),
        })
    }

    fn find(&self, name: &ArtifactId) -> Result<ArtifactId, String> {
        self.canonical(name).cloned().ok_or_else(|| self.not_found(name))
    }

    /// Returns the name that an artifact has in plans, by any of its names: by an alias of the
    /// manifest, or by a reference of an image, such as `reg/base:1` or `docker.io/library/base`.
    /// `None` if there is no such artifact.
    #[must_use]
    pub fn canonical(&self, name: &ArtifactId) -> Option<&ArtifactId> {
        self.graph.canonical(name).or_else(|| {
            let image: ImageReference = name.as_str().parse().ok()?;
            let followed = || image.tag().and_then(|_| self.graph.canonical(&(&image.without_digest()).into()));
            self.graph.canonical(&(&image).into()).or_else(followed)
        })
    }

    fn not_found(&self, name: &ArtifactId) -> String {
        let mut text = format!("there is no artifact {name}");
        let near = self.nearest(name.as_str());
        if !near.is_empty() {
            text.push_str("; similar names are ");
            text.push_str(&near.join(", "));
        }
        text
    }

    /// Returns up to three known names that are similar, the most similar one first.
    fn nearest(&self, name: &str) -> Vec<String> {
        const SIMILAR: f64 = 0.6;
        let wanted = short(name);
        let mut near: Vec<(f64, String)> = self
            .graph
            .artifacts()
            .map(|artifact| short(artifact.id.as_str()))
            .map(|known| (likeness(&wanted, &known), known))
            .filter(|(similarity, _)| *similarity >= SIMILAR)
            .collect();
        near.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
        near.into_iter().take(3).map(|(_, known)| known).collect()
    }
}

fn short(name: &str) -> String {
    name.parse::<ImageReference>().map_or_else(|_| name.to_owned(), |image| image.familiar())
}

/// Returns the similarity of two names, from 0 to 1. Registries are long and alike, so the last
/// parts of the names are compared as well.
fn likeness(wanted: &str, known: &str) -> f64 {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    strsim::normalized_levenshtein(wanted, known).max(strsim::normalized_levenshtein(&last(wanted), &last(known)))
}

#[async_trait]
impl Catalog for FilesCatalog {
    async fn dependents(&self, of: &[ArtifactId]) -> Result<CatalogAnswer> {
        Ok(CatalogAnswer::cut(of, |name| self.find(name), |found| self.graph.affected_by(found)))
    }

    async fn describe(&self, ids: &[ArtifactId]) -> Result<CatalogAnswer> {
        Ok(CatalogAnswer::cut(ids, |name| self.find(name), |found| self.graph.described(found)))
    }
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Manifest(problems) => {
                for (at, problem) in problems.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "\n" };
                    write!(f, "{separator}{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for FilesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::Manifest(_) => None,
        }
    }
}
