use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{Catalog, CatalogAnswer};
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

#[derive(Clone, Copy, Debug)]
enum Question {
    Dependents,
    Describe,
}

const QUESTIONS: [Question; 2] = [Question::Describe, Question::Dependents];

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

/// The answer of the catalog to one of its two questions.
async fn ask(catalog: &dyn Catalog, question: Question, names: &[ArtifactId]) -> CatalogAnswer {
    let answer = match question {
        Question::Dependents => catalog.dependents(names).await,
        Question::Describe => catalog.describe(names).await,
    };
    answer.unwrap_or_else(|error| panic!("{question:?} of {names:?}: {error}"))
}

/// The graph of an answer in which everything is known.
async fn known(catalog: &dyn Catalog, question: Question, names: &[ArtifactId]) -> ArtifactGraph {
    let answer = ask(catalog, question, names).await;
    assert!(answer.unknown.is_empty(), "{question:?} of {names:?}: {:?}", answer.unknown);
    answer.graph
}

async fn dependents(catalog: &dyn Catalog, expect: &CatalogExpectation, id: &ArtifactId) {
    let answer = known(catalog, Question::Dependents, std::slice::from_ref(id)).await;
    assert!(answer.get(id).is_some(), "dependents of {id} do not contain it");
    for wanted in expect.graph.dependents(std::slice::from_ref(id)).iter().chain([id]) {
        assert_same(expect, &answer, wanted, &format!("dependents of {id}"));
    }
}

async fn describe(catalog: &dyn Catalog, expect: &CatalogExpectation, id: &ArtifactId) {
    let answer = known(catalog, Question::Describe, std::slice::from_ref(id)).await;
    assert_same(expect, &answer, id, &format!("description of {id}"));
}

async fn several(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    let all: Vec<ArtifactId> = expect.graph.artifacts().map(|artifact| artifact.id.clone()).collect();
    for question in QUESTIONS {
        let answer = known(catalog, question, &all).await;
        all.iter().for_each(|id| assert_same(expect, &answer, id, "answer about everything"));
        assert!(known(catalog, question, &[]).await.is_empty(), "{question:?} of nothing is something");
    }
}

async fn aliases(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    for (alias, id) in &expect.aliases {
        for question in QUESTIONS {
            let answer = known(catalog, question, std::slice::from_ref(alias)).await;
            assert_eq!(answer.canonical(alias), Some(id), "the name {alias}, as asked, must lead to {id}");
        }
    }
}

/// What is unknown hides nothing that is known, wherever it stands.
async fn unknown(catalog: &dyn Catalog, expect: &CatalogExpectation) {
    let all: Vec<ArtifactId> = expect.graph.artifacts().map(|artifact| artifact.id.clone()).collect();
    let unknown = &expect.unknown;
    for question in QUESTIONS {
        for at in [0, all.len()] {
            let mut asked = all.clone();
            asked.insert(at, unknown.clone());
            let answer = ask(catalog, question, &asked).await;
            all.iter().for_each(|id| assert_same(expect, &answer.graph, id, "answer beside an unknown name"));
            let names: Vec<_> = answer.unknown.keys().collect();
            assert_eq!(names, [unknown], "{question:?}: the unknown name is listed, and no other");
            let sentence = &answer.unknown[unknown];
            assert!(sentence.contains(unknown.as_str()), "the sentence must name {unknown}: {sentence}");
            assert_eq!(answer.graph.canonical(unknown), None, "{question:?}: {unknown} is in the graph");
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
