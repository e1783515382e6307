//! Checks that an answer in pages is complete and has an end.

use freshmaker::backend::{Error, Remedy, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is known of an answer after some of its pages.
#[derive(Debug)]
pub(crate) struct Pages {
    /// How errors name the request.
    place: String,
    /// Largest number of pages.
    most: u64,
    /// How many pages were read.
    read: u64,
    /// Largest number of objects on each page.
    size: u64,
    /// How many objects there are on all pages, if the service says it.
    total: Option<u64>,
    /// How many objects were read.
    count: u64,
    /// Identities of the objects that were read.
    ids: BTreeSet<String>,
}

impl Pages {
    pub(crate) fn new(place: &str, most: u64) -> Self {
        let (read, size, total, count) = (0, 0, None, 0);
        Self { place: place.to_owned(), most, read, size, total, count, ids: BTreeSet::new() }
    }

    /// Takes the objects of the next page, of which each has at most `size`. Returns whether it is
    /// the last one.
    ///
    /// # Errors
    /// * [`Corrupt`](Remedy::Corrupt) if objects are missing, are too many, or are those of earlier
    ///   pages, or if the size of a page changes.
    /// * [`Unavailable`](Remedy::Unavailable) if there are fewer objects than before: some may have
    ///   moved to a page that was read already.
    /// * [`Rejected`](Remedy::Rejected) if there are more pages than are read.
    pub(crate) fn take(&mut self, objects: &[Value], size: u64, total: Option<u64>) -> Result<bool> {
        let error = |remedy, text: String| Err(Error::new(remedy, self.place.as_str(), text));
        let count = objects.len() as u64;
        if self.read > 0 && size != self.size {
            return error(Remedy::Corrupt, format!("the size of a page changed from {} to {size} objects", self.size));
        }
        if count > size {
            return error(Remedy::Corrupt, format!("{count} objects on a page of {size}"));
        }
        if let (Some(before), Some(total)) = (self.total, total)
            && total < before
        {
            let text = format!("the number of objects fell from {before} to {total} while they were read");
            return error(Remedy::Unavailable, text);
        }
        let (mut named, mut fresh) = (false, false);
        for id in objects.iter().filter_map(|object| object.get("_id")?.as_str()) {
            named = true;
            fresh |= self.ids.insert(id.to_owned());
        }
        if named && !fresh {
            return error(Remedy::Corrupt, format!("the objects of page {} are those of earlier pages", self.read));
        }
        (self.size, self.total) = (size, total);
        (self.read, self.count) = (self.read + 1, self.count + count);
        match total {
            Some(total) if count < size && self.count < total => {
                error(Remedy::Corrupt, format!("total is {total}, but the data end after {}", self.count))
            }
            Some(total) if self.count >= total => Ok(true),
            None if count < size => Ok(true),
            _ if self.read >= self.most || total.is_some_and(|total| total > self.most * size) => {
                let most = self.most * size;
                error(Remedy::Rejected, format!("there are more than {most} objects, which is the most that is read"))
            }
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn objects(ids: std::ops::Range<u64>) -> Vec<Value> {
        ids.map(|id| json!({ "_id": id.to_string() })).collect()
    }

    #[test]
    fn an_answer_ends_with_its_last_object() {
        let mut pages = Pages::new("there", 9);
        assert!(!pages.take(&objects(0..2), 2, Some(3)).unwrap());
        assert!(pages.take(&objects(2..3), 2, Some(3)).unwrap());
        let mut uncounted = Pages::new("there", 9);
        assert!(!uncounted.take(&objects(0..2), 2, None).unwrap());
        assert!(uncounted.take(&[], 2, None).unwrap());
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        let after = |size, total, objects: &[Value]| {
            let mut pages = Pages::new("there", 2);
            assert!(!pages.take(&[json!({ "_id": "0" }), json!({ "_id": "1" })], 2, Some(4)).unwrap());
            pages.take(objects, size, total).unwrap_err().text
        };
        assert_eq!(after(3, Some(4), &objects(2..4)), "the size of a page changed from 2 to 3 objects");
        assert_eq!(after(2, Some(5), &objects(2..5)), "3 objects on a page of 2");
        assert_eq!(after(2, Some(3), &objects(2..3)), "the number of objects fell from 4 to 3 while they were read");
        assert_eq!(after(2, Some(4), &objects(0..2)), "the objects of page 1 are those of earlier pages");
        assert_eq!(after(2, Some(4), &objects(2..3)), "total is 4, but the data end after 3");
        let most = "there are more than 4 objects, which is the most that is read";
        assert_eq!(after(2, Some(5), &objects(2..4)), most);
        assert_eq!(after(2, None, &objects(2..4)), most);
    }
}
