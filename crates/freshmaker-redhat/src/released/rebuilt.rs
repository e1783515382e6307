//! Which repositories have images that are rebuilt, and which images these are.

use super::catalog::{self, Repositories, Repository};
use super::{Catalog, describe, is_public};
use crate::contracts::{Containing, RebuiltRepository, TaggedImage};
use crate::forms::python::listed;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Result;
use std::collections::{BTreeMap, BTreeSet};

/// A repository whose images are rebuilt, or why there is none.
type Verdict = std::result::Result<RebuiltRepository, String>;

/// Answers [`ImageRepositories::rebuilt`](crate::contracts::ImageRepositories::rebuilt).
pub(crate) async fn rebuilt(catalog: &impl Catalog, names: &BTreeSet<String>) -> Result<BTreeMap<String, Verdict>> {
    let mut found: BTreeMap<&str, Vec<Repository>> = BTreeMap::new();
    for repository in catalog.own_repositories(names.clone()).await? {
        let builds = repository.registry.as_ref().is_some_and(|it| catalog.build_registries().contains(it));
        if let Some(name) = names.get(&repository.name).filter(|_| !builds) {
            found.entry(name).or_default().push(repository);
        }
    }
    let verdict = |name: &String| {
        let same = found.remove(name.as_str()).unwrap_or_default();
        (name.clone(), verdict(catalog, name, same))
    };
    Ok(names.iter().map(verdict).collect())
}

/// Chooses among the repositories of one name the one whose images are rebuilt.
fn verdict(catalog: &impl Catalog, name: &str, same: Vec<Repository>) -> Verdict {
    let (mut rebuilt, mut refusals) = (Vec::new(), BTreeSet::new());
    for repository in same {
        match refusal(catalog, &repository) {
            Some(why) => drop(refusals.insert(why)),
            None => rebuilt.push(repository),
        }
    }
    let registry = |it: &Repository| it.registry.clone().unwrap_or_else(|| "one without a name".to_owned());
    match (rebuilt.len(), rebuilt.pop()) {
        (1, Some(Repository { registry, name, auto_rebuild_tags, .. })) => {
            Ok(RebuiltRepository { registry, name, tags: auto_rebuild_tags })
        }
        (_, Some(last)) => {
            rebuilt.push(last);
            let registries: BTreeSet<_> = rebuilt.iter().map(registry).collect();
            let registries: Vec<_> = registries.into_iter().collect();
            Err(format!("Several registries have the repository {name}: {}.", registries.join(", ")))
        }
        (_, None) if refusals.is_empty() => Err(format!("Cannot get repository {name} from {}.", catalog.name())),
        (_, None) => Err(refusals.into_iter().collect::<Vec<_>>().join(" ")),
    }
}

/// Returns why the images of a repository are not rebuilt. What is refused here is what
/// [`Catalog::offered_repositories`] leaves out.
fn refusal(catalog: &impl Catalog, repository: &Repository) -> Option<String> {
    let is_exception = catalog.unpublished_exceptions().iter().any(|exception| {
        repository.registry.as_ref() == Some(&exception.registry) && repository.name == exception.repository
    });
    let (wanted, found) = (catalog.release_categories(), &repository.release_categories);
    if repository.published && !wanted.is_empty() && wanted.is_disjoint(found) {
        let text = "Only repositories with one of the release categories";
        return Some(format!("{text} {} can be rebuilt, but found {}.", listed(wanted), listed(found)));
    }
    if !repository.published && !is_exception {
        let text = "Only published repositories or unpublished exceptions can be rebuilt";
        return Some(format!("{text}, but this repository is not published."));
    }
    if repository.auto_rebuild_tags.is_empty() {
        let text = "The \"auto_rebuild_tags\" are not set, or set to an empty list";
        return Some(format!("{text}: rebuilds of images in this repository are disabled."));
    }
    None
}

/// Answers [`ImageRepositories::images_in`](crate::contracts::ImageRepositories::images_in).
pub(crate) async fn images_in(catalog: &impl Catalog, repository: &RebuiltRepository) -> Result<Vec<TaggedImage>> {
    let wanted = Repository {
        registry: repository.registry.clone(),
        name: repository.name.clone(),
        published: true,
        auto_rebuild_tags: repository.tags.clone(),
        release_categories: BTreeSet::new(),
    };
    let only = Repositories::new(vec![wanted.clone()]);
    let mut images = catalog::unite(catalog.images_in(&only, &Containing::default()).await?, catalog.name());
    images.retain(|_, image| image.entries.iter().any(|entry| is_public(catalog, entry) && only.is_rebuilt(entry)));
    let tags_there = |entries: &BTreeSet<catalog::Entry>| {
        let there = entries.iter().filter(|entry| entry.is_of(&wanted) && is_public(catalog, entry));
        there.flat_map(|entry| entry.tags.iter().cloned()).collect()
    };
    let mut tags: BTreeMap<Nvr, BTreeSet<String>> =
        images.iter().map(|(nvr, image)| (nvr.clone(), tags_there(&image.entries))).collect();
    let images = describe(catalog, images, Repositories::default()).await?;
    let tagged = images.into_iter().map(|image| {
        let tags = tags.remove(image.nvr()).unwrap_or_default();
        TaggedImage { image, tags }
    });
    Ok(tagged.collect())
}
