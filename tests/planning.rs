//! Plans against an oracle that knows nothing of how they are made.
#![allow(clippy::unwrap_used)]

use freshmaker::graph::EdgeKinds;
use freshmaker::graph::Note;
use freshmaker::plan::{CyclePolicy, Explanation, Format, Observation, Plan, PlanError, Planner, RebuildReason};
use freshmaker::policy::Policy;
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

const ARTIFACTS: usize = 9;

/// A question to the planner, as plain numbers.
#[derive(Clone, Debug)]
struct Question {
    /// From parent to child.
    edges: Vec<(usize, usize)>,
    /// In which order the edges and artifacts are told.
    order: Vec<usize>,
    buildable: Vec<bool>,
    allowed: Vec<bool>,
    minutes: Vec<u64>,
    changed: BTreeSet<usize>,
    asked: BTreeSet<usize>,
}

fn question(cyclic: bool) -> impl Strategy<Value = Question> {
    let set = || proptest::collection::btree_set(0..ARTIFACTS, 0..3);
    let flags = || proptest::collection::vec(proptest::bool::weighted(0.85), ARTIFACTS);
    let minutes = proptest::collection::vec(1..50_u64, ARTIFACTS);
    let edges = proptest::collection::vec((0..ARTIFACTS, 0..ARTIFACTS), 0..18);
    let order = Just((0..ARTIFACTS).collect::<Vec<_>>()).prop_shuffle();
    (edges, order, flags(), flags(), minutes, set(), set()).prop_map(
        move |(mut edges, order, buildable, allowed, minutes, changed, asked)| {
            if !cyclic {
                edges.retain(|(parent, child)| parent != child);
                edges.iter_mut().for_each(|edge| *edge = (edge.0.min(edge.1), edge.0.max(edge.1)));
            }
            Question { edges, order, buildable, allowed, minutes, changed, asked }
        },
    )
}

/// Names whose order is not that of the numbers.
fn name(number: usize) -> ArtifactId {
    ArtifactId::new(format!("{}{number}", ["m", "c", "x"][number % 3]))
}

impl Question {
    fn graph(&self, order: &[usize]) -> ArtifactGraph {
        let mut graph = ArtifactGraph::new();
        for &number in order {
            let artifact = Artifact::new(name(number), ArtifactKind::Image);
            let artifact = artifact.with_estimate(Duration::from_secs(60 * self.minutes[number]));
            graph.insert(if self.buildable[number] { artifact.with_source("here", None) } else { artifact });
        }
        let mut edges = self.edges.clone();
        edges.sort_by_key(|(_, child)| order.iter().position(|number| number == child));
        for (parent, child) in edges {
            graph.depend(name(child), name(parent), EdgeKind::ParentImage).unwrap();
        }
        graph
    }

    fn policy(&self) -> Policy {
        let blocked = (0..ARTIFACTS).filter(|number| !self.allowed[*number]).map(|number| name(number).to_string());
        let rules = serde_json::json!({ "block": [{ "artifact": blocked.collect::<Vec<_>>() }] });
        if self.allowed.contains(&false) { serde_json::from_value(rules).unwrap() } else { Policy::allow_all() }
    }

    fn ask<'a>(&self, graph: &'a ArtifactGraph) -> Planner<'a> {
        let planner = graph.planner().policy(&self.policy());
        let planner = self.changed.iter().fold(planner, |planner, number| planner.changed(name(*number), None));
        self.asked.iter().fold(planner, |planner, number| planner.rebuild(name(*number)))
    }

    fn plan(&self) -> Result<Plan, PlanError> {
        self.ask(&self.graph(&self.order)).plan()
    }

    fn children(&self, of: usize) -> BTreeSet<usize> {
        // That something depends on itself leads nowhere.
        self.edges.iter().filter(|(parent, child)| *parent == of && *child != of).map(|(_, child)| *child).collect()
    }

    fn parents(&self, of: usize) -> BTreeSet<usize> {
        self.edges.iter().filter(|(_, child)| *child == of).map(|(parent, _)| *parent).collect()
    }

    /// Everything that can be reached from here over at least one edge.
    fn reach(&self, from: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<_> = self.children(from).into_iter().collect();
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(self.children(next));
            }
        }
        found
    }

    /// The same with edges between these only.
    fn within(&self, members: &BTreeSet<usize>) -> Self {
        let inside = |edge: &&(usize, usize)| members.contains(&edge.0) && members.contains(&edge.1);
        Self { edges: self.edges.iter().filter(inside).copied().collect(), ..self.clone() }
    }

    /// The sets of more than one that depend on each other.
    fn cycles(&self, members: &BTreeSet<usize>) -> BTreeSet<BTreeSet<usize>> {
        let inside = self.within(members);
        let cycle = |one: &usize| inside.reach(*one).into_iter().filter(|it| inside.reach(*it).contains(one)).collect();
        members.iter().map(cycle).filter(|cycle: &BTreeSet<usize>| cycle.len() > 1).collect()
    }

    fn candidates(&self) -> BTreeSet<usize> {
        let seeds = self.changed.iter().chain(&self.asked);
        seeds.flat_map(|seed| self.reach(*seed)).chain(self.asked.iter().copied()).collect()
    }

    /// What changes reach through artifacts that can and may be built.
    fn rebuilt(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<_> = self.changed.iter().flat_map(|changed| self.children(*changed)).collect();
        open.extend(&self.asked);
        while let Some(next) = open.pop() {
            if self.buildable[next] && self.allowed[next] && found.insert(next) {
                open.extend(self.children(next));
            }
        }
        found
    }

    /// Minutes from the start of this build to the end of the last one that waits for it.
    fn rank(&self, of: usize, rebuilt: &BTreeSet<usize>) -> u64 {
        let children = self.children(of).into_iter().filter(|child| rebuilt.contains(child));
        self.minutes[of] + children.map(|child| self.rank(child, rebuilt)).max().unwrap_or(0)
    }

    fn wave(&self, of: usize, rebuilt: &BTreeSet<usize>) -> u32 {
        let parents = self.parents(of).into_iter().filter(|parent| rebuilt.contains(parent));
        parents.map(|parent| self.wave(parent, rebuilt) + 1).max().unwrap_or(0)
    }
}

/// Whatever a plan has, it can be stored, drawn and explained.
fn tell(plan: &Plan) {
    let read: Plan = serde_json::from_str(&serde_json::to_string(plan).unwrap()).unwrap();
    assert_eq!((&read, read.hash()), (plan, plan.hash()));
    for format in [Format::Text, Format::Json, Format::Dot, Format::Mermaid, Format::Svg] {
        let drawn = plan.render(format).to_string();
        assert!(plan.nodes().all(|node| drawn.contains(node.artifact.id.as_str())), "{format:?}: {drawn}");
    }
    for number in 0..ARTIFACTS {
        let explanation = plan.explain(&name(number));
        assert_eq!(matches!(explanation, Explanation::Rebuilt { .. }), plan.node(&name(number)).is_some());
        assert!(!explanation.to_string().is_empty() && serde_json::to_string(&explanation).is_ok());
    }
    assert!(plan.diff(&read).is_empty());
}

fn names(numbers: &BTreeSet<usize>) -> BTreeSet<ArtifactId> {
    numbers.iter().map(|number| name(*number)).collect()
}

proptest! {
    #[test]
    fn a_plan_is_what_changes_reach_in_a_right_order(question in question(false)) {
        let plan = question.plan().unwrap();
        let rebuilt = question.rebuilt();
        let planned: BTreeSet<_> = plan.nodes().map(|node| node.artifact.id.clone()).collect();
        prop_assert_eq!(planned, names(&rebuilt));
        for &number in &rebuilt {
            let node = plan.node(&name(number)).unwrap();
            prop_assert_eq!(node.wave, question.wave(number, &rebuilt));
            prop_assert_eq!(node.rank, Duration::from_secs(60 * question.rank(number, &rebuilt)));
            let parents: BTreeSet<_> = node.parents.iter().map(|parent| parent.id.clone()).collect();
            prop_assert_eq!(parents, names(&question.parents(number)));
            prop_assert!(plan.needs(node).all(|parent| parent.wave < node.wave));
            let direct = question.asked.contains(&number) || !question.parents(number).is_disjoint(&question.changed);
            prop_assert_eq!(node.reason == RebuildReason::DirectlyAffected, direct);
        }
        prop_assert_eq!(plan.waves().map(|wave| wave.len()).sum::<usize>(), rebuilt.len());
        let longest = rebuilt.iter().map(|number| question.rank(*number, &rebuilt)).max().unwrap_or(0);
        prop_assert_eq!(plan.critical_path(), Duration::from_secs(60 * longest));
    }

    #[test]
    fn everything_is_explained(question in question(false)) {
        let plan = question.plan().unwrap();
        let (rebuilt, candidates) = (question.rebuilt(), question.candidates());
        let starts: BTreeSet<_> = question.changed.union(&question.asked).copied().collect();
        for number in 0..ARTIFACTS {
            match plan.explain(&name(number)) {
                Explanation::Rebuilt { .. } => prop_assert!(rebuilt.contains(&number)),
                Explanation::Excluded { reason: exclusion, .. } => {
                    prop_assert!(candidates.contains(&number) && !rebuilt.contains(&number));
                    let reached = question.asked.contains(&number)
                        || question.parents(number).iter().any(|it| rebuilt.contains(it) || question.changed.contains(it));
                    let code = match (reached, question.buildable[number]) {
                        (false, _) => "parent_not_rebuilt",
                        (true, false) => "no_recipe",
                        (true, true) => "policy",
                    };
                    prop_assert_eq!(exclusion.code.as_str(), code);
                    prop_assert!(!exclusion.text.is_empty());
                }
                Explanation::Changed => {
                    prop_assert!(question.changed.contains(&number) && !candidates.contains(&number));
                }
                Explanation::Unaffected => prop_assert!(!starts.contains(&number) && !candidates.contains(&number)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn the_order_of_telling_does_not_matter(question in question(false)) {
        let sorted: Vec<_> = (0..ARTIFACTS).collect();
        let (one, two) = (question.plan().unwrap(), question.ask(&question.graph(&sorted)).plan().unwrap());
        prop_assert_eq!(one.hash(), two.hash());
        prop_assert_eq!(one.to_string(), two.to_string());
        prop_assert_eq!(one, two);
    }

    #[test]
    fn a_stored_plan_is_the_same_plan(question in question(false)) {
        let plan = question.plan().unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(read.hash(), plan.hash());
        prop_assert_eq!(read, plan);
    }

    #[test]
    fn a_cycle_among_what_is_rebuilt_is_named(question in question(true)) {
        let rebuilt = question.rebuilt();
        let cycles = question.cycles(&rebuilt);
        match question.plan() {
            Ok(plan) => {
                prop_assert_eq!(&cycles, &BTreeSet::new());
                prop_assert_eq!(plan.len(), rebuilt.len());
            }
            Err(PlanError::Cycle(cycle)) => {
                let first = cycles.iter().map(names).min_by_key(|cycle| cycle.iter().cloned().collect::<Vec<_>>());
                prop_assert_eq!(Some(cycle.members().iter().cloned().collect()), first);
                let way: Vec<_> = cycle.example().iter().map(|(id, _)| id).collect();
                prop_assert_eq!(way[0], &cycle.members()[0]);
                for (at, parent) in way.iter().enumerate() {
                    let child = way[(at + 1) % way.len()];
                    prop_assert!(question.edges.iter().any(|edge| name(edge.0) == **parent && name(edge.1) == *child));
                }
                prop_assert_eq!(way.iter().collect::<BTreeSet<_>>().len(), way.len());
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn the_members_of_a_group_wait_for_nobody_in_it(question in question(true)) {
        let rebuilt = question.rebuilt();
        let cycles = question.cycles(&rebuilt);
        let plan = question.ask(&question.graph(&question.order)).cycles(CyclePolicy::Group).plan().unwrap();
        prop_assert_eq!(plan.nodes().map(|node| node.artifact.id.clone()).collect::<BTreeSet<_>>(), names(&rebuilt));
        tell(&plan);
        let told: BTreeSet<BTreeSet<_>> =
            plan.cycles().iter().map(|cycle| cycle.members.iter().cloned().collect()).collect();
        prop_assert_eq!(told, cycles.iter().map(names).collect());
        for &(parent, child) in question.edges.iter().filter(|edge| rebuilt.contains(&edge.0) && rebuilt.contains(&edge.1)) {
            let (above, below) = (plan.node(&name(parent)).unwrap(), plan.node(&name(child)).unwrap());
            let together = parent == child || cycles.iter().any(|it| it.contains(&parent) && it.contains(&child));
            prop_assert_eq!(plan.needs(below).any(|node| node.artifact.id == name(parent)), !together);
            prop_assert!(together || above.rank >= above.estimate + below.rank);
            prop_assert_eq!(above.wave.cmp(&below.wave), if together { Ordering::Equal } else { Ordering::Less });
        }
    }

    #[test]
    fn what_is_broken_would_close_a_cycle(question in question(true)) {
        let rebuilt = question.rebuilt();
        let planner = question.graph(&question.order);
        let plan = question.ask(&planner).cycles(CyclePolicy::Break(EdgeKinds::ALL)).plan().unwrap();
        prop_assert_eq!(plan.nodes().map(|node| node.artifact.id.clone()).collect::<BTreeSet<_>>(), names(&rebuilt));
        tell(&plan);
        let broken: BTreeSet<_> = plan.cycles().iter().flat_map(|cycle| &cycle.broken).cloned().collect();
        let kept = question.edges.iter().copied().filter(|(parent, child)| !broken.contains(&(name(*child), name(*parent))));
        let kept = Question { edges: kept.collect(), ..question.clone() };
        prop_assert_eq!(kept.cycles(&rebuilt), BTreeSet::new());
        for (child, parent) in &broken {
            let number = |id: &ArtifactId| (0..ARTIFACTS).find(|number| name(*number) == *id).unwrap();
            prop_assert!(kept.within(&rebuilt).reach(number(child)).contains(&number(parent)), "{parent} could be waited for");
        }
        for &(parent, child) in kept.edges.iter().filter(|edge| edge.0 != edge.1) {
            if rebuilt.contains(&parent) && rebuilt.contains(&child) {
                prop_assert!(plan.node(&name(parent)).unwrap().wave < plan.node(&name(child)).unwrap().wave);
            }
        }
        let hard = question.ask(&planner).cycles(CyclePolicy::Break(EdgeKind::Link.into())).plan();
        prop_assert_eq!(hard.is_err(), !question.cycles(&rebuilt).is_empty(), "parent images are always waited for");
    }

    #[test]
    fn without_dependents_only_what_was_named_is_rebuilt(question in question(false)) {
        let graph = question.graph(&question.order);
        let plan = question.ask(&graph).without_dependents().plan().unwrap();
        let expected = question.asked.iter().filter(|number| question.buildable[**number] && question.allowed[**number]);
        let planned: BTreeSet<_> = plan.nodes().map(|node| node.artifact.id.clone()).collect();
        prop_assert_eq!(planned, expected.map(|number| name(*number)).collect::<BTreeSet<_>>());
        for number in question.asked.iter().filter(|number| plan.node(&name(**number)).is_none()) {
            prop_assert!(plan.excluded(&name(*number)).is_some());
        }
    }

    #[test]
    fn an_artifact_that_nobody_knows_is_an_error(question in question(false), asked in any::<bool>()) {
        let graph = question.graph(&question.order);
        let planner = question.ask(&graph);
        let planner = if asked { planner.rebuild("nobody") } else { planner.changed("nobody", None) };
        prop_assert_eq!(planner.plan(), Err(PlanError::Unknown("nobody".into())));
    }
}

/// Somebody confirms a plan by its hash, while builds end and teach how long they take.
#[test]
fn what_is_learnt_about_durations_does_not_change_the_name_of_a_plan() {
    let graph = small();
    let planner = || graph.planner().changed("debian:12", None);
    let took = |minutes: u64| Observation {
        artifact: "node:22".into(),
        kind: ArtifactKind::Image,
        duration: Duration::from_secs(60 * minutes),
    };
    let learnt = planner().estimates(&[took(77)].into_iter().collect()).plan().unwrap();
    let plan = planner().plan().unwrap();
    assert_eq!(learnt.node(&"node:22".into()).unwrap().estimate, Duration::from_secs(77 * 60));
    assert!(learnt.critical_path() > plan.critical_path());
    assert_eq!(learnt.hash(), plan.hash());
    assert_ne!(planner().rebuild("node:22").plan().unwrap().hash(), plan.hash());
}

#[test]
fn a_change_is_carried_along_some_edges_and_not_too_far() {
    let packages =
        ["zlib", "curl", "git", "cargo"].map(|id| Artifact::new(id, ArtifactKind::Rpm).with_source(id, None));
    let dependencies = [
        ("curl", "zlib", EdgeKind::Link),
        ("git", "curl", EdgeKind::Link),
        ("git", "zlib", EdgeKind::Link),
        ("cargo", "curl", EdgeKind::Link),
        ("cargo", "git", EdgeKind::BuildDependency),
    ];
    let dependencies = dependencies.map(|(child, parent, kind)| (child.into(), parent.into(), kind));
    let graph = ArtifactGraph::of(packages, dependencies).unwrap();
    let names = |planner: Planner<'_>| {
        let plan = planner.plan().unwrap();
        plan.waves()
            .map(|wave| wave.iter().map(|node| node.artifact.id.to_string()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let change = || graph.planner().changed("zlib", None);
    assert_eq!(names(change()), [vec!["curl"], vec!["git"], vec!["cargo"]]);
    assert_eq!(names(change().along(EdgeKind::Link)), [vec!["curl"], vec!["cargo", "git"]]);
    assert_eq!(names(change().along(EdgeKind::Link).within(1)), [["curl"], ["git"]]);
    assert!(names(change().along(EdgeKind::BundleReference)).is_empty());
}

/// More than any stack has room for, if it is gone down one call each.
const DEEP: usize = 200_000;

fn chain() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    let name = |number: usize| ArtifactId::new(format!("a{number:06}"));
    for number in 0..=DEEP {
        graph.insert(Artifact::new(name(number), ArtifactKind::Rpm).with_source("here", None));
        if number > 0 {
            graph.depend(name(number), name(number - 1), EdgeKind::BuildDependency).unwrap();
        }
    }
    graph
}

#[test]
fn a_deep_chain_is_planned_explained_drawn_and_stored() {
    let plan = chain().plan(&["a000000".into()], &Policy::allow_all()).unwrap();
    assert_eq!((plan.len(), plan.waves().count()), (DEEP, DEEP));
    let last = ArtifactId::new(format!("a{DEEP:06}"));
    assert!(
        plan.explain(&last)
            .to_string()
            .ends_with(&format!(" -> … 199991 more … -> a199996 -> a199997 -> a199998 -> a199999 -> {last}"))
    );
    let drawn = plan.to_string();
    assert_eq!(drawn.lines().count(), 102);
    assert!(drawn.ends_with("└─ … 199900 more\n"), "{}", drawn.lines().last().unwrap());
    let stored = serde_json::to_vec(&plan).unwrap();
    assert_eq!(serde_json::from_slice::<Plan>(&stored).unwrap().hash(), plan.hash());
}

#[test]
fn a_deep_cycle_is_found() {
    let mut graph = chain();
    graph.depend("a000001", format!("a{DEEP:06}"), EdgeKind::BuildDependency).unwrap();
    let Err(PlanError::Cycle(cycle)) = graph.plan(&["a000000".into()], &Policy::allow_all()) else {
        panic!("the cycle is not found")
    };
    assert_eq!(cycle.members().len(), DEEP);
}

fn small() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    let image = |name: &str| Artifact::new(name, ArtifactKind::Image);
    for name in ["app:latest", "node:22", "python:3.12", "site:latest", "frozen"] {
        graph.insert(image(name).with_source(format!("images/{name}"), Some("4f2c")));
    }
    for name in ["debian:12", "vendor/agent", "pinned"] {
        graph.insert(image(name).with_digest("sha256:0f".parse().unwrap()));
    }
    for (child, parent, kind) in [
        ("python:3.12", "debian:12", EdgeKind::ParentImage),
        ("node:22", "debian:12", EdgeKind::ParentImage),
        ("app:latest", "python:3.12", EdgeKind::ParentImage),
        ("app:latest", "node:22", EdgeKind::BuilderStage),
        ("site:latest", "node:22", EdgeKind::ParentImage),
        ("site:latest", "vendor/agent", EdgeKind::RuntimeContent),
        ("vendor/agent", "debian:12", EdgeKind::ParentImage),
        ("frozen", "vendor/agent", EdgeKind::ParentImage),
    ] {
        graph.depend(child, parent, kind).unwrap();
    }
    let text = "it names debian:12 by digest".to_owned();
    let note = Note { parent: "debian:12".into(), code: "pinned_by_digest".into(), text };
    graph.note(&"pinned".into(), note).unwrap();
    graph
}

#[test]
fn a_note_of_the_catalog_becomes_an_exclusion() {
    let plan = small().plan(&["debian:12".into()], &Policy::allow_all()).unwrap();
    assert_eq!(plan.excluded(&"pinned".into()).unwrap().code, "pinned_by_digest");
    let plan = small().plan(&["vendor/agent".into()], &Policy::allow_all()).unwrap();
    assert_eq!(plan.excluded(&"pinned".into()), None, "nothing that it notes has changed");
}

#[test]
fn a_plan_is_drawn_as_a_tree() {
    let plan = small().plan(&["debian:12".into()], &Policy::allow_all()).unwrap();
    insta::assert_snapshot!(plan.to_string(), @r#"
    debian:12 changed
    ├─ node:22
    │  └─ site:latest
    └─ python:3.12
       └─ app:latest (also follows node:22)
    not rebuilt:
       frozen — parent_not_rebuilt: it would only follow vendor/agent, which is not rebuilt
       pinned — pinned_by_digest: it names debian:12 by digest
       vendor/agent — no_recipe: the catalog has no recipe for it: somebody else builds it
    "#);
}

/// The stored form: a change here is a migration.
#[test]
fn a_plan_keeps_its_stored_form() {
    let mut graph = small();
    graph.remove(&"app:latest".into());
    graph.remove(&"site:latest".into());
    let node = graph.get(&"node:22".into()).unwrap().clone().with_parameter("tags", ["a", "b"]);
    graph.insert(node.with_estimate(Duration::from_millis(1500)).with_system("builder"));
    graph.remove(&"python:3.12".into());
    let plan = graph.planner().changed("debian:12", Some("sha256:ab".parse().unwrap())).plan().unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap(), @r#"
    {
      "version": 2,
      "changed": {
        "debian:12": {
          "digest": "sha256:ab"
        }
      },
      "nodes": {
        "node:22": {
          "artifact": {
            "id": "node:22",
            "kind": "image",
            "system": "builder",
            "source": {
              "location": "images/node:22",
              "revision": "4f2c"
            },
            "parameters": {
              "tags": [
                "a",
                "b"
              ]
            },
            "estimate": {
              "secs": 1,
              "nanos": 500000000
            }
          },
          "reason": "directly_affected",
          "because": [
            "debian:12"
          ],
          "parents": [
            {
              "id": "debian:12",
              "kinds": [
                "parent_image"
              ],
              "digest": "sha256:ab"
            }
          ],
          "wave": 0,
          "estimate": {
            "secs": 1,
            "nanos": 500000000
          },
          "rank": {
            "secs": 1,
            "nanos": 500000000
          }
        }
      },
      "excluded": {
        "frozen": {
          "code": "parent_not_rebuilt",
          "text": "it would only follow vendor/agent, which is not rebuilt",
          "follows": "vendor/agent"
        },
        "pinned": {
          "code": "pinned_by_digest",
          "text": "it names debian:12 by digest"
        },
        "vendor/agent": {
          "code": "no_recipe",
          "text": "the catalog has no recipe for it: somebody else builds it"
        }
      }
    }
    "#);
}

/// `app` and `tool` take packages from `updates`, which takes some from `mirror`; `site` is built
/// on `app`.
fn with_repositories() -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for name in ["app", "site", "tool"] {
        graph.insert(Artifact::new(name, ArtifactKind::Image).with_source(name, None));
    }
    for name in ["updates", "mirror"] {
        graph.insert(Artifact::new(name, ArtifactKind::Repository).with_source(name, None));
    }
    graph.insert(Artifact::new("vendor", ArtifactKind::Repository));
    for (child, parent, kind) in [
        ("app", "base", EdgeKind::ParentImage),
        ("site", "app", EdgeKind::ParentImage),
        ("app", "updates", EdgeKind::Repository),
        ("tool", "updates", EdgeKind::Repository),
        ("app", "vendor", EdgeKind::Repository),
        ("updates", "mirror", EdgeKind::Repository),
    ] {
        graph.depend(child, parent, kind).unwrap();
    }
    graph
}

#[test]
fn repositories_are_prepared_for_those_that_take_packages_from_them() {
    let graph = with_repositories();
    let plan = graph.planner().changed("base", None).plan().unwrap();
    let waves: Vec<Vec<_>> =
        plan.waves().map(|wave| wave.iter().map(|node| node.artifact.id.as_str()).collect()).collect();
    assert_eq!(
        waves,
        [vec!["mirror"], vec!["updates"], vec!["app"], vec!["site"]],
        "and not for tool, nor what has no recipe"
    );
    let updates = plan.node(&"updates".into()).unwrap();
    assert_eq!(updates.reason, RebuildReason::Dependency);
    assert_eq!(updates.asked.as_ref().unwrap().code, "prerequisite");
    tell(&plan);

    let only_images = serde_json::json!({ "allow": [{ "artifact": "app|site|tool" }] });
    let only_images: Policy = serde_json::from_value(only_images).unwrap();
    assert_eq!(
        graph.planner().changed("base", None).policy(&only_images).plan().unwrap().len(),
        4,
        "no policy is asked"
    );
}

#[test]
fn a_repository_that_changed_or_is_not_wanted_is_not_prepared() {
    let graph = with_repositories();
    let plan = graph.planner().changed("updates", None).plan().unwrap();
    let ids: Vec<_> = plan.nodes().map(|node| node.artifact.id.as_str()).collect();
    assert_eq!(ids, ["app", "site", "tool"]);
    let why = freshmaker::Reason::new("by_hand", "it is there");
    let plan = graph.planner().changed("base", None).exclude("updates", why).plan().unwrap();
    let ids: Vec<_> = plan.nodes().map(|node| node.artifact.id.as_str()).collect();
    assert_eq!(ids, ["app", "site"]);
    let images = EdgeKinds::from_iter([EdgeKind::ParentImage]);
    assert_eq!(
        graph.planner().changed("base", None).along(images).plan().unwrap().len(),
        2,
        "nor where it does not count"
    );
}
