use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{Catalog, Remedy};
use freshmaker::graph::ArtifactGraph;
use std::collections::BTreeSet;

/// What a catalog under test is known to hold.
#[derive(Clone, Debug)]
pub struct CatalogExpectation {
    /// Everything the catalog knows, under canonical names. Something in it must have dependents.
    pub graph: ArtifactGraph,
    /// Names as people write them, with the canonical names they mean.
    pub aliases: Vec<(ArtifactId, ArtifactId)>,
    /// A name that means nothing to the catalog.
    pub unknown: ArtifactId,
}

/// Checks a catalog against the [contract](Catalog).
///
/// ```
/// use freshmaker::memory::MemoryCatalog;
/// use freshmaker_testing::conformance::{self, CatalogExpectation};
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// graph.alias("base", "debian")?;
/// let expect = CatalogExpectation {
///     graph: graph.clone(),
///     aliases: vec![("base".into(), "debian".into())],
///     unknown: "nothing".into(),
/// };
/// conformance::catalog(&MemoryCatalog::new(graph), &expect).await;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// If the catalog breaks its contract, or `expect` is too small to tell.
pub async fn catalog(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    assert!(expect.graph.edges().count() > 0, "the expectation needs a dependency");
    for artifact in expect.graph.artifacts() {
        dependents(catalog, expect, &artifact.id).await;
        describe(catalog, expect, &artifact.id).await;
    }
    several(catalog, expect).await;
    aliases(catalog, expect).await;
    unknown(catalog, expect).await;
}

async fn dependents(catalog: &dyn Catalog, expect: &CatalogExpectation, id: &ArtifactId) {
    let answer = match catalog.dependents(std::slice::from_ref(id)).await {
        Ok(answer) => answer,
        Err(error) => panic!("dependents of {id}: {error}"),
    };
    assert!(answer.get(id).is_some(), "dependents of {id} do not contain it");
    for wanted in expect.graph.dependents(std::slice::from_ref(id)).iter().chain([id]) {
        assert_same(expect, &answer, wanted, &format!("dependents of {id}"));
    }
}

async fn describe(catalog: &dyn Catalog, expect: &CatalogExpectation, id: &ArtifactId) {
    let answer = match catalog.describe(std::slice::from_ref(id)).await {
        Ok(answer) => answer,
        Err(error) => panic!("description of {id}: {error}"),
    };
    assert_same(expect, &answer, id, &format!("description of {id}"));
}

async fn several(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    let all: Vec<ArtifactId> = expect.graph.artifacts().map(|artifact| artifact.id.clone()).collect();
    for answer in [catalog.describe(&all).await, catalog.dependents(&all).await] {
        match answer {
            Ok(answer) => all.iter().for_each(|id| assert_same(expect, &answer, id, "answer about everything")),
            Err(error) => panic!("asked about everything: {error}"),
        }
    }
}

async fn aliases(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    for (alias, id) in &expect.aliases {
        let asked = std::slice::from_ref(alias);
        for answer in [catalog.describe(asked).await, catalog.dependents(asked).await] {
            match answer {
                Ok(answer) => {
                    assert_eq!(answer.canonical(alias), Some(id), "the name {alias}, as asked, must lead to {id}");
                }
                Err(error) => panic!("asked about {alias}, which is {id}: {error}"),
            }
        }
    }
}

async fn unknown(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    let known = expect.graph.artifacts().next().map(|artifact| artifact.id.clone());
    let both: Vec<ArtifactId> = known.into_iter().chain([expect.unknown.clone()]).collect();
    for asked in [&both[both.len() - 1..], &both] {
        for answer in [catalog.describe(asked).await, catalog.dependents(asked).await] {
            match answer {
                Ok(_) => panic!("asked about {}, which does not exist, the catalog answered", expect.unknown),
                Err(error) => {
                    assert_eq!(error.remedy, Remedy::NotFound, "an unknown name is not found: {error}");
                    assert!(error.text.contains(expect.unknown.as_str()), "the error must name it: {error}");
                }
            }
        }
    }
}

/// The artifact is in the answer as expected, with exactly its direct parents, each described.
fn assert_same(expect: &CatalogExpectation, answer: &ArtifactGraph, id: &ArtifactId, place: &str) {
    assert_eq!(answer.get(id), expect.graph.get(id), "{place}: {id}");
    let parents = |graph: &ArtifactGraph| -> BTreeSet<_> {
        graph.parents(id).into_iter().map(|(parent, kind)| (parent.clone(), kind)).collect()
    };
    assert_eq!(parents(answer), parents(&expect.graph), "{place}: parents of {id}");
    for (parent, _) in parents(answer) {
        assert_eq!(answer.get(&parent), expect.graph.get(&parent), "{place}: {parent}, parent of {id}");
    }
}
