use crate::world::{odd_scene, small};
use freshmaker::plan::{Format, Plan};
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Policy, Reason, RebuildReason};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A name as a picture or a line may show it: on one line.
fn one_line(text: &str) -> String {
    let replaced = ['\u{202e}', '\u{fffe}', '\u{ffff}'];
    text.chars().map(|c| if c.is_control() || replaced.contains(&c) { '\u{fffd}' } else { c }).collect()
}

/// Whether this is the name, or its beginning and end around a gap.
fn shows(label: &str, name: &str) -> bool {
    let name = one_line(name);
    label == name
        || label
            .split_once('…')
            .is_some_and(|(front, back)| name.starts_with(front) && name.ends_with(back) && label.len() < name.len())
}

/// From parent to child, of what changed or is rebuilt.
fn dependencies(plan: &Plan) -> BTreeSet<(ArtifactId, ArtifactId)> {
    let is_shown = |id: &ArtifactId| plan.node(id).is_some() || plan.changed().any(|(changed, _)| changed == id);
    let pairs =
        plan.nodes().flat_map(|node| node.parents.iter().map(|parent| (parent.id.clone(), node.artifact.id.clone())));
    pairs.filter(|(parent, _)| is_shown(parent)).collect()
}

fn shown(plan: &Plan) -> BTreeSet<ArtifactId> {
    plan.changed().map(|(id, _)| id.clone()).chain(plan.nodes().map(|node| node.artifact.id.clone())).collect()
}

#[test]
fn the_text_says_why_a_handler_asked() {
    let image = |name| Artifact::new(name, ArtifactKind::Image).with_source(name, None);
    let mut graph = ArtifactGraph::new();
    ["base", "app", "site", "tool"].map(image).into_iter().for_each(|artifact| graph.insert(artifact));
    graph.depend("app", "base", EdgeKind::ParentImage).unwrap();
    graph.depend("site", "app", EdgeKind::ParentImage).unwrap();
    let why = |text| (RebuildReason::DirectlyAffected, Reason::new("contains_fixed", text));
    let (base, site) = (why("it has curl 8.1"), why("it has zlib 1.2"));
    let planner = graph.planner().rebuild_as("base", base.0, base.1).rebuild_as("site", site.0, site.1);
    let text = planner.rebuild("app").rebuild("tool").plan().unwrap().to_string();
    let expected = "base is rebuilt: it has curl 8.1\n└─ app (also asked for)\n   └─ site (also: it has zlib 1.2)\n\
                    tool is rebuilt as asked\n";
    assert_eq!(text, expected);
}

/// Every artifact has its own box: finds the box of each name, if no two names look alike when they
/// are shortened.
fn boxes_of(labels: &BTreeMap<String, String>, names: &BTreeSet<ArtifactId>) -> Option<BTreeMap<ArtifactId, String>> {
    let mut found = BTreeMap::new();
    for name in names {
        let mut alike = labels.iter().filter(|(_, label)| shows(label, name.as_str()));
        let (number, _) = alike.next().unwrap_or_else(|| panic!("{name:?} is not in {labels:?}"));
        if alike.next().is_some() {
            return None;
        }
        found.insert(name.clone(), number.clone());
    }
    Some(found)
}

mod dot {
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Clone, Debug, PartialEq)]
    enum Token {
        Word(String),
        Quoted(String),
        Sign(char),
        Arrow,
    }

    /// The lexical rules of the language, without comments and HTML, which we never write.
    fn tokens(text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    let mut quoted = String::new();
                    loop {
                        match chars.next().expect("a quoted text has an end") {
                            '"' => break,
                            '\\' => quoted.extend(['\\', chars.next().unwrap()]),
                            '\n' => panic!("a quoted text goes on in the next line"),
                            c => quoted.push(c),
                        }
                    }
                    tokens.push(Token::Quoted(quoted));
                }
                '-' => {
                    assert_eq!(chars.next(), Some('>'));
                    tokens.push(Token::Arrow);
                }
                '{' | '}' | '[' | ']' | ';' | ',' | '=' => tokens.push(Token::Sign(c)),
                c if c.is_ascii_alphanumeric() || c == '_' => {
                    let mut word = String::from(c);
                    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                        word.push(c);
                    }
                    tokens.push(Token::Word(word));
                }
                c => assert!(c.is_ascii_whitespace(), "{c:?} outside quotes"),
            }
        }
        tokens
    }

    /// What Graphviz makes of a label: escapes first, then entities.
    fn meaning(quoted: &str) -> String {
        let mut text = String::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '\\' { chars.next() } else { None }) {
                ('\\', Some('n')) => text.push('\n'),
                ('\\', Some(c @ ('"' | '\\'))) => text.push(c),
                ('\\', other) => panic!("\\{other:?} has a meaning of its own"),
                (c, _) => text.push(c),
            }
        }
        let bare = text.replace("&amp;", "");
        assert!(!bare.contains('&'), "{text:?} has an entity");
        text.replace("&amp;", "&")
    }

    #[derive(Debug, Default)]
    pub(super) struct Graph {
        pub(super) labels: BTreeMap<String, String>,
        pub(super) tooltips: BTreeMap<String, String>,
        pub(super) edges: BTreeSet<(String, String)>,
    }

    pub(super) fn read(text: &str) -> Graph {
        let tokens = tokens(text);
        let depth = |sign: char| tokens.iter().filter(|token| **token == Token::Sign(sign)).count();
        assert_eq!((depth('{'), depth('[')), (depth('}'), depth(']')));
        assert_eq!(tokens[..3], [Token::Word("digraph".into()), Token::Word("plan".into()), Token::Sign('{')]);
        let mut graph = Graph::default();
        for statement in tokens[3..].split(|token| matches!(token, Token::Sign(';' | '{' | '}'))) {
            match statement {
                [] | [Token::Word(_)] => {}
                [Token::Word(subgraph), Token::Word(_)] if subgraph == "subgraph" => {}
                [Token::Word(_), Token::Sign('='), Token::Word(_) | Token::Quoted(_)] => {}
                [Token::Word(from), Token::Arrow, Token::Word(to), ..] => {
                    graph.edges.insert((from.clone(), to.clone()));
                }
                [Token::Word(name), Token::Sign('['), attributes @ .., Token::Sign(']')] => {
                    for attribute in attributes.split(|token| *token == Token::Sign(',')) {
                        match attribute {
                            [Token::Word(key), Token::Sign('='), Token::Quoted(value)] => match key.as_str() {
                                "label" => drop(graph.labels.insert(name.clone(), meaning(value))),
                                "tooltip" => drop(graph.tooltips.insert(name.clone(), meaning(value))),
                                _ => {}
                            },
                            [Token::Word(_), Token::Sign('='), Token::Word(_)] => {}
                            other => panic!("{other:?} is no attribute"),
                        }
                    }
                }
                other => panic!("{other:?} is no statement"),
            }
        }
        graph
            .edges
            .iter()
            .for_each(|(from, to)| assert!(graph.labels.contains_key(from) && graph.labels.contains_key(to)));
        graph
    }
}

mod mermaid {
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Debug, Default)]
    pub(super) struct Chart {
        pub(super) labels: BTreeMap<String, String>,
        pub(super) edges: BTreeSet<(String, String)>,
    }

    fn is_name(text: &str) -> bool {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn meaning(text: &str) -> String {
        let mut parts = text.split('#');
        let mut meaning = parts.next().unwrap().to_owned();
        for part in parts {
            let (entity, rest) = part.split_once(';').expect("an entity has an end");
            meaning.push(if entity == "nbsp" { ' ' } else { char::from_u32(entity.parse().unwrap()).unwrap() });
            meaning.push_str(rest);
        }
        meaning
    }

    /// The part of the language that we write, line by line.
    pub(super) fn read(text: &str) -> Chart {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("flowchart LR"));
        let mut chart = Chart::default();
        for line in lines.map(str::trim) {
            if line == "end" || line == "subgraph out[\"not rebuilt\"]" || line.starts_with("classDef ") {
                continue;
            }
            if let Some((name, rest)) = line.split_once("[\"") {
                let (label, class) = rest.rsplit_once("\"]:::").expect("a class follows the label");
                assert!(is_name(name) && is_name(class), "{line}");
                assert!(!label.contains(['"', '&', '<', '>', '%', '\\', '`']) && !label.is_empty(), "{line}");
                assert_eq!(chart.labels.insert(name.to_owned(), meaning(label)), None);
            } else {
                let [from, arrow, to] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?} is no line") };
                assert!(is_name(from) && is_name(to) && ["==>", "-->", "-.->"].contains(&arrow), "{line}");
                chart.edges.insert((from.to_owned(), to.to_owned()));
            }
        }
        chart
            .edges
            .iter()
            .for_each(|(from, to)| assert!(chart.labels.contains_key(from) && chart.labels.contains_key(to)));
        chart
    }
}

mod svg {
    use std::collections::BTreeSet;

    pub(super) struct Shape {
        pub(super) class: String,
        pub(super) title: String,
        pub(super) label: String,
        /// Left, top, width, height.
        pub(super) at: [f64; 4],
    }

    pub(super) struct Image {
        pub(super) size: [f64; 2],
        pub(super) shapes: Vec<Shape>,
        /// Start and end of each arrow.
        pub(super) arrows: Vec<[f64; 4]>,
        pub(super) texts: Vec<String>,
    }

    fn number(node: roxmltree::Node<'_, '_>, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    /// The numbers of a path in which only absolute commands are used.
    fn path(text: &str) -> Vec<f64> {
        let numbers = text.split(|c: char| c.is_ascii_uppercase() || c == ' ').filter(|part| !part.is_empty());
        numbers.map(|part| part.parse().unwrap()).collect()
    }

    pub(super) fn read(text: &str) -> Image {
        let document = roxmltree::Document::parse(text).unwrap();
        let root = document.root_element();
        let known = BTreeSet::from(["svg", "title", "style", "defs", "marker", "path", "rect", "text", "g"]);
        let tags: BTreeSet<_> =
            document.descendants().filter(|node| node.is_element()).map(|node| node.tag_name().name()).collect();
        assert!(tags.is_subset(&known), "{tags:?}");
        let links = document
            .descendants()
            .flat_map(|node| node.attributes())
            .filter(|it| it.name().starts_with("on") || it.name().contains("href"));
        assert_eq!(links.count(), 0);
        let groups = root.children().filter(|node| node.has_tag_name((root.tag_name().namespace().unwrap(), "g")));
        let shapes = groups.map(|group| {
            let child = |name: &str| group.children().find(|node| node.tag_name().name() == name).unwrap();
            let rect = child("rect");
            Shape {
                class: rect.attribute("class").unwrap().to_owned(),
                title: child("title").text().unwrap_or_default().to_owned(),
                label: child("text").text().unwrap_or_default().to_owned(),
                at: ["x", "y", "width", "height"].map(|name| number(rect, name)),
            }
        });
        let arrows = root.children().filter(|node| node.tag_name().name() == "path").map(|node| {
            let numbers = path(node.attribute("d").unwrap());
            let end = &numbers[numbers.len() - 2..];
            [numbers[0], numbers[1], end[0], end[1]]
        });
        let texts = document.descendants().filter(|node| node.tag_name().name() == "text");
        Image {
            size: [number(root, "width"), number(root, "height")],
            shapes: shapes.collect(),
            arrows: arrows.collect(),
            texts: texts.map(|node| node.text().unwrap_or_default().to_owned()).collect(),
        }
    }

    impl Image {
        /// The boxes of artifacts; those of the legend have no second line in their titles.
        pub(super) fn boxes(&self) -> impl Iterator<Item = &Shape> {
            self.shapes.iter().filter(|shape| shape.class != "out" && shape.title.contains('\n'))
        }

        pub(super) fn check(&self) {
            let [width, height] = self.size;
            for (number, shape) in self.shapes.iter().enumerate() {
                let [x, y, w, h] = shape.at;
                assert!(x >= 0.0 && y >= 0.0 && x + w <= width && y + h <= height, "{:?} is outside", shape.label);
                for other in &self.shapes[number + 1..] {
                    let [x2, y2, w2, h2] = other.at;
                    let apart = x + w <= x2 || x2 + w2 <= x || y + h <= y2 || y2 + h2 <= y;
                    assert!(apart, "{:?} covers {:?}", shape.label, other.label);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn dot_is_read_by_its_rules(scene in odd_scene()) {
        let plan = scene.plan();
        let graph = dot::read(&plan.render(Format::Dot).to_string());
        let (drawn, out): (BTreeMap<_, _>, BTreeMap<_, _>) = graph.labels.iter().filter(|(name, _)| *name != "node").map(|(a, b)| (a.clone(), b.clone())).partition(|(name, _)| name.starts_with('n'));
        prop_assert_eq!(drawn.len(), shown(&plan).len());
        prop_assert_eq!(out.len(), plan.exclusions().count());
        let Some(boxes) = boxes_of(&drawn, &shown(&plan)) else { return Ok(()) };
        for (name, number) in &boxes {
            prop_assert!(graph.tooltips[number].starts_with(&one_line(name.as_str())));
        }
        let expected: BTreeSet<_> = dependencies(&plan).iter().map(|(parent, child)| (boxes[parent].clone(), boxes[child].clone())).collect();
        let drawn: BTreeSet<_> = graph.edges.into_iter().filter(|(from, _)| from.starts_with('n')).collect();
        prop_assert_eq!(drawn, expected);
    }

    #[test]
    fn mermaid_is_read_by_its_rules(scene in odd_scene()) {
        let plan = scene.plan();
        let text = plan.render(Format::Mermaid).to_string();
        let chart = mermaid::read(&text);
        let labels: BTreeMap<_, _> = chart.labels.into_iter().filter(|(name, _)| name.starts_with('n')).collect();
        prop_assert_eq!(labels.len(), shown(&plan).len());
        let names = shown(&plan);
        if names.iter().any(|name| one_line(name.as_str()).trim().is_empty()) {
            return Ok(());
        }
        let Some(boxes) = boxes_of(&labels, &names) else { return Ok(()) };
        let expected: BTreeSet<_> = dependencies(&plan).iter().map(|(parent, child)| (boxes[parent].clone(), boxes[child].clone())).collect();
        let drawn: BTreeSet<_> = chart.edges.into_iter().filter(|(from, _)| from.starts_with('n')).collect();
        prop_assert_eq!(drawn, expected);
    }

    #[test]
    fn svg_is_xml_with_everything_in_its_place(scene in odd_scene()) {
        let plan = scene.plan();
        let image = svg::read(&plan.render(Format::Svg).to_string());
        image.check();
        let titles: BTreeSet<_> = image.boxes().map(|shape| shape.title.lines().next().unwrap_or_default().to_owned()).collect();
        let names: BTreeSet<_> = shown(&plan).iter().map(|name| one_line(name.as_str())).collect();
        prop_assert_eq!(titles, names);
        prop_assert_eq!(image.boxes().count(), shown(&plan).len());
        prop_assert_eq!(image.shapes.iter().filter(|shape| shape.class == "out").count(), plan.exclusions().count());
        prop_assert_eq!(image.arrows.len(), dependencies(&plan).len());
        // Each arrow goes from the right of one box to the left of another.
        for [x, y, to_x, to_y] in &image.arrows {
            let near = |a: f64, b: f64| (a - b).abs() <= 1.5;
            prop_assert!(image.boxes().any(|it| near(it.at[0] + it.at[2], *x) && near(it.at[1] + it.at[3] / 2.0, *y)));
            prop_assert!(image.boxes().any(|it| near(it.at[0], *to_x) && near(it.at[1] + it.at[3] / 2.0, *to_y)));
        }
    }

    #[test]
    fn text_has_a_line_for_each_place(scene in odd_scene()) {
        let plan = scene.plan();
        let text = plan.render(Format::Text).to_string();
        prop_assert_eq!(&text, &plan.to_string());
        prop_assert!(text.lines().all(|line| !line.contains(char::is_control)));
        let starts = plan.changed().filter(|(id, _)| plan.node(id).is_none()).count();
        let out = plan.exclusions().count();
        prop_assert_eq!(text.lines().count(), starts + plan.len() + if out > 0 { out + 1 } else { 0 });
    }

    #[test]
    fn json_is_the_stored_form(scene in odd_scene()) {
        let plan = scene.plan();
        let read: Plan = serde_json::from_str(&plan.render(Format::Json).to_string()).unwrap();
        prop_assert_eq!(read, plan);
    }
}

/// A base, and below it `width` chains of `depth`, each element depending on the base as well.
fn chains(width: usize, depth: usize) -> Plan {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for chain in 0..width {
        for place in 0..depth {
            // The last chain is the longest in time.
            let minutes = 60 * (1 + chain as u64);
            let id = format!("{chain}/{place}");
            graph.insert(
                Artifact::new(id.clone(), ArtifactKind::Image)
                    .with_source("here", None)
                    .with_estimate(Duration::from_secs(minutes)),
            );
            graph.depend(id.clone(), "base", EdgeKind::BuilderStage).unwrap();
            if place > 0 {
                graph.depend(id, format!("{chain}/{}", place - 1), EdgeKind::ParentImage).unwrap();
            }
        }
    }
    graph.plan(&["base".into()], &Policy::allow_all()).unwrap()
}

/// How many are said not to be drawn.
fn hidden<'a>(labels: impl Iterator<Item = &'a String>) -> usize {
    labels.filter_map(|label| label.strip_prefix("… ")?.strip_suffix(" more")?.parse::<usize>().ok()).sum()
}

#[test]
fn pictures_have_bounds_and_count_what_is_beyond() {
    for (width, depth) in [(3000, 1), (1000, 3), (30, 100), (1, 3000), (3, 1000)] {
        let plan = chains(width, depth);
        let graph = dot::read(&plan.render(Format::Dot).to_string());
        assert!(graph.labels.len() <= 2303 && graph.edges.len() <= 10_000);
        let labels =
            || graph.labels.iter().filter(|(name, _)| name.starts_with('n') && *name != "node").map(|(_, label)| label);
        assert_eq!(labels().filter(|label| !label.starts_with('…')).count() + hidden(labels()), plan.len() + 1);

        let text = plan.render(Format::Mermaid).to_string();
        let chart = mermaid::read(&text);
        assert!(chart.labels.len() <= 192 && chart.edges.len() <= 400 && text.len() < 50_000);
        let labels = || chart.labels.iter().filter(|(name, _)| name.starts_with('n')).map(|(_, label)| label);
        assert_eq!(labels().filter(|label| !label.starts_with('…')).count() + hidden(labels()), plan.len() + 1);

        let image = svg::read(&plan.render(Format::Svg).to_string());
        image.check();
        assert!(image.shapes.len() <= 466 && image.arrows.len() <= 2000);
        let drawn = image.boxes().count() + hidden(image.shapes.iter().map(|shape| &shape.label));
        assert_eq!(drawn, plan.len() + 1);
        // What takes longest is there, as far as the waves go.
        for node in plan.critical_builds().into_iter().take(40) {
            let id = node.artifact.id.as_str();
            assert!(graph.labels.values().any(|label| label == id) && chart.labels.values().any(|label| label == id));
            assert!(image.boxes().any(|shape| shape.label == id && shape.class.ends_with(" critical")));
        }
    }
}

/// The end of the critical path is the quickest of its wave; of the others the slowest is worth
/// more than the quickest.
#[test]
fn what_matters_most_is_drawn() {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    let mut add = |parent: &str, child: &str, seconds: u64| {
        let artifact = Artifact::new(child, ArtifactKind::Image).with_source("here", None);
        graph.insert(artifact.with_estimate(Duration::from_secs(seconds)));
        graph.depend(child, parent, EdgeKind::ParentImage).unwrap();
    };
    add("base", "start", 6000);
    add("start", "end", 1);
    for number in 0..3000 {
        add("base", &format!("p{number}"), 60);
        add(&format!("p{number}"), &format!("q{number}"), 60 + number);
    }
    let plan = graph.plan(&["base".into()], &Policy::allow_all()).unwrap();
    let dot = dot::read(&plan.render(Format::Dot).to_string()).labels;
    let mermaid = mermaid::read(&plan.render(Format::Mermaid).to_string()).labels;
    let svg = svg::read(&plan.render(Format::Svg).to_string());
    let svg = svg.boxes().map(|shape| (shape.label.clone(), shape.label.clone())).collect();
    for labels in [dot, mermaid, svg] {
        let drawn = |name: &str| labels.values().any(|label| label == name);
        assert!(drawn("start") && drawn("end") && drawn("q2999") && !drawn("q0"), "{labels:?}");
    }
}

#[test]
fn the_worst_names_keep_mermaid_below_its_limit() {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..3000 {
        let id = format!("{}{number}", "`".repeat(100));
        let artifact = Artifact::new(id.clone(), ArtifactKind::Image);
        graph.insert(if number % 2 == 0 { artifact.with_source("here", None) } else { artifact });
        graph.depend(id, "base", EdgeKind::ParentImage).unwrap();
    }
    let plan = graph.plan(&["base".into()], &Policy::allow_all()).unwrap();
    let text = plan.render(Format::Mermaid).to_string();
    mermaid::read(&text);
    assert!(text.len() < 50_000, "{}", text.len());
}

#[test]
fn a_deep_plan_can_be_drawn() {
    let plan = chains(1, 20_000);
    for format in Format::ALL {
        assert!(!plan.render(format).to_string().is_empty());
    }
}

#[test]
fn an_empty_plan_can_be_drawn() {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    let plan = graph.planner().plan().unwrap();
    assert_eq!(plan.render(Format::Text).to_string(), "");
    assert!(dot::read(&plan.render(Format::Dot).to_string()).edges.is_empty());
    assert!(mermaid::read(&plan.render(Format::Mermaid).to_string()).labels.is_empty());
    let image = svg::read(&plan.render(Format::Svg).to_string());
    assert_eq!(image.boxes().count(), 0);
    assert!(image.texts[0].starts_with("nothing to build"), "{}", image.texts[0]);
}

#[test]
fn cycles_are_drawn_dashed() {
    let plan: Plan = serde_json::from_value(crate::stored::opened()).unwrap();
    let dot = plan.render(Format::Dot).to_string();
    assert_eq!(dot.matches("style=dashed, constraint=false").count(), 1);
    assert_eq!(plan.render(Format::Mermaid).to_string().matches("-.->").count(), 1);
    let svg = plan.render(Format::Svg).to_string();
    svg::read(&svg).check();
    assert_eq!(svg.matches("class=\"broken\"").count(), 1);
}

#[test]
fn a_small_plan_as_a_flowchart() {
    insta::assert_snapshot!(small().render(Format::Mermaid), @r##"
    flowchart LR
      n0["debian"]:::changed
      n1["node"]:::direct_critical
      n2["python"]:::direct
      n3["app"]:::dependency_critical
      n0 --> n1
      n0 --> n2
      n1 ==> n3
      n2 --> n3
      subgraph out["not rebuilt"]
        x0["vendor (no_recipe)"]:::out
        x1["plugin (parent_not_rebuilt)"]:::out
        x0 -.-> x1
      end
      classDef changed fill:#fde68a,stroke:#b45309,color:#111827
      classDef direct fill:#fecaca,stroke:#b91c1c,color:#111827
      classDef dependency fill:#dbeafe,stroke:#1d4ed8,color:#111827
      classDef rest fill:#f3f4f6,stroke:#6b7280,color:#111827
      classDef out fill:#ffffff,stroke:#6b7280,stroke-dasharray:4,color:#111827
      classDef direct_critical fill:#fecaca,stroke:#b91c1c,color:#111827,stroke-width:4px
      classDef dependency_critical fill:#dbeafe,stroke:#1d4ed8,color:#111827,stroke-width:4px
    "##);
}

#[test]
fn a_small_plan_for_graphviz() {
    insta::assert_snapshot!(small().render(Format::Dot), @r##"
    digraph plan {
      rankdir=LR;
      node [shape=box, style=filled, fontname="monospace", fontsize=11];
      n0 [label="debian", tooltip="debian\nit changed", fillcolor="#fde68a", color="#b45309"];
      n1 [label="node", tooltip="node\nrebuilt: directly affected\nbecause of debian\ntakes about 10 min (a guess)", fillcolor="#fecaca", color="#b91c1c", penwidth=3];
      n2 [label="python", tooltip="python\nrebuilt: directly affected\nbecause of debian\ntakes about 10 min (a guess)", fillcolor="#fecaca", color="#b91c1c"];
      n3 [label="app", tooltip="app\nrebuilt: dependency\nbecause of node, python\ntakes about 10 min (a guess)", fillcolor="#dbeafe", color="#1d4ed8", penwidth=3];
      { rank=same; n0; }
      { rank=same; n1; n2; }
      { rank=same; n3; }
      n0 -> n1 [color="#6b7280"];
      n0 -> n2 [color="#6b7280"];
      n1 -> n3 [penwidth=3];
      n2 -> n3 [color="#6b7280"];
      subgraph cluster_out {
        label="not rebuilt"; style=dashed;
        node [style=dashed];
        x0 [label="vendor", tooltip="vendor\nno_recipe: the catalog has no recipe for it: somebody else builds it"];
        x1 [label="plugin", tooltip="plugin\nparent_not_rebuilt: it would only follow vendor, which is not rebuilt"];
        x0 -> x1 [style=dashed];
      }
    }
    "##);
}
