use crate::graph::links::Links;
use std::collections::BTreeMap;

/// The distance of neighbours when there is room for it. Components that are divided need places between.
const DISTANCE: u64 = 1 << 32;

/// An order of components in which each edge leads forwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// The place of each component.
    places: Vec<u64>,
    by_place: BTreeMap<u64, u32>,
    /// Which searches have been at a component, while an edge is inserted.
    marks: Vec<Marks>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    after: bool,
    before: bool,
}

impl Order {
    /// Gives a component the last place.
    pub(super) fn append(&mut self, component: u32) {
        let last = self.by_place.last_key_value().map_or(0, |(place, _)| *place);
        let place = last.checked_add(DISTANCE).unwrap_or_else(|| {
            self.spread();
            (self.by_place.len() as u64 + 1) * DISTANCE
        });
        self.set(component, place);
    }

    pub(super) fn place(&self, component: u32) -> u64 {
        self.places[component as usize]
    }

    /// The components in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.by_place.values().copied()
    }

    /// Takes the place of a component away.
    pub(super) fn forget(&mut self, component: u32) {
        self.by_place.remove(&self.places[component as usize]);
    }

    /// A component has become part of another one, which gets its place.
    pub(super) fn rename(&mut self, component: u32, into: u32) {
        self.set(into, self.place(component));
    }

    /// Puts the parts of a component, of which one keeps its number, where it was.
    pub(super) fn divide(&mut self, whole: u32, parts: &[u32]) {
        let needed = parts.len() as u64 + 1;
        let mut room = self.room(whole);
        if room.1 - room.0 < needed {
            self.spread();
            room = self.room(whole);
        }
        self.forget(whole);
        let step = ((room.1 - room.0) / needed).max(1);
        for (part, number) in parts.iter().zip(1..) {
            self.set(*part, room.0 + step * number);
        }
    }

    /// The places next to that of a component.
    fn room(&self, component: u32) -> (u64, u64) {
        let place = self.places[component as usize];
        let before = self.by_place.range(..place).next_back().map_or(0, |(place, _)| *place);
        let after = self.by_place.range(place + 1..).next().map_or(place.saturating_add(DISTANCE), |(place, _)| *place);
        (before, after)
    }

    fn spread(&mut self) {
        let components: Vec<_> = self.by_place.values().copied().collect();
        self.by_place.clear();
        for (component, number) in components.into_iter().zip(1..) {
            self.set(component, number * DISTANCE);
        }
    }

    fn set(&mut self, component: u32, place: u64) {
        let size = self.places.len().max(component as usize + 1);
        self.places.resize(size, 0);
        self.marks.resize(size, Marks::default());
        self.places[component as usize] = place;
        self.by_place.insert(place, component);
    }

    /// Whether a path leads from one component to another.
    pub(super) fn reaches(&mut self, edges: &Links<u32>, from: u32, to: u32) -> bool {
        let found = self.after(edges, from, to);
        let reached = self.marks[to as usize].after;
        self.clear(&found);
        reached
    }

    /// Makes room for an edge that was added. If it closes a circle, the answer is the components that are now one, and only the first of them has a place.
    pub(super) fn insert(&mut self, edges: &Links<u32>, above: u32, below: u32) -> Vec<u32> {
        let (last, first) = (self.place(above), self.place(below));
        if last < first {
            return Vec::new();
        }
        let after = self.after(edges, below, above);
        let before = self.before(edges, above, below);
        let circle: Vec<_> = after.iter().copied().filter(|it| self.marks[*it as usize].before).collect();
        // What comes before the edge keeps its order, then the circle in one place, then what comes after it.
        let in_circle = |order: &Self, it: &u32| order.marks[*it as usize] == Marks { after: true, before: true };
        let mut sequence: Vec<_> = before.iter().copied().filter(|it| !in_circle(self, it)).collect();
        sequence.sort_unstable_by_key(|it| self.place(*it));
        sequence.extend(circle.first());
        let mut rest: Vec<_> = after.iter().copied().filter(|it| !in_circle(self, it)).collect();
        rest.sort_unstable_by_key(|it| self.place(*it));
        sequence.extend(rest);

        let mut places: Vec<_> = before.iter().chain(&after).map(|it| self.place(*it)).collect();
        places.sort_unstable();
        places.dedup();
        self.clear(&before);
        self.clear(&after);
        for place in &places {
            self.by_place.remove(place);
        }
        // A circle leaves places over; those at the end are the first ones for what comes after.
        let ahead = sequence.iter().position(|it| circle.first() == Some(it)).map_or(sequence.len(), |at| at + 1);
        let behind = places.len() - (sequence.len() - ahead);
        for (component, place) in sequence[..ahead].iter().zip(&places) {
            self.set(*component, *place);
        }
        for (component, place) in sequence[ahead..].iter().zip(&places[behind..]) {
            self.set(*component, *place);
        }
        circle
    }

    /// What can be reached from here up to the place of this component, marked. Behind it nothing is looked for: that has later places.
    fn after(&mut self, edges: &Links<u32>, from: u32, to: u32) -> Vec<u32> {
        let last = self.place(to);
        let mut found = vec![from];
        self.marks[from as usize].after = true;
        let mut next = 0;
        while let Some(&component) = found.get(next) {
            for (child, _) in edges.children(component).take_while(|_| component != to) {
                if self.places[child as usize] <= last && !self.marks[child as usize].after {
                    self.marks[child as usize].after = true;
                    found.push(child);
                }
            }
            next += 1;
        }
        found
    }

    /// What leads here from the place of this component on, marked. Before it nothing is looked for: that has earlier places.
    fn before(&mut self, edges: &Links<u32>, to: u32, from: u32) -> Vec<u32> {
        let first = self.place(from);
        let mut found = vec![to];
        self.marks[to as usize].before = true;
        let mut next = 0;
        while let Some(&component) = found.get(next) {
            for (parent, _) in edges.parents(component).take_while(|_| component != from) {
                if self.places[parent as usize] >= first && !self.marks[parent as usize].before {
                    self.marks[parent as usize].before = true;
                    found.push(parent);
                }
            }
            next += 1;
        }
        found
    }

    fn clear(&mut self, marked: &[u32]) {
        marked.iter().for_each(|component| self.marks[*component as usize] = Marks::default());
    }
}
