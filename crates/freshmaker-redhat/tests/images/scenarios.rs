//! What the Python service cannot do, and what happens at the edges.

use crate::laws;
use crate::world::{Image, World, nvr};
use freshmaker::{EdgeKind, Policy};
use freshmaker_redhat::image::{
    CatalogImage, IMAGES_MAX, NewerReleases, PARENTS_MAX, Publication, Releases, SelectError, Selection,
};
use std::collections::BTreeSet;

/// An affected image.
fn affected(name: &str, parent: Option<&str>) -> Image {
    Image { affected: true, ..parent_image(name, parent) }
}

fn parent_image(name: &str, parent: Option<&str>) -> Image {
    Image {
        nvr: name.to_owned(),
        parent: parent.map(str::to_owned),
        repositories: vec!["r".to_owned()],
        ..Image::default()
    }
}

fn with_rpms(image: Image, rpms: &[&str]) -> Image {
    Image { rpms: Some(rpms.iter().map(|rpm| (*rpm).to_owned()).collect()), ..image }
}

fn world(images: Vec<Image>) -> World {
    World { images, ..World::default() }
}

/// The answer, for which all laws hold.
fn select(world: &World) -> Selection {
    let selection = world.releases().select().unwrap();
    laws::hold(world, &selection);
    selection
}

/// `child: parent, builder*` for each image, parents first; what is used though unfixed has an
/// exclamation mark.
fn shown(selection: &Selection) -> Vec<String> {
    let parent = |parent: &freshmaker_redhat::image::SelectedParent| {
        let role = if parent.kind == EdgeKind::BuilderStage { "*" } else { "" };
        let unfixed = if parent.unfixed.is_some() { "!" } else { "" };
        format!("{}{role}{unfixed}", parent.nvr)
    };
    let line = |image: &freshmaker_redhat::image::SelectedImage| {
        let parents: Vec<_> = image.parents.iter().map(parent).collect();
        format!("{}: {}", image.nvr, parents.join(", "))
    };
    selection.images().iter().map(line).collect()
}

fn codes(selection: &Selection) -> Vec<String> {
    selection.exclusions().map(|(name, why)| format!("{name} {}", why.code)).collect()
}

#[test]
fn builder_stages_are_dependencies() {
    let app = Image { builders: vec!["go-1-1".to_owned()], ..affected("app-1-1", Some("ubi-1-1")) };
    let go = parent_image("go-1-1", Some("ubi-1-2"));
    let world = world(vec![app, go, parent_image("ubi-1-1", None), parent_image("ubi-1-2", None)]);
    let selection = select(&world);
    assert_eq!(shown(&selection), ["ubi-1-2: ", "go-1-1: ubi-1-2", "app-1-1: go-1-1*, ubi-1-2"]);
    let plan = selection.planner().policy(&Policy::allow_all()).plan().unwrap();
    assert_eq!(plan.waves().count(), 3);
    let app = plan.node(&"app-1-1".into()).unwrap();
    assert_eq!(app.parents[0].kinds, [EdgeKind::BuilderStage]);
    assert_eq!(selection.images()[2].parents[1].instead_of, Some(nvr("ubi-1-1")));
}

#[test]
fn an_image_may_be_built_with_an_older_release_of_itself() {
    let go = |release: u32| Image {
        builders: (release > 1).then(|| format!("go-1-{}", release - 1)).into_iter().collect(),
        ..parent_image(&format!("go-1-{release}"), Some("ubi-1-1"))
    };
    let go_3 = Image { affected: true, ..go(3) };
    let selection = select(&world(vec![go(1), go(2), go_3, parent_image("ubi-1-1", None)]));
    assert_eq!(shown(&selection), ["ubi-1-1: ", "go-1-3: go-1-2*!, ubi-1-1"]);
    assert_eq!(codes(&selection), ["go-1-1 superseded_by_release", "go-1-2 superseded_by_release"]);
}

#[test]
fn releases_that_were_built_on_each_other_are_all_rebuilt() {
    let selection = select(&world(vec![
        affected("a-1-2", Some("b-1-1")),
        affected("b-1-2", Some("a-1-1")),
        parent_image("a-1-1", Some("base-1-1")),
        parent_image("b-1-1", Some("base-1-1")),
        parent_image("base-1-1", None),
    ]));
    let lines = ["base-1-1: ", "a-1-1: base-1-1", "b-1-1: base-1-1", "a-1-2: b-1-1", "b-1-2: a-1-1"];
    assert_eq!(shown(&selection), lines);
}

#[test]
fn what_stays_behind_in_a_cycle_is_used_rebuilt_if_it_is_rebuilt_for_others() {
    let mut selection = world(vec![
        affected("a-1-2", Some("x-1-8")),
        affected("x-1-9", Some("a-1-1")),
        affected("m-1-10", None),
        parent_image("a-1-1", None),
        parent_image("x-1-8", None),
        parent_image("m-1-9", None),
    ]);
    selection.images[1].builders = vec!["m-1-9".to_owned()];
    selection.images[2].builders = vec!["x-1-8".to_owned()];
    let lines = ["a-1-1: ", "x-1-8: ", "a-1-2: x-1-8", "m-1-10: x-1-8*", "x-1-9: a-1-1, m-1-9*!"];
    assert_eq!(shown(&select(&selection)), lines);
}

#[test]
fn a_release_that_only_a_replaced_one_was_built_on_still_replaces_older_ones() {
    let selection = select(&world(vec![
        affected("app-1-1", Some("c-1-1")),
        affected("z-1-1", Some("c-1-2")),
        affected("z-1-2", Some("s-1-1")),
        parent_image("c-1-1", Some("p-1-1")),
        parent_image("c-1-2", Some("q-1-1")),
        parent_image("p-1-1", None),
        parent_image("q-1-1", None),
        parent_image("s-1-1", None),
    ]));
    let lines = ["q-1-1: ", "c-1-2: q-1-1", "app-1-1: c-1-2", "s-1-1: ", "z-1-2: s-1-1"];
    assert_eq!(shown(&selection), lines);
    assert_eq!(codes(&selection), ["c-1-1 superseded_by_release", "p-1-1 not_needed", "z-1-1 superseded_by_release"]);
}

#[test]
fn a_release_that_nobody_needs_any_more_does_not_replace_others() {
    let selection = select(&world(vec![
        affected("app-1-1", Some("base-1-1")),
        affected("z-1-1", Some("base-1-2")),
        affected("z-1-2", Some("s-1-1")),
        parent_image("base-1-1", None),
        parent_image("base-1-2", None),
        parent_image("s-1-1", None),
    ]));
    assert_eq!(shown(&selection), ["base-1-1: ", "app-1-1: base-1-1", "s-1-1: ", "z-1-2: s-1-1"]);
    assert_eq!(selection.excluded(&nvr("base-1-2")).unwrap().code, "not_needed");
}

/// The catalog contradicts itself about some images: these fail with what is built on them, and all
/// others are rebuilt.
#[test]
fn a_cycle_in_the_catalog_is_an_error_of_its_members() {
    let world = world(vec![
        affected("a-1-1", Some("b-1-1")),
        parent_image("b-1-1", Some("c-1-1")),
        parent_image("c-1-1", Some("b-1-1")),
        affected("itself-1-1", Some("itself-1-1")),
        affected("well-1-1", None),
    ]);
    let selection = world.releases().select().unwrap();
    assert_eq!(shown(&selection), ["well-1-1: "]);
    let why = |name: &str| {
        let why = selection.excluded(&nvr(name)).unwrap();
        format!("{}: {}", why.code, why.text)
    };
    let error = "lookup_error: images are said to be built from each other:";
    assert_eq!(why("b-1-1"), format!("{error} b-1-1, c-1-1"));
    assert_eq!(why("itself-1-1"), format!("{error} itself-1-1"));
    assert!(why("a-1-1").starts_with("parent_not_rebuilt: "), "{}", why("a-1-1"));
    let plan = selection.planner().plan().unwrap();
    assert_eq!(plan.nodes().filter(|node| node.impediment.is_some()).count(), 3);
}

/// A long cycle is named by some of its members, and many cycles cost no more than one.
#[test]
fn cycles_of_any_size_and_number_end() {
    let name = |n: usize| format!("n{n:04}-1-1");
    let ring = (0..500).map(|n| affected(&name(n), Some(&name((n + 1) % 500))));
    let pairs = (500..1_500).map(|n| affected(&name(n), Some(&name(n ^ 1))));
    let selection = world(ring.chain(pairs).collect()).releases().select().unwrap();
    assert!(selection.images().is_empty());
    assert_eq!(selection.exclusions().filter(|(_, why)| why.code == "lookup_error").count(), 1_500);
    let why = selection.excluded(&nvr(&name(7))).unwrap();
    assert!(why.text.ends_with("n0003-1-1, n0004-1-1 and 495 more"), "{}", why.text);
}

#[test]
fn two_latest_releases_are_told_apart_by_their_age_in_either_order() {
    let released = |name: &str| Image { publication: Publication::Released, ..parent_image(name, None) };
    let mut world = world(vec![
        affected("a-1-1", Some("p-1-10")),
        affected("b-1-1", Some("p-1-2")),
        released("p-1-10"),
        released("p-1-2"),
    ]);
    for newer in [NewerReleases::Keep, NewerReleases::Replace] {
        world.newer = newer;
        for _ in 0..2 {
            assert_eq!(shown(&select(&world)), ["p-1-10: ", "a-1-1: p-1-10", "b-1-1: p-1-10"]);
            world.images.reverse();
        }
    }
}

#[test]
fn a_published_fix_ends_the_chain_only_below_what_is_affected() {
    let images = |middle_is_affected: bool| {
        let old = |image| with_rpms(image, &["bash-1-1"]);
        let fixed = |name: &str| Image {
            publication: Publication::Published,
            ..with_rpms(parent_image(name, None), &["bash-1-3"])
        };
        vec![
            old(affected("app-1-1", Some("mid-1-1"))),
            old(Image { affected: middle_is_affected, ..parent_image("mid-1-1", Some("base-1-1")) }),
            old(parent_image("base-1-1", None)),
            fixed("mid-1-4"),
            fixed("base-1-4"),
        ]
    };
    let ask = |images| select(&World { images, fixes: vec!["bash-1-2".to_owned()], ..World::default() });
    let whole = ask(images(false));
    assert_eq!(shown(&whole), ["app-1-1: mid-1-4"]);
    assert_eq!(codes(&whole), ["base-1-1 not_needed", "mid-1-1 fixed_release_published"]);
    assert_eq!(shown(&ask(images(true))), ["mid-1-1: base-1-4", "app-1-1: mid-1-1"]);

    // All that is built on an affected image follows it, however far away.
    let mut long = images(false);
    long[0].parent = Some("top-1-1".to_owned());
    long[2].affected = true;
    long.push(with_rpms(parent_image("top-1-1", Some("mid-1-1")), &["bash-1-1"]));
    long.push(Image { publication: Publication::Published, ..with_rpms(parent_image("top-1-4", None), &["bash-1-3"]) });
    let lines = ["base-1-1: ", "mid-1-1: base-1-1", "top-1-1: mid-1-1", "app-1-1: top-1-1"];
    assert_eq!(shown(&ask(long)), lines);
}

#[test]
fn who_can_stand_in() {
    let stands_in = |change: &dyn Fn(Image) -> Image, content_sets: &[&str]| {
        let other =
            Image { publication: Publication::Published, ..with_rpms(parent_image("p-1-9", None), &["bash-1-3"]) };
        let images = vec![
            with_rpms(affected("a-1-1", Some("p-1-1")), &["bash-1-1"]),
            with_rpms(parent_image("p-1-1", None), &["bash-1-1"]),
            change(other),
        ];
        let content_sets = content_sets.iter().map(|set| (*set).to_owned()).collect();
        let world = World { images, fixes: vec!["bash-1-2".to_owned()], content_sets, ..World::default() };
        shown(&select(&world)) == ["a-1-1: p-1-9"]
    };
    let in_content_set = |image| Image { content_sets: vec!["c".to_owned()], ..image };
    assert!(stands_in(&|image| image, &[]));
    assert!(stands_in(&|image| image, &["d"]), "its content sets are not known");
    assert!(stands_in(&in_content_set, &["c", "d"]) && stands_in(&in_content_set, &[]));
    assert!(!stands_in(&in_content_set, &["d"]));
    assert!(!stands_in(&|image| Image { publication: Publication::Unpublished, ..image }, &[]));
    assert!(!stands_in(&|image| Image { publication: Publication::Unknown, ..image }, &[]));
    assert!(!stands_in(&|image| Image { hotfix: true, ..image }, &[]));
    assert!(!stands_in(&|image| Image { rpms: None, ..image }, &[]), "its packages are not known");
}

#[test]
fn epochs_count() {
    let image = |name: &str, rpm: &str| with_rpms(affected(name, None), &[rpm]);
    let images = vec![
        image("higher-epoch-1-1", "2:bash-1-1"),
        image("lower-epoch-1-1", "0:bash-9-1"),
        image("same-epoch-1-1", "1:bash-4-1"),
        image("no-epoch-1-1", "bash-9-1"),
    ];
    let selection = select(&World { images, fixes: vec!["1:bash-5-1".to_owned()], ..World::default() });
    assert_eq!(shown(&selection), ["lower-epoch-1-1: ", "no-epoch-1-1: ", "same-epoch-1-1: "]);
    assert_eq!(selection.images()[0].why.text, "it contains 0:bash-9-1, older than 1:bash-5-1");
}

#[test]
fn what_cannot_be_rebuilt_takes_what_is_built_on_it_along() {
    let broken =
        Image { error: Some("build 17 has no source".to_owned()), ..parent_image("mid-1-1", Some("base-1-1")) };
    let selection = select(&world(
        vec![
            affected("app-1-1", Some("mid-1-1")),
            affected("tool-1-1", Some("app-1-1")),
            affected("other-1-1", Some("base-1-1")),
            affected("bought-1-1", None),
            broken,
            parent_image("base-1-1", None),
        ]
        .into_iter()
        .map(|image| Image { without_recipe: image.nvr == "bought-1-1", ..image })
        .collect(),
    ));
    assert_eq!(shown(&selection), ["base-1-1: ", "other-1-1: base-1-1"]);
    let expected =
        ["app-1-1 parent_not_rebuilt", "bought-1-1 no_recipe", "mid-1-1 lookup_error", "tool-1-1 parent_not_rebuilt"];
    assert_eq!(codes(&selection), expected);
    assert_eq!(selection.excluded(&nvr("mid-1-1")).unwrap().text, "build 17 has no source");
}

#[test]
fn what_was_rebuilt_before_is_what_others_are_built_on() {
    let mut world = world(vec![
        affected("app-1-1", Some("mid-1-1")),
        affected("mid-1-1", Some("base-1-1")),
        parent_image("base-1-1", None),
    ]);
    world.already_rebuilt = vec![("mid-1-1".to_owned(), "mid-1-1.1764000000".to_owned())];
    let selection = select(&world);
    assert_eq!(shown(&selection), ["app-1-1: mid-1-1.1764000000"]);
    assert_eq!(codes(&selection), ["base-1-1 not_needed", "mid-1-1 already_rebuilt"]);

    // That it has been rebuilt is said even if a newer release is known, and nobody needs either.
    world.images.push(affected("other-1-1", Some("mid-1-2")));
    world.images.push(parent_image("mid-1-2", None));
    world.already_rebuilt.push(("app-1-1".to_owned(), "app-1-1.1764000000".to_owned()));
    world.already_rebuilt.push(("other-1-1".to_owned(), "other-1-1.1764000000".to_owned()));
    assert_eq!(select(&world).excluded(&nvr("mid-1-1")).unwrap().code, "already_rebuilt");
}

#[test]
fn of_unpublished_images_only_the_newest_is_rebuilt_for_its_own_sake() {
    let unpublished = |name: &str| Image { publication: Publication::Unpublished, ..affected(name, None) };
    // Repositories make groups, but not here: what is not published is compared by name and version
    // alone.
    let elsewhere = Image { repositories: vec!["s".to_owned()], ..unpublished("a-1-9") };
    let selection =
        select(&world(vec![elsewhere, unpublished("a-1-10"), unpublished("a-2-1"), affected("a-1-8", None)]));
    assert_eq!(shown(&selection), ["a-1-10: ", "a-2-1: "]);
    assert_eq!(codes(&selection), ["a-1-8 superseded_by_release", "a-1-9 older_unpublished"]);
}

#[test]
fn a_hotfix_is_no_replacement_but_can_be_a_parent() {
    let hotfix = |name: &str| Image { hotfix: true, ..parent_image(name, None) };
    let selection = select(&world(vec![
        affected("a-1-1", Some("p-1-1")),
        affected("b-1-1", Some("p-1-2")),
        parent_image("p-1-1", None),
        hotfix("p-1-2"),
    ]));
    assert_eq!(shown(&selection), ["p-1-1: ", "a-1-1: p-1-1", "p-1-2: ", "b-1-1: p-1-2"]);
}

#[test]
fn a_rejected_image_is_left_out_unless_it_is_needed() {
    let rejected = |name: &str, parent| Image { rejected: true, ..affected(name, parent) };
    let selection = select(&world(vec![
        rejected("a-1-1", Some("p-1-1")),
        rejected("p-1-1", None),
        affected("b-1-1", Some("p-1-1")),
    ]));
    assert_eq!(shown(&selection), ["p-1-1: ", "b-1-1: p-1-1"]);
    assert_eq!(codes(&selection), ["a-1-1 policy"]);
    assert_eq!(selection.images()[0].why.code, "dependency");
}

#[test]
fn content_sets_come_from_the_nearest_neighbour_that_has_some() {
    let with = |name: &str, own: &[&str], child: &[&str]| Image {
        content_sets: own.iter().map(|set| (*set).to_owned()).collect(),
        content_sets_of_child: child.iter().map(|set| (*set).to_owned()).collect(),
        ..affected(name, None)
    };
    // Nothing is replaced: each has another neighbour that is not in the selection.
    let sets = |images: Vec<Image>, name: &str| {
        let selection = select(&world(images));
        let image = selection.images().iter().find(|image| image.nvr == nvr(name)).unwrap();
        image.content_sets.iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        sets(vec![with("a-1-1", &["x"], &[]), with("a-1-2", &["y"], &[]), with("a-1-10", &[], &[])], "a-1-10"),
        ["y"]
    );
    assert_eq!(sets(vec![with("a-1-1", &["x"], &[]), with("a-1-2", &[], &["c"])], "a-1-2"), ["x"]);
    assert_eq!(sets(vec![with("a-1-1", &[], &["b"]), with("a-1-2", &[], &["c"])], "a-1-2"), ["c"]);
    let released = Image { publication: Publication::Released, ..with("a-1-1", &[], &[]) };
    let newer = [with("a-1-2", &[], &[]), with("a-1-3", &["z"], &[]), with("a-1-4", &["far"], &[])];
    assert_eq!(sets([released].into_iter().chain(newer).collect(), "a-1-1"), ["z"]);
}

#[test]
fn long_chains_and_large_catalogs_have_bounds_but_no_recursion() {
    const LENGTH: usize = 30_000;
    let name = |number: usize| nvr(&format!("image{number}-1-1"));
    let releases = (0..LENGTH).fold(Releases::new(), |releases, number| {
        let image = CatalogImage::new(name(number)).with_source("here", None);
        let image = if number == 0 { image.affected() } else { image };
        releases.with(if number + 1 < LENGTH {
            image.with_parent(name(number + 1), EdgeKind::ParentImage)
        } else {
            image
        })
    });
    let selection = releases.select().unwrap();
    assert_eq!(selection.images().len(), LENGTH);
    assert_eq!(selection.images()[LENGTH - 1].nvr, name(0));

    let parents = (0..=PARENTS_MAX).map(name).collect::<BTreeSet<_>>();
    let wide = parents
        .into_iter()
        .fold(CatalogImage::new(nvr("wide-1-1")), |image, parent| image.with_parent(parent, EdgeKind::BuilderStage));
    let error = Releases::new().with(wide).select().unwrap_err();
    assert_eq!(error.to_string(), "wide-1-1 has 1001 parents, at most 1000");

    let many =
        (0..=IMAGES_MAX).fold(Releases::new(), |releases, number| releases.with(CatalogImage::new(name(number))));
    assert_eq!(many.select().unwrap_err(), SelectError::TooManyImages { count: IMAGES_MAX + 1 });
}
