//! Package repositories that images are rebuilt with.

mod needs;
mod unshipped;

use super::affected::{AffectedImages, Prepare};
use crate::contracts::{Advisories, Advisory, Composes, Each, Ingredients, PackageOrigins};
use crate::image::{Publication, Releases, SelectError, SelectedImage, Selection};
use crate::odcs::{Compose, Flag};
use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr, Parameter, Parameters};
use freshmaker::backend::{BoxError, Error, Remedy, Result};
use freshmaker::handler::History;
use needs::{Known, Needs};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The repositories that images are rebuilt with, as composes of ODCS.
///
/// Each compose is a node of the plan, which the images that use it depend on. Images and events
/// that need the same compose share it, and the engine makes sure that it is there when a build
/// starts.
///
/// | need | compose | parameters |
/// |---|---|---|
/// | the image was built with a compose of content sets | that one is renewed | none |
/// | content sets of the image that are in none of its composes | `pulp` of these | flag `use_only_compatible_arch` |
/// | the image is not published, so its packages may not be either | `build` of the builds that they come from | names of packages, architectures, signing keys, flag `no_deps` |
/// | the advisory is not shipped; so for another one that is not shipped, if an earlier event builds the same image for it | `tag` in which its builds are the latest ones | names of packages, signing keys, flag `no_deps` |
///
/// * Other composes that an image was built with (tags, builds, modules, configurations) are used
///   as they are: their numbers are a parameter of the build.
/// * An image fails, with the reason, if nothing can be said about one of its composes, if it is a
///   Flatpak with a compose of modules, or if no tag has all builds of the advisory. What is built
///   on it fails with it, and other images go on.
/// * An unpublished image whose packages come from unknown builds is built without the compose of
///   its builds, and the reason why it is rebuilt says so.
///
/// Requests: one for each compose that images were built with, and those of
/// [`PackageOrigins::ingredients`] if there are unpublished images.
///
/// ```
/// use freshmaker_redhat::handlers::ImageComposes;
/// use freshmaker_redhat::koji::{KojiConfig, KojiRecipes};
/// use freshmaker_redhat::odcs::{OdcsComposer, OdcsConfig};
/// use std::sync::Arc;
///
/// // The composer is also what the engine is given under the name `odcs`.
/// let odcs = Arc::new(OdcsComposer::new(OdcsConfig::new("https://odcs.example.org"))?);
/// let koji = KojiRecipes::new(&KojiConfig::new("https://koji.example.org/kojihub"))?;
/// let composes = ImageComposes::new(odcs, Arc::new(koji))
///     .with_sigkeys(["FD431D51"])
///     .excluding("-(hidden|debug)-rpms$")?;
/// # drop(composes);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "exclude_content_sets_pattern")]
#[doc(alias = "odcs_sigkeys")]
pub struct ImageComposes {
    composes: Arc<dyn Composes>,
    builds: Arc<dyn PackageOrigins>,
    system: String,
    excluded: Regex,
    sigkeys: Vec<String>,
}

/// The composes that advisories need which are not shipped, each for images of these names, or why
/// there is none.
type Unshipped = Vec<(BTreeSet<String>, std::result::Result<Compose, String>)>;

impl ImageComposes {
    /// Content sets that are not asked for, by default: those whose packages are not public.
    pub const EXCLUDED: &str = "-hidden-rpms$";

    /// Asks these about composes and packages. The composer has the name `odcs`, there are no
    /// signing keys, and [`EXCLUDED`](Self::EXCLUDED) content sets are left out.
    ///
    /// # Panics
    /// Never: the pattern of excluded content sets is correct.
    #[must_use]
    pub fn new(composes: Arc<dyn Composes>, builds: Arc<dyn PackageOrigins>) -> Self {
        let excluded = Regex::new(Self::EXCLUDED).expect("a test reads this pattern");
        Self { composes, builds, system: "odcs".to_owned(), excluded, sigkeys: Vec::new() }
    }

    /// Names the composer, by the name under which it is registered.
    #[must_use]
    pub fn with_system(mut self, name: impl Into<String>) -> Self {
        self.system = name.into();
        self
    }

    /// Checks a pattern for [`excluding`](Self::excluding).
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if it is no regular expression.
    pub fn check_pattern(pattern: &str) -> Result<()> {
        read(pattern).map(drop)
    }

    /// Leaves out content sets in whose name this regular expression matches anything, instead of
    /// those that [`EXCLUDED`](Self::EXCLUDED) matches.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if it is no regular expression.
    pub fn excluding(mut self, pattern: &str) -> Result<Self> {
        self.excluded = read(pattern)?;
        Ok(self)
    }

    /// Requires the packages of new composes of tags and builds to be signed with one of these
    /// keys, best first. Without keys, those of the service are required.
    #[must_use]
    pub fn with_sigkeys(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sigkeys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the compose of the packages of an advisory that has not shipped, or why there is
    /// none.
    async fn of_advisory(
        &self,
        advisory: &Advisory,
        builds: &BTreeSet<Nvr>,
    ) -> Result<std::result::Result<Compose, String>> {
        let name = &advisory.name;
        if builds.is_empty() {
            return Ok(Err(format!("{name} has no builds that its packages could be taken from")));
        }
        let mut tagged = self.builds.tagged(builds).await?;
        let (mut tags, mut packages) = (BTreeMap::new(), BTreeSet::new());
        for build in builds {
            let found = match tagged.remove(build) {
                Some(Ok(found)) => found,
                Some(Err(text)) => return Ok(Err(format!("the packages of {name} are not known: {build}: {text}"))),
                None => {
                    return Ok(Err(format!("the packages of {name} are not known: nothing is known about {build}")));
                }
            };
            let Some(tag) = found.tag else {
                let text = "is the latest build in no tag of candidates, so its packages can be taken from nowhere";
                return Ok(Err(format!("{build} of {name} {text}")));
            };
            tags.entry(tag).or_insert(build);
            packages.extend(found.packages);
        }
        if tags.len() > 1 {
            let places: Vec<_> = tags.iter().map(|(tag, build)| format!("{build} in {tag}")).collect();
            return Ok(Err(format!("the builds of {name} are in more than one tag: {}", places.join(", "))));
        }
        // There is a build, and each has a tag.
        let tag = tags.into_keys().next().unwrap_or_default();
        Ok(Ok(self.signed(Compose::tag(tag).with_packages(packages).with_flags([Flag::NoDeps]))))
    }

    fn signed(&self, compose: Compose) -> Compose {
        if self.sigkeys.is_empty() { compose } else { compose.with_sigkeys(&self.sigkeys) }
    }

    /// Adds the composes that each selected image needs, and those of advisories that have not
    /// shipped.
    async fn attach(
        &self,
        releases: &Releases,
        selection: Selection,
        unshipped: &Unshipped,
    ) -> std::result::Result<Selection, BoxError> {
        let facts = self.facts(&selection).await?;
        let mut errors = BTreeMap::new();
        for image in selection.images() {
            if let Err(text) = facts.composes(self, &selection, image, unshipped) {
                errors.insert(image.nvr.clone(), text);
            }
        }
        let selection = if errors.is_empty() { selection } else { without(releases, errors)? };
        let images = selection.images().to_vec();
        let mut prepared = selection;
        for image in &images {
            // Images with an error are not among these.
            let Ok(Attached { composes, kept, remark }) = facts.composes(self, &prepared, image, unshipped) else {
                continue;
            };
            for compose in &composes {
                prepared = prepared.with_repository(&image.nvr, self.artifact(compose));
            }
            if !kept.is_empty() {
                let numbers = kept.iter().map(ToString::to_string).collect();
                prepared = prepared.with_parameter(&image.nvr, "compose_ids", Parameter::Set(numbers));
            }
            if let Some(remark) = remark {
                prepared = prepared.with_remark(&image.nvr, &remark);
            }
        }
        Ok(prepared)
    }

    /// Asks what must be known of all images: once about each compose, and once about all
    /// unpublished images.
    async fn facts(&self, selection: &Selection) -> Result<Facts> {
        let images = selection.images();
        let numbers: BTreeSet<i64> = images.iter().flat_map(|image| image.composes.iter().copied()).collect();
        let known = if numbers.is_empty() { Known::new() } else { self.composes.composes(&numbers).await? };
        let unpublished = images.iter().filter(|image| image.publication < Publication::Published);
        let unpublished: BTreeSet<Nvr> = unpublished.map(|image| image.nvr.clone()).collect();
        let ingredients =
            if unpublished.is_empty() { Each::new() } else { self.builds.ingredients(&unpublished).await? };
        Ok(Facts { known, ingredients, unpublished })
    }

    fn artifact(&self, compose: &Compose) -> Artifact {
        let mut artifact = Artifact::new(compose.artifact(), ArtifactKind::Repository);
        artifact = artifact.with_source("odcs", None).with_system(self.system.as_str());
        artifact.parameters = Parameters::from(compose);
        artifact
    }
}

fn read(pattern: &str) -> Result<Regex> {
    let wrong = |error| Error::new(Remedy::Unsupported, format!("the pattern of content sets {pattern:?}"), error);
    Regex::new(pattern).map_err(wrong)
}

#[async_trait]
impl Prepare for ImageComposes {
    async fn prepare(
        &self,
        advisory: &Advisory,
        advisories: &dyn Advisories,
        history: &History,
        releases: &Releases,
        selection: Selection,
    ) -> std::result::Result<Selection, BoxError> {
        let unshipped = self.unshipped(advisories, advisory, &selection, history).await?;
        self.attach(releases, selection, &unshipped).await
    }
}

impl AffectedImages {
    /// Prepares composes for the images. The plan needs a composer then.
    #[must_use]
    pub fn with_composes(mut self, composes: ImageComposes) -> Self {
        self.prepares = Some(Arc::new(composes));
        self
    }
}

/// What the services said about all images.
struct Facts {
    known: Known,
    ingredients: Each<Ingredients>,
    unpublished: BTreeSet<Nvr>,
}

/// What is attached to an image.
struct Attached {
    composes: Vec<Compose>,
    kept: BTreeSet<i64>,
    remark: Option<String>,
}

impl Facts {
    /// Returns the composes of an image, or why it cannot be rebuilt.
    fn composes(
        &self,
        by: &ImageComposes,
        selection: &Selection,
        image: &SelectedImage,
        unshipped: &Unshipped,
    ) -> std::result::Result<Attached, String> {
        let artifact = selection.graph().get(&(&image.nvr).into());
        let flatpak = artifact.is_some_and(|artifact| artifact.parameters.get("flatpak") == Some(&true.into()));
        let Needs { renewed, kept, missing } = Needs::of(image, flatpak, &self.known, &by.excluded)?;
        let mut composes: Vec<Compose> = renewed.into_iter().map(Compose::renew).collect();
        if !missing.is_empty() {
            composes.push(Compose::pulp(missing).with_flags([Flag::UseOnlyCompatibleArch]));
        }
        let mut remark = None;
        if self.unpublished.contains(&image.nvr) {
            match self.ingredients.get(&image.nvr) {
                Some(Ok(of)) => {
                    let compose = Compose::build(of.builds.iter().map(ToString::to_string));
                    let compose = compose.with_packages(&of.packages).with_arches(&of.arches);
                    composes.push(by.signed(compose.with_flags([Flag::NoDeps])));
                }
                other => {
                    let why = other.map_or("nothing is known", |other| other.as_ref().err().map_or("", String::as_str));
                    let text = "it is not published, and its packages are not offered to its build";
                    remark = Some(format!("{text}: {why}"));
                }
            }
        }
        for (_, compose) in unshipped.iter().filter(|(names, _)| names.contains(image.nvr.name())) {
            composes.push(compose.clone()?);
        }
        Ok(Attached { composes, kept, remark })
    }
}

/// Selects again, without images that cannot be built for these reasons.
fn without(releases: &Releases, errors: BTreeMap<Nvr, String>) -> std::result::Result<Selection, SelectError> {
    releases.clone().with_lookup_errors(errors).select()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_excluded_content_sets_can_be_read() {
        assert!(Regex::new(ImageComposes::EXCLUDED).unwrap().is_match("rhel-9-hidden-rpms"));
    }
}
