//! What a list can be narrowed to, with the number of rows of each choice.
//!
//! All numbers of a list come from one question, which has all filters of the list but those that
//! the facets set: the rows of a choice are those that the list has with it.

use super::visit::Visit;
use std::collections::BTreeMap;

/// A facet shows so many choices, the largest first.
const CHOICES_MAX: usize = 12;

/// One thing that a list can be narrowed by.
#[derive(Clone, Debug)]
pub(crate) struct Facet {
    pub(crate) name: &'static str,
    pub(crate) choices: Vec<Choice>,
    pub(crate) hidden: usize,
}

/// One value, and the query that chooses it; if it is chosen, the query without it.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) word: String,
    pub(crate) count: u64,
    pub(crate) query: String,
    pub(crate) is_chosen: bool,
}

/// Rows of a counting question: how many there are with these values, in the order of the facets.
pub(crate) type Counted<'a, const N: usize> = ([&'a str; N], u64);

/// The facets of a list; each is counted among the rows that the other ones let through. With the
/// number of rows that all let through.
pub(crate) fn facets<const N: usize>(
    visit: &Visit,
    names: [(&'static str, &'static str); N],
    rows: &[Counted<'_, N>],
) -> (Vec<Facet>, u64) {
    let chosen: Vec<Vec<&str>> = names.iter().map(|(_, parameter)| visit.values(parameter)).collect();
    let passes = |values: &[&str; N], but: usize| {
        let mut facets = (0..N).filter(|facet| *facet != but);
        facets.all(|facet| chosen[facet].is_empty() || chosen[facet].contains(&values[facet]))
    };
    let total = rows.iter().filter(|(values, _)| passes(values, N)).map(|(_, count)| count).sum();
    let facets = names.iter().enumerate().map(|(number, (name, parameter))| {
        let mut counts: BTreeMap<&str, u64> = chosen[number].iter().map(|value| (*value, 0)).collect();
        for (values, count) in rows.iter().filter(|(values, _)| passes(values, number)) {
            *counts.entry(values[number]).or_default() += count;
        }
        let mut choices: Vec<Choice> = counts
            .into_iter()
            .map(|(word, count)| {
                let is_chosen = chosen[number].contains(&word);
                let query = visit.query_with(parameter, if is_chosen { "" } else { word });
                Choice { word: word.to_owned(), count, query, is_chosen }
            })
            .collect();
        choices.sort_by_key(|choice| (!choice.is_chosen, std::cmp::Reverse(choice.count)));
        let hidden = choices.len().saturating_sub(CHOICES_MAX);
        choices.truncate(CHOICES_MAX);
        Facet { name, choices, hidden }
    });
    (facets.collect(), total)
}
