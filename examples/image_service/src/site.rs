//! The service of a directory: its configuration, and the parts that are made of it.

use crate::Result;
use crate::config::Config;
use crate::git::{self, Checkouts, Held};
use crate::records::Records;
use freshmaker::backend::{Remedy, Storage};
use freshmaker::client::Client;
use freshmaker_local::files::manifest::Manifest;
use freshmaker_local::files::{FilesCatalog, FilesError, tree};
use freshmaker_oci::OciClient;
use freshmaker_sql::SqliteStorage;
use rustix::fs::{FlockOperation, flock};
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

    /// Returns the commits of the repository that has the tree; `None` if it is a directory.
    pub(crate) fn checkouts(&self) -> Option<Checkouts> {
        self.config.tree.git.clone().map(|git| Checkouts::new(git, &self.config.state))
    }

    /// Returns the same service with the tree of the current commit, which stays as long as it is
    /// held; with the same tree, if that is a directory.
    pub(crate) fn hold(mut self) -> Result<(Self, Option<Held>)> {
        let held = self.checkouts().map(|checkouts| checkouts.hold()).transpose()?;
        if let Some(held) = &held {
            self.config.tree.path = held.path(&self.config.tree.path);
        }
        Ok((self, held))
    }

    /// Reads the tree as it is now.
    pub(crate) fn catalog(&self) -> Result<FilesCatalog> {
        let root = self.root()?;
        let manifest = root.join(MANIFEST);
        if manifest.is_file() {
            return Ok(FilesCatalog::from_manifest(manifest)?);
        }
        Ok(FilesCatalog::from_named_tree(root, &self.naming())?)
    }

    /// Returns where the Containerfiles are, and how their images are named; `None` if a manifest
    /// names no tree.
    pub(crate) fn tree(&self) -> Result<Option<(PathBuf, tree::Naming)>> {
        let root = self.root()?.to_owned();
        match manifest(&root)? {
            None => Ok(Some((root, self.naming()))),
            Some(manifest) => {
                Ok(manifest.tree().map(|(path, naming)| (root.join(path).components().collect(), naming.clone())))
            }
        }
    }

    fn root(&self) -> Result<&Path> {
        let root = &self.config.tree.path;
        match root.metadata() {
            Ok(_) => Ok(root),
            Err(_) if self.config.tree.git.is_some() && !git::current(&self.config.state).exists() => {
                Err("the tree was not fetched yet; `image_service serve` does it".into())
            }
            Err(error) => Err(format!("{}: {error}", root.display()).into()),
        }
    }

    fn naming(&self) -> tree::Naming {
        tree::Naming { pattern: self.config.tree.image.clone(), ..tree::Naming::default() }
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
