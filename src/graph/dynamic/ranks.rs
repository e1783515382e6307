use super::DynamicGraph;
use std::collections::BTreeMap;

/// Nodes whose rank may have changed, by the place of their component, so that the last ones come first.
pub(super) type Touched = BTreeMap<(u64, u32), Touch>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    /// The rank before anything changed.
    before: u64,
    /// Whether it may have fallen, which only a look at all children tells.
    look: bool,
}

impl DynamicGraph {
    /// Notes that a node's rank has to be computed again.
    pub(super) fn recompute(&mut self, node: u32) {
        self.touch(node).look = true;
    }

    /// Notes that a node has a child of this rank, in another component.
    pub(super) fn raise(&mut self, node: u32, child: u64) {
        let rank = self.durations[node as usize].saturating_add(child);
        if rank > self.ranks[node as usize] {
            self.touch(node);
            self.ranks[node as usize] = rank;
        }
    }

    /// Notes that a node has lost a child of this rank.
    pub(super) fn lower(&mut self, node: u32, child: u64) {
        if self.durations[node as usize].saturating_add(child) >= self.ranks[node as usize] {
            self.recompute(node);
        }
    }

    fn touch(&mut self, node: u32) -> &mut Touch {
        let place = self.order.place(self.component_of[node as usize]);
        let before = self.ranks[node as usize];
        self.touched.entry((place, node)).or_insert(Touch { before, look: false })
    }

    /// Carries changes of ranks on to the parents, as far as there are any. Everything is looked at after what it leads to, so once.
    pub(super) fn settle(&mut self) {
        while let Some(((_, node), touch)) = self.touched.pop_last() {
            let component = self.component_of[node as usize];
            if touch.look {
                let outside = self.links.children(node).map(|(child, ())| child);
                let outside = outside.filter(|child| self.component_of[*child as usize] != component);
                let rest = outside.map(|child| self.ranks[child as usize]).max().unwrap_or_default();
                self.ranks[node as usize] = self.durations[node as usize].saturating_add(rest);
            }
            let rank = self.ranks[node as usize];
            if rank == touch.before {
                continue;
            }
            let parents: Vec<_> = self.links.parents(node).map(|(parent, ())| parent).collect();
            for parent in parents {
                if self.component_of[parent as usize] == component {
                    continue;
                }
                if rank > touch.before {
                    self.raise(parent, rank);
                } else {
                    self.lower(parent, touch.before);
                }
            }
        }
    }
}
