//! Whether each image of a tree is fresh, and why not, by the registries and the records of this
//! service.

use crate::entry::sentence;
use crate::records::{Record, Records};
use crate::tree::Recipes;
use freshmaker::artifact::{ArtifactId, Digest, ImageReference};
use freshmaker::backend::{Remedy, Result};
use freshmaker_oci::staleness::{Freshness, Parent, State};
use freshmaker_oci::{Recipe, Snapshot};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many images are looked at side by side.
const PARALLEL: usize = 8;

/// How an image stands to what it is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Fresh,
    Pinned,
    Unknown,
    Stale,
    /// The registry does not have it.
    Missing,
    /// The registry does not say.
    Error,
}

impl Standing {
    /// Whether nothing has to be done.
    pub(crate) fn is_well(self) -> bool {
        matches!(self, Self::Fresh | Self::Pinned)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Pinned => "pinned",
            Self::Unknown => "unknown",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Error => "error",
        }
    }
}

/// An image, how it stands, and the sentences that say why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Condition {
    pub(crate) image: ArtifactId,
    pub(crate) standing: Standing,
    pub(crate) digest: Option<Digest>,
    pub(crate) because: Vec<String>,
}

/// What is known about a tree, its registries, and what was published.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) recipes: &'a Recipes,
    pub(crate) revisions: &'a BTreeMap<ArtifactId, Digest>,
    pub(crate) records: &'a Records,
    pub(crate) snapshot: &'a Snapshot,
}

impl Look<'_> {
    /// Looks at all images of the tree.
    pub(crate) async fn all(self) -> Vec<Condition> {
        let looking = self.recipes.images().into_iter().map(|image| self.one(image));
        stream::iter(looking).buffered(PARALLEL).collect().await
    }

    /// Returns the images whose Containerfiles cannot be read.
    pub(crate) fn left_out(self) -> impl Iterator<Item = Condition> {
        self.recipes.left_out().iter().map(|(image, why)| Condition {
            image: image.clone(),
            standing: Standing::Error,
            digest: None,
            because: vec![why.clone()],
        })
    }

    pub(crate) async fn one(self, image: ImageReference) -> Condition {
        let id = ArtifactId::from(&image);
        let mut condition = self.looked_at(image, id).await;
        if let Some(cycle) = self.recipes.cycle(&condition.image) {
            condition.standing = Standing::Error;
            condition.because.insert(0, cycle.to_owned());
        }
        condition
    }

    async fn looked_at(self, image: ImageReference, id: ArtifactId) -> Condition {
        match self.examined(&image, &id).await {
            Ok((standing, digest, because)) => Condition { image: id, standing, digest, because },
            Err(error) => {
                let because = vec![error.to_string()];
                Condition { image: id, standing: Standing::Error, digest: None, because }
            }
        }
    }

    async fn examined(self, image: &ImageReference, id: &ArtifactId) -> Result<Examined> {
        let digest = match self.snapshot.head(image).await {
            Ok(digest) => digest,
            Err(error) if error.remedy == Remedy::NotFound => {
                return Ok((Standing::Missing, None, vec!["the registry does not have it".to_owned()]));
            }
            Err(error) => return Err(error),
        };
        let recipe = self.recipes.of(image);
        let parents = recipe.map_or(&[][..], |recipe| &recipe.parents);
        // A reference that cannot be resolved may be a parent that has changed.
        let problems = recipe.map_or(&[][..], |recipe| &recipe.problems);
        // Our own record is the best evidence: it also knows of builders, and of contents that are
        // the same.
        let record = self.records.of(id).await?.filter(|record| record.digest == digest);
        if let Some(record) = record {
            let built = record.revision.as_deref();
            let now = self.revisions.get(id).map(Digest::as_str);
            if built.is_some() && now.is_some() && built != now {
                let because = vec!["its files have changed since it was built".to_owned()];
                return Ok((Standing::Stale, Some(digest), because));
            }
            if let Some((standing, because)) = by_record(&record, parents, self.snapshot).await? {
                return Ok(doubted(standing, digest, because, problems));
            }
        }
        let found = self.snapshot.examine(image, Recipe::Known(parents)).await?;
        let standing = match found.freshness {
            Freshness::Fresh => Standing::Fresh,
            Freshness::Pinned => Standing::Pinned,
            Freshness::Stale => Standing::Stale,
            _ => Standing::Unknown,
        };
        let fresh = |state: &State| matches!(state, State::Fresh { .. });
        let because = found.findings.iter().filter(|finding| !fresh(&finding.state)).map(sentence);
        Ok(doubted(standing, digest, because.chain(found.remarks.iter().cloned()).collect(), problems))
    }
}

/// What may be another parent leaves no evidence that an image is fresh.
fn doubted(standing: Standing, digest: Digest, mut because: Vec<String>, problems: &[String]) -> Examined {
    if problems.is_empty() {
        return (standing, Some(digest), because);
    }
    because.extend(problems.iter().cloned());
    let is_well = matches!(standing, Standing::Fresh | Standing::Pinned);
    (if is_well { Standing::Unknown } else { standing }, Some(digest), because)
}

type Examined = (Standing, Option<Digest>, Vec<String>);

/// Compares what a build has used with what its parents are now; `None` if the recipe has another
/// parent by now, of which the record knows nothing.
async fn by_record(
    record: &Record,
    parents: &[Parent],
    snapshot: &Snapshot,
) -> Result<Option<(Standing, Vec<String>)>> {
    let (mut because, mut pinned, mut gone) = (Vec::new(), false, Vec::new());
    for parent in parents {
        if parent.image.digest().is_some() {
            pinned = true;
            continue;
        }
        let Some(used) = record.parents.get(&parent.image.to_string()) else { return Ok(None) };
        match snapshot.head(&parent.image).await {
            Ok(now) if now == *used => {}
            Ok(now) => {
                let name = parent.image.familiar();
                because.push(format!("built on {name} {}…, which is {}… today", used.short(), now.short()));
            }
            Err(error) if error.remedy == Remedy::NotFound => {
                gone.push(format!("its registry does not have {} today", parent.image.familiar()));
            }
            Err(error) => return Err(error),
        }
    }
    let standing = match (because.is_empty(), gone.is_empty(), pinned) {
        (false, _, _) => Standing::Stale,
        (true, false, _) => Standing::Unknown,
        (true, true, true) => Standing::Pinned,
        (true, true, false) => Standing::Fresh,
    };
    because.extend(gone);
    Ok(Some((standing, because)))
}
