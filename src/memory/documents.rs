use crate::backend::{Document, NewDocument, Result};
use crate::store::conflict;
use crate::time::{Timestamp, from_micros, to_micros};
use std::collections::BTreeMap;

/// Documents by kind and id.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    documents: BTreeMap<(String, String), Document>,
    /// Ids by kind and number.
    numbers: BTreeMap<(String, i64), String>,
    last: i64,
}

impl Shelf {
    pub(super) fn get(&self, kind: &str, id: &str, now: Timestamp) -> Option<Document> {
        let found = self.documents.get(&(kind.to_owned(), id.to_owned()));
        found.filter(|document| !is_over(document, now)).cloned()
    }

    pub(super) fn list(&self, kind: &str, before: Option<i64>, limit: usize, now: Timestamp) -> Vec<Document> {
        let numbers = (kind.to_owned(), i64::MIN)..(kind.to_owned(), before.unwrap_or(i64::MAX));
        let ids = self.numbers.range(numbers).rev().map(|(_, id)| id);
        ids.filter_map(|id| self.get(kind, id, now)).take(limit).collect()
    }

    pub(super) fn put(&mut self, new: NewDocument, now: Timestamp) -> Result<Document> {
        new.text()?;
        let NewDocument { kind, id, expected, body, expires_at, keep } = new;
        let found = self.get(&kind, &id, now);
        let there = found.as_ref().map(|document| document.version);
        if there != expected {
            return Err(conflict(format!("{kind} {id} has version {there:?}, not {expected:?}")));
        }
        self.forget(&kind, |document| is_over(document, now));
        let expires_at = expires_at.map(|moment| from_micros(to_micros(moment)));
        let document = match found {
            Some(found) => Document { version: found.version + 1, body, expires_at, ..found },
            None => {
                self.last += 1;
                let number = self.last;
                Document { kind: kind.clone(), id: id.clone(), number, version: 0, body, created_at: now, expires_at }
            }
        };
        self.numbers.insert((kind.clone(), document.number), id.clone());
        self.documents.insert((kind.clone(), id), document.clone());
        if let Some(keep) = keep {
            let numbers = self.numbers.range((kind.clone(), i64::MIN)..=(kind.clone(), i64::MAX)).rev();
            let mut others = numbers.map(|((_, number), _)| *number).filter(|number| *number != document.number);
            let surplus = others.nth(usize::try_from(keep).unwrap_or(usize::MAX).saturating_sub(1));
            self.forget(&kind, |row| row.number != document.number && surplus.is_some_and(|last| row.number <= last));
        }
        Ok(document)
    }

    pub(super) fn remove(&mut self, kind: &str, id: &str, now: Timestamp) -> bool {
        let was_there = self.get(kind, id, now).is_some();
        self.forget(kind, |document| document.id == id);
        was_there
    }

    fn forget(&mut self, kind: &str, which: impl Fn(&Document) -> bool) {
        let gone = |document: &Document| document.kind == kind && which(document);
        self.documents.retain(|_, document| !gone(document));
        let documents = &self.documents;
        self.numbers.retain(|(kind, _), id| documents.contains_key(&(kind.clone(), id.clone())));
    }
}

fn is_over(document: &Document, now: Timestamp) -> bool {
    document.expires_at.is_some_and(|moment| moment <= now)
}
