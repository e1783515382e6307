//! The parts around the rows of a list: its filters, with the number of rows of each choice, a form
//! for the other filters, and links to its other pages.
//!
//! All numbers of a list come from one query, with all filters of the list except those that the
//! facets set: the number of a choice is that of the rows that the list has with this choice.

use super::visit::Visit;
use crate::api::paging::Cursor;
use freshmaker::backend::Page;
use std::collections::BTreeMap;

/// The most choices of a facet, the largest first.
const CHOICES_MAX: usize = 12;

/// What a list is narrowed by.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) facets: Vec<Facet>,
    /// How many rows all facets let through.
    pub(crate) total: u64,
    pub(crate) filter: Filter,
}

impl List {
    /// A list with these facets, each with its parameter and counted by these rows, and these
    /// fields: the parameter, the label and a hint of each.
    pub(crate) fn new<const N: usize>(
        visit: &Visit,
        names: [(&'static str, &'static str); N],
        rows: &[Counted<'_, N>],
        fields: &[(&'static str, &'static str, &'static str)],
    ) -> Self {
        let (facets, total) = facets(visit, names, rows);
        Self { facets, total, filter: Filter::new(visit, fields) }
    }

    /// Says something more about the choice of this word.
    pub(crate) fn note(&mut self, word: &str, note: &str) {
        let choices = self.facets.iter_mut().flat_map(|facet| &mut facet.choices);
        choices.filter(|choice| choice.word == word).for_each(|choice| choice.note = Some(note.to_owned()));
    }
}

/// The form that narrows a list.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) fields: Vec<Field>,
    /// What the form does not show and keeps.
    pub(crate) kept: Vec<(String, String)>,
    pub(crate) is_narrowed: bool,
}

impl Filter {
    /// A form with these fields, filled with what was asked for.
    pub(crate) fn new(visit: &Visit, fields: &[(&'static str, &'static str, &'static str)]) -> Self {
        let value = |name| visit.value(name).unwrap_or_default().to_owned();
        let fields = fields.iter().map(|(name, label, hint)| Field { name, label, hint, value: value(name) });
        let fields: Vec<_> = fields.collect();
        let shown = |name: &str| name == "cursor" || fields.iter().any(|field| field.name == name);
        let kept = visit.query.iter().filter(|(name, _)| !shown(name)).cloned().collect();
        Self { fields, kept, is_narrowed: !visit.query.is_empty() }
    }
}

/// A field of a form that narrows a list.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) value: String,
}

/// The ways to other parts of a list.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// How many rows of this part cannot be read.
    pub(crate) unreadable: usize,
    pub(crate) next: Option<String>,
    pub(crate) first: Option<String>,
}

impl Parts {
    /// The ways from a part to the next one and to the first one.
    pub(crate) fn new(visit: &Visit, next: Option<&Cursor>) -> Self {
        Self {
            unreadable: 0,
            next: next.map(|cursor| visit.query_with("cursor", &cursor.encoded())),
            first: visit.value("cursor").map(|_| visit.query_with("cursor", "")),
        }
    }

    /// The same for a page of rows that are in the order of their numbers.
    pub(crate) fn of<T>(visit: &Visit, page: &Page<T>) -> Self {
        let next = page.next.map(|number| Cursor(number.to_string()));
        Self { unreadable: page.unreadable.len(), ..Self::new(visit, next.as_ref()) }
    }
}

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
    /// What else is to be known of these rows.
    pub(crate) note: Option<String>,
    pub(crate) query: String,
    pub(crate) is_chosen: bool,
}

/// Rows of a counting question: how many there are with these values, in the order of the facets.
pub(crate) type Counted<'a, const N: usize> = ([&'a str; N], u64);

/// The facets of a list; each is counted among the rows that the other ones let through. With the
/// number of rows that all let through.
fn facets<const N: usize>(
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
                Choice { word: word.to_owned(), count, note: None, query, is_chosen }
            })
            .collect();
        choices.sort_by_key(|choice| (!choice.is_chosen, std::cmp::Reverse(choice.count)));
        let hidden = choices.len().saturating_sub(CHOICES_MAX);
        choices.truncate(CHOICES_MAX);
        Facet { name, choices, hidden }
    });
    (facets.collect(), total)
}
