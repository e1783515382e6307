//! Random worlds in plain data: an advisory, repositories, and images with what is wrong with what
//! the services say about each.

use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Number of layers of images. An image is only built on images of lower layers.
const LAYERS: usize = 6;

pub(crate) const CONTENT_SET: &str = "baseos";
pub(crate) const REPOSITORY_ID: &str = "baseos__x86_64";

/// A package. Its release is `RELEASE.el9`, or that of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) release: u32,
    pub(crate) modular: bool,
}

impl Package {
    pub(crate) fn plain(name: &'static str, version: u32, release: u32) -> Self {
        Self { name, version, release, modular: false }
    }

    pub(crate) fn modular(name: &'static str, version: u32, release: u32) -> Self {
        Self { modular: true, ..Self::plain(name, version, release) }
    }

    /// Whether one can be compared with the other at all.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.name, self.modular) == (other.name, other.modular)
    }

    pub(crate) fn is_older(&self, other: &Self) -> bool {
        (self.version, self.release) < (other.version, other.release)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let module = if self.modular { "module+el9.4+77" } else { "el9" };
        write!(f, "{}-{}-{}.{module}", self.name, self.version, self.release)
    }
}

/// A repository of images.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) name: String,
    pub(crate) published: bool,
    /// Tags of which images are rebuilt.
    pub(crate) tags: Vec<&'static str>,
    pub(crate) category: &'static str,
}

/// Where an image is offered.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) repository: String,
    pub(crate) tag: &'static str,
}

/// What is wrong with what the services say about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The catalog does not have it.
    NotInCatalog,
    /// The catalog does not know its packages.
    NoManifest,
    /// The build system does not have it.
    NotInKoji,
    /// The build system does not know how it was made.
    NoTask,
    /// The catalog names a package that makes no sense.
    OddPackage,
    /// The catalog names a parent that makes no sense.
    OddParent,
    /// The catalog names another parent than the build system: one of the world, or one that does
    /// not exist.
    OtherParent(String),
}

impl Fault {
    /// Whether it keeps the image from being built.
    pub(crate) fn breaks(&self) -> bool {
        matches!(self, Self::NotInKoji | Self::NoTask | Self::OddPackage | Self::OddParent)
    }
}

/// A release of an image, as it is.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) layer: usize,
    /// `l2n1-container`.
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) release: u32,
    pub(crate) packages: BTreeSet<Package>,
    /// The image that its last stage starts from, and those of its other stages.
    pub(crate) parent: Option<String>,
    pub(crate) builders: BTreeSet<String>,
    pub(crate) content_sets: Vec<&'static str>,
    pub(crate) places: Vec<Place>,
    pub(crate) hotfix: bool,
    pub(crate) fault: Option<Fault>,
}

impl Image {
    pub(crate) fn nvr(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.fault.as_ref() == Some(fault)
    }
}

/// An advisory, and all images.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) fixed: BTreeSet<Package>,
    /// Packages that the advisory ships with these, if these alone have CVEs.
    pub(crate) others: BTreeSet<Package>,
    pub(crate) content_types: Vec<&'static str>,
    pub(crate) repositories: BTreeMap<String, Repository>,
    pub(crate) images: BTreeMap<String, Image>,
    /// The name of an image that the policy blocks.
    pub(crate) blocked: Option<String>,
    /// Two images that the catalog says are built from each other.
    pub(crate) contradiction: Option<[String; 2]>,
}

impl World {
    /// A world of 10 to 300 images, most of them small.
    pub(crate) fn random(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let count = if rng.u8(..4) == 0 { rng.usize(60..=300) } else { rng.usize(10..60) };
        let repositories = repositories(rng, count / 6 + 2);
        let mut world = Self {
            fixed: fixed(rng),
            others: BTreeSet::new(),
            content_types: vec!["rpm"],
            repositories: repositories.into_iter().map(|it| (it.name.clone(), it)).collect(),
            images: BTreeMap::new(),
            blocked: (rng.u8(..4) == 0).then(|| format!("l{}n0-container", rng.usize(..LAYERS))),
            contradiction: None,
        };
        // How many of the images have a fault: none in one world, up to a third in another.
        let faulty = rng.f64() * 0.33 * f64::from(rng.u8(..3).min(1));
        for number in 0..count {
            let image = world.image(rng, number, faulty);
            world.images.insert(image.nvr(), image);
        }
        if rng.u8(..5) == 0 {
            world.contradict(rng);
        }
        world
    }

    /// Lets the catalog say that an image and its parent are built from each other.
    fn contradict(&mut self, rng: &mut Rng) {
        let all: Vec<String> = self.images.keys().cloned().collect();
        let Some(child) = rng.choice(all) else { return };
        let Some(parent) = self.images[&child].parent.clone() else { return };
        if let Some(image) = self.images.get_mut(&parent) {
            image.fault = Some(Fault::OtherParent(child.clone()));
            self.contradiction = Some([parent, child]);
        }
    }

    fn image(&self, rng: &mut Rng, number: usize, faulty: f64) -> Image {
        // The lower layers first: each image finds those that it can be built on.
        let layer = (number * LAYERS / 60).min(LAYERS - 1).min(rng.usize(..LAYERS));
        let name = format!("l{layer}n{}-container", rng.usize(..3 + number / 20));
        let below: Vec<&String> = self.images.iter().filter(|(_, it)| it.layer < layer).map(|(nvr, _)| nvr).collect();
        let parent = rng.choice(below.iter()).filter(|_| rng.u8(..10) > 0).map(|nvr| (*nvr).clone());
        let mut builders = BTreeSet::new();
        if parent.is_some() && rng.u8(..3) == 0 {
            let some = (0..rng.usize(1..3)).filter_map(|_| rng.choice(below.iter()).map(|nvr| (*nvr).clone()));
            builders.extend(some.filter(|builder| parent.as_ref() != Some(builder)));
        }
        let mut packages = packages(rng);
        // Most of what is in a parent is in the image as well.
        if let Some(parent) = parent.as_ref().and_then(|parent| self.images.get(parent)).filter(|_| rng.u8(..5) > 0) {
            packages.clone_from(&parent.packages);
        }
        let content_sets = match rng.u8(..8) {
            0 => vec![],
            1 => vec!["crb"],
            2 => vec!["crb", CONTENT_SET],
            _ => vec![CONTENT_SET],
        };
        Image {
            layer,
            name: name.clone(),
            version: if rng.u8(..5) == 0 { 2 } else { 1 },
            release: rng.u32(1..14),
            packages,
            parent,
            builders,
            content_sets,
            places: self.places(rng, &name),
            hotfix: rng.u8(..25) == 0,
            fault: (rng.f64() < faulty).then(|| self.fault(rng, layer)),
        }
    }

    /// An image is offered in the repository of its name, and perhaps in another one.
    fn places(&self, rng: &mut Rng, name: &str) -> Vec<Place> {
        let all: Vec<&String> = self.repositories.keys().collect();
        let own = all[name.bytes().map(usize::from).sum::<usize>() % all.len()];
        let mut places = Vec::new();
        if rng.u8(..5) > 0 {
            let tag = if rng.u8(..4) > 0 { "latest" } else { "1" };
            places.push(Place { repository: own.clone(), tag });
        }
        if rng.u8(..12) == 0 {
            let other = all[rng.usize(..all.len())];
            if other != own {
                places.push(Place { repository: other.clone(), tag: "1" });
            }
        }
        places
    }

    fn fault(&self, rng: &mut Rng, layer: usize) -> Fault {
        let other = |rng: &mut Rng| {
            let below: Vec<&String> = self.images.iter().filter(|(_, it)| it.layer < layer).map(|(it, _)| it).collect();
            rng.choice(below).cloned().unwrap_or_else(|| "gone-container-1-1".to_owned())
        };
        match rng.u8(..8) {
            0 => Fault::NotInCatalog,
            1 => Fault::NoManifest,
            // What another image is built on cannot be missing in the build system.
            2 if layer == LAYERS - 1 => Fault::NotInKoji,
            2 | 3 => Fault::NoTask,
            4 => Fault::OddPackage,
            5 => Fault::OddParent,
            6 => Fault::OtherParent("gone-container-1-1".to_owned()),
            _ => Fault::OtherParent(other(rng)),
        }
    }
}

/// What the advisory fixes.
fn fixed(rng: &mut Rng) -> BTreeSet<Package> {
    let all = [Package::plain("p", 2, 5), Package::plain("q", 1, 3), Package::modular("r", 4, 2)];
    let mut fixed: BTreeSet<Package> = all.into_iter().filter(|_| rng.bool()).collect();
    if fixed.is_empty() {
        fixed.insert(all[0]);
    }
    fixed
}

/// Installed packages: older than the fix, the fix itself, newer ones, and ones from a module or
/// not.
fn packages(rng: &mut Rng) -> BTreeSet<Package> {
    let p =
        [Package::plain("p", 2, 4), Package::plain("p", 1, 9), Package::plain("p", 2, 10), Package::plain("p", 2, 5)];
    let q = [Package::plain("q", 1, 2), Package::plain("q", 1, 3), Package::modular("q", 1, 1)];
    let r = [Package::modular("r", 4, 1), Package::plain("r", 3, 1), Package::modular("r", 10, 1)];
    let mut packages = BTreeSet::from([Package::plain("s", 1, 1)]);
    for of_name in [&p[..], &q, &r] {
        // The first one, which lacks the fix, is the most frequent one.
        let at = rng.usize(..of_name.len() + 2);
        packages.extend(of_name.get(at.saturating_sub(1)).filter(|_| rng.u8(..3) > 0));
    }
    packages
}

fn repositories(rng: &mut Rng, count: usize) -> Vec<Repository> {
    let repository = |number: usize| Repository {
        name: format!("repository-{number:03}"),
        published: rng.u8(..8) > 0,
        tags: match rng.u8(..8) {
            0 => vec![],
            1 => vec!["1"],
            2 => vec!["1", "latest"],
            _ => vec!["latest"],
        },
        category: match rng.u8(..10) {
            0 => "Beta",
            1 => "Tech Preview",
            2 => "Deprecated",
            _ => "Generally Available",
        },
    };
    (0..count).map(repository).collect()
}
