use super::sample::at;
use super::{World, done, ids};
use freshmaker::backend::{Document, Error, NewDocument, Remedy};

fn new(id: &str, body: &str) -> NewDocument {
    NewDocument::new("note", id, body.into())
}

/// Makes or changes a document, which must be refused.
async fn refused(world: World<'_>, document: NewDocument) -> Error {
    match world.storage.documents().put(document).await {
        Ok(document) => panic!("it must be refused: {document:?}"),
        Err(error) => error,
    }
}

fn bodies(documents: &[Document]) -> Vec<&str> {
    documents.iter().filter_map(|document| document.body.as_str()).collect()
}

pub(super) async fn documents_have_versions(world: World<'_>) {
    world.pass_to(5);
    let documents = world.storage.documents();
    assert_eq!(done("get", documents.get("note", "a").await), None);
    let made = done("put", documents.put(new("a", "one")).await);
    assert_eq!((made.version, made.created_at, made.expires_at), (0, at(5), None));
    assert_eq!(done("get", documents.get("note", "a").await), Some(made.clone()), "it comes back");
    assert_eq!(done("get", documents.get("other", "a").await), None, "kinds are apart");
    let twice = refused(world, new("a", "two")).await;
    assert_eq!(twice.remedy, Remedy::Conflict, "it is there already: {twice}");
    world.pass_to(6);
    let changed = done("change", documents.put(NewDocument { expected: Some(0), ..new("a", "two") }).await);
    assert_eq!(changed, Document { version: 1, body: "two".into(), ..made }, "number and moment stay");
    for expected in [None, Some(0), Some(2)] {
        let error = refused(world, NewDocument { expected, ..new("a", "three") }).await;
        assert_eq!(error.remedy, Remedy::Conflict, "another version is expected: {error}");
    }
    assert_eq!(done("get", documents.get("note", "a").await), Some(changed), "nothing was written");
    assert!(done("remove", documents.remove("note", "a").await));
    assert!(!done("remove", documents.remove("note", "a").await), "it is gone");
    let error = refused(world, NewDocument { expected: Some(1), ..new("a", "four") }).await;
    assert_eq!(error.remedy, Remedy::Conflict, "it is gone: {error}");
    let again = done("put", documents.put(new("a", "five")).await);
    assert_eq!(again.version, 0);
    assert!(again.number > 1, "a number is never given twice");
}

pub(super) async fn documents_are_listed_newest_first(world: World<'_>) {
    let documents = world.storage.documents();
    for id in ["a", "b", "c"] {
        done("put", documents.put(new(id, id)).await);
    }
    done("put", documents.put(NewDocument::new("other", "z", "z".into())).await);
    done("change", documents.put(NewDocument { expected: Some(0), ..new("a", "A") }).await);
    let all = done("list", documents.list("note", None, 9).await);
    assert_eq!(bodies(&all), ["c", "b", "A"], "by when they were made");
    let page = done("list", documents.list("note", None, 2).await);
    assert_eq!(bodies(&page), ["c", "b"], "at most as many");
    let rest = done("list", documents.list("note", ids(&page, |row| row.number).pop(), 9).await);
    assert_eq!(bodies(&rest), ["A"], "below a number");
}

pub(super) async fn documents_expire_and_are_limited(world: World<'_>) {
    let documents = world.storage.documents();
    let until = |id: &str, seconds| NewDocument { expires_at: Some(at(seconds)), ..new(id, id) };
    done("put", documents.put(until("a", 10)).await);
    done("put", documents.put(until("b", 20)).await);
    world.pass_to(10);
    assert_eq!(done("get", documents.get("note", "a").await), None, "its moment has come");
    assert_eq!(bodies(&done("list", documents.list("note", None, 9).await)), ["b"]);
    assert!(!done("remove", documents.remove("note", "a").await), "it was not there any more");
    world.pass_to(20);
    let made = done("put", documents.put(until("b", 30)).await);
    assert_eq!(made.version, 0, "one that has expired is not in the way");
    let kept = |id: &str, keep| NewDocument { keep: Some(keep), ..new(id, id) };
    for id in ["c", "d", "e"] {
        done("put", documents.put(kept(id, 3)).await);
    }
    assert_eq!(bodies(&done("list", documents.list("note", None, 9).await)), ["e", "d", "c"], "the oldest go");
    let oldest = NewDocument { expected: Some(0), ..kept("c", 2) };
    done("change", documents.put(oldest).await);
    assert_eq!(bodies(&done("list", documents.list("note", None, 9).await)), ["e", "c"], "but not the one that is put");
    for (why, large) in [
        ("kind", NewDocument::new("k".repeat(NewDocument::KIND_MAX + 1), "a", "".into())),
        ("id", new(&"i".repeat(NewDocument::ID_MAX + 1), "")),
        ("body", new("large", &"b".repeat(NewDocument::BODY_MAX))),
    ] {
        let error = refused(world, large).await;
        assert_eq!(error.remedy, Remedy::Rejected, "{error}");
        assert!(error.text.contains(why), "{error}");
    }
}
