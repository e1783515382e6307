//! Random catalogs: the laws hold, and the order of telling makes no difference.

use crate::laws::{self, Facts};
use crate::world::{Image, World};
use freshmaker_redhat::image::{NewerReleases, Publication, Selection};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select, subsequence};
use proptest::test_runner::RngSeed;

/// An image as numbers: name, version, release, two ways to find parents, and the rest of its
/// description.
type Raw = ((usize, u8, u8), (Option<Index>, Vec<Index>), Image);

const NAMES: [&str; 5] = ["m", "b", "x", "a", "k"];

/// Which images may be parents.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Those of earlier names: no choice of releases can close a cycle.
    Layers,
    /// Those of earlier releases, too, of any name: moving to other releases closes cycles.
    Bootstrap,
}

fn rest() -> impl Strategy<Value = Image> {
    let flag = |weight: f64| proptest::bool::weighted(weight);
    let rpms = subsequence(vec!["p-1-1", "p-1-2", "p-1-3", "q-1-1", "q-1-3", "q-1-1.module+el8"], 0..=3);
    let publication =
        select(vec![Publication::Unknown, Publication::Unpublished, Publication::Published, Publication::Released]);
    let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let flags = (flag(0.4), flag(0.1), flag(0.1), flag(0.05), flag(0.05));
    let sets = || subsequence(vec!["c", "d"], 0..=1);
    let repositories =
        prop_oneof![4 => Just(vec!["r"]), 1 => Just(vec!["s"]), 1 => Just(vec!["r", "s"]), 1 => Just(vec![])];
    (proptest::option::weighted(0.8, rpms), publication, flags, sets(), repositories).prop_map(
        move |(rpms, publication, (affected, hotfix, rejected, error, without_recipe), sets, repositories)| Image {
            rpms: rpms.map(texts),
            publication,
            affected,
            hotfix,
            rejected,
            error: error.then(|| "not found".to_owned()),
            without_recipe,
            content_sets: texts(sets),
            repositories: texts(repositories),
            ..Image::default()
        },
    )
}

fn raw() -> impl Strategy<Value = Raw> {
    let key = (0..NAMES.len(), prop_oneof![4 => Just(1_u8), 1 => Just(2)], 1..5_u8);
    let parents = (proptest::option::weighted(0.9, any::<Index>()), proptest::collection::vec(any::<Index>(), 0..2));
    (key, parents, rest())
}

fn name((name, version, release): (usize, u8, u8)) -> String {
    // Release 3 is a rebuild of release 2, release 4 sorts before the others as text.
    let release = ["", "8", "9", "9.1700000000", "10"][usize::from(release)];
    format!("{}-container-{version}-{release}", NAMES[name])
}

fn world(shape: Shape) -> impl Strategy<Value = World> {
    let images = proptest::collection::vec(raw(), 1..14);
    let fixes = subsequence(vec!["p-1-2", "q-1-2", "q-1-2.module+el8"], 0..=3);
    let newer = select(vec![NewerReleases::Keep, NewerReleases::Replace]);
    let forgotten = proptest::collection::vec(proptest::bool::weighted(0.08), 14);
    let rebuilt = proptest::collection::vec(proptest::bool::weighted(0.05), 14);
    (images, fixes, newer, forgotten, rebuilt, subsequence(vec!["c"], 0..=1)).prop_map(
        move |(mut raws, fixes, newer, forgotten, rebuilt, content_sets)| {
            raws.sort_by_key(|(key, _, _)| *key);
            raws.dedup_by_key(|(key, _, _)| *key);
            let keys: Vec<_> = raws.iter().map(|(key, _, _)| *key).collect();
            let earlier = |(name, _, release): (usize, u8, u8)| {
                let before = move |other: &&(usize, u8, u8)| match shape {
                    Shape::Layers => other.0 < name,
                    Shape::Bootstrap => (other.2, other.0) < (release, name),
                };
                keys.iter().filter(before).copied().collect::<Vec<_>>()
            };
            let images = raws.iter().map(|(key, (parent, builders), rest)| {
                let earlier = earlier(*key);
                let pick = |index: &Index| (!earlier.is_empty()).then(|| self::name(*index.get(&earlier)));
                let parent = parent.as_ref().and_then(&pick);
                Image {
                    nvr: self::name(*key),
                    parent,
                    builders: builders.iter().filter_map(pick).collect(),
                    ..rest.clone()
                }
            });
            let told: Vec<Image> =
                images.zip(&forgotten).filter(|(_, forgotten)| !**forgotten).map(|(image, _)| image).collect();
            let rebuilt = told.iter().zip(&rebuilt).filter(|(_, rebuilt)| **rebuilt);
            World {
                already_rebuilt: rebuilt
                    .map(|(image, _)| (image.nvr.clone(), format!("{}.1764000000", image.nvr)))
                    .collect(),
                images: told,
                fixes: fixes.into_iter().map(str::to_owned).collect(),
                content_sets: content_sets.into_iter().map(str::to_owned).collect(),
                newer,
            }
        },
    )
}

fn shown(selection: &Selection) -> (String, String) {
    let exclusions: Vec<_> = selection.exclusions().collect();
    let plan = selection.planner().plan().unwrap();
    (format!("{:?} {exclusions:?}", selection.images()), plan.hash().to_string())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        rng_seed: RngSeed::Fixed(20_260_115),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_laws_hold(world in world(Shape::Layers)) {
        let selection = world.releases().select().unwrap();
        laws::hold(&world, &selection);
        laws::one_release_of_each_group(&world, &selection);
    }

    #[test]
    fn the_laws_hold_where_images_are_built_from_themselves(world in world(Shape::Bootstrap)) {
        laws::hold(&world, &world.releases().select().unwrap());
    }

    #[test]
    fn the_order_of_telling_makes_no_difference(
        (world, shuffled) in world(Shape::Bootstrap).prop_flat_map(|world| {
            let images = world.images.clone();
            // Some are told twice, and half the story each time.
            let halves = images.iter().flat_map(|image| {
                let bare = Image { nvr: image.nvr.clone(), without_recipe: true, ..Image::default() };
                let flags = Image { affected: image.affected, publication: image.publication, ..bare.clone() };
                let rest = Image { affected: false, publication: Publication::Unknown, ..image.clone() };
                [bare, flags, rest]
            });
            (Just(world), Just(halves.collect::<Vec<_>>()).prop_shuffle())
        })
    ) {
        let mut other = world.clone();
        other.images = shuffled;
        other.fixes.reverse();
        prop_assert_eq!(shown(&world.releases().select().unwrap()), shown(&other.releases().select().unwrap()));
    }

    #[test]
    fn what_is_not_affected_is_left_alone(mut world in world(Shape::Bootstrap)) {
        world.images.iter_mut().for_each(|image| image.affected = false);
        let selection = world.releases().select().unwrap();
        prop_assert!(selection.images().is_empty() && selection.exclusions().next().is_none());
        prop_assert!(Facts::new(&world).chosen().is_empty());
    }
}
