//! Advisories that have not shipped: their packages are taken from the tag that they are in.

use super::town::{Town, events, outcome};
use super::world::{FIXED, Known, World, layers, old};
use freshmaker::rebuild::EventState;
use freshmaker_redhat::contracts::Advisory;
use serde_json::json;

fn in_qe(images: &[(&str, Known)]) -> World {
    let mut world = World::new(FIXED, images);
    world.advisory.state = "QE".into();
    world
}

#[tokio::test]
async fn the_packages_come_from_the_tag_of_the_builds() {
    let mut world = in_qe(&layers());
    world.builds = vec![("bash-5.1-9.el9", Some("rhel-9.4.0")), ("sed-4-2.el9", Some("rhel-9.4.0"))];
    let town = Town::new(world).await;
    let client = town.ask(json!({ "errata_id": 28484 })).await;
    let tags: Vec<_> = town.requested(0).into_iter().filter(|asked| asked[0] == 1).collect();
    let packages = "bash bash-libs sed sed-libs";
    let sigkeys = "FD431D51 ";
    assert_eq!(tags, [json!([1, "rhel-9.4.0", packages, null, tags[0][4], ["no_deps"], sigkeys])]);
    let event = events(&client).await.remove(0);
    assert_eq!((event.state, event.builds_failed), (EventState::Complete, 0), "{event:?}");
    let number = town.service.composes().iter().position(|compose| compose["source"] == "rhel-9.4.0").unwrap() + 1;
    let submitted = town.submissions();
    assert_eq!(submitted.len(), 3);
    let given = |text: &String| text.split('[').nth(2).unwrap().split([' ', ']']).any(|id| id == number.to_string());
    assert!(submitted.iter().all(given), "{submitted:?}");
    let calls = town.world.calls.lock().unwrap();
    assert_eq!((calls["tagged"].clone(), calls["builds"].clone()), (vec![2], vec![1]));
}

/// The images fail with the name of what is wrong, and nothing is built with the old packages.
#[tokio::test]
async fn builds_in_two_tags_or_in_none_are_named() {
    for (builds, expected) in [
        (
            vec![("bash-5.1-9.el9", Some("rhel-9.4.0")), ("sed-4-2.el8", Some("rhel-8.10.0-candidate"))],
            "the builds of RHSA-2017:28484 are in more than one tag: \
             sed-4-2.el8 in rhel-8.10.0-candidate, bash-5.1-9.el9 in rhel-9.4.0",
        ),
        (
            vec![("bash-5.1-9.el9", Some("rhel-9.4.0")), ("sed-4-2.el9", None)],
            "sed-4-2.el9 of RHSA-2017:28484 is the latest build in no tag of candidates, \
             so its packages can be taken from nowhere",
        ),
        (vec![], "RHSA-2017:28484 has no builds that its packages could be taken from"),
    ] {
        let mut world = in_qe(&layers());
        world.builds = builds;
        let town = Town::new(world).await;
        let client = town.ask(json!({ "errata_id": 28484 })).await;
        for image in ["base-container-9-1", "python-container-3-1", "app-container-1-1"] {
            assert_eq!(outcome(&client, image).await, format!("FAILED: {expected}"), "{image}");
        }
        assert!(town.builds.requests().is_empty() && town.service.composes().is_empty());
        let event = events(&client).await.remove(0);
        assert_eq!((event.state, event.builds_failed), (EventState::Complete, 3), "{event:?}");
    }
}

fn other(id: u64, state: &str) -> Advisory {
    let content_types = ["rpm".to_owned()].into();
    Advisory { id, name: format!("RHSA-2017:{id}"), state: state.to_owned(), content_types, ..Advisory::default() }
}

/// An earlier event of another advisory that has not shipped built `base` too. Its packages are
/// offered to `base`, and to no image that it did not build.
#[tokio::test]
async fn packages_of_other_unshipped_advisories_are_offered_to_the_images_of_both() {
    for (state, sed) in [("QE", true), ("SHIPPED_LIVE", false)] {
        let mut first = in_qe(&[("base-container-9-1", old(&[]))]);
        first.advisory = other(7, "QE");
        first.builds = vec![("sed-4-2.el9", Some("rhel-9.4.0-candidate"))];
        let town = Town::new(first).await;
        town.ask(json!({ "errata_id": 7 })).await;
        let before = town.service.composes().len();

        let mut second = in_qe(&[("base-container-9-2", old(&[])), ("lonely-container-1-1", old(&[]))]);
        second.others = vec![(other(7, state), vec![("sed-4-2.el9", Some("rhel-9.4.0-candidate"))])];
        let town = town.in_world(second);
        town.ask(json!({ "errata_id": 28484 })).await;
        let composes = town.service.composes();
        let number = |source: &str| {
            let found = composes.iter().skip(before).find(|compose| compose["source"] == source);
            found.map(|compose| compose["id"].as_u64().unwrap())
        };
        let (bash_tag, sed_tag) = (number("rhel-9.4.0").unwrap(), number("rhel-9.4.0-candidate"));
        assert_eq!(sed_tag.is_some(), sed, "{state}");
        for text in town.submissions() {
            let given: Vec<u64> = text
                .split('[')
                .nth(2)
                .unwrap()
                .trim_end_matches(']')
                .split(' ')
                .map(|id| id.parse().unwrap())
                .collect();
            assert!(given.contains(&bash_tag), "{text}");
            let base = text.starts_with("base-");
            assert_eq!(sed_tag.is_some_and(|id| given.contains(&id)), sed && base, "{text}");
        }
        assert_eq!(town.builds.requests().len(), 2);
    }
}

/// The other advisory cannot be served: the image of both fails, others go on.
#[tokio::test]
async fn another_advisory_without_a_tag_fails_the_images_of_both_alone() {
    let mut first = in_qe(&[("base-container-9-1", old(&[]))]);
    first.advisory = other(7, "QE");
    first.builds = vec![("sed-4-2.el9", Some("rhel-9.4.0-candidate"))];
    let town = Town::new(first).await;
    town.ask(json!({ "errata_id": 7 })).await;
    let mut second = in_qe(&[("base-container-9-2", old(&[])), ("lonely-container-1-1", old(&[]))]);
    second.others = vec![(other(7, "QE"), vec![("sed-4-2.el9", None)])];
    let town = town.in_world(second);
    let client = town.ask(json!({ "errata_id": 28484 })).await;
    let why = outcome(&client, "base-container-9-2").await;
    assert!(why.starts_with("FAILED: sed-4-2.el9 of RHSA-2017:7 is the latest build in no tag"), "{why}");
    assert!(outcome(&client, "lonely-container-1-1").await.starts_with("DONE"));
}

/// An advisory that was shipped needs no tag.
#[tokio::test]
async fn a_shipped_advisory_takes_nothing_from_tags() {
    let town = Town::new(World::new(FIXED, &layers())).await;
    town.ask(json!({ "errata_id": 28484 })).await;
    assert!(town.requested(0).iter().all(|asked| asked[0] == 4));
    let calls = town.world.calls.lock().unwrap();
    assert!(!calls.contains_key("builds") && !calls.contains_key("tagged"), "{calls:?}");
}
