use std::cmp::Reverse;

/// A set of topics with a number for each, whose lookup time does not depend on how many there are.
///
/// Topics often share their beginnings (prefixes of an environment) and differ at their ends. So
/// this is a radix tree that goes from the last byte to the first: most foreign topics are refused
/// after one comparison. A lookup takes time linear in the length of the topic.
///
/// The topics `a.change`, `b.change` and `state`, numbered 0, 1 and 2, give this tree. Labels are
/// in quotes; a branch is named by the byte before the label of its parent:
///
/// ```text
/// "e"
/// ├─ g ─ ".chan"
/// │      ├─ a ─ ""      number 0
/// │      └─ b ─ ""      number 1
/// └─ t ─ "sta"          number 2
/// ```
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    /// The root is the first node. Empty if there are no topics.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    /// The bytes that all topics of this node have in common, before the bytes that led to it.
    label: Box<[u8]>,
    /// The number of the topic that begins with the label, if there is one.
    number: Option<usize>,
    /// The byte before the label, and the node of the topics that have this byte there.
    branches: Vec<(u8, usize)>,
}

impl Topics {
    /// Makes the set of these topics, numbered in the given order. Of two equal topics the first
    /// counts.
    pub(super) fn new<'t>(topics: impl IntoIterator<Item = &'t str>) -> Self {
        let mut topics: Vec<_> = topics.into_iter().map(str::as_bytes).enumerate().collect();
        topics.sort_by_key(|(number, topic)| (topic.iter().rev().copied().collect::<Vec<_>>(), Reverse(*number)));
        let mut set = Self::default();
        if !topics.is_empty() {
            set.add(&topics);
        }
        set
    }

    /// Adds a node for these topics, and the nodes below it. The topics are sorted by their
    /// reversed bytes, and there is at least one.
    fn add(&mut self, topics: &[(usize, &[u8])]) -> usize {
        let (first, last) = (topics[0].1, topics[topics.len() - 1].1);
        let common = first.iter().rev().zip(last.iter().rev()).take_while(|(a, b)| a == b).count();
        let node = self.nodes.len();
        self.nodes.push(Node { label: first[first.len() - common..].into(), number: None, branches: Vec::new() });
        let rest: Vec<_> = topics.iter().map(|(number, topic)| (*number, &topic[..topic.len() - common])).collect();
        for group in rest.chunk_by(|(_, a), (_, b)| a.last() == b.last()) {
            if let Some(byte) = group[0].1.last() {
                let below: Vec<_> = group.iter().map(|(number, topic)| (*number, &topic[..topic.len() - 1])).collect();
                let next = self.add(&below);
                self.nodes[node].branches.push((*byte, next));
            } else {
                self.nodes[node].number = group.last().map(|(number, _)| *number);
            }
        }
        node
    }

    /// Returns the number of a topic, if it is in the set.
    pub(super) fn find(&self, topic: &str) -> Option<usize> {
        let mut rest = topic.as_bytes();
        let mut node = self.nodes.first()?;
        loop {
            rest = rest.strip_suffix(&*node.label)?;
            let Some((last, before)) = rest.split_last() else { return node.number };
            let (_, next) = node.branches.iter().find(|(byte, _)| byte == last)?;
            (node, rest) = (&self.nodes[*next], before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_found_whole_and_nothing_else_is() {
        let topics = ["a.state.change", "b.state.change", "state.change", "a.state", "", "a.state.change", "x"];
        let set = Topics::new(topics);
        for topic in topics {
            assert_eq!(set.find(topic), topics.iter().position(|other| *other == topic), "{topic}");
        }
        for topic in ["c.state.change", ".state.change", "tate.change", "change", "aa.state.change", "a.stat", "y"] {
            assert_eq!(set.find(topic), None, "{topic}");
        }
        assert_eq!(Topics::new([]).find(""), None);
    }
}
