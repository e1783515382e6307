use super::Publication;
use super::choice::Choice;
use super::fixes::{Finding, Fixes};
use super::index::Index;
use super::wiring::{Base, Wires, Wiring};
use freshmaker::Reason;
use freshmaker::artifact::{Artifact, ArtifactId, ArtifactKind, Nvr, Parameter};
use freshmaker::graph::{ArtifactGraph, EdgeKind};
use freshmaker::plan::{Planner, RebuildReason};
use std::collections::{BTreeMap, BTreeSet};

/// A parent that an image is rebuilt on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SelectedParent {
    /// The parent: an image of the same selection, or one that is used as it is.
    pub nvr: Nvr,
    /// The role in which it is used.
    pub kind: EdgeKind,
    /// The image that had this role in the last build, if it was another one.
    pub instead_of: Option<Nvr>,
    /// Why the parent is used although it needs the fix; `None` for all other parents. Only builder
    /// stages have such parents: an image may be built with an older release of itself (code
    /// `built_from_itself`).
    pub unfixed: Option<Reason>,
}

/// An image to be rebuilt, with its parents and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedImage {
    /// The release that is rebuilt.
    pub nvr: Nvr,
    /// Whether it is affected itself, or rebuilt as a parent of others.
    pub reason: RebuildReason,
    /// The reason with a code, `affected` or `dependency`, and a sentence.
    pub why: Reason,
    /// The parents to build it on, sorted.
    pub parents: Vec<SelectedParent>,
    /// The releases of its group that are not rebuilt because this one is, sorted.
    pub replaces: Vec<Nvr>,
    /// Its content sets. If it has none of its own, those of its neighbours.
    pub content_sets: BTreeSet<String>,
    /// Numbers of the composes that its packages came from.
    pub composes: BTreeSet<i64>,
    /// How far its publication has come.
    pub publication: Publication,
    /// Packages that its rebuild must contain, or newer ones: the fixes of what is installed in it.
    pub demands: BTreeSet<Nvr>,
}

/// The images to rebuild with their parents, and the reason for every candidate that is left out.
///
/// The [`Reason`] of a candidate that is left out has a code of [the table of the
/// module](super#reasons),
/// or a code that the caller gave with [`CatalogImage::rejected`](super::CatalogImage::rejected).
///
/// ```
/// use freshmaker_redhat::image::{CatalogImage, Publication, Releases};
///
/// let image = |nvr: &str| {
///     Ok::<_, freshmaker::artifact::NvrError>(
///         CatalogImage::new(nvr.parse()?).with_source("app.git", None).affected(),
///     )
/// };
/// let selection = Releases::new()
///     .with(image("app-container-1-2")?)
///     .with(image("app-container-1-10")?.with_publication(Publication::Released))
///     .select()?;
/// assert_eq!(selection.images().len(), 1);
/// assert_eq!(selection.images()[0].nvr.to_string(), "app-container-1-10");
/// let older = selection.excluded(&"app-container-1-2".parse()?).unwrap();
/// assert_eq!(older.code, "superseded_by_release");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Selection {
    images: Vec<SelectedImage>,
    /// Where each of them is.
    places: BTreeMap<Nvr, usize>,
    excluded: BTreeMap<Nvr, Reason>,
    /// Those of `excluded` that should be rebuilt, and cannot be because something about them, or
    /// about an image below them, could not be looked up.
    impeded: BTreeMap<Nvr, Impeded>,
    graph: ArtifactGraph,
}

/// Why an image should be rebuilt that cannot be, and what its rebuild must contain if another
/// event builds it after all.
#[derive(Clone, Debug)]
struct Impeded {
    reason: RebuildReason,
    included: Reason,
    demands: BTreeSet<Nvr>,
}

impl Selection {
    pub(super) fn new(
        fixes: &Fixes,
        choice: &Choice,
        wiring: &Wiring<'_>,
        wires: &Wires,
        order: &[usize],
        mut content_sets: Vec<BTreeSet<String>>,
    ) -> Self {
        let index = wiring.index;
        let mut left_out = left_out(choice, wiring, wires);
        let replaced = replaced(choice, wiring, wires);
        let (mut images, mut impeded) = (Vec::new(), BTreeMap::new());
        for &place in order {
            if let Some(why) = impediment(index, &wires[&place], place, &left_out) {
                let mut below = wires[&place].iter().filter_map(Base::rebuilt);
                let image = index.images[place];
                let follows = image.artifact.buildable() && below.any(|parent| impeded.contains_key(&parent));
                if image.error.is_some() || follows {
                    let (reason, included) = inclusion(choice, index, place);
                    impeded.insert(place, Impeded { reason, included, demands: fixes.of(image.rpms.as_ref()) });
                }
                left_out.insert(place, why);
                continue;
            }
            let (reason, why) = inclusion(choice, index, place);
            images.push(SelectedImage {
                nvr: index.nvr(place).clone(),
                reason,
                why,
                parents: parents(index, &wires[&place], place),
                replaces: replaced.get(&place).cloned().unwrap_or_default(),
                content_sets: std::mem::take(&mut content_sets[place]),
                composes: index.images[place].composes.clone(),
                publication: index.images[place].publication,
                demands: fixes.of(index.images[place].rpms.as_ref()),
            });
        }
        let mut graph = graph(index, &images);
        impeded.keys().for_each(|place| graph.insert(index.images[*place].artifact.clone()));
        let impeded = impeded.into_iter().map(|(place, why)| (index.nvr(place).clone(), why)).collect();
        let excluded = left_out.into_iter().map(|(place, why)| (index.nvr(place).clone(), why)).collect();
        let places = images.iter().map(|image| image.nvr.clone()).zip(0..).collect();
        Self { images, places, excluded, impeded, graph }
    }

    /// Returns the images to rebuild, parents before children.
    #[must_use]
    pub fn images(&self) -> &[SelectedImage] {
        &self.images
    }

    /// Returns the candidates that are left out with their reasons, by name.
    pub fn exclusions(&self) -> impl Iterator<Item = (&Nvr, &Reason)> {
        self.excluded.iter()
    }

    /// Returns the reason why this candidate is left out; `None` if it is not one, or is rebuilt.
    #[must_use]
    pub fn excluded(&self, nvr: &Nvr) -> Option<&Reason> {
        self.excluded.get(nvr)
    }

    /// Returns whether this image is rebuilt, or there is a reason why it is not.
    #[must_use]
    pub fn mentions(&self, nvr: &Nvr) -> bool {
        self.excluded.contains_key(nvr) || self.places.contains_key(nvr)
    }

    /// Returns the images to rebuild and all their parents as a graph. The id of an artifact is the
    /// text of its NVR.
    #[must_use]
    pub fn graph(&self) -> &ArtifactGraph {
        &self.graph
    }

    /// Prepares a repository for an image that is rebuilt, which takes packages from it. Several
    /// images can share one. Does nothing if the image is not rebuilt.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactKind};
    /// use freshmaker_redhat::image::{CatalogImage, Releases};
    ///
    /// let app = CatalogImage::new("app-container-1-2".parse()?).with_source("app.git", None);
    /// let repository =
    ///     Artifact::new("repository", ArtifactKind::Repository).with_source("odcs", None);
    /// let selection = Releases::new().with(app.affected()).select()?;
    /// let selection = selection.with_repository(&"app-container-1-2".parse()?, repository);
    /// assert_eq!(selection.planner().plan()?.waves().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_repository(mut self, image: &Nvr, repository: Artifact) -> Self {
        if self.places.contains_key(image) {
            let id = repository.id.clone();
            self.graph.insert(repository);
            // This cannot fail, because both ends were inserted.
            let _ = self.graph.depend(image, id, EdgeKind::Repository);
        }
        self
    }

    /// Sets a parameter of the build of an image that is rebuilt. Does nothing if it is not.
    #[must_use]
    pub fn with_parameter(mut self, image: &Nvr, name: &str, value: impl Into<Parameter>) -> Self {
        let artifact = self.graph.get(&image.into()).filter(|_| self.places.contains_key(image));
        if let Some(artifact) = artifact.cloned() {
            self.graph.insert(artifact.with_parameter(name, value));
        }
        self
    }

    /// Adds a sentence to the reason why an image is rebuilt.
    #[must_use]
    pub fn with_remark(mut self, image: &Nvr, remark: &str) -> Self {
        if let Some(selected) = self.places.get(image).and_then(|place| self.images.get_mut(*place)) {
            selected.why.text = format!("{}; {remark}", selected.why.text);
        }
        self
    }

    /// Returns a planner that rebuilds exactly these images, with all reasons. A policy and facts
    /// can be added.
    ///
    /// An image whose lookup failed, and what would be built on it, is a part of the plan that
    /// [cannot be built](Planner::impeded): the event must not look as if all was well.
    pub fn planner(&self) -> Planner<'_> {
        let planner = self.images.iter().fold(self.graph.planner().without_dependents(), |planner, image| {
            let planner = planner.rebuild_as(&image.nvr, image.reason, image.why.clone());
            let demands = image.demands.iter().cloned();
            let planner = demands.fold(planner, |planner, package| planner.demand(&image.nvr, package));
            // One that is rebuilt has its name from its rebuild.
            let bases = image.parents.iter().filter(|parent| parent.kind == EdgeKind::ParentImage);
            bases.fold(planner, |planner, base| planner.known_as(&base.nvr, base.nvr.as_str()))
        });
        self.excluded.iter().fold(planner, |planner, (nvr, why)| match self.impeded.get(nvr) {
            Some(Impeded { reason, included, demands }) => {
                let planner = planner.rebuild_as(nvr, *reason, included.clone());
                let planner = planner.impeded(nvr, why.clone());
                demands.iter().fold(planner, |planner, package| planner.demand(nvr, package.clone()))
            }
            None => planner.exclude(nvr, why.clone()),
        })
    }
}

/// Returns the candidates that are not rebuilt, with the first reason that was found for each.
fn left_out(choice: &Choice, wiring: &Wiring<'_>, wires: &Wires) -> BTreeMap<usize, Reason> {
    let index = wiring.index;
    let mut left_out = choice.left_out.clone();
    left_out.retain(|place, _| !wires.contains_key(place));
    let as_is = wires.values().flatten().filter_map(|base| if let Base::AsIs(nvr) = base { Some(nvr) } else { None });
    let as_is: BTreeSet<&Nvr> = as_is.collect();
    for place in candidates(choice, index) {
        if wires.contains_key(&place) || left_out.contains_key(&place) {
            continue;
        }
        let why = absence(wiring, wires, &as_is, place);
        left_out.insert(place, why);
    }
    left_out
}

fn absence(wiring: &Wiring<'_>, wires: &Wires, as_is: &BTreeSet<&Nvr>, place: usize) -> Reason {
    let nvr = |place: usize| wiring.index.nvr(place);
    let used = wiring.latest.successor(wiring.index, place).unwrap_or(place);
    if let Some(rebuild) = [place, used].iter().find_map(|place| wiring.already_rebuilt.get(nvr(*place))) {
        Reason::new("already_rebuilt", format!("{rebuild} is the rebuild"))
    } else if let Some(stand_in) =
        wiring.stand_ins.get(&used).map(|place| nvr(*place)).filter(|nvr| as_is.contains(nvr))
    {
        let text = format!("{stand_in}, which is published and has the fix, is used instead");
        Reason::new("fixed_release_published", text)
    } else if wires.contains_key(&used) {
        Reason::new("superseded_by_release", format!("{} is rebuilt and used instead", nvr(used)))
    } else {
        Reason::new("not_needed", "nothing that is rebuilt is built on it")
    }
}

/// Returns the chosen images, and all their ancestors that need the fix.
fn candidates(choice: &Choice, index: &Index<'_>) -> BTreeSet<usize> {
    Index::walk(choice.chosen.iter().copied(), |place| index.unfixed_parents(place).collect::<Vec<_>>())
}

fn replaced(choice: &Choice, wiring: &Wiring<'_>, wires: &Wires) -> BTreeMap<usize, Vec<Nvr>> {
    let mut replaced: BTreeMap<usize, Vec<Nvr>> = BTreeMap::new();
    for place in candidates(choice, wiring.index).into_iter().filter(|place| !wires.contains_key(place)) {
        if let Some(successor) = wiring.latest.successor(wiring.index, place) {
            replaced.entry(successor).or_default().push(wiring.index.nvr(place).clone());
        }
    }
    replaced
}

/// Returns why an image that should be rebuilt cannot be built, if there is a reason.
fn impediment(index: &Index<'_>, bases: &[Base], place: usize, left_out: &BTreeMap<usize, Reason>) -> Option<Reason> {
    let image = index.images[place];
    if let Some(error) = &image.error {
        return Some(Reason::new("lookup_error", error));
    }
    if !image.artifact.buildable() {
        return Some(Reason::new("no_recipe", "the catalog has no recipe for it"));
    }
    let missing = bases.iter().filter_map(Base::rebuilt).find(|parent| left_out.contains_key(parent))?;
    let text = format!("it would be built on {}, which needs the fix and cannot be rebuilt", index.nvr(missing));
    Some(Reason::new("parent_not_rebuilt", text))
}

fn inclusion(choice: &Choice, index: &Index<'_>, place: usize) -> (RebuildReason, Reason) {
    let image = index.images[place];
    let chosen = choice.chosen.contains(&place);
    let reason = if chosen { RebuildReason::DirectlyAffected } else { RebuildReason::Dependency };
    if let Some(why) = &image.why {
        return (reason, why.clone());
    }
    let finding = match index.finding(place) {
        Finding::Older { installed, fix } => format!("it contains {installed}, older than {fix}"),
        _ => "it is taken for affected, since its packages or the fixed ones are unknown".to_owned(),
    };
    if chosen {
        return (reason, Reason::new("affected", finding));
    }
    let text = format!("another image that is rebuilt needs it, and {finding}");
    (reason, Reason::new("dependency", text))
}

fn parents(index: &Index<'_>, bases: &[Base], place: usize) -> Vec<SelectedParent> {
    let declared = index.parents(place).iter().zip(bases);
    let mut parents: Vec<_> = declared
        .map(|(declared, base)| {
            let nvr = match base {
                Base::Rebuilt(parent) => index.nvr(*parent).clone(),
                Base::AsIs(nvr) | Base::Unfixed(nvr) => nvr.clone(),
            };
            let instead_of = Some(declared.nvr).filter(|declared| **declared != nvr).cloned();
            let unfixed = matches!(base, Base::Unfixed(_)).then(|| {
                Reason::new("built_from_itself", "a newer release is itself built from what would be built on it")
            });
            SelectedParent { nvr, kind: declared.kind, instead_of, unfixed }
        })
        .collect();
    parents.sort();
    parents
}

fn graph(index: &Index<'_>, images: &[SelectedImage]) -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    let artifact = |nvr: &Nvr| {
        let known = index.place(nvr).map(|place| index.images[place].artifact.clone());
        known.unwrap_or_else(|| Artifact::new(nvr, ArtifactKind::Image))
    };
    images.iter().for_each(|image| graph.insert(artifact(&image.nvr)));
    for image in images {
        let id = ArtifactId::from(&image.nvr);
        for parent in &image.parents {
            let below = ArtifactId::from(&parent.nvr);
            if graph.get(&below).is_none() {
                graph.insert(artifact(&parent.nvr));
            }
            // This cannot fail, because both ends were inserted.
            let _ = graph.depend(id.clone(), below, parent.kind);
        }
    }
    graph
}
