//! Which composes an image needs, decided from plain facts without asking a service.

use crate::contracts::{ComposeSource, KnownCompose};
use crate::image::SelectedImage;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};

/// What is known about composes, by number.
pub(super) type Known = BTreeMap<i64, Result<KnownCompose, String>>;

/// What an image needs of the composes that it was built with, and beside them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Composes of content sets, which are renewed.
    pub(super) renewed: BTreeSet<u64>,
    /// Other composes, which the image is built with again as they are.
    pub(super) kept: BTreeSet<i64>,
    /// Content sets that are in none of these composes.
    pub(super) missing: BTreeSet<String>,
}

impl Needs {
    /// Returns what an image needs, or why it cannot be rebuilt.
    ///
    /// Content sets that `excluded` matches are never missing.
    pub(super) fn of(image: &SelectedImage, flatpak: bool, known: &Known, excluded: &Regex) -> Result<Self, String> {
        let mut needs = Self::default();
        let mut covered = BTreeSet::new();
        for id in &image.composes {
            let compose = match known.get(id) {
                Some(compose) => compose.as_ref().map_err(String::clone)?,
                None => return Err(format!("nothing is known about compose {id}")),
            };
            match (compose.source, u64::try_from(*id)) {
                (ComposeSource::Modules, _) if flatpak => {
                    let text = "it is a Flatpak, and the compose of its module would have to be made anew, which";
                    return Err(format!("{text} is not supported: compose {id}"));
                }
                (ComposeSource::ContentSets, Ok(number)) => drop(needs.renewed.insert(number)),
                (_, _) => drop(needs.kept.insert(*id)),
            }
            covered.extend(&compose.names);
        }
        let missing = image.content_sets.iter().filter(|set| !covered.contains(set) && !excluded.is_match(set));
        needs.missing = missing.cloned().collect();
        Ok(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{CatalogImage, Releases};

    fn compose(source: ComposeSource, names: &[&str]) -> Result<KnownCompose, String> {
        Ok(KnownCompose { source, names: names.iter().map(|name| (*name).to_owned()).collect() })
    }

    fn image(composes: &[i64], content_sets: &[&str]) -> SelectedImage {
        let image = CatalogImage::new("app-container-1-1".parse().unwrap()).with_source("app.git", None).affected();
        let image = composes.iter().fold(image, |image, id| image.with_compose(*id));
        let image = content_sets.iter().fold(image, |image, set| image.with_content_set(*set));
        Releases::new().with(image).select().unwrap().images()[0].clone()
    }

    fn world() -> Known {
        [
            (1, compose(ComposeSource::ContentSets, &["baseos", "appstream"])),
            (2, compose(ComposeSource::Tag, &["rhel-9-candidate"])),
            (3, compose(ComposeSource::Modules, &["perl:5.32:1:2"])),
            (4, compose(ComposeSource::Builds, &[])),
            (5, compose(ComposeSource::Configuration, &["config#c0ffee"])),
            (6, Err("ODCS has no compose 6".to_owned())),
            (7, compose(ComposeSource::ContentSets, &["crb"])),
        ]
        .into()
    }

    /// Composes of the image, its content sets, whether it is a Flatpak: what is renewed, kept and
    /// missing.
    type Row =
        (&'static [i64], &'static [&'static str], bool, (&'static [u64], &'static [i64], &'static [&'static str]));

    #[test]
    fn what_an_image_needs_follows_from_its_composes_and_content_sets() {
        let rows: [Row; 9] = [
            (&[], &[], false, (&[], &[], &[])),
            (&[1], &["baseos"], false, (&[1], &[], &[])),
            (&[1, 7], &["baseos", "crb"], false, (&[1, 7], &[], &[])),
            (&[1], &["baseos", "crb"], false, (&[1], &[], &["crb"])),
            (&[], &["baseos", "crb"], false, (&[], &[], &["baseos", "crb"])),
            (&[], &["baseos", "rhel-9-hidden-rpms", "hidden-rpms-9"], false, (&[], &[], &["baseos", "hidden-rpms-9"])),
            (&[2, 4, 5], &["baseos"], false, (&[], &[2, 4, 5], &["baseos"])),
            // Modules that an image takes packages from stay as they are.
            (&[1, 3], &["baseos"], false, (&[1], &[3], &[])),
            (&[1], &["baseos"], true, (&[1], &[], &[])),
        ];
        let excluded = Regex::new("-hidden-rpms$").unwrap();
        for (composes, content_sets, flatpak, (renewed, kept, missing)) in rows {
            let expected = Needs {
                renewed: renewed.iter().copied().collect(),
                kept: kept.iter().copied().collect(),
                missing: missing.iter().map(|set| (*set).to_owned()).collect(),
            };
            let found = Needs::of(&image(composes, content_sets), flatpak, &world(), &excluded);
            assert_eq!(found, Ok(expected), "{composes:?} {content_sets:?}");
        }
        for (composes, flatpak, why) in [
            (&[1, 6][..], false, "ODCS has no compose 6"),
            (&[8], false, "nothing is known about compose 8"),
            (
                &[3],
                true,
                "it is a Flatpak, and the compose of its module would have to be made anew, which is not supported: compose 3",
            ),
        ] {
            let found = Needs::of(&image(composes, &["baseos"]), flatpak, &world(), &excluded);
            assert_eq!(found, Err(why.to_owned()));
        }
    }
}
