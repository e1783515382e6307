//! A cache of manifests by their `ETag`.

use crate::client::Fetched;
use std::collections::{BTreeMap, VecDeque};

/// The most manifests that are known.
const ENTRIES_MAX: usize = 1024;
/// The most bytes that they had.
const BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) etag: String,
    pub(crate) bytes: usize,
    pub(crate) fetched: Fetched,
}

/// Manifests by URL. The oldest ones are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<String, Known>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn get(&self, url: &str) -> Option<&Known> {
        self.entries.get(url)
    }

    pub(crate) fn insert(&mut self, url: String, known: Known) {
        if known.bytes > BYTES_MAX {
            return;
        }
        self.bytes += known.bytes;
        if let Some(before) = self.entries.insert(url.clone(), known) {
            self.bytes -= before.bytes;
            self.order.retain(|other| *other != url);
        }
        self.order.push_back(url);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |known| known.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Index, Manifest};
    use freshmaker::artifact::Digest;

    #[test]
    fn the_oldest_go_first() {
        let known = |bytes| Known {
            etag: "e".to_owned(),
            bytes,
            fetched: Fetched { digest: Digest::of(b""), manifest: Manifest::Index(Index::default()) },
        };
        let mut cache = Cache::default();
        for number in 0..=ENTRIES_MAX {
            cache.insert(number.to_string(), known(1));
        }
        assert!(cache.get("0").is_none() && cache.get("1").is_some());
        cache.insert("1".to_owned(), known(1));
        cache.insert("large".to_owned(), known(BYTES_MAX - 1));
        assert!(cache.get("1").is_some() && cache.get("large").is_some() && cache.get("2").is_none());
        assert_eq!((cache.bytes, cache.entries.len(), cache.order.len()), (BYTES_MAX, 2, 2));
        cache.insert("too large".to_owned(), known(BYTES_MAX + 1));
        assert!(cache.get("too large").is_none());
    }
}
