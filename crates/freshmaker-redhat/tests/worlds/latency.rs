//! How long a decision takes if each answer takes 50 ms of virtual time, in hops: requests of which
//! each has to wait for the answer to the one before, or for a limit of requests at the same time.

use crate::services::{Pace, Services, Teller, Telling};
use crate::world::{CONTENT_SET, Image, Package, Place, Repository, World};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

const ANSWER: Duration = Duration::from_millis(50);
const LAYERS: usize = 5;

/// What of the images in the layers is offered to users.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Offered {
    All,
    /// The images below are only known as parents.
    LastLayer,
}

/// The number of images, each built on one of the layer before.
fn layers(images: usize, offered: Offered) -> World {
    let package = Package::plain("p", 2, 4);
    let image = |number: usize| {
        let (layer, place) = (number % LAYERS, number / LAYERS);
        let is_offered = offered == Offered::All || layer == LAYERS - 1;
        let places = vec![Place { repository: "shop".to_owned(), tag: "latest" }];
        Image {
            layer,
            name: format!("l{layer}n{place}-container"),
            version: 1,
            release: 1,
            packages: [package].into(),
            parent: layer.checked_sub(1).map(|below| format!("l{below}n{place}-container-1-1")),
            builders: BTreeSet::new(),
            content_sets: vec![CONTENT_SET],
            places: if is_offered { places } else { Vec::new() },
            hotfix: false,
            fault: None,
        }
    };
    let shop =
        Repository { name: "shop".to_owned(), published: true, tags: vec!["latest"], category: "Generally Available" };
    World {
        fixed: [Package::plain("p", 2, 5)].into(),
        others: BTreeSet::new(),
        content_types: vec!["rpm"],
        repositories: [(shop.name.clone(), shop)].into(),
        images: (0..images).map(image).map(|image| (image.nvr(), image)).collect(),
        blocked: None,
        contradiction: None,
    }
}

/// Checks how long the decision about 1,000 images takes, against these hops.
async fn takes(offered: Offered, hops: &[(&str, u32)]) {
    let world = layers(1_000, offered);
    let telling = Telling { page: 500, pace: Pace::Slow(ANSWER), ..Telling::plain(Teller::Lightblue) };
    let services = Services::start(&world, telling).await;
    let begin = Instant::now();
    let plan = services.plan().await;
    let took = begin.elapsed();
    assert_eq!((plan.len(), plan.waves().count()), (1_000, LAYERS));
    let expected = ANSWER * hops.iter().map(|(_, hops)| hops).sum::<u32>();
    let asked = services.asked();
    assert!(took * 2 <= expected * 3, "{offered:?}: {took:?} instead of {expected:?}: {asked:?}");
    // The list is not longer than the truth.
    assert!(took >= expected, "{offered:?}: {took:?} is less than {expected:?}: {asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_images_that_are_all_offered_take_a_few_hops() {
    let hops = [
        ("the advisory, by three requests at once", 1),
        ("its packages by CVE and then all, beside its repositories and their content sets", 2),
        ("repositories in the catalog", 1),
        ("2,000 architectures of images, in pages of 500", 4),
        ("1,000 builds in Koji, 100 in each of 10 requests, 4 at once", 3),
        ("the tasks of these builds, likewise", 3),
    ];
    takes(Offered::All, &hops).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_images_take_some_hops_for_each_layer() {
    let hops = [
        ("the advisory", 1),
        ("its packages, beside its repositories and content sets", 2),
        ("repositories in the catalog", 1),
        ("400 architectures of images", 1),
        ("for each layer 200 builds in Koji, and then their tasks", 2 * 5),
        ("for each layer but the last one the images that it is built on", 4),
        ("published images that could be used instead of 800 images, 50 in each of 16 requests, 4 at once", 4),
    ];
    takes(Offered::LastLayer, &hops).await;
}
