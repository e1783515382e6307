//! Images that the tests of both catalogs describe.

use freshmaker_redhat::contracts::Containing;
use freshmaker_redhat::fakes::lightblue::FakeImage;
use freshmaker_redhat::image::CatalogImage;
use std::collections::BTreeSet;

pub(crate) const REGISTRY: &str = "registry.example.com";

pub(crate) fn bash() -> Containing {
    Containing { packages: texts(["bash"]), content_sets: texts(["set"]) }
}

pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    texts.into_iter().map(str::to_owned).collect()
}

/// An image with bash and the content set `set`, published in the repository `app`.
pub(crate) fn app(build: &str) -> FakeImage {
    bare(build).published_in(REGISTRY, "app", ["latest"])
}

/// The same in no repository.
pub(crate) fn bare(build: &str) -> FakeImage {
    let package = build.rsplitn(3, '-').last().unwrap();
    FakeImage::new(package, build).with_content_set("set").with_rpm("bash", "bash-5.1-6.el9.x86_64")
}

pub(crate) fn nvrs(found: &[CatalogImage]) -> Vec<String> {
    found.iter().map(|image| image.nvr().to_string()).collect()
}
