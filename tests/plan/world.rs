//! Plans to look at.

use freshmaker::plan::{Plan, RebuildReason};
use freshmaker::policy::{Policy, Rule};
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Reason};
use proptest::prelude::{Just, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A graph and what happens to it, as plain values.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) names: Vec<String>,
    /// From a parent to a child of a larger number.
    pub(crate) edges: BTreeSet<(usize, usize, EdgeKind)>,
    pub(crate) buildable: Vec<bool>,
    pub(crate) allowed: Vec<bool>,
    pub(crate) minutes: Vec<u64>,
    pub(crate) changed: BTreeSet<usize>,
    /// What is asked for, and whether as a mere dependency.
    pub(crate) asked: BTreeMap<usize, bool>,
}

const ARTIFACTS: usize = 8;

/// Scenes whose artifacts have sensible names.
pub(crate) fn scene() -> impl Strategy<Value = Scene> {
    let names = (0..ARTIFACTS).map(|number| format!("{}{number}", ["m", "c", "x"][number % 3])).collect();
    scene_of(Just(names))
}

/// Scenes whose artifacts have names that try to break what they are written into.
pub(crate) fn odd_scene() -> impl Strategy<Value = Scene> {
    let piece = proptest::sample::select(vec![
        "a",
        "Z9",
        "\"",
        "'",
        "\\",
        "\n",
        "\r\n",
        "\t",
        "<",
        ">",
        "&",
        "&amp;",
        "]]>",
        "-->",
        "%%",
        "#",
        ";",
        "{",
        "}",
        "[",
        "]",
        "`",
        "|",
        "->",
        "--",
        "=",
        "/",
        ":",
        "ü",
        "漢字",
        "🦀",
        "\u{202e}",
        "\u{0}",
        "\u{1b}[31m",
        "\u{fffe}",
        "\u{7f}",
        "end",
        "graph",
        " ",
        "e\u{301}",
    ]);
    let pieces = proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat());
    let long = proptest::sample::select(vec!["x<\"&".repeat(1300), "漢".repeat(5000)]);
    let name = proptest::prop_oneof![6 => pieces, 1 => long];
    let names =
        proptest::collection::btree_set(name, ARTIFACTS).prop_map(|names| names.into_iter().collect::<Vec<_>>());
    scene_of(names.prop_shuffle())
}

fn scene_of(names: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = Scene> {
    let flags = || proptest::collection::vec(proptest::bool::weighted(0.85), ARTIFACTS);
    let minutes = proptest::collection::vec(1..50_u64, ARTIFACTS);
    let kind = proptest::sample::select(EdgeKind::ALL.to_vec());
    let edge = (0..ARTIFACTS, 0..ARTIFACTS, kind).prop_map(|(one, two, kind)| (one.min(two), one.max(two), kind));
    let edges = proptest::collection::vec(edge, 0..18);
    let edges = edges.prop_map(|edges| edges.into_iter().filter(|(parent, child, _)| parent < child).collect());
    let changed = proptest::collection::btree_set(0..ARTIFACTS, 0..3);
    let asked = proptest::collection::btree_map(0..ARTIFACTS, proptest::bool::ANY, 0..3);
    (names, edges, flags(), flags(), minutes, changed, asked).prop_map(
        |(names, edges, buildable, allowed, minutes, changed, asked)| Scene {
            names,
            edges,
            buildable,
            allowed,
            minutes,
            changed,
            asked,
        },
    )
}

impl Scene {
    pub(crate) fn id(&self, number: usize) -> ArtifactId {
        ArtifactId::new(self.names[number].clone())
    }

    pub(crate) fn number(&self, id: &ArtifactId) -> usize {
        self.names.iter().position(|name| name == id.as_str()).unwrap()
    }

    pub(crate) fn graph(&self) -> ArtifactGraph {
        let mut graph = ArtifactGraph::new();
        for number in 0..ARTIFACTS {
            let artifact = Artifact::new(self.id(number), ArtifactKind::Image);
            let artifact = artifact.with_estimate(Duration::from_secs(60 * self.minutes[number]));
            let artifact = artifact.with_parameter("number", number.to_string());
            graph.insert(if self.buildable[number] { artifact.with_source("here", None) } else { artifact });
        }
        for (parent, child, kind) in &self.edges {
            graph.depend(self.id(*child), self.id(*parent), *kind).unwrap();
        }
        graph
    }

    fn policy(&self) -> Policy {
        let blocked = (0..ARTIFACTS).filter(|number| !self.allowed[*number]);
        Policy::from_rules([], blocked.map(|number| Rule::when("parameter.number", number.to_string()))).unwrap()
    }

    pub(crate) fn plan(&self) -> Plan {
        let graph = self.graph();
        let mut planner = graph.planner().policy(&self.policy());
        for number in &self.changed {
            planner = planner.changed(self.id(*number), None);
        }
        for (number, dependency) in &self.asked {
            let reason = if *dependency { RebuildReason::Dependency } else { RebuildReason::DirectlyAffected };
            planner = planner.rebuild_as(self.id(*number), reason, Reason::new("test", "the test wants it"));
        }
        planner.plan().unwrap()
    }
}

/// Two artifacts that are rebuilt and have nothing to do with each other.
pub(crate) fn pair() -> Plan {
    let mut graph = ArtifactGraph::new();
    for name in ["a", "b"] {
        graph.insert(Artifact::new(name, ArtifactKind::Image).with_source("here", None));
    }
    graph.planner().rebuild("a").rebuild("b").plan().unwrap()
}

/// debian changed; python and node follow, and app both of them.
pub(crate) fn small() -> Plan {
    let mut graph = ArtifactGraph::new();
    for (name, source) in
        [("debian", false), ("node", true), ("python", true), ("app", true), ("vendor", false), ("plugin", true)]
    {
        let artifact = Artifact::new(name, ArtifactKind::Image);
        graph.insert(if source { artifact.with_source("here", None) } else { artifact });
    }
    for (child, parent, kind) in [
        ("node", "debian", EdgeKind::ParentImage),
        ("python", "debian", EdgeKind::ParentImage),
        ("app", "node", EdgeKind::BuilderStage),
        ("app", "python", EdgeKind::ParentImage),
        ("vendor", "debian", EdgeKind::ParentImage),
        ("plugin", "vendor", EdgeKind::ParentImage),
    ] {
        graph.depend(child, parent, kind).unwrap();
    }
    graph.plan(&["debian".into()], &Policy::allow_all()).unwrap()
}
