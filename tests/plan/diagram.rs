//! Diagrams for a page: links, marks, neighbourhoods, and bounds.

use flate2::Compression;
use flate2::write::GzEncoder;
use freshmaker::plan::{Diagram, DiagramBox, Mark};
use freshmaker::rebuild::BuildState;
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
use std::io::Write as _;

/// A diagram of so many boxes with names as they are in registries, in layers of 60, each with one
/// or two parents; all with a link, a mark and two lines.
fn large(boxes: usize) -> Diagram {
    let marks = [Mark::Done, Mark::Running, Mark::Waiting, Mark::Waiting, Mark::Failed, Mark::Unchanged];
    let mut diagram = Diagram::new("event 7: glibc-2.39-8 fixes CVE-2026-1");
    for number in 0..boxes {
        let name = format!("registry.example.org/team-{}/service-{number}:1.{}", number % 7, number % 3);
        let mut one = DiagramBox::new(number.to_string(), name);
        one.mark = Some(marks[number * 7 % marks.len()]);
        one.critical = number % 60 == 0;
        one.href = Some(format!("/builds/{number}"));
        one.details = vec![format!("build {number}"), "everything it waited for has ended".to_owned()];
        diagram.add(one);
    }
    for number in 60..boxes {
        diagram.connect(&(number - 60).to_string(), &number.to_string());
        if number % 3 == 0 {
            diagram.connect(&(number - 60 - number % 50 % (number - 59)).to_string(), &number.to_string());
        }
    }
    diagram
}

fn compressed(text: &str) -> usize {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap().len()
}

#[test]
fn four_hundred_boxes_are_drawn_whole_and_small() {
    let svg = large(400).svg().to_string();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let links: Vec<_> = document.descendants().filter(|node| node.has_tag_name("a")).collect();
    assert_eq!(links.len(), 400);
    assert!(links.iter().all(|link| link.attribute("href").is_some_and(|href| href.starts_with("/builds/"))));
    let words = document.descendants().filter(|node| node.attribute("class") == Some("mark"));
    assert_eq!(words.filter(|word| word.text() == Some("failed")).count(), 66);
    assert_eq!(document.root_element().attribute("role"), Some("group"), "an image may have no links in it");
    assert!(!svg.contains("style") && !svg.contains("fill=") && !svg.contains("script"), "the page's sheet has it all");
    println!("400 boxes: {} bytes, {} compressed", svg.len(), compressed(&svg));
    assert!(compressed(&svg) <= 20_000, "{} bytes compressed", compressed(&svg));
    assert!(compressed(Diagram::STYLE) <= 1_000);
}

#[test]
fn boxes_of_one_column_do_not_overlap() {
    let svg = large(400).svg().to_string();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let number = |node: &roxmltree::Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse::<i64>().unwrap();
    let rects = document.descendants().filter(|node| node.has_tag_name("rect"));
    let mut places: Vec<_> = rects.map(|rect| (number(&rect, "x"), number(&rect, "y"))).collect();
    places.sort_unstable();
    let [width, height] = ["width", "height"].map(|name| number(&document.root_element(), name));
    assert!(places.iter().all(|(x, y)| (0..width).contains(x) && (0..height - 24).contains(y)));
    assert!(places.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[1].1 - pair[0].1 >= 24));
}

#[test]
fn twenty_thousand_boxes_are_columns_with_counts() {
    let mut diagram = large(20_000);
    diagram.link_waves(|wave| Some(format!("/events/7/builds?wave={wave}")));
    assert_eq!([0, 1, 99].map(|wave| diagram.wave_name(wave)), ["wave 1", "wave 2", "later waves"]);
    let svg = diagram.svg().to_string();
    assert!(svg.len() < 40_000, "{} bytes", svg.len());
    let document = roxmltree::Document::parse(&svg).unwrap();
    let links: Vec<_> = document.descendants().filter(|node| node.has_tag_name("a")).collect();
    assert_eq!(links.len(), 61, "60 columns, and what is further");
    assert_eq!(links[0].attribute("href"), Some("/events/7/builds?wave=0"));
    let first: Vec<_> = links[0].descendants().filter_map(|node| node.text()).collect();
    assert!(first.contains(&"10 failed, 10 running, 20 waiting, 10 done, 10 unchanged"), "{first:?}");
    let summary = document.descendants().find(|node| node.has_tag_name("desc")).unwrap().text().unwrap();
    assert!(summary.starts_with("20000 boxes in 61 columns, 3333 failed"), "{summary}");
    // A neighbourhood of the same diagram is drawn whole.
    let near = diagram.focus("10000", 2);
    assert!((5..60).contains(&near.len()), "{}", near.len());
    assert!(near.svg().to_string().contains("service-10000"));
}

#[test]
fn a_neighbourhood_has_what_is_near_in_both_directions() {
    let mut diagram = Diagram::new("a line with a branch");
    for key in ["a", "b", "c", "d", "e", "x"] {
        diagram.add(DiagramBox::new(key, key));
    }
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("b", "x"), ("x", "x"), ("q", "a")] {
        diagram.connect(from, to);
    }
    let keys = |diagram: &Diagram| diagram.boxes().iter().map(|one| one.key.clone()).collect::<Vec<_>>().concat();
    assert_eq!(keys(&diagram.clone().focus("c", 0)), "c");
    assert_eq!(keys(&diagram.clone().focus("c", 1)), "bcd");
    assert_eq!(keys(&diagram.clone().focus("c", 2)), "abcde", "x is beside it, not on its way");
    assert_eq!(keys(&diagram.clone().focus("c", usize::MAX)), "abcde");
    assert_eq!(keys(&diagram.clone().focus("q", 9)), "");
    let arrows = diagram.clone().focus("c", 1).svg().to_string().matches("<path d=").count() - 1;
    assert_eq!(arrows, 2, "without the head of an arrow");

    diagram.mark(|one| (one.key == "d").then_some(Mark::Failed));
    assert_eq!(keys(&diagram.clone().only(&[Mark::Failed], false)), "d");
    assert_eq!(keys(&diagram.only(&[], true)), "");
}

#[test]
fn hostile_names_end_nothing_and_run_nothing() {
    let names = [
        "<script>alert(1)</script>",
        "\" onload=\"alert(1)",
        "' style='x",
        "]]><svg onload=alert(1)>",
        "&lt;b&gt;",
        "a\u{202e}gnp.exe\u{200f}\u{2066}",
        "\u{0}\n\r\u{ffff}",
        &"n".repeat(10_000),
        &"漢".repeat(10_000),
    ];
    let mut diagram = Diagram::new("<b>\u{202e}title</b>").with_id_prefix("x\" onclick=\"");
    for (number, name) in names.iter().enumerate() {
        let mut one = DiagramBox::new(*name, *name);
        one.details = vec![(*name).to_owned(); 100];
        one.href = Some(["javascript:alert(1)", "/ok?\"<>&", "data:text/html,x", " /x"][number % 4].to_owned());
        diagram.add(one);
    }
    diagram.connect(names[0], names[1]);
    let svg = diagram.svg().to_string();
    assert!(svg.len() < 30_000, "{} bytes", svg.len());
    let document = roxmltree::Document::parse(&svg).unwrap();
    let tags = ["svg", "title", "desc", "defs", "marker", "path", "text", "a", "g", "rect"];
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        assert!(tags.contains(&node.tag_name().name()), "{node:?}");
        assert!(!node.attributes().any(|attribute| attribute.name().starts_with("on") || attribute.name() == "style"));
        assert!(node.attribute("id").is_none_or(|id| id.chars().all(|c| c.is_ascii_alphanumeric())));
        assert!(node.attribute("href").is_none_or(|href| href == "/ok?\"<>&"), "{node:?}");
    }
    assert!(!svg.contains(['\u{202e}', '\u{200f}', '\u{2066}', '\u{0}']));
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("a")).count(), 2);
}

#[test]
fn a_plan_is_a_diagram_with_states_laid_over() {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("debian", ArtifactKind::Image));
    for (child, parent) in [("app", "debian"), ("site", "app"), ("tool", "debian")] {
        graph.insert(Artifact::new(child, ArtifactKind::Image).with_source(child, None));
        graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
    }
    let plan = graph.plan(&["debian".into()], &Policy::allow_all()).unwrap();
    let mut diagram = plan.diagram();
    assert_eq!(diagram.svg().to_string(), plan.diagram().svg().to_string());
    assert!(diagram.svg().to_string().contains(r#"role="img""#), "nothing in it is a link");
    diagram.mark(|one| (one.key == "app").then_some(BuildState::Building.into()));
    let marks: Vec<_> = diagram.boxes().iter().map(|one| (one.key.as_str(), one.mark, one.critical)).collect();
    let expected = [
        ("debian", Some(Mark::Changed), false),
        ("app", Some(Mark::Running), true),
        ("site", None, true),
        ("tool", None, false),
    ];
    assert_eq!(marks, expected);
    insta::assert_snapshot!(diagram.svg());
}

#[test]
fn a_cycle_and_an_empty_diagram_are_drawn() {
    let mut diagram = Diagram::new("none");
    assert!(roxmltree::Document::parse(&diagram.svg().to_string()).is_ok());
    for key in ["a", "b"] {
        diagram.add(DiagramBox::new(key, key));
        diagram.add(DiagramBox::new(key, "twice"));
    }
    diagram.connect("a", "b");
    diagram.connect("b", "a");
    assert_eq!(diagram.len(), 2);
    let svg = diagram.svg().to_string();
    assert_eq!(
        roxmltree::Document::parse(&svg).unwrap().descendants().filter(|node| node.has_tag_name("rect")).count(),
        2
    );
}
