//! The Docker Official Images as a catalog, and the rules of this demonstration.

use crate::Result;
use crate::store::{Document, Store, pretended_work};
use async_trait::async_trait;
use freshmaker::artifact::Digest;
use freshmaker::backend::{self, Catalog, CatalogAnswer, Error, Remedy};
use freshmaker::graph::Note;
use freshmaker::memory::MemoryCatalog;
use freshmaker::policy::{PolicyError, Rule};
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Policy};
use std::collections::{BTreeMap, BTreeSet};

const DATA: &str = include_str!("data/official-images.tsv");
const LIBRARY: &str = "https://github.com/docker-library/official-images/blob/master/library";

/// What is pushed.
pub const BASE: &str = "debian:bookworm";

#[derive(Debug)]
pub struct Image {
    pub id: ArtifactId,
    /// As in the library: `debian:bookworm`.
    pub name: String,
    pub platform: String,
    /// Recipes use it, but the library does not build it for this platform.
    pub external: bool,
    pub parents: Vec<usize>,
}

/// Images by number; parents before children in `order`.
#[derive(Debug)]
pub struct World {
    pub images: Vec<Image>,
    pub order: Vec<usize>,
}

impl Image {
    fn read(name: &str, platform: &str) -> Self {
        let (name, external) = name.strip_suffix("(ext)").map_or((name, false), |name| (name, true));
        // The registry has the images of each platform under a name of their own, too.
        let id = if name.contains('/') {
            format!("{name} ({platform})")
        } else {
            format!("docker.io/{}/{name}", platform.replace("windows-", "win"))
        };
        Self { id: id.into(), name: name.to_owned(), platform: platform.to_owned(), external, parents: Vec::new() }
    }

    fn artifact(&self, recipe: &Digest) -> Artifact {
        let artifact = Artifact::new(self.id.clone(), ArtifactKind::Image);
        if self.external {
            return artifact;
        }
        let library = self.name.split(':').next().unwrap_or_default();
        artifact
            .with_source(format!("{LIBRARY}/{library}"), Some(recipe.as_str()))
            .with_parameter("platform", self.platform.as_str())
            .with_estimate(pretended_work(&self.id))
    }
}

impl World {
    pub fn load() -> Result<Self> {
        let mut images = Vec::new();
        let mut edges = Vec::new();
        for (number, line) in DATA.lines().enumerate() {
            let unclear = || format!("official-images.tsv:{}: {line:?} makes no sense", number + 1);
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["N", name, platform] => images.push(Image::read(name, platform)),
                ["F", child, parents] => {
                    let parents: std::result::Result<Vec<usize>, _> = parents.split(' ').map(str::parse).collect();
                    edges.push((child.parse::<usize>().map_err(|_| unclear())?, parents.map_err(|_| unclear())?));
                }
                _ if line.starts_with('#') => {}
                _ => return Err(unclear().into()),
            }
        }
        for (child, parents) in edges {
            if parents.iter().any(|parent| *parent >= images.len()) {
                return Err(format!("official-images.tsv: image {child} has a parent that is not there").into());
            }
            images.get_mut(child).ok_or("official-images.tsv: an image that is not there has parents")?.parents =
                parents;
        }
        let order = order(&images)?;
        Ok(Self { images, order })
    }

    /// The images that are pushed: one for each platform that the library builds.
    pub fn pushed(&self) -> BTreeSet<usize> {
        let base = |image: &Image| image.name == BASE && !image.external;
        (0..self.images.len()).filter(|&at| base(&self.images[at])).collect()
    }

    /// What directly or indirectly is built from these, without themselves.
    pub fn dependents(&self, of: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut found = of.clone();
        for &at in &self.order {
            if self.images[at].parents.iter().any(|parent| found.contains(parent)) {
                found.insert(at);
            }
        }
        found.difference(of).copied().collect()
    }

    /// A name for what the data tells of a recipe.
    pub fn recipe(&self, at: usize) -> Digest {
        let image = &self.images[at];
        let parents: Vec<_> = image.parents.iter().map(|&parent| self.images[parent].id.as_str()).collect();
        Digest::of(format!("{}\n{}\n{}\n", image.name, image.platform, parents.join("\n")).as_bytes())
    }

    pub fn graph(&self) -> Result<ArtifactGraph> {
        let mut graph = ArtifactGraph::new();
        for (at, image) in self.images.iter().enumerate() {
            graph.insert(image.artifact(&self.recipe(at)));
        }
        for image in &self.images {
            // The data does not tell FROM from COPY --from; with one parent there is no choice.
            let kind = if image.parents.len() == 1 { EdgeKind::ParentImage } else { EdgeKind::BuildDependency };
            for &parent in &image.parents {
                graph.depend(image.id.clone(), self.images[parent].id.clone(), kind)?;
            }
        }
        self.note_other_platforms(&mut graph)?;
        Ok(graph)
    }

    /// Who follows a push of `debian:bookworm` should learn why the images on s390x do not.
    fn note_other_platforms(&self, graph: &mut ArtifactGraph) -> Result<()> {
        let mut built: BTreeMap<&str, &ArtifactId> = BTreeMap::new();
        for image in self.images.iter().filter(|image| !image.external) {
            built.entry(&image.name).or_insert(&image.id);
        }
        for image in &self.images {
            for parent in image.parents.iter().map(|&parent| &self.images[parent]).filter(|parent| parent.external) {
                if let Some(&elsewhere) = built.get(parent.name.as_str()) {
                    let text = format!(
                        "it is built from {} for {}, which the library does not build: that image has not changed",
                        parent.name, parent.platform
                    );
                    let note = Note { parent: elsewhere.clone(), code: "other_platform".to_owned(), text };
                    graph.note(&image.id, note)?;
                }
            }
        }
        Ok(())
    }

    /// Gives everything that is needed its first content. What has one already keeps it, so this
    /// can be cut off and done again.
    pub fn first_outputs(&self, store: &Store) -> Result<()> {
        let pushed = self.pushed();
        let mut needed = self.dependents(&pushed);
        let parents: Vec<_> = needed.iter().flat_map(|&at| self.images[at].parents.iter().copied()).collect();
        needed.extend(parents.into_iter().chain(pushed));
        let mut missing = BTreeSet::new();
        for at in needed {
            if store.tag(&self.images[at].id)?.is_none() {
                missing.insert(at);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut digests: BTreeMap<usize, Digest> = BTreeMap::new();
        for &at in &self.order {
            let image = &self.images[at];
            let parents = image.parents.iter().filter_map(|parent| {
                digests.get(parent).map(|digest| (self.images[*parent].id.clone(), digest.clone()))
            });
            let document = Document {
                artifact: image.id.clone(),
                recipe: self.recipe(at),
                content: 0,
                parents: parents.collect(),
            };
            if missing.contains(&at) {
                store.move_tag(&image.id, &store.put(&document)?)?;
            }
            digests.insert(at, document.digest()?);
        }
        Ok(())
    }
}

/// Parents before children.
fn order(images: &[Image]) -> Result<Vec<usize>> {
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut waiting: Vec<usize> = images.iter().map(|image| image.parents.len()).collect();
    for (at, image) in images.iter().enumerate() {
        for &parent in &image.parents {
            children.entry(parent).or_default().push(at);
        }
    }
    let mut order: Vec<usize> = (0..images.len()).filter(|&at| waiting[at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for &child in children.get(&at).into_iter().flatten() {
            waiting[child] -= 1;
            if waiting[child] == 0 {
                order.push(child);
            }
        }
    }
    if order.len() == images.len() { Ok(order) } else { Err("official-images.tsv has a cycle".into()) }
}

/// Upstreams of pre-releases tag often; until then nobody should depend on them.
pub fn policy() -> std::result::Result<Policy, PolicyError> {
    let pre_release = Rule::when("image_tag", r"tip-.*|.*\d(alpha|beta|rc)\d.*|.*-(alpha|beta|preview|rc|ea)[-.\d].*")
        .named("pre-releases")
        .because("pre-releases are rebuilt when upstream tags the next one, not when their base changes");
    Policy::from_rules([], [pre_release])
}

/// The graph of the data, with the digests that the tags show at the moment of the question.
#[derive(Debug)]
pub struct Library {
    images: MemoryCatalog,
    store: Store,
}

impl Library {
    pub fn new(graph: ArtifactGraph, store: Store) -> Self {
        Self { images: MemoryCatalog::new(graph), store }
    }

    fn with_digests(&self, mut answer: CatalogAnswer) -> backend::Result<CatalogAnswer> {
        let artifacts: Vec<_> = answer.graph.artifacts().cloned().collect();
        for artifact in artifacts {
            let tag = self.store.tag(&artifact.id);
            let tag = tag.map_err(|error| Error::new(Remedy::Unavailable, "library", error))?;
            if let Some(digest) = tag {
                answer.graph.insert(artifact.with_digest(digest));
            }
        }
        Ok(answer)
    }
}

#[async_trait]
impl Catalog for Library {
    async fn dependents(&self, of: &[ArtifactId]) -> backend::Result<CatalogAnswer> {
        self.with_digests(self.images.dependents(of).await?)
    }

    async fn describe(&self, ids: &[ArtifactId]) -> backend::Result<CatalogAnswer> {
        self.with_digests(self.images.describe(ids).await?)
    }
}
