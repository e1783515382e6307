//! The Containerfile of a build as it was read once, and the content of each of its parents.

use super::{Failure, Result};
use crate::git::Held;
use crate::pins;
use crate::site::Site;
use crate::verify::at;
use freshmaker::artifact::{ArtifactId, Digest, ImageReference, Parameter};
use freshmaker::backend::BuildRequest;
use freshmaker_local::files::containerfile::{self, Usage};
use freshmaker_oci::OciClient;
use freshmaker_oci::staleness::Role;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A parent, and the content that the build uses.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) image: ImageReference,
    pub(super) role: Role,
    pub(super) digest: Digest,
}

#[derive(Debug)]
pub(super) struct Recipe {
    /// The build context.
    pub(super) context: PathBuf,
    /// A copy of the Containerfile. The one in the tree may change during the build.
    pub(super) file: PathBuf,
    /// Lines `name=docker-image://content`.
    pub(super) pins: PathBuf,
    pub(super) parents: Vec<Pinned>,
}

impl Recipe {
    pub(super) async fn of(
        request: &BuildRequest,
        site: &Site,
        held: Option<&Held>,
        registries: &OciClient,
        attempt: &Path,
    ) -> Result<Self> {
        let source = request.source.as_ref().ok_or_else(|| Failure::lasting("the image has no Containerfile"))?;
        let name = match request.parameters.get("file") {
            Some(Parameter::Text(file)) => file.as_str(),
            _ => "Containerfile",
        };
        let context = Path::new(&source.location);
        let context = held.map_or_else(|| context.to_owned(), |held| held.path(context));
        let from = context.join(name);
        let bytes = std::fs::read(&from).map_err(|error| Failure::lasting(format!("{}: {error}", from.display())))?;
        let text = String::from_utf8_lossy(&bytes);
        let read =
            containerfile::parse(&text).map_err(|error| Failure::lasting(format!("{}: {error}", from.display())))?;
        let catalog = site.catalog().map_err(Failure::lasting)?;
        let (mut parents, mut pins) = (Vec::<Pinned>::new(), String::new());
        for used in pins::followed(&read) {
            // An image of the tree may be used under a shorter name.
            let id = ArtifactId::from(&used.image);
            let id = catalog.graph().canonical(&id).unwrap_or(&id);
            let image: ImageReference =
                id.as_str().parse().map_err(|error| Failure::lasting(format!("{id}: {error}")))?;
            let known = parents.iter().find(|known| known.image == image).map(|known| known.digest.clone());
            let told = request.parents.iter().find(|parent| parent.id == *id).and_then(|parent| parent.digest.clone());
            let digest = match known.or(told) {
                Some(digest) => digest,
                None => registries.head(&image).await?,
            };
            let content = at(&image, &digest)?;
            for name in pins::names(&text, used).map_err(Failure::lasting)? {
                pins.push_str(&format!("{name}=docker-image://{content}\n"));
            }
            let role = if used.usage == Usage::Parent { Role::Base } else { Role::Builder };
            super::say(format_args!("uses {} {digest}", image.familiar()));
            parents.push(Pinned { image, role, digest });
        }
        // Not a name that a look at the tree would take for a Containerfile.
        let file = attempt.join("recipe");
        let recipe = Self { context, file, pins: attempt.join("pins"), parents };
        let put = |path: &Path, bytes: &[u8]| {
            std::fs::write(path, bytes).map_err(|error| Failure::temporary(format!("{}: {error}", path.display())))
        };
        put(&recipe.file, &bytes)?;
        put(&recipe.pins, pins.as_bytes())?;
        for end in [".dockerignore", ".containerignore"] {
            // What a builder looks for beside the file.
            if let Ok(ignored) = std::fs::read(recipe.context.join(format!("{name}{end}"))) {
                put(&attempt.join(format!("recipe{end}")), &ignored)?;
            }
        }
        Ok(recipe)
    }

    /// Returns the contents of all parents, by name.
    pub(super) fn used(&self) -> BTreeMap<String, Digest> {
        self.parents.iter().map(|parent| (parent.image.to_string(), parent.digest.clone())).collect()
    }
}
