//! What has to hold for the plan of any world, said from the plain data of the world alone. No code
//! of the planner is used, not even its order of versions.

use crate::world::{CONTENT_SET, Fault, Image, Package, World};
use freshmaker::plan::{Exclusion, PlanNode};

use freshmaker::{EdgeKind, Plan, Reason};
use std::collections::{BTreeMap, BTreeSet};

/// Release categories of repositories whose images are rebuilt.
const CATEGORIES: [&str; 3] = ["Generally Available", "Tech Preview", "Beta"];

/// The codes of images that are rebuilt.
const IN: [&str; 2] = ["affected", "dependency"];

/// The codes of images that are not rebuilt although something is known about them.
const OUT: [&str; 9] = [
    "already_fixed",
    "modularity",
    "hotfix",
    "policy",
    "older_unpublished",
    "superseded_by_release",
    "fixed_release_published",
    "not_needed",
    "package_absent",
];

/// The codes of builds that fail before they start.
const IMPEDED: [&str; 2] = ["lookup_error", "parent_not_rebuilt"];

/// What a plan is held against.
pub(crate) struct Laws<'a> {
    world: &'a World,
    plan: &'a Plan,
    broken: Vec<String>,
}

/// Returns the laws that a plan breaks, as sentences.
pub(crate) fn broken(world: &World, plan: &Plan) -> Vec<String> {
    let mut laws = Laws { world, plan, broken: Vec::new() };
    laws.nothing_is_missed();
    plan.nodes().for_each(|node| laws.is_rebuilt_rightly(node));
    plan.exclusions().for_each(|(id, why)| laws.is_left_out_rightly(id.as_str(), why));
    laws.broken
}

impl World {
    fn lacks_a_fix(&self, packages: &BTreeSet<Package>) -> bool {
        packages.iter().any(|it| self.fixed.iter().any(|fix| it.is_like(fix) && it.is_older(fix)))
    }

    /// Whether an image needs the fix, as far as anybody can tell: of one that nobody knows it is
    /// assumed.
    fn is_unfixed(&self, nvr: &str) -> bool {
        self.images.get(nvr).is_none_or(|image| {
            let unreadable = image.has(&Fault::OddPackage) && self.is_found(image);
            let unknown = image.has(&Fault::NotInCatalog) && image.has(&Fault::NotInKoji);
            unreadable || unknown || self.lacks_a_fix(&image.packages)
        })
    }

    /// Whether the catalog offers the image, with one of the packages and one of the content sets.
    pub(crate) fn is_found(&self, image: &Image) -> bool {
        let told = !image.has(&Fault::NotInCatalog) && !image.has(&Fault::NoManifest);
        let offered = image.places.iter().any(|place| {
            let repository = &self.repositories[&place.repository];
            let allowed = !repository.published || CATEGORIES.contains(&repository.category);
            allowed && repository.tags.contains(&place.tag)
        });
        let named = |package: &Package| self.fixed.iter().any(|fix| fix.name == package.name);
        let has_one = image.packages.iter().any(named) || image.has(&Fault::OddPackage);
        told && offered && has_one && image.content_sets.contains(&CONTENT_SET)
    }

    fn is_unpublished(&self, image: &Image) -> bool {
        image.has(&Fault::NotInCatalog)
            || !image.places.iter().any(|place| self.repositories[&place.repository].published)
    }

    fn is_blocked(&self, image: &Image) -> bool {
        self.blocked.as_ref() == Some(&image.name)
    }

    /// Everything that an image is built on, by the build system and by the catalog.
    fn parents(&self, image: &Image) -> Vec<(String, EdgeKind)> {
        let recorded = !image.has(&Fault::NotInKoji) && !image.has(&Fault::NoTask);
        let builders = image.builders.iter().cloned().map(|builder| (builder, EdgeKind::BuilderStage));
        let mut parents: Vec<_> = builders.filter(|_| recorded).collect();
        let own = image.parent.iter().cloned().map(|parent| (parent, EdgeKind::ParentImage));
        parents.extend(own.filter(|_| recorded || !image.has(&Fault::OddParent)));
        if let Some(Fault::OtherParent(other)) = &image.fault {
            parents.push((other.clone(), EdgeKind::ParentImage));
        }
        parents
    }

    fn repositories_of<'a>(&self, image: &'a Image) -> BTreeSet<&'a str> {
        let told = image.places.iter().filter(|_| !image.has(&Fault::NotInCatalog));
        told.map(|place| place.repository.as_str()).collect()
    }

    fn are_of_one_group(&self, one: &Image, other: &Image) -> bool {
        (&one.name, one.version) == (&other.name, other.version)
            && self.repositories_of(one) == self.repositories_of(other)
    }

    /// Whether the services say that an image is built from itself.
    fn is_in_a_cycle(&self, image: &Image) -> bool {
        let (mut waiting, mut seen) = (self.parents(image), BTreeSet::new());
        while let Some((next, _)) = waiting.pop() {
            if next == image.nvr() {
                return true;
            }
            if seen.insert(next.clone()) {
                waiting.extend(self.images.get(&next).into_iter().flat_map(|below| self.parents(below)));
            }
        }
        false
    }

    /// Whether nobody can tell how an image is built.
    fn is_broken(&self, image: &Image) -> bool {
        image.fault.as_ref().is_some_and(Fault::breaks) || self.is_in_a_cycle(image)
    }

    /// Whether an image that cannot be built is below this one, whichever release of its parents it
    /// moves to.
    fn stands_on_what_is_broken(&self, image: &Image) -> bool {
        let (mut waiting, mut seen) = (vec![image.nvr()], BTreeSet::new());
        while let Some(next) = waiting.pop() {
            let Some(image) = self.images.get(&next) else { return true };
            if !seen.insert(next) {
                continue;
            }
            let same = self.images.values().filter(|other| self.are_of_one_group(image, other));
            for other in same.chain([image]) {
                if self.is_broken(other) {
                    return true;
                }
                waiting.extend(self.parents(other).into_iter().map(|(parent, _)| parent));
            }
        }
        false
    }
}

/// Name and version of an image.
fn base(nvr: &str) -> &str {
    nvr.rsplit_once('-').map_or(nvr, |(base, _)| base)
}

impl Laws<'_> {
    fn must(&mut self, holds: bool, law: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(law());
        }
    }

    fn node(&self, nvr: &str) -> Option<&PlanNode> {
        self.plan.node(&nvr.into())
    }

    /// Each image that the catalog offers with one of the packages is in or out.
    fn nothing_is_missed(&mut self) {
        let world = self.world;
        for image in world.images.values().filter(|image| world.is_found(image)) {
            let nvr = image.nvr();
            let mentioned = self.node(&nvr).is_some() || self.plan.excluded(&nvr.as_str().into()).is_some();
            self.must(mentioned, || format!("{nvr} is neither in nor out"));
        }
    }

    fn is_rebuilt_rightly(&mut self, node: &PlanNode) {
        let nvr = node.artifact.id.as_str();
        let asked = node.asked.as_ref().map(|why| why.code.as_str()).unwrap_or_default();
        self.must(IN.contains(&asked), || format!("{nvr} is in because of {asked:?}"));
        self.must(self.world.is_unfixed(nvr), || format!("{nvr} is rebuilt and has the fix"));
        match &node.impediment {
            Some(why) => self.cannot_be_built_rightly(nvr, why),
            None => self.is_built_rightly(nvr, node),
        }
    }

    fn cannot_be_built_rightly(&mut self, nvr: &str, why: &Reason) {
        let world = self.world;
        self.must(IMPEDED.contains(&why.code.as_str()), || format!("{nvr} cannot be built because of {why:?}"));
        let Some(image) = world.images.get(nvr) else {
            return self.must(why.code == "lookup_error", || format!("{nvr} does not exist: {why:?}"));
        };
        let is_true =
            if why.code == "lookup_error" { world.is_broken(image) } else { world.stands_on_what_is_broken(image) };
        self.must(is_true, || format!("{nvr} could be built: {why:?}"));
    }

    fn is_built_rightly(&mut self, nvr: &str, node: &PlanNode) {
        let world = self.world;
        let Some(image) = world.images.get(nvr) else {
            return self.must(false, || format!("{nvr} is built and does not exist"));
        };
        self.must(!image.fault.as_ref().is_some_and(Fault::breaks), || format!("{nvr} is built: {:?}", image.fault));
        let source = node.artifact.source.clone().unwrap_or_default();
        let own = source.location.ends_with(&format!("/{}", image.name));
        let same = source.revision.as_deref() == Some(image.version.to_string().as_str());
        self.must(own && same, || format!("{nvr} is built from {source:?}"));
        self.is_needed(image, node);
        self.is_on_the_right_parents(image, node);
        self.demands_the_fixes(image, node);
        let below = node.parents.iter().filter_map(|parent| self.plan.node(&parent.id));
        let wave = below.map(|parent| parent.wave + 1).max().unwrap_or_default();
        self.must(node.wave == wave, || format!("{nvr} is in wave {}, not {wave}", node.wave));
    }

    /// An image is affected itself, or something in the plan is built on a release of it.
    fn is_needed(&mut self, image: &Image, node: &PlanNode) {
        let (world, nvr) = (self.world, image.nvr());
        let affected = world.is_found(image) && !image.hotfix && !world.is_blocked(image);
        let uses = |other: &PlanNode| {
            let other = world.images.get(other.artifact.id.as_str());
            other.is_some_and(|it| world.parents(it).iter().any(|(parent, _)| base(parent) == base(&nvr)))
        };
        let used = self.plan.nodes().any(uses);
        let code = node.asked.as_ref().map(|why| why.code.as_str());
        let older = |other: &&Image| world.are_of_one_group(image, other) && other.release < image.release;
        let replaces = world.images.values().filter(older).any(|other| world.is_found(other));
        self.must(affected || used || replaces, || format!("{nvr} is rebuilt for nothing"));
        self.must(affected || code == Some("dependency"), || format!("{nvr} is not affected: {code:?}"));
    }

    /// Each parent is there, as it was or as another release of it, and has the fix or gets it
    /// before.
    fn is_on_the_right_parents(&mut self, image: &Image, node: &PlanNode) {
        let nvr = image.nvr();
        let declared = self.world.parents(image);
        for (parent, kind) in &declared {
            let kept = node.parents.iter().any(|it| base(it.id.as_str()) == base(parent) && it.kinds.contains(kind));
            self.must(kept, || format!("{nvr} is not built on its parent {parent}"));
        }
        for parent in &node.parents {
            let id = parent.id.as_str();
            let known = declared.iter().any(|(parent, _)| base(parent) == base(id));
            self.must(known, || format!("{nvr} is built on {id}, which is no parent of it"));
            match self.plan.node(&parent.id) {
                Some(below) => {
                    let before = below.impediment.is_none() && below.wave < node.wave;
                    self.must(before, || format!("{nvr} does not wait for {id}, or that cannot be built"));
                }
                None => {
                    // A builder stage may keep an older release of the image itself.
                    let of_itself =
                        self.world.contradiction.is_some() && !parent.kinds.contains(&EdgeKind::ParentImage);
                    let fixed = of_itself || !self.world.is_unfixed(id);
                    self.must(fixed, || format!("{nvr} is built on {id}, which lacks the fix"));
                }
            }
        }
    }

    fn demands_the_fixes(&mut self, image: &Image, node: &PlanNode) {
        let nvr = image.nvr();
        let fixes = self.world.fixed.iter().filter(|fix| image.packages.iter().any(|it| it.is_like(fix)));
        let fixes: BTreeSet<String> = fixes.map(ToString::to_string).collect();
        let bare = |text: String| text.split_once(':').map_or(text.clone(), |(_, name)| name.to_owned());
        let demands: BTreeSet<String> = node.demands.iter().map(|it| bare(it.to_string())).collect();
        self.must(demands == fixes, || format!("{nvr} demands {demands:?}, not {fixes:?}"));
    }

    fn is_left_out_rightly(&mut self, nvr: &str, why: &Exclusion) {
        let world = self.world;
        self.must(OUT.contains(&why.code.as_str()), || format!("{nvr} is out because of {}: {}", why.code, why.text));
        let Some(image) = world.images.get(nvr) else {
            return self.must(why.code == "not_needed", || format!("{nvr} does not exist, and is out: {why:?}"));
        };
        let like: Vec<&Package> =
            image.packages.iter().filter(|it| world.fixed.iter().any(|fix| it.is_like(fix))).collect();
        let fixed = !world.is_unfixed(nvr);
        let found = world.is_found(image);
        let is_true = match why.code.as_str() {
            "already_fixed" => fixed && !like.is_empty(),
            "modularity" | "package_absent" => fixed && like.is_empty(),
            "hotfix" => !fixed && image.hotfix,
            "policy" => !fixed && world.is_blocked(image),
            "older_unpublished" => !fixed && self.has_a_newer_unpublished_one(image),
            "superseded_by_release" => !fixed && self.is_replaced(image),
            // These are said of parents only.
            "fixed_release_published" => !found && self.has_a_published_one_with_the_fix(image),
            "not_needed" => {
                !found || image.hotfix || world.is_blocked(image) || self.has_a_newer_unpublished_one(image)
            }
            _ => false,
        };
        self.must(is_true, || format!("{nvr} is out, and this is not true: {}: {}", why.code, why.text));
    }

    fn has_a_newer_unpublished_one(&self, image: &Image) -> bool {
        let world = self.world;
        let newer = |other: &&Image| {
            (&other.name, other.version) == (&image.name, image.version) && other.release > image.release
        };
        let rivals = world.images.values().filter(newer).filter(|other| world.is_found(other));
        world.is_unpublished(image) && rivals.into_iter().any(|other| world.is_unpublished(other))
    }

    fn is_replaced(&self, image: &Image) -> bool {
        let newer = |other: &&Image| self.world.are_of_one_group(image, other) && other.release > image.release;
        self.world.images.values().filter(newer).any(|other| self.node(&other.nvr()).is_some())
    }

    fn has_a_published_one_with_the_fix(&self, image: &Image) -> bool {
        let world = self.world;
        world.images.values().any(|other| {
            (&other.name, other.version) == (&image.name, image.version)
                && !world.is_unpublished(other)
                && !world.is_unfixed(&other.nvr())
        })
    }
}

/// How many requests a decision may make: a few for the advisory, and for each layer some for a
/// hundred images. An image of which the catalog does not know the packages costs some more.
pub(crate) fn requests_max(world: &World) -> BTreeMap<&'static str, usize> {
    let hundreds = |things: usize| things.div_ceil(100);
    let (images, repositories) = (world.images.len(), world.repositories.len());
    // Pyxis is asked for 20 repositories, and for 20 names and versions, at a time.
    let found = 1 + repositories.div_ceil(20);
    let layer = hundreds(images) + hundreds(repositories);
    let catalog = found + 8 * layer + images.div_ceil(20) + hundreds(repositories);
    let untold =
        |image: &&Image| matches!(image.fault, Some(Fault::NotInCatalog | Fault::NoManifest | Fault::OddPackage));
    let untold = world.images.values().filter(untold).count();
    let koji = 8 * 3 * hundreds(images) + 8 + 3 * untold;
    [("errata", 6), ("pulp", 1), ("lightblue", catalog), ("pyxis", catalog), ("koji", koji)].into()
}
