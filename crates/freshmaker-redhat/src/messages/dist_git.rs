//! Events and parsers for dist-git, which has the sources of each package, module and container in
//! a repository of its own.

use super::body::{Fault, Shape};
use super::field::Field;
use super::{parsed, read};
use freshmaker::event::{Envelope, Event, Message, Parsed, Parser};
use serde::{Deserialize, Serialize};

/// A change in a dist-git repository: which repository and branch, and the newest commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `rpms`, `modules`, `container` or `containers`.
    pub namespace: String,
    /// The repository. Its name is the name of what is built from it.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The newest commit.
    pub commit: String,
    /// The file that changed. `None` if the message is about a whole push and names no files; then
    /// the event may also come from a change of another file in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Change {
    fn search_key(&self) -> String {
        format!("{}/{}?#{}", self.repository, self.branch, self.commit)
    }
}

/// Says that the metadata of a module, `<module>.yaml`, have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModuleMetadataChanged(pub Change);

/// Says that the spec file of a package has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecChanged(pub Change);

/// Says that the Dockerfile of a container has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DockerfileChanged(pub Change);

impl Event for ModuleMetadataChanged {
    const KIND: &'static str = "dist-git.module-metadata-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.0.search_key())
    }
}

impl Event for SpecChanged {
    const KIND: &'static str = "dist-git.spec-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.0.search_key())
    }
}

impl Event for DockerfileChanged {
    const KIND: &'static str = "dist-git.dockerfile-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.0.search_key())
    }
}

const KINDS: [&str; 3] = [ModuleMetadataChanged::KIND, SpecChanged::KIND, DockerfileChanged::KIND];

/// Reads commits to Fedora's dist-git, one commit for each message.
///
/// Makes [`ModuleMetadataChanged`], [`SpecChanged`] or [`DockerfileChanged`]. Commits to other
/// namespaces, and commits that do not change the file in question, are not events.
pub const COMMIT: Parser = Parser::new(&["git.receive"], &KINDS, fedora_commit);

/// Reads commits to dist-git from UMB. Makes the same events as [`COMMIT`].
pub const UMB_COMMIT: Parser = Parser::new(&["distgit.commit"], &KINDS, umb_commit);

/// Reads pushes to dist-git from UMB. Makes the same events as [`COMMIT`], without a file.
pub const UMB_PUSH: Parser = Parser::new(&["distgit.push"], &KINDS, umb_push);

/// Reads pushes to a dist-git that is a Pagure. Makes the same events as [`COMMIT`].
///
/// Messages of old versions are about a commit and name a file; the others do not. Projects without
/// a namespace are not sources, so their pushes are not events.
pub const PAGURE_PUSH: Parser = Parser::new(&["pagure.git.receive"], &KINDS, pagure_push);

const REPOSITORY: Shape = Shape::Fields(&[("name", Shape::Whole), ("namespace", Shape::Whole)]);

const COMMIT_SHAPE: Shape = Shape::Fields(&[
    ("namespace", Shape::Whole),
    ("repo", REPOSITORY),
    ("branch", Shape::Whole),
    ("rev", Shape::Whole),
    ("stats", Shape::Fields(&[("files", Shape::Whole)])),
]);

const FEDORA_SHAPE: Shape = Shape::Fields(&[("commit", COMMIT_SHAPE)]);

const PUSH_SHAPE: Shape = Shape::Fields(&[
    ("namespace", Shape::Whole),
    ("repo", Shape::Whole),
    ("branch", Shape::Whole),
    ("newrev", Shape::Whole),
]);

const PAGURE_SHAPE: Shape = Shape::Fields(&[
    ("commit", COMMIT_SHAPE),
    ("repo", REPOSITORY),
    ("branch", Shape::Whole),
    ("end_commit", Shape::Whole),
]);

fn fedora_commit(message: &Message) -> Parsed {
    read(message, &FEDORA_SHAPE, |body| {
        let root = Field::root(body);
        let commit = root.at("commit");
        commit.object()?;
        let Some(source) = Source::of(&commit.at("namespace"))? else { return Ok(None) };
        let Some(file) = source.file(&commit, &commit.at("repo"))? else { return Ok(None) };
        source.event(message, &commit.at("repo"), &commit.at("branch"), &commit.at("rev"), Some(file))
    })
}

fn umb_commit(message: &Message) -> Parsed {
    read(message, &COMMIT_SHAPE, |body| {
        let root = Field::root(body);
        let Some(source) = Source::of(&root.at("namespace"))? else { return Ok(None) };
        let Some(file) = source.file(&root, &root.at("repo"))? else { return Ok(None) };
        source.event(message, &root.at("repo"), &root.at("branch"), &root.at("rev"), Some(file))
    })
}

fn umb_push(message: &Message) -> Parsed {
    read(message, &PUSH_SHAPE, |body| {
        let root = Field::root(body);
        let Some(source) = Source::of(&root.at("namespace"))? else { return Ok(None) };
        source.event(message, &root.at("repo"), &root.at("branch"), &root.at("newrev"), None)
    })
}

fn pagure_push(message: &Message) -> Parsed {
    read(message, &PAGURE_SHAPE, |body| {
        let root = Field::root(body);
        let commit = root.at("commit");
        let push = if commit.is_there() { commit } else { root };
        let repository = push.at("repo");
        let Some(source) = Source::of(&repository.at("namespace"))? else { return Ok(None) };
        let name = repository.at("name");
        if !commit.is_there() {
            return source.event(message, &name, &push.at("branch"), &push.at("end_commit"), None);
        }
        let Some(file) = source.file(&push, &name)? else { return Ok(None) };
        source.event(message, &name, &push.at("branch"), &push.at("rev"), Some(file))
    })
}

/// A namespace, and what is built from its repositories.
struct Source<'v> {
    namespace: &'v str,
    sort: Sort,
}

#[derive(Clone, Copy)]
enum Sort {
    Module,
    Package,
    Container,
}

impl<'v> Source<'v> {
    /// Returns `None` if the namespace has no sources of a known kind.
    fn of(namespace: &Field<'_, 'v>) -> Result<Option<Self>, Fault> {
        let Some(namespace) = namespace.optional(Field::text)? else { return Ok(None) };
        let sort = match namespace {
            "modules" => Sort::Module,
            "rpms" => Sort::Package,
            "container" | "containers" => Sort::Container,
            _ => return Ok(None),
        };
        Ok(Some(Self { namespace, sort }))
    }

    /// Returns the changed file that is built from, if the commit has one.
    fn file(&self, commit: &Field<'_, '_>, repository: &Field<'_, '_>) -> Result<Option<String>, Fault> {
        let repository = repository.text()?;
        let stats = commit.at("stats");
        let files = stats.at("files");
        Ok(files.object()?.keys().find(|file| self.is_built_from(file, repository)).cloned())
    }

    /// Makes the event; `None` if something other than a branch was pushed.
    fn event(
        &self,
        message: &Message,
        repository: &Field<'_, '_>,
        branch: &Field<'_, '_>,
        commit: &Field<'_, '_>,
        file: Option<String>,
    ) -> Result<Option<Envelope>, Fault> {
        let (repository, branch, commit) = (repository.owned()?, branch.text()?, commit.owned()?);
        let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
        if branch.starts_with("refs/") {
            return Ok(None);
        }
        let (namespace, branch) = (self.namespace.to_owned(), branch.to_owned());
        let change = Change { namespace, repository, branch, commit, file };
        match self.sort {
            Sort::Module => parsed(message, &ModuleMetadataChanged(change)),
            Sort::Package => parsed(message, &SpecChanged(change)),
            Sort::Container => parsed(message, &DockerfileChanged(change)),
        }
    }

    fn is_built_from(&self, file: &str, repository: &str) -> bool {
        match self.sort {
            Sort::Module => file.strip_suffix(".yaml") == Some(repository),
            Sort::Package => file.ends_with(".spec"),
            Sort::Container => file == "Dockerfile",
        }
    }
}
