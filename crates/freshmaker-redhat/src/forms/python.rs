//! Texts as Python writes them.

use std::collections::BTreeSet;

/// Writes a list of texts.
pub(crate) fn listed(texts: &BTreeSet<String>) -> String {
    let texts: Vec<_> = texts.iter().map(|text| format!("'{text}'")).collect();
    format!("[{}]", texts.join(", "))
}
