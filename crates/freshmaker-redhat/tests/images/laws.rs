//! What has to hold for every answer, said again in the plainest way, over the plain data of a
//! [`World`].

use crate::world::{Image, World, nvr};
use freshmaker::plan::Exclusion;
use freshmaker::{EdgeKind, Nvr, RebuildReason};
use freshmaker_redhat::image::{NewerReleases, Publication, SelectedImage, Selection};
use std::collections::{BTreeMap, BTreeSet};

/// A world with each image described once.
pub(crate) struct Facts<'a> {
    world: &'a World,
    images: BTreeMap<String, Image>,
}

const CANNOT_BE_BUILT: [&str; 3] = ["lookup_error", "no_recipe", "parent_not_rebuilt"];

impl<'a> Facts<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, images: world.united() }
    }

    fn modular(rpm: &str) -> bool {
        rpm.contains("module+")
    }

    /// The fixes that concern an image with these packages.
    fn concerned(&self, rpms: &[String]) -> BTreeSet<&String> {
        let same =
            |rpm: &String, fix: &String| nvr(rpm).name() == nvr(fix).name() && Self::modular(rpm) == Self::modular(fix);
        self.world.fixes.iter().filter(|fix| rpms.iter().any(|rpm| same(rpm, fix))).collect()
    }

    pub(crate) fn unfixed(&self, name: &str) -> bool {
        let Some(image) = self.images.get(name) else { return false };
        let Some(rpms) = image.rpms.as_ref().filter(|_| !self.world.fixes.is_empty()) else { return true };
        rpms.iter()
            .any(|rpm| self.concerned(std::slice::from_ref(rpm)).iter().any(|fix| nvr(rpm).evr() < nvr(fix).evr()))
    }

    fn repositories(&self, name: &str) -> BTreeSet<String> {
        let of =
            |name: &str| self.images.get(name).map(|image| image.repositories.iter().cloned().collect::<BTreeSet<_>>());
        let mut name = name.to_owned();
        let mut found = of(&name).unwrap_or_default();
        while found.is_empty() {
            match name.rsplit_once('.').filter(|_| nvr(&name).release().contains('.')) {
                Some((before, _)) => name = before.to_owned(),
                None => break,
            }
            found = of(&name).unwrap_or_default();
        }
        found
    }

    pub(crate) fn group(&self, name: &str) -> (String, String, BTreeSet<String>) {
        (nvr(name).name().to_owned(), nvr(name).version().to_owned(), self.repositories(name))
    }

    /// Affected images for which nothing speaks against being rebuilt for their own sake.
    pub(crate) fn chosen(&self) -> BTreeSet<&str> {
        let good = |image: &&Image| image.affected && self.unfixed(&image.nvr) && !image.hotfix && !image.rejected;
        let good: Vec<&Image> = self.images.values().filter(good).collect();
        let newest = |image: &&&Image| {
            image.publication != Publication::Unpublished
                || good.iter().filter(|other| other.publication == Publication::Unpublished).all(|other| {
                    let (one, other) = (nvr(&image.nvr), nvr(&other.nvr));
                    (one.name(), one.version()) != (other.name(), other.version()) || one.by_release(&other).is_ge()
                })
        };
        good.iter().filter(newest).map(|image| image.nvr.as_str()).collect()
    }

    fn rebuild(&self, name: &str) -> Option<&str> {
        self.world
            .already_rebuilt
            .iter()
            .rev()
            .find(|(original, _)| original == name)
            .map(|(_, rebuild)| rebuild.as_str())
    }

    /// Whether a published image has all the fixes that this one lacks.
    fn has_stand_in(&self, name: &str) -> bool {
        let image = &self.images[name];
        let Some(rpms) = &image.rpms else { return false };
        let concerned = self.concerned(rpms);
        !concerned.is_empty()
            && self.images.values().any(|other| {
                let (one, two) = (nvr(name), nvr(&other.nvr));
                let disjoint = |sets: &[String]| !sets.iter().any(|set| self.world.content_sets.contains(set));
                let elsewhere = !self.world.content_sets.is_empty()
                    && !other.content_sets.is_empty()
                    && disjoint(&other.content_sets);
                (one.name(), one.version()) == (two.name(), two.version())
                    && other.publication >= Publication::Published
                    && !other.hotfix
                    && !elsewhere
                    && !self.unfixed(&other.nvr)
                    && other.rpms.as_ref().is_some_and(|theirs| self.concerned(theirs).is_superset(&concerned))
                    && self.repositories(name).is_subset(&self.repositories(&other.nvr))
            })
    }
}

/// All laws.
pub(crate) fn hold(world: &World, selection: &Selection) {
    let facts = Facts::new(world);
    let selected: BTreeMap<String, &SelectedImage> =
        selection.images().iter().map(|image| (image.nvr.to_string(), image)).collect();
    assert_eq!(selected.len(), selection.images().len(), "each image once");
    parents_come_first(selection);
    the_plan_is_the_selection(selection, &selected);
    for image in selection.images() {
        bases_are_right(&facts, image, &selected);
        only_what_is_needed(&facts, image, &selected);
    }
    nothing_is_missed(&facts, selection, &selected);
    nothing_is_rebuilt_for_which_there_is_a_published_fix(&facts, &selected);
}

fn parents_come_first(selection: &Selection) {
    let all: BTreeSet<&Nvr> = selection.images().iter().map(|image| &image.nvr).collect();
    let mut before: BTreeSet<&Nvr> = BTreeSet::new();
    for image in selection.images() {
        let early = |parent: &&Nvr| all.contains(*parent) && !before.contains(*parent);
        let late: Vec<_> = image.parents.iter().map(|parent| &parent.nvr).filter(early).collect();
        assert!(late.is_empty(), "{} comes before {late:?}", image.nvr);
        before.insert(&image.nvr);
    }
}

fn the_plan_is_the_selection(selection: &Selection, selected: &BTreeMap<String, &SelectedImage>) {
    let plan = selection.planner().plan().unwrap();
    let (nodes, impeded): (Vec<_>, Vec<_>) = plan.nodes().partition(|node| node.impediment.is_none());
    let names: BTreeSet<String> = nodes.iter().map(|node| node.artifact.id.to_string()).collect();
    assert_eq!(names, selected.keys().cloned().collect());
    for node in nodes {
        let image = selected[node.artifact.id.as_str()];
        let uses = |kinds: BTreeSet<(String, EdgeKind)>| kinds;
        let ours = image.parents.iter().map(|parent| (parent.nvr.to_string(), parent.kind)).collect();
        let theirs =
            node.parents.iter().flat_map(|parent| parent.kinds.iter().map(|kind| (parent.id.to_string(), *kind)));
        assert_eq!(uses(theirs.collect()), uses(ours), "{}", image.nvr);
        assert_eq!((node.reason, node.asked.as_ref()), (image.reason, Some(&image.why)));
        assert!(plan.needs(node).all(|parent| parent.wave < node.wave));
    }
    for node in &impeded {
        let why = node.impediment.as_ref().unwrap();
        assert!(["lookup_error", "parent_not_rebuilt"].contains(&why.code.as_str()), "{why:?}");
    }
    for (name, why) in selection.exclusions() {
        assert!(!selected.contains_key(&name.to_string()), "{name} is in and out");
        let id = name.to_string().into();
        match plan.node(&id) {
            Some(node) => assert_eq!(node.impediment.as_ref(), Some(why)),
            None => {
                assert_eq!(plan.excluded(&id), Some(&Exclusion::from(why.clone())));
                assert_ne!(why.code, "lookup_error", "{name} only looks as if all was well");
            }
        }
    }
}

/// Each image is built on what it was built on, or on what replaces that; and on nothing that lacks
/// the fix.
fn bases_are_right(facts: &Facts<'_>, image: &SelectedImage, selected: &BTreeMap<String, &SelectedImage>) {
    let name = image.nvr.to_string();
    let mut declared: Vec<(String, EdgeKind)> = facts.images[&name].parents();
    let mut found: Vec<(String, EdgeKind)> = image
        .parents
        .iter()
        .map(|parent| (parent.instead_of.as_ref().unwrap_or(&parent.nvr).to_string(), parent.kind))
        .collect();
    declared.sort();
    declared.dedup();
    found.sort();
    assert_eq!(found, declared, "{name}");
    for parent in &image.parents {
        let base = parent.nvr.to_string();
        let before = parent.instead_of.as_ref().unwrap_or(&parent.nvr).to_string();
        let what = format!("{name} on {base}, before on {before}");
        if parent.unfixed.is_some() {
            assert!(parent.kind != EdgeKind::ParentImage && base == before && facts.unfixed(&base), "{what}");
            continue;
        }
        if selected.contains_key(&base) {
            assert_eq!(facts.group(&base), facts.group(&before), "{what}");
            let older = nvr(&base).by_release(&nvr(&before)).is_lt();
            assert!(!older || facts.world.newer == NewerReleases::Replace, "{what}: a step back");
            continue;
        }
        assert!(!facts.unfixed(&base), "{what}: unfixed, and not rebuilt");
        if !facts.unfixed(&before) {
            assert!(base == before || facts.rebuild(&before) == Some(&base), "{what}: moved without need");
        } else {
            let same = (nvr(&base).name(), nvr(&base).version()) == (nvr(&before).name(), nvr(&before).version());
            assert!(same, "{what}: another version");
        }
    }
}

/// What is rebuilt needs it: the fix is missing in it, and it is affected itself, or another one is
/// built on it, or it replaces an affected one.
fn only_what_is_needed(facts: &Facts<'_>, image: &SelectedImage, selected: &BTreeMap<String, &SelectedImage>) {
    let name = image.nvr.to_string();
    let description = &facts.images[&name];
    assert!(facts.unfixed(&name), "{name} does not need the fix");
    assert!(description.error.is_none() && !description.without_recipe, "{name} cannot be built");
    assert!(facts.rebuild(&name).is_none(), "{name} has been rebuilt");
    let chosen = facts.chosen();
    assert_eq!(image.reason == RebuildReason::DirectlyAffected, chosen.contains(name.as_str()), "{name}");
    let used = selected.values().flat_map(|child| &child.parents).any(|parent| parent.nvr == image.nvr);
    let failed_child = !used && is_used_by_what_fails(facts, &name);
    // Where a cycle was opened, the affected one that it replaces may be rebuilt, too.
    let replaces = chosen.iter().any(|old| facts.group(old) == facts.group(&name));
    assert!(chosen.contains(name.as_str()) || used || failed_child || replaces, "{name} is rebuilt for nothing");
}

/// Parents of images that cannot be built are rebuilt all the same.
fn is_used_by_what_fails(facts: &Facts<'_>, name: &str) -> bool {
    let broken = |image: &&Image| {
        let mut waiting = vec![image.nvr.clone()];
        let mut seen = BTreeSet::new();
        // A failure also fails what is built on it, whichever release that moves to.
        while let Some(next) = waiting.pop() {
            if seen.insert(next.clone()) {
                let alike = facts.images.values().filter(|image| facts.group(&image.nvr) == facts.group(&next));
                if alike.clone().any(|image| image.error.is_some() || image.without_recipe) {
                    return true;
                }
                waiting.extend(alike.flat_map(|image| image.parents()).map(|(parent, _)| parent));
            }
        }
        false
    };
    let group = facts.group(name);
    let child = |image: &&Image| image.parents().iter().any(|(parent, _)| facts.group(parent) == group);
    facts.images.values().filter(child).any(|image| broken(&image))
}

/// Each affected image is rebuilt, or there is a true reason why not.
fn nothing_is_missed(facts: &Facts<'_>, selection: &Selection, selected: &BTreeMap<String, &SelectedImage>) {
    let chosen = facts.chosen();
    for image in facts.images.values().filter(|image| image.affected && !selected.contains_key(&image.nvr)) {
        let name = image.nvr.as_str();
        let why = selection.excluded(&nvr(name)).unwrap_or_else(|| panic!("{name} is neither in nor out"));
        let group = facts.group(name);
        let alike = || facts.images.values().filter(|other| facts.group(&other.nvr) == group);
        let is_true = match why.code.as_str() {
            _ if !facts.unfixed(name) => match why.code.as_str() {
                "already_fixed" => image.rpms.as_ref().is_some_and(|rpms| !facts.concerned(rpms).is_empty()),
                "modularity" | "package_absent" => {
                    image.rpms.as_ref().is_some_and(|rpms| facts.concerned(rpms).is_empty())
                }
                _ => false,
            },
            "policy" => image.rejected,
            "hotfix" => image.hotfix,
            "older_unpublished" => image.publication == Publication::Unpublished && !chosen.contains(name),
            "already_rebuilt" => alike().any(|other| facts.rebuild(&other.nvr).is_some()),
            "lookup_error" => image.error.is_some(),
            "no_recipe" => image.without_recipe,
            "parent_not_rebuilt" => !image.parents().is_empty(),
            "superseded_by_release" => alike().any(|other| {
                let replaces = |by: &&SelectedImage| by.replaces.contains(&nvr(name));
                let cannot = |other: &Image| {
                    selection.excluded(&nvr(&other.nvr)).is_some_and(|why| CANNOT_BE_BUILT.contains(&why.code.as_str()))
                };
                selected.get(&other.nvr).is_some_and(replaces) || other.nvr != name && cannot(other)
            }),
            _ => false,
        };
        assert!(is_true, "{name} is out because of {}: {}", why.code, why.text);
    }
}

/// Images that are only needed by others, and are not built on affected ones, are not rebuilt if a
/// published one has the fix.
fn nothing_is_rebuilt_for_which_there_is_a_published_fix(
    facts: &Facts<'_>,
    selected: &BTreeMap<String, &SelectedImage>,
) {
    let chosen = facts.chosen();
    let for_its_own_sake = |image: &SelectedImage| {
        let replaces = image.replaces.iter().any(|old| chosen.contains(old.to_string().as_str()));
        image.reason == RebuildReason::DirectlyAffected || replaces
    };
    for image in selected.values() {
        let mut waiting = vec![*image];
        let mut settled = false;
        while let Some(next) = waiting.pop() {
            settled |= for_its_own_sake(next);
            waiting.extend(next.parents.iter().filter_map(|parent| selected.get(&parent.nvr.to_string()).copied()));
        }
        let name = image.nvr.to_string();
        assert!(settled || !facts.has_stand_in(&name), "{name} is rebuilt although a published image has the fix");
    }
}

/// Of a group with a released image nothing older is built; of one without, only one image. This
/// does not hold where cycles have to be opened.
pub(crate) fn one_release_of_each_group(world: &World, selection: &Selection) {
    let facts = Facts::new(world);
    let mut groups: BTreeMap<_, Vec<&SelectedImage>> = BTreeMap::new();
    for image in selection.images().iter().filter(|image| !facts.images[&image.nvr.to_string()].hotfix) {
        groups.entry(facts.group(&image.nvr.to_string())).or_default().push(image);
    }
    for images in groups.into_values() {
        let released =
            |image: &&&SelectedImage| facts.images[&image.nvr.to_string()].publication == Publication::Released;
        let latest = images.iter().filter(released).max_by(|one, other| one.nvr.by_release(&other.nvr));
        match latest {
            Some(latest) if world.newer == NewerReleases::Keep => {
                assert!(images.iter().all(|image| image.nvr.by_release(&latest.nvr).is_ge()), "{images:?}");
            }
            Some(_) => assert_eq!(images.len(), 1, "{images:?}"),
            None if world.newer == NewerReleases::Replace => assert_eq!(images.len(), 1, "{images:?}"),
            None => {}
        }
    }
}
