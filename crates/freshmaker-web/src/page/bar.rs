//! How far builds are, as a bar.

use super::states;
use freshmaker::plan::Mark;

/// A part of a bar.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) class: &'static str,
    pub(crate) word: &'static str,
    pub(crate) count: u64,
    /// Where it begins and how wide it is, in thousandths of the bar.
    pub(crate) from: u64,
    pub(crate) width: u64,
}

/// What went wrong comes first, what is to come last.
const ORDER: [Mark; 6] = [Mark::Failed, Mark::Done, Mark::Unchanged, Mark::Canceled, Mark::Running, Mark::Waiting];

/// Makes the bar of this many builds.
pub(crate) fn bar(counts: &(impl Iterator<Item = (Mark, u64)> + Clone)) -> Vec<Segment> {
    let all: u64 = counts.clone().map(|(_, count)| count).sum();
    let (mut before, mut bar) = (0, Vec::new());
    for mark in ORDER {
        let count = counts.clone().filter(|(of, _)| *of == mark).map(|(_, count)| count).sum::<u64>();
        if count > 0 {
            let from = before * 1000 / all;
            before += count;
            let (class, word) = states::of_mark(mark);
            bar.push(Segment { class, word, count, from, width: before * 1000 / all - from });
        }
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_and_has_no_gaps() {
        let counts = [(Mark::Waiting, 1), (Mark::Done, 2), (Mark::Failed, 4), (Mark::Done, 3)];
        let bar = bar(&counts.into_iter());
        let parts: Vec<_> = bar.iter().map(|part| (part.word, part.count, part.from, part.width)).collect();
        assert_eq!(parts, [("failed", 4, 0, 400), ("done", 5, 400, 500), ("waiting", 1, 900, 100)]);
        assert!(super::bar(&std::iter::empty()).is_empty());
    }
}
