//! What a catalog knows, in plain data: from it both the question to the crate and the answers of
//! the laws are made.

use freshmaker::{EdgeKind, Nvr, Reason};
use freshmaker_redhat::image::{CatalogImage, NewerReleases, Publication, Releases};
use std::collections::BTreeMap;

pub(crate) fn nvr(text: &str) -> Nvr {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// One description of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) nvr: String,
    pub(crate) parent: Option<String>,
    pub(crate) builders: Vec<String>,
    pub(crate) repositories: Vec<String>,
    pub(crate) content_sets: Vec<String>,
    pub(crate) content_sets_of_child: Vec<String>,
    /// NVRs, if they are known.
    pub(crate) rpms: Option<Vec<String>>,
    pub(crate) publication: Publication,
    pub(crate) affected: bool,
    pub(crate) hotfix: bool,
    pub(crate) rejected: bool,
    pub(crate) error: Option<String>,
    pub(crate) without_recipe: bool,
}

impl Image {
    pub(crate) fn parents(&self) -> Vec<(String, EdgeKind)> {
        let builders = self.builders.iter().map(|builder| (builder.clone(), EdgeKind::BuilderStage));
        self.parent.iter().map(|parent| (parent.clone(), EdgeKind::ParentImage)).chain(builders).collect()
    }

    fn catalog_image(&self) -> CatalogImage {
        let mut image = CatalogImage::new(nvr(&self.nvr)).with_publication(self.publication);
        if !self.without_recipe {
            image = image.with_source(format!("containers/{}", self.nvr), None);
        }
        image = self.parents().iter().fold(image, |image, (parent, kind)| image.with_parent(nvr(parent), *kind));
        image = self.repositories.iter().fold(image, CatalogImage::in_repository);
        image = self.content_sets.iter().fold(image, CatalogImage::with_content_set);
        image = self.content_sets_of_child.iter().fold(image, CatalogImage::with_content_set_of_child);
        if let Some(rpms) = &self.rpms {
            image = rpms.iter().fold(image.with_known_rpms(), |image, rpm| image.with_rpm(nvr(rpm)));
        }
        if self.affected {
            image = image.affected();
        }
        if self.hotfix {
            image = image.with_label("com.redhat.hotfix");
        }
        if self.rejected {
            image = image.rejected(Reason::new("policy", "no rule allows it"));
        }
        match &self.error {
            Some(error) => image.with_lookup_error(error),
            None => image,
        }
    }
}

/// A question: images, in the order in which they are told, and what is to be fixed.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) images: Vec<Image>,
    pub(crate) fixes: Vec<String>,
    pub(crate) content_sets: Vec<String>,
    pub(crate) already_rebuilt: Vec<(String, String)>,
    pub(crate) newer: NewerReleases,
}

impl World {
    pub(crate) fn releases(&self) -> Releases {
        let mut releases = Releases::new().newer_releases(self.newer);
        self.images.iter().for_each(|image| releases.insert(image.catalog_image()));
        releases = self.fixes.iter().fold(releases, |releases, fix| releases.fixing(nvr(fix)));
        releases = self.content_sets.iter().fold(releases, Releases::in_content_set);
        self.already_rebuilt
            .iter()
            .fold(releases, |releases, (original, rebuild)| releases.already_rebuilt(nvr(original), nvr(rebuild)))
    }
}

impl World {
    /// Each image once, with all that its descriptions tell.
    pub(crate) fn united(&self) -> BTreeMap<String, Image> {
        let mut united: BTreeMap<String, Image> = BTreeMap::new();
        for image in &self.images {
            let known =
                united.entry(image.nvr.clone()).or_insert_with(|| Image { without_recipe: true, ..Image::default() });
            known.nvr.clone_from(&image.nvr);
            known.parent = known.parent.take().or_else(|| image.parent.clone());
            known.builders.extend(image.builders.iter().cloned());
            known.repositories.extend(image.repositories.iter().cloned());
            known.content_sets.extend(image.content_sets.iter().cloned());
            if let Some(rpms) = &image.rpms {
                known.rpms.get_or_insert_default().extend(rpms.iter().cloned());
            }
            known.publication = known.publication.max(image.publication);
            known.affected |= image.affected;
            known.hotfix |= image.hotfix;
            known.rejected |= image.rejected;
            known.error = known.error.take().or_else(|| image.error.clone());
            known.without_recipe &= image.without_recipe;
        }
        united
    }
}
