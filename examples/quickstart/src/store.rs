//! A registry in a directory: outputs by the hash of their content, tags that move, and what was
//! pushed last.

use crate::Result;
use freshmaker::ArtifactId;
use freshmaker::artifact::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An output: a function of its recipe and of the contents it was built from, and of nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub artifact: ArtifactId,
    pub recipe: Digest,
    /// What somebody put into it by hand: the number of the push, for the images that are pushed;
    /// else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub content: u64,
    pub parents: BTreeMap<ArtifactId, Digest>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Document {
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&self.bytes()?))
    }
}

/// How long a build of this artifact pretends to work: always the same, different for each.
pub fn pretended_work(artifact: &ArtifactId) -> Duration {
    let digest = Digest::of(artifact.as_str().as_bytes());
    let first = u64::from_str_radix(&digest.short()[..2], 16).unwrap_or_default();
    Duration::from_millis(40 + first * 120 / 255)
}

/// What was pushed last: stored before anything is pushed, so that a push that was cut off can be
/// completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Number of the push.
    pub push: u64,
    /// What the pushed images have in them.
    pub content: u64,
}

#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens a directory, or makes it.
    pub fn create(root: &Path) -> Result<Self> {
        for part in ["outputs", "tags"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Self::open(root)
    }

    /// Opens a directory that is there.
    pub fn open(root: &Path) -> Result<Self> {
        let canonical = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Self { root: canonical })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn output_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.as_str().replace(':', "-");
        self.root.join("outputs").join(format!("{name}.json"))
    }

    fn tag_path(&self, artifact: &ArtifactId) -> PathBuf {
        let name = Digest::of(artifact.as_str().as_bytes());
        self.root.join("tags").join(name.as_str().replace(':', "-"))
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.output_path(digest).is_file()
    }

    /// The output of this digest, and the digest of what is really in its file.
    pub fn read(&self, digest: &Digest) -> Result<(Document, Digest)> {
        let path = self.output_path(digest);
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let document = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((document, Digest::of(&bytes)))
    }

    pub fn put(&self, document: &Document) -> Result<Digest> {
        let bytes = document.bytes()?;
        let digest = Digest::of(&bytes);
        self.replace(&self.output_path(&digest), &bytes)?;
        Ok(digest)
    }

    /// The present content of an artifact.
    pub fn tag(&self, artifact: &ArtifactId) -> Result<Option<Digest>> {
        let path = self.tag_path(artifact);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().parse().map_err(|error| format!("{}: {error}", path.display()))?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    pub fn move_tag(&self, artifact: &ArtifactId, digest: &Digest) -> Result<()> {
        self.replace(&self.tag_path(artifact), format!("{digest}\n").as_bytes())
    }

    pub fn pushed(&self) -> Result<Option<Pushed>> {
        let path = self.root.join("pushed.json");
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    pub fn set_pushed(&self, pushed: Pushed) -> Result<()> {
        self.replace(&self.root.join("pushed.json"), &serde_json::to_vec(&pushed)?)
    }

    /// By renaming, so that a reader sees the old or the new file, whole. Two writers of one file
    /// would be two processes.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }
}
