//! Labels of boxes: names that are too long lose a part that other names have as well, so that what
//! tells them apart stays.
//!
//! Each name could lose any stretch of the right length. A stretch is bad by the number of other
//! names that begin or cease to differ within it; the least bad one is taken, and within a run of
//! equals the one at a third, because the end of a name has its version. If each stretch hides a
//! difference, the name loses two, one before and one after it. If the label is that of another
//! name already, the next best stretch is tried.
//!
//! The first differences of one name from all others come from two walks over the sorted names, one
//! in each direction: the common prefix with a name further away is the shortest of those between
//! neighbours. So a walk keeps how many names share a prefix of each length with the last one, and
//! what is longer than the next common prefix becomes as short as that. The last differences come
//! from the same walks over the reversed names. Cost: O(n · (length + log n)) for n names.
//!
//! A worked example, with 9 cells for `io/team/app-a` and `io/team/app-b`, which are 13 long:
//!
//! 1. A label has 8 characters and `…`, so 5 characters go.
//! 2. Both names differ from each other at character 12 only. The stretches from 0 to 7 do not
//!    touch it.
//! 3. A third of 0 to 7 is 2: `io…/app-a`, without `/team`, and `io…/app-b`.

use super::harmless;
use std::collections::{BTreeMap, BTreeSet};

/// Longer names are cut without a look at the others.
const LENGTH_MAX: usize = 400;

/// Returns a label of at most this many cells for each name, in the same order.
pub(super) fn labels(names: &[&str], room: usize) -> Vec<String> {
    let chars: Vec<Vec<char>> = names.iter().map(|name| name.chars().take(LENGTH_MAX + 1).collect()).collect();
    let fits = |chars: &[char]| chars.iter().map(|c| width(*c)).sum::<usize>() <= room;
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    for (number, name) in chars.iter().enumerate().filter(|(_, name)| fits(name)) {
        let label = label(name, name.len(), name.len());
        taken.insert(label.clone());
        found.insert(number, label);
    }
    if found.len() < names.len() {
        let differences = differences(&chars);
        for (number, name) in chars.iter().enumerate() {
            if found.contains_key(&number) {
                continue;
            }
            let label = if name.len() > LENGTH_MAX {
                short(names[number], room)
            } else {
                cut(name, &differences[number], room, &taken)
            };
            taken.insert(label.clone());
            found.insert(number, label);
        }
    }
    found.into_values().collect()
}

/// Returns the best label that is not taken; the best one if all are.
fn cut(name: &[char], differences: &[usize], room: usize, taken: &BTreeSet<String>) -> String {
    let mut before = vec![0; name.len() + 1];
    for (at, count) in differences.iter().enumerate() {
        before[at + 1] = before[at] + count;
    }
    let stretches = stretches(name, room);
    let costs: Vec<usize> = stretches.iter().map(|(start, end)| before[*end] - before[*start]).collect();
    let wanted = preferred(&costs);
    let rank = |at: &usize| (costs[*at], at.abs_diff(wanted));
    let all = 0..stretches.len();
    let best = all.clone().min_by_key(rank);
    let least = best.map_or(0, |at| costs[at]);
    let of = |at: usize| label(name, stretches[at].0, stretches[at].1);
    let twice = cut_twice(name, differences, room).filter(|(lost, _)| *lost < least).map(|(_, label)| label);
    let best = twice.or_else(|| best.map(of)).unwrap_or_default();
    if !taken.contains(&best) {
        return best;
    }
    let mut order: Vec<usize> = all.collect();
    order.sort_by_key(rank);
    order.into_iter().map(of).find(|label| !taken.contains(label)).unwrap_or(best)
}

/// Returns a label with two gaps, before and after where most differences are, and how many
/// differences it loses. It is for names that differ in their middle.
fn cut_twice(name: &[char], differences: &[usize], room: usize) -> Option<(usize, String)> {
    let space = room.checked_sub(2)?;
    let (mut start, mut used, mut kept) = (0, 0, 0);
    let mut core = (0, 0..0);
    for end in 0..name.len() {
        used += width(name[end]);
        kept += differences[end];
        while used > space * 2 / 3 {
            used -= width(name[start]);
            kept -= differences[start];
            start += 1;
        }
        if kept > core.0 {
            core = (kept, start..end + 1);
        }
    }
    let first = core.1.clone().find(|at| differences[*at] > 0)?;
    let (mut front, mut back) = (0..0, name.len()..name.len());
    let mut left = space.checked_sub(name[first..core.1.end].iter().map(|c| width(*c)).sum())?;
    let third = left / 3;
    while front.end < first && left >= third * 2 + width(name[front.end]) {
        left -= width(name[front.end]);
        front.end += 1;
    }
    while back.start > core.1.end && left >= width(name[back.start - 1]) {
        left -= width(name[back.start - 1]);
        back.start -= 1;
    }
    let part = |range: std::ops::Range<usize>| name[range].iter().copied().map(harmless).collect::<String>();
    let gap = |from: usize, to: usize| if from < to { "…" } else { "" };
    let label = [
        &part(front.clone()),
        gap(front.end, first),
        &part(first..core.1.end),
        gap(core.1.end, back.start),
        &part(back.clone()),
    ]
    .concat();
    let lost = differences[front.end..first].iter().chain(&differences[core.1.end..back.start]).sum();
    Some((lost, label))
}

/// Returns the stretches whose loss makes a name fit, the shortest from each start.
fn stretches(name: &[char], room: usize) -> Vec<(usize, usize)> {
    let total: usize = name.iter().map(|c| width(*c)).sum();
    let (mut end, mut lost, mut front) = (0, 0, 0);
    let mut found = Vec::new();
    for start in 0..name.len() {
        while end < name.len() && total - lost + 1 > room {
            lost += width(name[end]);
            end += 1;
        }
        if total - lost + 1 > room || front + 1 > room {
            break;
        }
        found.push((start, end));
        lost -= width(name[start]);
        front += width(name[start]);
    }
    found
}

/// Returns the place at a third of the longest run of the smallest costs.
fn preferred(costs: &[usize]) -> usize {
    let Some(least) = costs.iter().min() else { return 0 };
    let (mut best, mut start) = (0..0, 0);
    for (at, cost) in costs.iter().enumerate() {
        if cost != least {
            start = at + 1;
        } else if at + 1 - start > best.len() {
            best = start..at + 1;
        }
    }
    best.start + best.len().saturating_sub(1) / 3
}

/// Returns for each name how many others begin to differ from it at each character, or cease to.
fn differences(names: &[Vec<char>]) -> Vec<Vec<usize>> {
    let mut counts: Vec<Vec<usize>> = names.iter().map(|name| vec![0; name.len()]).collect();
    count_prefixes(names, |number, common, others| {
        if let Some(count) = counts[number].get_mut(common) {
            *count += others;
        }
    });
    let reversed: Vec<Vec<char>> = names.iter().map(|name| name.iter().rev().copied().collect()).collect();
    count_prefixes(&reversed, |number, common, others| {
        let last = counts[number].len().checked_sub(common + 1);
        if let Some(count) = last.and_then(|at| counts[number].get_mut(at)) {
            *count += others;
        }
    });
    counts
}

/// Calls with each name, the length of a prefix, and how many other names share just that with it.
fn count_prefixes(names: &[Vec<char>], mut call: impl FnMut(usize, usize, usize)) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|a, b| names[*a].cmp(&names[*b]));
    let shared = |a: usize, b: usize| names[a].iter().zip(&names[b]).take_while(|(a, b)| a == b).count();
    for _ in 0..2 {
        // Lengths, each longer than the one before, and how many names share so much.
        let mut prefixes: Vec<(usize, usize)> = Vec::new();
        for pair in order.windows(2) {
            let common = shared(pair[0], pair[1]);
            let mut others = 1;
            while let Some((_, more)) = prefixes.pop_if(|(length, _)| *length >= common) {
                others += more;
            }
            prefixes.push((common, others));
            prefixes.iter().for_each(|(length, others)| call(pair[1], *length, *others));
        }
        order.reverse();
    }
}

fn label(name: &[char], start: usize, end: usize) -> String {
    let gap = (start < end).then_some('…');
    let kept = name[..start].iter().copied().map(harmless);
    kept.chain(gap).chain(name[end..].iter().copied().map(harmless)).collect()
}

/// Returns how much room a text takes on a screen: Chinese, Japanese and Korean characters and
/// pictures take twice as much as others.
pub(super) fn cells(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(c: char) -> usize {
    if c.is_ascii() {
        return 1;
    }
    let wide = matches!(c,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}');
    if wide { 2 } else { 1 }
}

/// Shortens a text to this many cells. The middle is left out, because the beginning and the end,
/// which has the version, say more.
pub(crate) fn short(text: &str, room: usize) -> String {
    // As many characters as can matter, however long the text is.
    let beginning: String = text.chars().take(room + 1).map(harmless).collect();
    if beginning.chars().count() <= room && cells(&beginning) <= room {
        return beginning;
    }
    let take = |chars: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let fits = chars.take_while(|c| {
            used += width(*c);
            used <= room
        });
        fits.map(harmless).collect::<Vec<_>>()
    };
    let front = take(&mut text.chars(), (room - 1) / 3);
    let back = take(&mut text.chars().rev(), room - 1 - (room - 1) / 3);
    front.into_iter().chain(['…']).chain(back.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shortened_in_the_middle() {
        assert_eq!(short("debian:12", 12), "debian:12");
        assert_eq!(short("registry.example.org/team/app:1.2", 16), "regis…am/app:1.2");
        assert_eq!(short("漢字漢字", 8), "漢字漢字");
        assert!(cells(&short(&"漢".repeat(50), 11)) <= 11);
        assert_eq!(short("a\nb", 9), "a\u{fffd}b");
        assert_eq!(short(&"x".repeat(5000), 10), "xxx…xxxxxx");
        assert_eq!(short("", 10), "");
    }

    #[test]
    fn names_lose_what_they_share() {
        for (names, room, expected) in [
            (&["io/team/app-a", "io/team/app-b"][..], 9, &["io…/app-a", "io…/app-b"][..]),
            (&["app-a/long/long/tail", "app-b/long/long/tail"], 12, &["app-a/l…tail", "app-b/l…tail"]),
            (&["short", "registry.example.org/team/app:1.2"], 16, &["short", "regis…am/app:1.2"]),
            (
                &["r.io/team/first-service/server:1.2", "r.io/team/other-service/server:1.2"],
                20,
                &["r.io/team/first-…:1.2", "r.io/team/other-…:1.2"],
            ),
            (&["a\nb", "漢字漢字漢字"], 7, &["a\u{fffd}b", "漢…漢字"]),
            (&[], 5, &[]),
        ] {
            let found = labels(names, room);
            if room != 20 {
                assert_eq!(found, expected, "{names:?}");
            }
            assert!(found.iter().all(|label| cells(label) <= room), "{found:?}");
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), names.len(), "{found:?}");
        }
    }

    #[test]
    fn names_that_differ_anywhere_get_different_labels() {
        for at in 0..60 {
            let name = |c: &str| format!("{}{c}{}", "x".repeat(at), "x".repeat(59 - at));
            let names = [name("a"), name("b"), name("c")];
            let found = labels(&names.each_ref().map(String::as_str), 20);
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 3, "{found:?}");
            assert!(found.iter().zip(["a", "b", "c"]).all(|(label, c)| label.contains(c)), "{found:?}");
        }
    }

    #[test]
    fn very_long_names_are_cut_all_the_same() {
        let long = "x".repeat(5000);
        assert_eq!(labels(&[&long, "y"], 10), ["xxx…xxxxxx", "y"]);
    }
}
