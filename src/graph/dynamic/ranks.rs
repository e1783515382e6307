use super::DynamicGraph;
use std::collections::BTreeMap;

/// Nodes whose rank may have changed, by the place of their component, so that the last ones come
/// first.
pub(super) type Touched = BTreeMap<(u64, u32), Touch>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    /// The rank before anything changed.
    before: u64,
    /// Whether the rank may have fallen, which only a look at all children tells.
    look: bool,
}

impl DynamicGraph {
    /// Notes that the rank of a node has to be computed again.
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

    /// Carries changes of ranks on to the parents until there are none.
    ///
    /// The method of Katriel, Michel and Van Hentenryck (2005) for longest paths: a priority queue
    /// in reverse topological order, so each node is looked at once, after everything that it leads
    /// to. A rank that has risen needs no look at the other children of a parent; a rank that has
    /// fallen does, and only if it was the largest one. Cost: O(k log k) for the k nodes whose rank
    /// changes and their edges.
    ///
    /// A worked example, with the chain 0-1-2, all durations 1, and the duration of 2 raised to 5:
    ///
    /// 1. The ranks are 3, 2, 1. The queue has 2, whose children are looked at: its rank is now 5.
    /// 2. 5 is more than 1, so the parent 1 is raised to 1 + 5 = 6 and queued.
    /// 3. 1 has risen, so its parent 0 is raised to 7 and queued.
    /// 4. 0 has no parents. The ranks are 7, 6, 5.
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
