//! One world told by Lightblue and by Pyxis: the answers are the same.

use crate::world::{REGISTRY, client, texts};
use freshmaker::Nvr;
use freshmaker_redhat::contracts::{Containing, ImageRepositories, Images, InstalledPackages};
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeLightblue, FakeRepository};
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig, UnpublishedRepository};
use freshmaker_redhat::pyxis::Pyxis;
use std::collections::{BTreeMap, BTreeSet};

const REGISTRIES: [&str; 3] = [REGISTRY, "other.example.com", "build.example.com"];
const TAGS: [&str; 3] = ["latest", "stable", "1"];
const PACKAGES: [&str; 3] = ["bash", "zsh", "dash"];
const SETS: [&str; 3] = ["set", "other", "third"];

struct Twins {
    lightblue: (FakeLightblue, Lightblue),
    pyxis: (FakePyxis, Pyxis),
}

impl Twins {
    async fn new(repositories: &[FakeRepository], images: &[FakeImage]) -> Self {
        let exceptions: BTreeSet<_> =
            [UnpublishedRepository { registry: REGISTRY.to_owned(), repository: "repository-1".to_owned() }].into();
        let old = FakeLightblue::start().await.unwrap();
        let mut config = LightblueConfig::new(old.url());
        config.build_registries = texts(["build.example.com"]);
        config.unpublished_exceptions = exceptions.clone();
        let lightblue = Lightblue::new(config).unwrap();
        let new = FakePyxis::start().await.unwrap();
        let pyxis = client(&new.url(), |config| {
            config.build_registries = texts(["build.example.com"]);
            config.unpublished_exceptions = exceptions;
        });
        repositories.iter().for_each(|it| old.add_repository(it.clone()));
        repositories.iter().for_each(|it| new.add_repository(it.clone()));
        images.iter().for_each(|it| old.add_image(it.clone()));
        images.iter().for_each(|it| new.add_image(it.clone()));
        Self { lightblue: (old, lightblue), pyxis: (new, pyxis) }
    }
}

/// Returns one of these things.
fn one<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

fn some<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> Vec<&'a str> {
    of.iter().copied().filter(|_| random.bool()).collect()
}

fn repository(random: &mut fastrand::Rng, number: usize) -> FakeRepository {
    let (registry, tags) = (one(random, &REGISTRIES), some(random, &TAGS));
    let name = format!("repository-{}", number % 7);
    let categories = some(random, &["Generally Available", "Beta", "Deprecated"]);
    let repository = FakeRepository::new(registry, &name).with_tags(tags).in_categories(categories);
    let repository = if random.u8(..8) == 0 { repository.of_vendor("partner") } else { repository };
    if random.u8(..4) == 0 { repository.unpublished() } else { repository }
}

/// The architectures of an image, which are in the same places.
fn image(random: &mut fastrand::Rng, number: usize) -> Vec<FakeImage> {
    let name = format!("image-{}", number % 5);
    let build = format!("{name}-{}-{number}", random.u8(1..3));
    let mut base = if random.u8(..10) == 0 { FakeImage::without_build() } else { FakeImage::new(&name, &build) };
    for _ in 0..random.u8(..4) {
        let (registry, tags) = (one(random, &REGISTRIES), some(random, &TAGS));
        let repository = format!("repository-{}", random.u8(..8));
        base = match random.u8(..4) {
            0 => base.unpublished_in(registry, &repository, tags),
            _ => base.published_in(registry, &repository, tags),
        };
    }
    if random.u8(..5) == 0 {
        base = base.with_label("com.redhat.hotfix");
    }
    if random.bool() {
        base = base.with_parent("image-0-1-0");
    }
    let mut architecture = |name: &str| {
        let image = some(random, &SETS).into_iter().fold(base.clone().on(name), FakeImage::with_content_set);
        let image = if random.bool() { image.with_manifest() } else { image };
        let packages = some(random, &PACKAGES);
        packages
            .into_iter()
            .fold(image, |image, rpm| image.with_rpm(rpm, &format!("{rpm}-1-{}.el9.{name}", random.u8(1..3))))
    };
    ["amd64", "s390x"].map(&mut architecture).into()
}

#[tokio::test]
async fn both_answer_the_same() {
    let mut found = [0; 6];
    for seed in 0..40 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let repositories: Vec<_> = (0..12).map(|number| repository(random, number)).collect();
        let images: Vec<_> = (0..15).flat_map(|number| image(random, number)).collect();
        let twins = Twins::new(&repositories, &images).await;
        let (lightblue, pyxis) = (&twins.lightblue.1, &twins.pyxis.1);
        for content_sets in [texts([]), texts(["set"]), texts(["other", "third"])] {
            let wanted = Containing { packages: texts(["bash", "zsh"]), content_sets };
            let answers = (lightblue.containing(&wanted).await.unwrap(), pyxis.containing(&wanted).await.unwrap());
            assert_eq!(answers.0, answers.1, "seed {seed}: {wanted:?}");
            found[0] += answers.0.len();
        }
        let nvrs = (0..15).flat_map(|number| {
            [1, 2].map(|version| format!("image-{}-{version}-{number}", number % 5).parse().unwrap())
        });
        let nvrs: BTreeSet<Nvr> = nvrs.collect();
        let releases = [("image-0", "1"), ("image-1", "2"), ("image-9", "1")];
        let releases = releases.map(|(name, version)| (name.to_owned(), version.to_owned())).into();
        for packages in [texts(["bash"]), texts([])] {
            let answers =
                (lightblue.images(&nvrs, &packages).await.unwrap(), pyxis.images(&nvrs, &packages).await.unwrap());
            assert_eq!(answers.0, answers.1, "seed {seed}");
            found[1] += answers.0.len();
            let answers = (
                lightblue.offered(&releases, &packages).await.unwrap(),
                pyxis.offered(&releases, &packages).await.unwrap(),
            );
            assert_eq!(answers.0, answers.1, "seed {seed}");
            found[2] += answers.0.len();
        }
        found[5] += unmet_of(&twins, seed, &nvrs).await;
        let (rebuilt, images) = repositories_of(&twins, seed).await;
        (found[3], found[4]) = (found[3] + rebuilt, found[4] + images);
        assert!(!twins.lightblue.0.asked().is_empty() && !twins.pyxis.0.asked().is_empty());
    }
    // The worlds are not too empty to differ.
    assert!(found.iter().all(|found| *found > 50), "{found:?}");
}

/// Asks both about the packages in every image, and returns how many demands are not met.
async fn unmet_of(twins: &Twins, seed: u64, nvrs: &BTreeSet<Nvr>) -> usize {
    let (lightblue, pyxis) = (&twins.lightblue.1, &twins.pyxis.1);
    let demands = ["1:bash-1-2.el9", "zsh-1-2.el9"].map(|demand| demand.parse().unwrap()).into();
    let mut found = 0;
    for nvr in nvrs {
        let answers = (lightblue.unmet(nvr, &demands).await.unwrap(), pyxis.unmet(nvr, &demands).await.unwrap());
        assert_eq!(answers.0, answers.1, "seed {seed}: {nvr}");
        found += answers.0.map_or(0, |unmet| unmet.len());
    }
    found
}

/// What is not there, or has an architecture without a manifest, is not known; epochs do not count.
#[tokio::test]
async fn demands_are_compared_with_what_is_installed() {
    let image = |build: &str| FakeImage::new("image-0", build);
    let images = [
        image("image-0-1-1").with_rpm("bash", "bash-1-2.el9.x86_64"),
        image("image-0-1-1").on("s390x").with_rpm("bash", "bash-1-1.el9.s390x"),
        image("image-0-1-2").with_rpm("bash", "bash-1-2.el9.x86_64"),
        image("image-0-1-2").on("s390x"),
        image("image-0-1-3").with_rpm("zsh", "zsh-1-1.el9.x86_64"),
    ];
    let twins = Twins::new(&[], &images).await;
    for (nvr, demand, expected) in [
        ("image-0-1-1", "bash-1-1.el9", Some("")),
        ("image-0-1-1", "1:bash-1-2.el9", Some("bash-1-1.el9 on s390x is older than bash-1-2.el9")),
        ("image-0-1-2", "bash-1-1.el9", None),
        ("image-0-1-3", "bash-1-1.el9", Some("bash is absent, bash-1-1.el9 was demanded")),
        ("image-0-1-4", "bash-1-1.el9", None),
    ] {
        let (nvr, demands) = (nvr.parse().unwrap(), [demand.parse().unwrap()].into());
        let both: [&dyn InstalledPackages; 2] = [&twins.lightblue.1, &twins.pyxis.1];
        for service in both {
            let unmet = service.unmet(&nvr, &demands).await.unwrap();
            let texts = unmet.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
            assert_eq!(texts.as_deref(), expected, "{}: {nvr} {demand}", service.service());
        }
    }
}

/// Asks both about every repository, and returns how many repositories and images are rebuilt. What
/// is found by its packages is in one of these repositories.
async fn repositories_of(twins: &Twins, seed: u64) -> (usize, usize) {
    let (lightblue, pyxis) = (&twins.lightblue.1, &twins.pyxis.1);
    let names = (0..8).map(|number| format!("repository-{number}")).collect();
    let (old, new) = (lightblue.rebuilt(&names).await.unwrap(), pyxis.rebuilt(&names).await.unwrap());
    let same_text = |(name, verdict): (&String, &Result<_, String>)| {
        (name.clone(), verdict.clone().map_err(|text: String| text.replace("lightblue", "pyxis")))
    };
    assert_eq!(old.iter().map(same_text).collect::<BTreeMap<_, _>>(), new, "seed {seed}");
    let unclear = new.values().any(|verdict| verdict.as_ref().is_err_and(|text| text.starts_with("Several")));
    let (mut rebuilt, mut images) = (0, BTreeSet::new());
    for repository in new.values().flatten() {
        let answers = (lightblue.images_in(repository).await.unwrap(), pyxis.images_in(repository).await.unwrap());
        assert_eq!(answers.0, answers.1, "seed {seed}: {repository:?}");
        assert!(answers.0.iter().all(|tagged| !tagged.tags.is_disjoint(&repository.tags)), "{answers:?}");
        rebuilt += 1;
        images.extend(answers.0.into_iter().map(|tagged| tagged.image.nvr().clone()));
    }
    let wanted = Containing { packages: texts(PACKAGES), ..Containing::default() };
    let by_package = pyxis.containing(&wanted).await.unwrap();
    assert!(unclear || by_package.iter().all(|image| images.contains(image.nvr())), "seed {seed}");
    (rebuilt, images.len())
}
