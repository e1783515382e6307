use super::*;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn layers(texts: &[&str]) -> Vec<Digest> {
    texts.iter().map(|text| digest(text)).collect()
}

fn image(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn parent(text: &str, role: Role) -> Parent {
    Parent { image: image(text), role, line: None }
}

fn note(name: Option<&str>, content: &str) -> Option<BaseNote> {
    Some(BaseNote { name: name.map(image), digest: digest(content) })
}

/// `debian:12` as it is today: an index `new`, a manifest `new-amd64`, two layers.
fn current() -> Current {
    Current {
        digest: digest("new"),
        manifest_digest: Some(digest("new-amd64")),
        diff_ids: Some(layers(&["new-1", "new-2"])),
        labelled: None,
    }
}

fn state(subject: &Subject, of: &Parent) -> String {
    match judge(subject, of, &current(), Some(digest("latest"))) {
        State::Fresh { evidence, .. } => format!("fresh by {evidence}"),
        State::Stale { built_on: Some(built_on), evidence, .. } => {
            format!("stale by {evidence}{}", if built_on == digest("old") { "" } else { " on something odd" })
        }
        State::Stale { built_on: None, evidence, .. } => format!("stale by {evidence}, on unknown content"),
        State::Pinned { current, .. } => format!("pinned, {}", current.map_or("no tag", |_| "with a tag")),
        State::Unknown { why } => format!("unknown: {why}"),
    }
}

#[test]
fn the_first_evidence_counts() {
    let debian = parent("debian:12", Role::Base);
    let material = |name: &str, content: &str| Material::new(&image(name), digest(content));
    let fresh_layers = layers(&["new-1", "new-2", "app"]);
    let stale_layers = layers(&["old-1", "old-2", "app"]);
    for (subject, wanted) in [
        (Subject { materials: vec![material("debian:12", "new")], ..Subject::default() }, "fresh by provenance"),
        (Subject { materials: vec![material("debian:12", "new-amd64")], ..Subject::default() }, "fresh by provenance"),
        (
            Subject {
                materials: vec![material("golang", "x"), material("debian:12", "old")],
                annotated: note(Some("debian:12"), "new"),
                diff_ids: fresh_layers.clone(),
                ..Subject::default()
            },
            "stale by provenance",
        ),
        (
            Subject {
                materials: vec![material("debian:11", "new")],
                annotated: note(Some("docker.io/library/debian:12"), "old"),
                labelled: note(Some("debian:12"), "new"),
                ..Subject::default()
            },
            "stale by annotations",
        ),
        (Subject { annotated: note(None, "new-amd64"), ..Subject::default() }, "fresh by annotations"),
        // The same content under another name, as from a mirror.
        (Subject { annotated: note(Some("m.example/debian:12"), "new"), ..Subject::default() }, "fresh by annotations"),
        (
            Subject {
                annotated: note(Some("debian:11"), "old"),
                labelled: note(Some("debian:12"), "old"),
                ..Subject::default()
            },
            "stale by labels",
        ),
        // A label without a name may be inherited from anything.
        (
            Subject { labelled: note(None, "old"), diff_ids: fresh_layers.clone(), ..Subject::default() },
            "fresh by layers",
        ),
        (Subject { diff_ids: fresh_layers.clone(), ..Subject::default() }, "fresh by layers"),
        (Subject { diff_ids: fresh_layers[..2].to_vec(), ..Subject::default() }, "fresh by layers"),
        (Subject { diff_ids: stale_layers.clone(), ..Subject::default() }, "stale by layers, on unknown content"),
    ] {
        assert_eq!(state(&subject, &debian), wanted, "{subject:?}");
    }
}

#[test]
fn what_has_no_evidence_is_never_fresh() {
    let debian = parent("debian:12", Role::Base);
    for diff_ids in [layers(&["squashed"]), layers(&[]), layers(&["new-1"])] {
        let subject = Subject { diff_ids, ..Subject::default() };
        assert!(state(&subject, &debian).starts_with("unknown: no provenance"), "{subject:?}");
    }
    // `FROM scratch` with a builder stage: that the layers are the same is no proof.
    let builder = parent("debian:12", Role::Builder);
    let subject = Subject {
        annotated: note(Some("debian:12"), "new"),
        diff_ids: layers(&["new-1", "new-2"]),
        ..Subject::default()
    };
    assert!(state(&subject, &builder).contains("the image has none"));
    let listed = vec![Material::new(&image("golang"), digest("x"))];
    assert!(state(&Subject { materials: listed, ..subject.clone() }, &builder).contains("does not list it"));
    let used = vec![Material::new(&image("debian:12"), digest("old"))];
    assert_eq!(state(&Subject { materials: used, ..subject }, &builder), "stale by provenance");

    let unasked = judge(&Subject::default(), &debian, &Current::new(digest("new")), None);
    assert_eq!(Freshness::of([&unasked]), Freshness::Unknown);
}

#[test]
fn inherited_labels_say_nothing() {
    let app = parent("r.example/base:1", Role::Base);
    let labelled = note(Some("r.example/base:1"), "old");
    let subject = Subject { labelled: labelled.clone(), diff_ids: layers(&["new-1", "new-2"]), ..Subject::default() };
    let evidence = |labelled| match judge(&subject, &app, &Current { labelled, ..current() }, None) {
        State::Fresh { evidence, .. } | State::Stale { evidence, .. } => evidence,
        other => panic!("{other:?}"),
    };
    assert_eq!(evidence(None), Evidence::Label);
    assert_eq!(evidence(labelled), Evidence::Layers);
}

#[test]
fn what_is_pinned_is_not_built_again_in_vain() {
    let pinned = |tag: &str| parent(&format!("debian{tag}@{}", digest("new")), Role::Base);
    let subject = |content: &str| Subject { annotated: note(Some("debian:12"), content), ..Subject::default() };
    assert_eq!(state(&subject("new"), &pinned(":12")), "pinned, with a tag");
    // The pin was moved after the image was built.
    assert_eq!(state(&subject("old"), &pinned(":12")), "stale by annotations");
    assert_eq!(state(&subject("old"), &pinned("")), "stale by annotations");
    let other_layers = Subject { diff_ids: layers(&["old-1", "old-2", "app"]), ..Subject::default() };
    assert_eq!(state(&other_layers, &pinned(":12")), "pinned, with a tag");
    let state = judge(&Subject::default(), &pinned(""), &current(), None);
    assert_eq!(state, State::Pinned { pinned: digest("new"), current: None });
}

#[test]
fn an_image_tells_of_its_parents() {
    let names = |subject: &Subject| -> Vec<String> {
        claimed(subject).iter().map(|parent| format!("{} {:?}", parent.image.familiar(), parent.role)).collect()
    };
    let material = |name: &str| Material::new(&image(name), digest("x"));
    let one = Subject { materials: vec![material("debian:12")], ..Subject::default() };
    assert_eq!(names(&one), ["debian:12 Base"]);
    let two = Subject { materials: vec![material("debian:12"), material("golang:1")], ..Subject::default() };
    assert_eq!(names(&two), ["debian:12 Builder", "golang:1 Builder"]);
    let noted = Subject { annotated: note(Some("debian:12"), "x"), ..two };
    assert_eq!(names(&noted), ["debian:12 Base", "golang:1 Builder"]);
    let other = Subject { labelled: note(Some("fedora"), "x"), ..one };
    assert_eq!(names(&other), ["debian:12 Builder", "fedora:latest Base"]);
    let pinned = Subject { materials: vec![Material { pinned: true, ..material("debian:12") }], ..Subject::default() };
    assert_eq!(names(&pinned), [format!("debian:12@{} Base", digest("x"))]);
    assert!(claimed(&Subject::default()).is_empty());
}

#[test]
fn the_worst_parent_counts() {
    let fresh = State::Fresh { current: digest("x"), evidence: Evidence::Layers };
    let pinned = State::Pinned { pinned: digest("x"), current: None };
    let unknown = State::Unknown { why: String::new() };
    let stale = State::Stale { built_on: None, current: digest("x"), evidence: Evidence::Layers };
    assert_eq!(Freshness::of([&fresh, &pinned]), Freshness::Pinned);
    assert_eq!(Freshness::of([&unknown, &pinned, &fresh]), Freshness::Unknown);
    assert_eq!(Freshness::of([&unknown, &stale, &fresh]), Freshness::Stale);
    assert_eq!(Freshness::of([]), Freshness::Fresh);
}

fn few_layers() -> impl Strategy<Value = Vec<Digest>> {
    proptest::collection::vec("[a-c]", 0..6).prop_map(|texts| texts.iter().map(|text| digest(text)).collect())
}

proptest! {
    #[test]
    fn an_image_begins_with_its_base(base in few_layers(), own in few_layers()) {
        let image = [base.clone(), own].concat();
        let wanted = if base.is_empty() { Layers::Silent } else { Layers::Begin };
        prop_assert_eq!(Layers::compare(&image, &base), wanted);
    }

    #[test]
    fn layers_begin_exactly_if_they_are_a_prefix(image in few_layers(), base in few_layers()) {
        let found = Layers::compare(&image, &base);
        prop_assert_eq!(found == Layers::Begin, !base.is_empty() && image.starts_with(&base));
        if let Layers::Differ(at) = found {
            prop_assert_eq!(&image[..at], &base[..at]);
            prop_assert!(image[at] != base[at]);
        }
    }

    #[test]
    fn a_changed_layer_of_the_base_is_seen(base in few_layers(), own in few_layers(), at in 0..6_usize) {
        let image = [base.clone(), own].concat();
        if at < base.len() && image.len() > 1 {
            let mut newer = base;
            newer[at] = digest("newer");
            prop_assert_eq!(Layers::compare(&image, &newer), Layers::Differ(at));
        }
    }

    #[test]
    fn one_merged_layer_is_never_fresh(base in few_layers(), texts in "[d-z]{1,3}") {
        let subject = Subject { diff_ids: vec![digest(&texts)], ..Subject::default() };
        let current = Current { diff_ids: Some(base), ..current() };
        let state = judge(&subject, &parent("debian:12", Role::Base), &current, None);
        prop_assert_eq!(Freshness::of([&state]), Freshness::Unknown);
    }
}
