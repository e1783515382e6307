use crate::graph::links::Links;
use std::collections::BTreeMap;

/// The distance of neighbours when there is room for it. What is moved needs places between.
const DISTANCE: u64 = 1 << 32;

/// A topological order of components that is corrected after each new edge.
///
/// Places are numbers with gaps, as in the list labels of Dietz and Sleator (1987): to move a
/// component is to give it a number between two others, and all numbers are spread again when a gap
/// is too small.
///
/// If a new edge leads backwards, from a place to an earlier one, only components between the two
/// places can be wrong: the affected region of Pearce and Kelly (2006). Their algorithm searches it
/// from both ends and permutes what it finds. Here the two searches take turns, edge by edge, and
/// stop when one side is exhausted, as in the two-way search of Haeupler, Kavitha, Mathew, Sen and
/// Tarjan (2012); then only that side is moved, behind or in front of the other end. Cost: O(k log
/// k) if the shorter side has k edges and components; O(n log n) when all places are spread, which
/// is necessary after about 32 insertions into the same gap.
///
/// *Invariant:* after each call every edge between components leads from a lower to a higher place,
/// and no two components have the same place.
///
/// A worked example, with components a, b, c, d at places 1 to 4, the edges a-b and c-d, and the
/// new edge d-a:
///
/// 1. d is behind a, so the edge leads backwards. The region is everything from a to d.
/// 2. From a, forwards: b. From d, backwards: c. Both sides then have no further edge; the forward
///    side was asked first and is exhausted first, with a and b. No node is on both sides: no
///    cycle.
/// 3. a and b are moved behind d, in this order: c, d, a, b.
/// 4. If the edge b-c had been there, the searches would have met: all four are one cycle, in the
///    place of d.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// The place of each component.
    places: Vec<u64>,
    by_place: BTreeMap<u64, u32>,
    /// Where a search has been, while it runs.
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    None,
    After,
    Before,
    Cycle,
}

/// When a search from both ends may stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// As soon as a path is found.
    Met,
    /// Not before one side has found all there is.
    Exhausted,
}

impl Order {
    /// Gives a component the last place. Cost: O(log n).
    pub(super) fn append(&mut self, component: u32) {
        let last = |order: &Self| order.by_place.last_key_value().map_or(0, |(place, _)| *place);
        if last(self) > u64::MAX - DISTANCE {
            self.spread();
        }
        self.set(component, last(self) + DISTANCE);
    }

    pub(super) fn place(&self, component: u32) -> u64 {
        self.places[component as usize]
    }

    /// Returns the components in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.by_place.values().copied()
    }

    /// Takes the place of a component away.
    pub(super) fn forget(&mut self, component: u32) {
        self.by_place.remove(&self.places[component as usize]);
    }

    /// Gives the place of a component to the one that has taken it in.
    pub(super) fn rename(&mut self, component: u32, into: u32) {
        self.set(into, self.place(component));
    }

    /// Puts the parts of a component where it was; one part keeps its number and its place.
    pub(super) fn divide(&mut self, whole: u32, parts: &[u32]) {
        let at = parts.iter().position(|part| *part == whole).unwrap_or_default();
        self.put_before(whole, &parts[..at]);
        self.put_after(whole, parts.get(at + 1..).unwrap_or_default());
    }

    /// Gives components, in this order, places in front of another one and behind everything else
    /// that is in front of it.
    fn put_before(&mut self, component: u32, moved: &[u32]) {
        let step = self.room(component, moved.len(), |order, place| {
            place - order.by_place.range(..place).next_back().map_or(0, |(before, _)| *before)
        });
        let place = self.place(component);
        for (moved, distance) in moved.iter().rev().zip(1..) {
            self.set(*moved, place - distance * step);
        }
    }

    /// Gives components, in this order, places behind another one and in front of everything else
    /// that is behind it.
    fn put_after(&mut self, component: u32, moved: &[u32]) {
        let step = self.room(component, moved.len(), |order, place| {
            let end = place.saturating_add(DISTANCE);
            order.by_place.range(place + 1..).next().map_or(end, |(after, _)| *after) - place
        });
        let place = self.place(component);
        for (moved, distance) in moved.iter().zip(1..) {
            self.set(*moved, place + distance * step);
        }
    }

    /// Returns the distance at which so many components fit between this one and its neighbour,
    /// after spreading all places if there is no room.
    fn room(&mut self, component: u32, moved: usize, between: impl Fn(&Self, u64) -> u64) -> u64 {
        let needed = moved as u64 + 1;
        if between(self, self.place(component)) < needed {
            self.spread();
        }
        between(self, self.place(component)) / needed
    }

    /// Gives all components new places at equal distances. Cost: O(n log n).
    fn spread(&mut self) {
        let components: Vec<_> = std::mem::take(&mut self.by_place).into_values().collect();
        // There are fewer components than 32 bits can number.
        for (component, number) in components.into_iter().zip(1..) {
            self.set(component, number * DISTANCE);
        }
    }

    fn set(&mut self, component: u32, place: u64) {
        let size = self.places.len().max(component as usize + 1);
        self.places.resize(size, 0);
        self.marks.resize(size, Mark::None);
        self.places[component as usize] = place;
        self.by_place.insert(place, component);
    }

    /// Whether a path leads from one component to another.
    pub(super) fn reaches(&mut self, edges: &Links<u32>, from: u32, to: u32) -> bool {
        self.place(from) <= self.place(to) && self.search(edges, from, to, Until::Met).is_none()
    }

    /// Corrects the order after an edge was added. If the edge closes a cycle, returns the
    /// components that are now one, of which only the first has a place; else nothing.
    pub(super) fn insert(&mut self, edges: &Links<u32>, above: u32, below: u32) -> Vec<u32> {
        if self.place(above) < self.place(below) {
            return Vec::new();
        }
        let Some((side, mut found)) = self.search(edges, below, above, Until::Exhausted) else { return Vec::new() };
        found.sort_unstable_by_key(|component| self.place(*component));
        let (cycle, moved) = if side == Mark::Before {
            // Everything here leads to the start of the edge; what the end of it leads to is in the
            // cycle.
            self.part(found, below, |component, marks| {
                edges.parents(component).any(|(parent, _)| marks[parent as usize] == Mark::Cycle)
            })
        } else {
            found.reverse();
            let (cycle, mut moved) = self.part(found, above, |component, marks| {
                edges.children(component).any(|(child, _)| marks[child as usize] == Mark::Cycle)
            });
            moved.reverse();
            (cycle, moved)
        };
        // The first of the cycle is the end of the edge from which everything was moved away.
        cycle.iter().skip(1).chain(&moved).for_each(|component| self.forget(*component));
        if side == Mark::Before {
            self.put_before(below, &moved);
        } else {
            self.put_after(above, &moved);
        }
        cycle
    }

    /// Divides components, in the order in which they follow from each other, into those of a
    /// cycle, which begins with `first`, and the others.
    fn part(&mut self, found: Vec<u32>, first: u32, joined: impl Fn(u32, &[Mark]) -> bool) -> (Vec<u32>, Vec<u32>) {
        let (mut cycle, mut others) = (Vec::new(), Vec::new());
        for component in found {
            if component == first || joined(component, &self.marks) {
                self.marks[component as usize] = Mark::Cycle;
                cycle.push(component);
            } else {
                others.push(component);
            }
        }
        cycle.iter().for_each(|component| self.marks[*component as usize] = Mark::None);
        (cycle, others)
    }

    /// Searches paths from one component to a later one, from both ends in turn, edge by edge.
    ///
    /// Returns `None` if a path was found and that is enough. Else returns the side that was
    /// exhausted first, and all that it has found: what comes after the start, or before the
    /// target.
    fn search(&mut self, edges: &Links<u32>, from: u32, to: u32, until: Until) -> Option<(Mark, Vec<u32>)> {
        let (first, last) = (self.place(from), self.place(to));
        let mut found = [vec![from], vec![to]];
        let mut rows = [edges.children(from), edges.parents(to)];
        let (mut next, mut turn) = ([0, 0], 0);
        self.marks[from as usize] = Mark::After;
        self.marks[to as usize] = Mark::Before;
        let exhausted = loop {
            let (side, other) = if turn == 0 { (Mark::After, Mark::Before) } else { (Mark::Before, Mark::After) };
            let Some((component, _)) = rows[turn].next() else {
                next[turn] += 1;
                let Some(&component) = found[turn].get(next[turn]) else { break Some(turn) };
                if component == [to, from][turn] {
                    // Behind the target and before the start nothing is looked for.
                    continue;
                }
                rows[turn] = if turn == 0 { edges.children(component) } else { edges.parents(component) };
                continue;
            };
            let place = self.places[component as usize];
            let mark = &mut self.marks[component as usize];
            if (first..=last).contains(&place) && *mark == Mark::None {
                *mark = side;
                found[turn].push(component);
            } else if *mark == other {
                if until == Until::Met {
                    break None;
                }
                // Each side finds it, but only once.
                *mark = Mark::Cycle;
                found[turn].push(component);
            }
            turn = 1 - turn;
        };
        found.iter().flatten().for_each(|component| self.marks[*component as usize] = Mark::None);
        let turn = exhausted?;
        let [after, before] = found;
        Some(if turn == 0 { (Mark::After, after) } else { (Mark::Before, before) })
    }
}
