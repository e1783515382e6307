//! One directory of images as a service: its configuration, and the parts that are made from it.

use crate::Result;
use crate::config::{Config, Tree};
use crate::git::{self, Checkouts, Commits};
use crate::records::Records;
use freshmaker::backend::{Remedy, Storage};
use freshmaker::client::Client;
use freshmaker_local::files::manifest::Manifest;
use freshmaker_local::files::{FilesCatalog, FilesError, tree};
use freshmaker_oci::OciClient;
use freshmaker_sql::SqliteStorage;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name under which the build system is registered.
pub(crate) const SYSTEM: &str = "images";

/// The manifest of a tree, in which images are named and policies are written.
const MANIFEST: &str = "freshmaker.toml";

#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The directory of the configuration, as an absolute path: a later run may be started
    /// elsewhere.
    pub(crate) directory: PathBuf,
    pub(crate) config: Config,
}

impl Site {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let place = directory.display();
        let absolute = directory.canonicalize().map_err(|error| format!("{place}: {error}"))?;
        Ok(Self { config: Config::read(&absolute)?, directory: absolute })
    }

    /// Returns the directories of the attempts.
    pub(crate) fn attempts(&self) -> PathBuf {
        self.config.state.join("attempts")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.config.state.join("freshmaker.sqlite")
    }

    /// Returns the storage, which is made if it is not there.
    pub(crate) async fn storage(&self) -> Result<Arc<SqliteStorage>> {
        let storage = SqliteStorage::open(self.database())?;
        storage.upkeep().migrate().await?;
        Ok(Arc::new(storage))
    }

    /// Returns a client of the storage of a service that has run at least once.
    pub(crate) async fn client(&self) -> Result<Client> {
        match SqliteStorage::open_existing(self.database()) {
            Err(error) if error.remedy == Remedy::NotFound => {
                let place = self.directory.display();
                Err(format!("{place}: no service has run here yet; `image_service serve {place}` starts it").into())
            }
            opened => Ok(Client::new(Arc::new(opened?))),
        }
    }

    /// Takes the lock that an engine holds on the database while it runs.
    ///
    /// # Errors
    /// If a service runs here.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.database().with_extension("sqlite.lock");
        let place = path.display();
        let lock = File::options().create(true).append(true).mode(0o600).open(&path);
        let lock = lock.map_err(|error| format!("{place}: {error}"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("a service runs here: it holds the lock on {place}"))?;
        Ok(lock)
    }

    pub(crate) async fn records(&self) -> Result<Records> {
        Ok(Records::new(self.client().await?))
    }

    pub(crate) fn registries(&self) -> Result<OciClient> {
        Ok(OciClient::new(self.config.oci())?)
    }

    /// Returns the commits of each repository that has a tree.
    pub(crate) fn checkouts(&self) -> Vec<Checkouts> {
        let places = self.config.trees.iter().filter_map(|tree| Some((&tree.checkout, tree.git.as_ref()?)));
        let places: BTreeMap<_, _> = places.collect();
        places.into_iter().map(|(place, git)| Checkouts::new(git.clone(), place.clone())).collect()
    }

    /// Returns the same service with the trees of the current commits, which stay as long as they
    /// are held. A tree that is a directory stays as it is.
    pub(crate) fn hold(mut self) -> Result<(Self, Commits)> {
        let held = self.checkouts().iter().map(Checkouts::hold).collect::<Result<_>>()?;
        let commits = Commits(held);
        for tree in &mut self.config.trees {
            tree.path = commits.path(&tree.path);
        }
        Ok((self, commits))
    }

    /// Whether this is the path of a file that no one changes, because it is that of a commit.
    pub(crate) fn is_of_commit(&self, path: &Path) -> bool {
        self.config.trees.iter().any(|tree| tree.git.is_some() && path.starts_with(&tree.checkout))
    }

    /// Reads all trees as they are now.
    ///
    /// # Errors
    /// If one cannot be read, or two have a policy: the engine has one, and no rule is to be lost.
    pub(crate) fn catalog(&self) -> Result<FilesCatalog> {
        let mut catalogs = self.config.trees.iter().map(|tree| Result::Ok((&tree.path, tree.catalog()?)));
        let Some(first) = catalogs.next() else { return Ok(FilesCatalog::default()) };
        let (mut ruling, mut all) = first?;
        for next in catalogs {
            let (path, next) = next?;
            if all.policy().is_empty() {
                ruling = path;
            } else if !next.policy().is_empty() {
                let [one, other] = [ruling, path].map(|path| path.join(MANIFEST).display().to_string());
                return Err(format!(
                    "{one} and {other} both have a [policy]: of several sources one may, and it counts for all"
                )
                .into());
            }
            all.merge(next);
        }
        Ok(all)
    }

    /// Returns where Containerfiles are, and how their images are named. A manifest may name no
    /// tree.
    pub(crate) fn trees(&self) -> Result<Vec<(PathBuf, tree::Naming)>> {
        let trees = self.config.trees.iter().map(Tree::named);
        Ok(trees.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

impl Tree {
    fn catalog(&self) -> Result<FilesCatalog> {
        let root = self.root()?;
        let manifest = root.join(MANIFEST);
        if manifest.is_file() {
            return Ok(FilesCatalog::from_manifest(manifest)?);
        }
        Ok(FilesCatalog::from_named_tree(root, &self.naming())?)
    }

    fn named(&self) -> Result<Option<(PathBuf, tree::Naming)>> {
        let root = self.root()?.to_owned();
        match manifest(&root)? {
            None => Ok(Some((root, self.naming()))),
            Some(manifest) => {
                Ok(manifest.tree().map(|(path, naming)| (root.join(path).components().collect(), naming.clone())))
            }
        }
    }

    fn root(&self) -> Result<&Path> {
        let root = &self.path;
        match root.metadata() {
            Ok(_) => Ok(root),
            Err(_) if self.git.is_some() && !git::current(&self.checkout).exists() => {
                Err("the tree was not fetched yet; `image_service serve` does it".into())
            }
            Err(error) => Err(format!("{}: {error}", root.display()).into()),
        }
    }

    fn naming(&self) -> tree::Naming {
        tree::Naming { pattern: self.image.clone(), ..tree::Naming::default() }
    }
}

/// Reads the manifest of a tree; `None` if it has none.
pub(crate) fn manifest(root: &Path) -> Result<Option<Manifest>> {
    let path = root.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(Manifest::parse(&path, &text).map_err(FilesError::Manifest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FILE;
    use std::fs;

    #[test]
    fn the_policy_of_one_source_counts_for_all_and_two_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs::write(directory.path().join(path), text).unwrap();
        for name in ["one", "two"] {
            fs::create_dir_all(directory.path().join(name).join("app")).unwrap();
            write(&format!("{name}/app/Containerfile"), "FROM debian:12\n");
            write(&format!("{name}/{MANIFEST}"), &format!("[tree]\nimage = 'r.example.org/{name}/{{path}}:{{tag}}'\n"));
        }
        write(FILE, "[[sources]]\npath = 'one'\n[[sources]]\npath = 'two'\n");
        let site = Site::open(directory.path()).unwrap();
        assert!(site.catalog().unwrap().policy().is_empty());
        let ruled = "[tree]\nimage = 'r.example.org/{path}:{tag}'\n[[policy.block]]\nartifact = '.*'\n";
        write(&format!("two/{MANIFEST}"), ruled);
        assert!(!site.catalog().unwrap().policy().is_empty());
        write(&format!("one/{MANIFEST}"), ruled);
        let error = site.catalog().unwrap_err().to_string();
        let both = ["one", "two"].iter().all(|name| error.contains(&format!("{name}/{MANIFEST}")));
        assert!(both && error.contains("[policy]"), "{error}");
    }
}
