//! Released images in the simulated world: what Koji, Lightblue or Pyxis, the Errata Tool and Pulp
//! know of three that are built on each other, and of an advisory for a package in them.

use crate::Result;
use crate::advisories::{ImagesConfig, Sources};
use freshmaker::Message;
use freshmaker::artifact::Nvr;
use freshmaker_redhat::contracts::Advisory;
use freshmaker_redhat::errata::ErrataConfig;
use freshmaker_redhat::fakes::errata::{FakeBuild, FakeErrataTool};
use freshmaker_redhat::fakes::koji::{Fate, Hub, Submission};
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeLightblue, FakeRepository};
use freshmaker_redhat::fakes::pulp::FakePulp;
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_redhat::handlers::ImageComposes;
use freshmaker_redhat::image::NewerReleases;
use freshmaker_redhat::lightblue::LightblueConfig;
use freshmaker_redhat::pulp::PulpConfig;
use freshmaker_redhat::pyxis::PyxisConfig;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const TARGET: &str = "rhel-9-containers";
const ADVISORY: u64 = 139_856;
const REGISTRY: &str = "registry.example.com";
pub(crate) const CONTENT_SET: &str = "rhel-9-for-x86_64-baseos-rpms";
/// A content set that only the last image uses, and that none of its composes has.
const MORE: &str = "rhel-9-for-x86_64-appstream-rpms";
const OLD: &str = "bash-5.1.8-6.el9";
const FIXED: &str = "bash-5.1.8-9.el9";

/// Name, version and release of each image; each is built on the one before.
const IMAGES: [[&str; 3]; 3] =
    [["ubi9-container", "9.4", "1123"], ["python-container", "3.12", "7"], ["shop-container", "2.1", "4"]];

/// Who says which released images there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teller {
    Lightblue,
    Pyxis,
}

impl FromStr for Teller {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "lightblue" => Ok(Self::Lightblue),
            "pyxis" => Ok(Self::Pyxis),
            _ => Err(format!("--catalog is `lightblue` or `pyxis`, not `{name}`")),
        }
    }
}

/// A fake of one of the catalogs.
enum Catalog {
    Lightblue(FakeLightblue),
    Pyxis(FakePyxis),
}

impl Catalog {
    async fn start(teller: Teller) -> Result<Self> {
        Ok(match teller {
            Teller::Lightblue => Self::Lightblue(FakeLightblue::start().await?),
            Teller::Pyxis => Self::Pyxis(FakePyxis::start().await?),
        })
    }

    fn add(&self, repository: FakeRepository, image: FakeImage) {
        match self {
            Self::Lightblue(service) => {
                service.add_repository(repository);
                service.add_image(image);
            }
            Self::Pyxis(service) => {
                service.add_repository(repository);
                service.add_image(image);
            }
        }
    }

    fn config(&self) -> ImagesConfig {
        match self {
            Self::Lightblue(service) => ImagesConfig::Lightblue(LightblueConfig::new(service.url())),
            Self::Pyxis(service) => ImagesConfig::Pyxis(PyxisConfig::new(service.url())),
        }
    }
}

/// The services that know them.
pub(crate) struct Released {
    errata: FakeErrataTool,
    pulp: FakePulp,
    catalog: Catalog,
}

impl Released {
    /// All images were built with this compose, which has [`CONTENT_SET`].
    pub(crate) async fn start(hub: &Hub, compose: i64, teller: Teller) -> Result<Self> {
        let world = Self {
            errata: FakeErrataTool::start().await?,
            pulp: FakePulp::start().await?,
            catalog: Catalog::start(teller).await?,
        };
        let mut parent: Option<Nvr> = None;
        for [name, version, release] in IMAGES {
            let nvr: Nvr = format!("{name}-{version}-{release}").parse()?;
            let installed = Fate::succeeds().with_rpm("x86_64", OLD);
            hub.add_built_image(&nvr, TARGET, parent.as_ref(), &installed)?;
            hub.set_composes(&nvr, &[compose]);
            let image = FakeImage::new(name, &nvr.to_string()).published_in(REGISTRY, name, ["latest"]);
            let image = image.with_content_set(CONTENT_SET).with_rpm("bash", &format!("{OLD}.x86_64"));
            let last = name == IMAGES[IMAGES.len() - 1][0];
            let image = if last { image.with_content_set(MORE) } else { image };
            world.catalog.add(FakeRepository::new(REGISTRY, name), image);
            parent = Some(nvr);
        }
        let advisory = Advisory {
            id: ADVISORY,
            name: "RHSA-2026:1398".to_owned(),
            state: "SHIPPED_LIVE".to_owned(),
            content_types: ["rpm".to_owned()].into(),
            security_impact: "important".to_owned(),
            product: "RHEL".to_owned(),
            release: "RHEL-9.4.0".to_owned(),
            reporter: "someone@example.com".to_owned(),
            cves: ["CVE-2026-1398".to_owned()].into(),
            has_hightouch_bug: false,
        };
        let build = FakeBuild::new(FIXED.parse()?, ["RHEL-9.4.0"])
            .with_files([format!("{FIXED}.x86_64.rpm"), format!("{FIXED}.src.rpm")])
            .fixing(["CVE-2026-1398"]);
        let repository = "rhel-9-for-x86_64-baseos-rpms__9_DOT_4";
        world.errata.add(advisory, [build], [repository]);
        world.pulp.add(repository, Some(CONTENT_SET));
        Ok(world)
    }

    pub(crate) fn sources(&self) -> Sources {
        let mut errata = ErrataConfig::new(self.errata.url());
        errata.http.timeout = Duration::from_secs(5);
        let pulp = PulpConfig::new(self.pulp.url());
        let images = self.catalog.config();
        let excluded = ImageComposes::EXCLUDED.to_owned();
        Sources {
            errata,
            pulp,
            images,
            extra_repositories: BTreeMap::new(),
            isolated: true,
            arch_overrides: false,
            git_base_url: None,
            newer: NewerReleases::Keep,
            excluded,
            sigkeys: Vec::new(),
        }
    }
}

/// What becomes of a submission of one of these images: with the fixed package, and at the first
/// time the last one fails as if a builder had died.
pub(crate) fn fate(submission: &Submission) -> Option<Fate> {
    let [_, version, _] = IMAGES.into_iter().find(|[name, ..]| submission.artifact().ends_with(name))?;
    let fate = if submission.artifact().ends_with("shop-container") && submission.number == 1 {
        Fate::fails(1005, "the builder ran out of disk space")
    } else {
        Fate::succeeds()
    };
    Some(fate.taking(Duration::from_millis(300)).with_version(version).with_rpm("x86_64", FIXED))
}

/// What the Errata Tool says when the advisory is shipped.
pub(crate) fn shipped(prefix: &str) -> Message {
    let body = serde_json::json!({
        "errata_id": ADVISORY,
        "fulladvisory": "RHSA-2026:1398-01",
        "synopsis": "Important: bash security update",
        "from": "REL_PREP",
        "to": "SHIPPED_LIVE",
    });
    Message {
        id: "a0e1f2c4-5b66-4c0f-9d0a-2f6f2d1c9a12".to_owned(),
        topic: format!("{prefix}.errata.activity.status"),
        headers: Default::default(),
        body: body.to_string().into_bytes(),
    }
}
