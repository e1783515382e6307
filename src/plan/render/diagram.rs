//! A diagram for a page: boxes with states and links, whole, as a neighbourhood, or only what
//! failed, waits or is critical.

use crate::graph::Csr;
use crate::plan::{Plan, RebuildReason};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Line, Takes, embedded};

/// What became of an artifact, in the order in which a person should read it. A page shows it as a
/// word, as a class, and never as a colour alone.
///
/// A build has the mark of its state: `Mark::from(state)`. [`Client::marks`] counts those of an
/// event, and a [`Diagram`] draws them.
///
/// [`Client::marks`]: crate::client::Client::marks
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mark {
    /// Its build failed, or a build that it needs did.
    Failed,
    /// It is being submitted, built, verified or stopped.
    Running,
    /// It waits for other builds, for its turn, or for another try.
    Waiting,
    /// It was built.
    Done,
    /// It did not have to be built, because its inputs are those of its latest output.
    Unchanged,
    /// Its build was cancelled.
    Canceled,
    /// It is what changed. No build has this mark.
    Changed,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Failed, Self::Running, Self::Waiting, Self::Done, Self::Unchanged, Self::Canceled, Self::Changed];

    /// Returns the word, which is also the class: `failed`, `running`, `waiting`, `done`,
    /// `unchanged`, `canceled` or `changed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Canceled => "canceled",
            Self::Changed => "changed",
        }
    }
}

/// A box of a [`Diagram`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiagramBox {
    /// By which the box is found: unique in the diagram.
    pub key: String,
    /// The text; it is cut where it is like those of other boxes.
    pub name: String,
    /// How far it is.
    pub mark: Option<Mark>,
    /// Whether it is on the critical path.
    pub critical: bool,
    /// What a click leads to: a path, or an address with `http` or `https`. Others are left out.
    pub href: Option<String>,
    /// Further lines for those who point at the box. At most 8 lines of 200 characters are shown.
    pub details: Vec<String>,
}

impl DiagramBox {
    /// Makes a box with this key and this text.
    #[must_use]
    pub fn new(key: impl Into<String>, name: impl Into<String>) -> Self {
        Self { key: key.into(), name: name.into(), ..Self::default() }
    }
}

/// Boxes and arrows for a page, in columns: each box right of everything that it waits for.
///
/// [`Plan::diagram`] makes one of a plan, [`Diagram::of_builds`] one of the builds of an event, and
/// [`add`](Self::add) and [`connect`](Self::connect) any other. Then [`mark`](Self::mark) lays
/// states over it, [`link`](Self::link) makes links of the boxes, and [`focus`](Self::focus),
/// [`only`](Self::only) and [`wave`](Self::wave) leave out what was not asked for.
///
/// ```
/// use freshmaker::plan::{Diagram, DiagramBox, Mark};
///
/// let mut diagram = Diagram::new("event 7");
/// for (key, name) in [("b1", "debian"), ("b2", "app"), ("b3", "site")] {
///     diagram.add(DiagramBox::new(key, name));
/// }
/// diagram.connect("b1", "b2");
/// diagram.connect("b2", "b3");
/// diagram.mark(|one| (one.key == "b1").then_some(Mark::Running).or(Some(Mark::Waiting)));
/// diagram.link(|one| Some(format!("/builds/{}", &one.key[1..])));
/// let svg = diagram.clone().focus("b1", 1).svg().to_string();
/// assert!(svg.contains(r#"<a id="box-b1" class="running" href="/builds/1""#) && !svg.contains("site"));
/// assert_eq!(diagram.clone().wave(2).boxes()[0].name, "site");
/// assert_eq!(diagram.only(&[Mark::Running], false).len(), 1);
/// ```
///
/// # Form
///
/// [`svg`](Self::svg) writes a picture that is part of a page. It has no style of its own, no
/// attribute `style` and no script, so a strict Content-Security-Policy lets it be:
/// [`STYLE`](Self::STYLE) goes into the style sheet of the page. Boxes have their
/// [marks](Mark::as_str) as classes and as words. A picture with links is a `group` for screen
/// readers, else an `img`; both have a title and a description, and a page should list the same
/// boxes as text.
///
/// Up to [`BOXES_MAX`](Self::BOXES_MAX) boxes are drawn whole. Of more, each column is one box that
/// counts its marks. So the size is bounded, however large the diagram is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagram {
    pub(super) title: String,
    pub(super) boxes: Vec<DiagramBox>,
    pub(super) arrows: BTreeSet<(u32, u32)>,
    keys: BTreeMap<String, u32>,
    pub(super) id_prefix: String,
    pub(super) wave_links: Vec<(usize, String)>,
}

impl Diagram {
    /// The most boxes of a diagram that is drawn whole.
    pub const BOXES_MAX: usize = 400;

    /// The most columns that are drawn; what is further to the right is one box.
    pub const WAVES_MAX: usize = 60;

    /// The most arrows that are drawn; the others are counted.
    pub const ARROWS_MAX: usize = 2_000;

    /// The style sheet: classes below `.fm-diagram`, whose colours are custom properties that a
    /// page may set itself, with others in the dark.
    pub const STYLE: &'static str = include_str!("diagram.css");

    /// Makes a diagram without boxes. The title is read aloud and is not drawn.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), id_prefix: "box-".to_owned(), ..Self::default() }
    }

    /// Sets what the ids of elements begin with, `box-` by default, in case a page has several
    /// pictures. Only letters, digits, `-` and `_` are taken over.
    #[must_use]
    pub fn with_id_prefix(mut self, prefix: &str) -> Self {
        self.id_prefix = prefix.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
        self
    }

    /// Adds a box. A box whose key is there already changes nothing.
    pub fn add(&mut self, one: DiagramBox) {
        if let Ok(number) = u32::try_from(self.boxes.len())
            && !self.keys.contains_key(&one.key)
        {
            self.keys.insert(one.key.clone(), number);
            self.boxes.push(one);
        }
    }

    /// Adds an arrow from what is waited for to what waits. Unknown keys change nothing.
    pub fn connect(&mut self, from: &str, to: &str) {
        if let (Some(&from), Some(&to)) = (self.keys.get(from), self.keys.get(to))
            && from != to
        {
            self.arrows.insert((from, to));
        }
    }

    /// Returns the boxes, in the order in which they were added.
    #[must_use]
    pub fn boxes(&self) -> &[DiagramBox] {
        &self.boxes
    }

    /// Returns how many boxes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Sets how far each box is; `None` leaves its mark.
    pub fn mark(&mut self, mark: impl Fn(&DiagramBox) -> Option<Mark>) {
        self.boxes.iter_mut().for_each(|one| one.mark = mark(one).or(one.mark));
    }

    /// Makes a link of each box for which this returns an address.
    pub fn link(&mut self, href: impl Fn(&DiagramBox) -> Option<String>) {
        self.boxes.iter_mut().for_each(|one| one.href = href(one).or(one.href.take()));
    }

    /// Makes links of the boxes that stand for a whole column, by its number from 0 on, in case
    /// there are too many boxes.
    pub fn link_waves(&mut self, href: impl Fn(usize) -> Option<String>) {
        self.wave_links = (0..=Self::WAVES_MAX).filter_map(|wave| Some((wave, href(wave)?))).collect();
    }

    /// Keeps the neighbourhood of a box: what leads to it, and what it leads to, over at most
    /// `depth` arrows. Empty if the key is unknown. Cost: linear in the diagram.
    #[must_use]
    pub fn focus(self, key: &str, depth: usize) -> Self {
        let Some(&middle) = self.keys.get(key) else { return self.keep(|_, _| false) };
        let graph = self.graph();
        let mut kept = BTreeSet::from([middle]);
        for beside in [Csr::parents, Csr::children] {
            let (mut seen, mut level) = (BTreeSet::from([middle]), vec![middle]);
            for _ in 0..depth {
                let next = level.iter().flat_map(|node| beside(&graph, *node)).copied();
                level = next.filter(|node| seen.insert(*node)).collect();
                if level.is_empty() {
                    break;
                }
            }
            kept.extend(seen);
        }
        self.keep(|number, _| kept.contains(&number))
    }

    /// Keeps the boxes with one of these marks, and those on the critical path if `critical`.
    #[must_use]
    pub fn only(self, marks: &[Mark], critical: bool) -> Self {
        self.keep(|_, one| one.mark.is_some_and(|mark| marks.contains(&mark)) || critical && one.critical)
    }

    /// Keeps the boxes of one column, by its number from 0 on. [`WAVES_MAX`](Self::WAVES_MAX)
    /// stands for all columns from there on, as in the picture. Cost: O((n + m) log n).
    #[must_use]
    pub fn wave(self, wave: usize) -> Self {
        let waves = self.waves();
        self.keep(|number, _| waves[number as usize].min(Self::WAVES_MAX) == wave)
    }

    /// Returns what the picture calls a column, by its number from 0 on: `what changed` if that is
    /// all that is in it, else the wave. Waves are those of the [plan](crate::Plan::waves), from 1
    /// on.
    #[must_use]
    pub fn wave_name(&self, wave: usize) -> String {
        self.name_of(wave, &self.waves())
    }

    /// The same, with the column of each box.
    pub(super) fn name_of(&self, wave: usize, waves: &[usize]) -> String {
        let mut first = self.boxes.iter().zip(waves).filter(|(_, wave)| **wave == 0);
        let begins_with_change = first.all(|(one, _)| one.mark == Some(Mark::Changed));
        match wave {
            Self::WAVES_MAX.. => "later waves".to_owned(),
            0 if begins_with_change => "what changed".to_owned(),
            wave => format!("wave {}", wave + usize::from(!begins_with_change)),
        }
    }

    /// Returns the column of each box: right of everything that leads to it.
    pub(super) fn waves(&self) -> Vec<usize> {
        let graph = self.graph();
        let mut waves = vec![0; self.boxes.len()];
        for node in graph.topological_order() {
            for child in graph.children(node) {
                waves[*child as usize] = waves[*child as usize].max(waves[node as usize] + 1);
            }
        }
        waves
    }

    fn keep(self, keep: impl Fn(u32, &DiagramBox) -> bool) -> Self {
        let mut kept = Self { boxes: Vec::new(), keys: BTreeMap::new(), arrows: BTreeSet::new(), ..self };
        let mut numbers = BTreeMap::new();
        for (number, one) in (0..).zip(self.boxes) {
            if keep(number, &one) {
                numbers.insert(number, u32::try_from(kept.boxes.len()).unwrap_or(u32::MAX));
                kept.add(one);
            }
        }
        let ends = |(from, to): &(u32, u32)| Some((*numbers.get(from)?, *numbers.get(to)?));
        kept.arrows = self.arrows.iter().filter_map(ends).collect();
        kept
    }

    fn graph(&self) -> Csr {
        Csr::of(self.boxes.len(), &self.arrows.iter().copied().collect::<Vec<_>>())
    }

    /// Returns something that writes the diagram as SVG when it is displayed. Nothing is computed
    /// before.
    #[must_use = "nothing is written yet"]
    pub fn svg(&self) -> impl fmt::Display + '_ {
        Svg(self)
    }
}

struct Svg<'a>(&'a Diagram);

impl fmt::Display for Svg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        embedded::write(self.0, f)
    }
}

impl Plan {
    /// Returns the plan as a diagram for a page: what changed and what is built, by the names of
    /// the artifacts.
    ///
    /// ```
    /// use freshmaker::plan::Mark;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("debian", ArtifactKind::Image));
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// graph.depend("app", "debian", EdgeKind::ParentImage)?;
    /// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
    /// let diagram = plan.diagram();
    /// assert_eq!((diagram.len(), diagram.boxes()[0].mark), (2, Some(Mark::Changed)));
    /// assert!(diagram.svg().to_string().starts_with("<svg "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn diagram(&self) -> Diagram {
        let mut diagram = Diagram::new("Plan of a rebuild");
        let critical: BTreeSet<_> = self.critical_builds().iter().map(|node| &node.artifact.id).collect();
        for (id, _) in self.changed().filter(|(id, _)| self.node(id).is_none()) {
            let one = DiagramBox::new(id.as_str(), id.as_str());
            diagram.add(DiagramBox { mark: Some(Mark::Changed), ..one });
        }
        let first = diagram.len();
        for node in self.nodes() {
            let id = node.artifact.id.as_str();
            let word = match node.reason {
                RebuildReason::DirectlyAffected => "directly affected",
                RebuildReason::Dependency => "dependency",
                RebuildReason::Unknown => "unknown reason",
            };
            let mut details =
                vec![format!("rebuilt: {word}"), format!("takes about {}", Takes(&[node], node.estimate))];
            details.extend(node.asked.iter().map(|asked| Line(&asked.text).to_string()));
            let critical = critical.contains(&node.artifact.id);
            diagram.add(DiagramBox { critical, details, ..DiagramBox::new(id, id) });
        }
        let number = |place: usize| u32::try_from(first + place).unwrap_or(u32::MAX);
        for (place, node) in self.nodes().enumerate() {
            for parent in &node.parents {
                match self.nodes.find(&parent.id) {
                    None => diagram.connect(parent.id.as_str(), node.artifact.id.as_str()),
                    Some((before, of)) if of.wave < node.wave => {
                        diagram.arrows.insert((number(before), number(place)));
                    }
                    Some(_) => {}
                }
            }
        }
        diagram
    }
}
