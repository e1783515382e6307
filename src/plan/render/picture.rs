//! What a picture of a plan shows, within its bounds, whatever language it is drawn in.

use super::names::{labels, short};
use super::{Line, Takes};
use crate::artifact::ArtifactId;
use crate::plan::{Exclusion, Plan, PlanNode, RebuildReason};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How much is drawn. What is beyond is counted.
pub(super) struct Limits {
    pub(super) boxes: usize,
    pub(super) waves: usize,
    pub(super) arrows: usize,
    pub(super) out: usize,
    /// Cells of a label.
    pub(super) label: usize,
}

/// The most parents that a tooltip names; more are counted.
const REASONS_TOLD: usize = 5;

/// What is drawn of a plan, before anything is said about where.
///
/// *Invariant:* arrows name boxes that exist, there is at most one arrow for each ordered pair, and
/// layers cover the boxes without gaps.
pub(super) struct Picture<'a> {
    pub(super) boxes: Vec<Tile<'a>>,
    pub(super) layers: Vec<Layer>,
    pub(super) arrows: Vec<Arrow>,
    pub(super) arrows_hidden: usize,
    /// Candidates that are out.
    pub(super) out: Vec<Out<'a>>,
    pub(super) out_hidden: usize,
}

/// Boxes that are drawn beside each other: what changed, or a wave.
pub(super) struct Layer {
    pub(super) title: String,
    pub(super) boxes: std::ops::Range<usize>,
}

pub(super) struct Tile<'a> {
    pub(super) what: What<'a>,
    /// The text of the box.
    pub(super) label: String,
    pub(super) layer: usize,
    pub(super) critical: bool,
}

#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Changed(&'a ArtifactId),
    Build(&'a PlanNode),
    /// A number of boxes that are not drawn.
    Rest(usize),
}

/// From what changes to what is rebuilt because of it, as numbers of boxes.
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    /// On the critical path.
    Critical,
    Waits,
    /// Not waited for, because it closes a cycle.
    Broken,
}

pub(super) struct Out<'a> {
    pub(super) id: &'a ArtifactId,
    pub(super) label: String,
    pub(super) reason: &'a Exclusion,
    /// The other exclusion that it would only follow, if that is drawn as well.
    pub(super) follows: Option<usize>,
}

impl<'a> Picture<'a> {
    pub(super) fn of(plan: &'a Plan, limits: &Limits) -> Self {
        let (out, out_hidden) = out(plan, limits);
        let mut picture =
            Self { boxes: Vec::new(), layers: Vec::new(), arrows: Vec::new(), arrows_hidden: 0, out, out_hidden };
        let critical = plan.critical_builds();
        let place = picture.place(plan, limits, &critical);
        picture.connect(plan, limits, &critical, &place);
        picture.name(limits.label);
        picture
    }

    /// Gives all boxes their labels, which have to differ from each other.
    fn name(&mut self, room: usize) {
        let boxes = self.boxes.iter().filter_map(|tile| tile.what.id());
        let names: Vec<_> = boxes.chain(self.out.iter().map(|out| out.id)).map(ArtifactId::as_str).collect();
        let mut labels = labels(&names, room).into_iter();
        for tile in &mut self.boxes {
            tile.label = match tile.what {
                What::Rest(number) => format!("… {number} more"),
                What::Changed(_) | What::Build(_) => labels.next().unwrap_or_default(),
            };
        }
        self.out.iter_mut().zip(labels).for_each(|(out, label)| out.label = label);
    }

    /// Makes the boxes, layer by layer, and returns the box of everything that changed or is built,
    /// drawn or not.
    ///
    /// Each layer gets the same share of boxes, the largest one with which all layers keep within
    /// the limit; small layers are drawn whole. In a larger layer, builds of the critical path come
    /// first, then those with the highest rank.
    fn place(&mut self, plan: &'a Plan, limits: &Limits, critical: &[&'a PlanNode]) -> BTreeMap<&'a ArtifactId, usize> {
        let changed: Vec<_> = plan.changed().map(|(id, _)| id).filter(|id| plan.node(id).is_none()).collect();
        let waves: Vec<_> = plan.waves().collect();
        let drawn = waves.len().min(limits.waves);
        let sizes: Vec<_> = [changed.len()].into_iter().chain(waves[..drawn].iter().map(Vec::len)).collect();
        // The most for each layer with which all layers together keep within the limit: small ones
        // are drawn whole.
        let fits = |share: &usize| sizes.iter().map(|size| size.min(share)).sum::<usize>() <= limits.boxes;
        let share = (1..=limits.boxes).rev().find(fits).unwrap_or(1);
        let critical: BTreeSet<_> = critical.iter().map(|node| &node.artifact.id).collect();
        let mut place = BTreeMap::new();
        if !changed.is_empty() {
            let layer: Vec<_> = changed.into_iter().map(|id| (id, What::Changed(id))).collect();
            self.add_layer("changed".to_owned(), layer, share, &critical, &mut place);
        }
        for (number, mut wave) in waves[..drawn].iter().cloned().enumerate() {
            let title = format!("wave {}: {}", number + 1, count(wave.len(), "build"));
            wave.sort_by_key(|node| (!critical.contains(&node.artifact.id), Reverse(node.rank), &node.artifact.id));
            let layer: Vec<_> = wave.into_iter().map(|node| (&node.artifact.id, What::Build(node))).collect();
            self.add_layer(title, layer, share, &critical, &mut place);
        }
        let rest: Vec<_> = waves[drawn..].iter().flatten().map(|node| (&node.artifact.id, What::Build(node))).collect();
        if !rest.is_empty() {
            let title = format!("{}: {}", count(waves.len() - drawn, "more wave"), count(rest.len(), "build"));
            self.add_layer(title, rest, 0, &BTreeSet::new(), &mut place);
        }
        place
    }

    /// Draws the first `share` of these, and the others as one box if they are several.
    fn add_layer(
        &mut self,
        title: String,
        mut all: Vec<(&'a ArtifactId, What<'a>)>,
        share: usize,
        critical: &BTreeSet<&ArtifactId>,
        place: &mut BTreeMap<&'a ArtifactId, usize>,
    ) {
        let (first, layer) = (self.boxes.len(), self.layers.len());
        let hidden = all.split_off(if all.len() <= share + 1 { all.len() } else { share });
        all.sort_by_key(|(id, _)| *id);
        for (id, what) in all {
            place.insert(id, self.boxes.len());
            self.boxes.push(Tile { what, label: String::new(), layer, critical: critical.contains(id) });
        }
        if !hidden.is_empty() {
            place.extend(hidden.iter().map(|(id, _)| (*id, self.boxes.len())));
            let what = What::Rest(hidden.len());
            self.boxes.push(Tile { what, label: String::new(), layer, critical: false });
        }
        self.layers.push(Layer { title, boxes: first..self.boxes.len() });
    }

    fn connect(
        &mut self,
        plan: &'a Plan,
        limits: &Limits,
        critical: &[&PlanNode],
        place: &BTreeMap<&'a ArtifactId, usize>,
    ) {
        let chain: BTreeSet<_> = critical.windows(2).map(|pair| (&pair[0].artifact.id, &pair[1].artifact.id)).collect();
        // The best style of each pair, and whether the arrow decides on the wave of what it leads
        // to.
        let mut arrows: BTreeMap<(usize, usize), (Style, Reverse<bool>)> = BTreeMap::new();
        for node in plan.nodes() {
            let id = &node.artifact.id;
            for parent in &node.parents {
                let (Some(&from), Some(&to)) = (place.get(&parent.id), place.get(id)) else { continue };
                if from == to {
                    continue;
                }
                let wave = plan.node(&parent.id).map(|parent| parent.wave);
                let style = if wave.is_some_and(|wave| wave >= node.wave) {
                    Style::Broken
                } else if chain.contains(&(&parent.id, id)) {
                    Style::Critical
                } else {
                    Style::Waits
                };
                let rank = (style, Reverse(wave.map_or(0, |wave| wave.saturating_add(1)) == node.wave));
                arrows.entry((from, to)).and_modify(|best| *best = rank.min(*best)).or_insert(rank);
            }
        }
        let mut sorted: Vec<_> = arrows.into_iter().collect();
        if sorted.len() > limits.arrows {
            sorted.sort_by_key(|(pair, rank)| (*rank, *pair));
            self.arrows_hidden = sorted.len() - limits.arrows;
            sorted.truncate(limits.arrows);
            sorted.sort_by_key(|(pair, _)| *pair);
        }
        self.arrows = sorted.into_iter().map(|((from, to), (style, _))| Arrow { from, to, style }).collect();
    }
}

/// Returns the exclusions that are drawn, and how many are not. Causes come before what would only
/// follow them, in case not all can be drawn.
fn out<'a>(plan: &'a Plan, limits: &Limits) -> (Vec<Out<'a>>, usize) {
    let mut all: Vec<_> = plan.exclusions().map(|(id, reason)| (id, reason, plan.followed(reason))).collect();
    all.sort_by_key(|(id, _, follows)| (follows.is_some(), *id));
    let hidden = all.len().saturating_sub(limits.out);
    all.truncate(limits.out);
    let numbers: BTreeMap<_, _> = all.iter().enumerate().map(|(number, (id, ..))| (*id, number)).collect();
    let drawn = all.iter().map(|(id, reason, follows)| {
        let follows = follows.and_then(|(followed, _)| numbers.get(followed).copied());
        Out { id, label: String::new(), reason, follows }
    });
    (drawn.collect(), hidden)
}

impl<'a> What<'a> {
    fn id(self) -> Option<&'a ArtifactId> {
        match self {
            Self::Changed(id) => Some(id),
            Self::Build(node) => Some(&node.artifact.id),
            Self::Rest(_) => None,
        }
    }
}

impl Tile<'_> {
    /// Returns the sort of box, by the reason.
    pub(super) fn class(&self) -> &'static str {
        match self.what {
            What::Changed(_) => "changed",
            What::Build(node) if node.reason == RebuildReason::DirectlyAffected => "direct",
            What::Build(_) => "dependency",
            What::Rest(_) => "rest",
        }
    }

    /// Returns the whole name, the reason and the expected duration, one line each.
    pub(super) fn tooltip(&self) -> Vec<String> {
        match self.what {
            What::Changed(id) => vec![Line(id.as_str()).to_string(), "it changed".to_owned()],
            What::Rest(number) => vec![format!("{number} more, not drawn")],
            What::Build(node) => {
                let mut lines = vec![Line(node.artifact.id.as_str()).to_string()];
                let word = match node.reason {
                    RebuildReason::DirectlyAffected => "directly affected",
                    RebuildReason::Dependency => "dependency",
                    RebuildReason::Unknown => "unknown reason",
                };
                lines.push(format!("rebuilt: {word}"));
                lines.extend(node.asked.iter().map(|asked| Line(&asked.text).to_string()));
                if !node.because.is_empty() {
                    let names: Vec<_> =
                        node.because.iter().take(REASONS_TOLD).map(|id| short(id.as_str(), 60)).collect();
                    let more = node.because.len() - names.len();
                    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                    lines.push(format!("because of {}{more}", names.join(", ")));
                }
                lines.push(format!("takes about {}", Takes(&[node], node.estimate)));
                lines
            }
        }
    }
}

pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
