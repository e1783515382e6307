//! Which backends and handlers make up the service: a new one is added here.

use crate::Result;
use crate::advisories::Sources;
use crate::config::{Config, VerifyBy};
use crate::handlers::{RebuildByHand, RebuildRecipe, rebuild_after_update};
use crate::stored::Stored;
use freshmaker::Engine;
use freshmaker::backend::{Bus, Retention};
use freshmaker::client::Client;
use freshmaker::engine::{EngineBuilder, Preview};
use freshmaker::event::{Event, Parsers};
use freshmaker::handler::{rebuild_artifact, rebuild_dependents, rebuild_requested};
use freshmaker::rebuild::BuildMode;
use freshmaker_amqp::{AmqpBus, AmqpConfig};
use freshmaker_local::files::FilesCatalog;
use freshmaker_redhat::contracts::InstalledPackages;
use freshmaker_redhat::forms::FreshmakerMessages;
use freshmaker_redhat::handlers::{
    AffectedModules, BuiltImages, FACTS, RebuildImageOfDockerfile, RebuildImagesOfSignedAdvisory,
    RebuildImagesOfUpdate, RebuildImagesOnParent, RebuildImagesOnRequest, RebuildModule, RebuildModulesAfterUpdate,
    RebuildModulesOfPackage, RebuildNamedImages, cancel_on_request,
};
use freshmaker_redhat::image::{ImageSearch, ImageVerifier};
use freshmaker_redhat::koji::{
    KojiBuildSystem, KojiConfig, KojiImages, KojiReader, KojiRecipes, Profile, ProfileFiles,
};
use freshmaker_redhat::mbs::{Commits, GitCommits, MbsBuildSystem, MbsConfig, MbsLogin};
use freshmaker_redhat::messages::{
    self, bodhi, dist_git, errata, koji as koji_messages, mbs as mbs_messages, odcs as odcs_messages, request,
};
use freshmaker_redhat::odcs::{OdcsComposer, OdcsConfig, OdcsLogin};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the service is connected to.
pub(crate) struct Wires {
    pub(crate) stored: Stored,
    pub(crate) catalog: Arc<FilesCatalog>,
    pub(crate) parsers: Parsers,
    pub(crate) freshmaker_messages: Option<String>,
    pub(crate) bus: Option<Arc<dyn Bus>>,
    pub(crate) koji: System<KojiConfig>,
    /// Who says what is installed in results, if they are verified.
    pub(crate) verified_by: Option<VerifyBy>,
    /// Whether nothing is really built.
    pub(crate) dry_run: bool,
    pub(crate) retention: Retention,
    pub(crate) odcs: Option<System<OdcsConfig>>,
    pub(crate) mbs: Option<Mbs>,
    pub(crate) advisories: Option<Sources>,
    /// How old builds may be by which Koji alone finds images.
    pub(crate) images_within: Option<Duration>,
}

/// A service that builds, under the name that the catalog has for it.
pub(crate) struct System<C> {
    pub(crate) name: String,
    pub(crate) slots: u32,
    pub(crate) config: C,
}

/// The build system of modules, and who makes new commits for it.
pub(crate) struct Mbs {
    pub(crate) system: System<MbsConfig>,
    pub(crate) commits: Option<Arc<dyn Commits>>,
}

impl Mbs {
    pub(crate) fn open(&self) -> Result<MbsBuildSystem> {
        let mbs = MbsBuildSystem::new(self.system.config.clone())?;
        Ok(self.commits.iter().fold(mbs, |mbs, commits| mbs.with_commits(commits.clone())))
    }
}

impl Wires {
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let parsers = parsers(&config.topic_prefixes, Understood::by(config));
        commits(config).map_or(Ok(()), |commits| commits.check_offline())?;
        let bus = amqp(config)?.map(AmqpBus::new).transpose()?.map(|bus| Arc::new(bus) as Arc<dyn Bus>);
        Ok(Self {
            stored: Stored::of(config)?,
            catalog: Arc::new(catalog(&config.catalog)?),
            parsers,
            freshmaker_messages: config.freshmaker_messages.clone(),
            bus,
            koji: hub(config)?.0,
            verified_by: verified_by(config)?,
            dry_run: config.dry_run,
            retention: config.retention.retention(),
            odcs: odcs(config),
            mbs: mbs(config),
            advisories: config.advisories.as_ref().map(Sources::of).transpose()?,
            images_within: config.koji.images_within_days.map(|days| Duration::from_secs(days * 24 * 3600)),
        })
    }

    /// The service, ready to run.
    pub(crate) fn engine(self) -> Result<Engine> {
        Ok(self.service()?.build()?)
    }

    /// Tells what the service would do about an event.
    pub(crate) async fn preview(self) -> Result<Preview> {
        let builder = self.deciding()?;
        // Earlier builds say how long these will take, if there are any; a preview keeps nothing.
        let stored = self.stored.existing().await?;
        let builder = stored.into_iter().fold(builder, EngineBuilder::storage);
        Ok(self.building(builder)?.preview()?)
    }

    fn service(self) -> Result<EngineBuilder> {
        let mut builder = self.building(self.builder(true)?)?.retention(self.retention);
        if let Some(bus) = self.bus {
            builder = builder.bus("fedora-messaging", bus);
        }
        if let Some(url) = self.freshmaker_messages {
            builder = builder.announcer(FreshmakerMessages::new(url));
        }
        Ok(builder)
    }

    /// Adds who builds.
    fn building(&self, builder: EngineBuilder) -> Result<EngineBuilder> {
        let name = self.koji.name.as_str();
        let mut builder = builder
            .build_system(name, Arc::new(KojiBuildSystem::new(self.koji.config.clone())?))
            .limit(name, self.koji.slots)
            .hints(name, koji_messages::task_hint_of(self.koji.config.instance.as_str()));
        if let Some(by) = self.verified_by {
            builder = builder.verifier(name, Arc::new(ImageVerifier::new(self.installed(by)?)));
        }
        if let Some(odcs) = &self.odcs {
            builder = builder
                .composer(odcs.name.as_str(), Arc::new(OdcsComposer::new(odcs.config.clone())?))
                .limit(odcs.name.as_str(), odcs.slots)
                .hints(odcs.name.as_str(), odcs_messages::compose_hint);
        }
        if let Some(mbs) = &self.mbs {
            let name = mbs.system.name.as_str();
            let builds = Arc::new(mbs.open()?);
            builder =
                builder.build_system(name, builds).limit(name, mbs.system.slots).hints(name, mbs_messages::module_hint);
        }
        Ok(builder)
    }

    /// Who says what is installed in results.
    fn installed(&self, by: VerifyBy) -> Result<Arc<dyn InstalledPackages>> {
        Ok(match (by, &self.advisories) {
            (VerifyBy::Koji, _) => Arc::new(KojiReader::new(&self.koji.config)?),
            (VerifyBy::Catalog, Some(sources)) => sources.images.open()?,
            (VerifyBy::Catalog, None) => return Err(NO_CATALOG.into()),
        })
    }

    /// The names of the build systems, as builds are stored with them.
    pub(crate) fn systems(&self) -> impl Iterator<Item = &str> {
        let odcs = self.odcs.iter().map(|odcs| odcs.name.as_str());
        let mbs = self.mbs.iter().map(|mbs| mbs.system.name.as_str());
        std::iter::once(self.koji.name.as_str()).chain(odcs).chain(mbs)
    }

    /// The facts that rules of the policy can use beside those that are always known.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &'static str> + use<> {
        let known = self.advisories.is_some() || self.images_within.is_some();
        FACTS.into_iter().filter(move |_| known)
    }

    /// Adds handlers that find images by what Koji knows of its builds.
    fn by_builds(&self, builder: EngineBuilder, within: Duration) -> Result<EngineBuilder> {
        let (name, config) = (self.koji.name.as_str(), &self.koji.config);
        let recipes = Arc::new(KojiRecipes::new(config)?);
        let builds = Arc::new(KojiImages::new(config)?.within(within));
        let images = BuiltImages::new(builds.clone(), recipes.clone()).with_system(name).within(within);
        let search = ImageSearch::new(builds.clone(), recipes).with_system(name);
        let on_parent = RebuildImagesOnParent::new(images.clone()).with_instance(config.instance.as_str());
        let builder = builder.on(on_parent.clone()).on(on_parent.on_tasks());
        let builder = builder.on(RebuildNamedImages(images.clone())).on(RebuildImageOfDockerfile(images));
        Ok(builder.on(RebuildImagesOfUpdate::new(builds, search)))
    }

    /// A way to what is stored, beside a service that runs or without one.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(self.builder(false)?.build()?.client())
    }

    /// The same for what may come before the first service: what is not there is made.
    pub(crate) fn first_client(&self) -> Result<Client> {
        Ok(self.builder(true)?.build()?.client())
    }

    fn builder(&self, makes: bool) -> Result<EngineBuilder> {
        self.stored.given_to(self.deciding()?, makes)
    }

    /// Who decides, and by what.
    fn deciding(&self) -> Result<EngineBuilder> {
        let builder = Engine::builder()
            .catalog("files", Arc::clone(&self.catalog) as _)
            .policy(self.catalog.policy().clone())
            .parsers(self.parsers.clone());
        let builder = if self.dry_run { builder.mode(BuildMode::DryRun) } else { builder };
        let affected = |sources: &Sources| sources.affected(&self.koji, self.odcs.as_ref());
        let affected = self.advisories.as_ref().map(affected).transpose()?;
        let builder = match (&self.advisories, affected.clone()) {
            (Some(sources), Some(affected)) => {
                let announce = sources.announce()?.with_instance(self.koji.config.instance.as_str());
                let builder = builder.on(announce.clone().on_signatures()).on(announce.clone().on_modules());
                builder.on(announce).on(RebuildImagesOfSignedAdvisory::new(affected))
            }
            _ => builder,
        };
        let builder = match self.images_within {
            Some(within) => self.by_builds(builder, within)?,
            None => builder,
        };
        let builder = builder.facts(self.facts());
        let builder = builder.on_as("RebuildImagesOnRequest", RebuildByHand(affected.map(RebuildImagesOnRequest)));
        let builder = builder.on(rebuild_after_update).on(cancel_on_request);
        let mut builder = builder.on(RebuildRecipe(Arc::clone(&self.catalog)));
        if let Some(mbs) = &self.mbs {
            let affected = AffectedModules::new(Arc::new(mbs.open()?)).with_system(mbs.system.name.as_str());
            builder = builder.on(RebuildModule(affected.clone()));
            // A package needs a new commit, because MBS builds none twice.
            if mbs.commits.is_some() {
                builder = builder.on(RebuildModulesOfPackage(affected.clone())).on(RebuildModulesAfterUpdate(affected));
            }
        }
        Ok(builder.on(rebuild_dependents).on(rebuild_artifact).on(rebuild_requested))
    }
}

const NO_CATALOG: &str = "koji.verify_by: a catalog is only known with [advisories]";

/// Who says what is installed in results, if they are verified.
pub(crate) fn verified_by(config: &Config) -> Result<Option<VerifyBy>> {
    match config.koji.verify_by {
        VerifyBy::Catalog if !config.koji.verify => Err("koji.verify_by: it needs `verify = true`".into()),
        VerifyBy::Catalog if config.advisories.is_none() => Err(NO_CATALOG.into()),
        by => Ok(config.koji.verify.then_some(by)),
    }
}

const OF_ADVISORIES: [&str; 3] =
    [errata::AdvisoryStatusChanged::KIND, errata::ModuleAdvisorySigned::KIND, koji_messages::RpmSigned::KIND];

const OF_BUILDS: [&str; 3] =
    [request::AsyncBuild::KIND, koji_messages::ContainerTaskChanged::KIND, koji_messages::TaskChanged::KIND];

const OF_MODULES: [&str; 2] = [dist_git::ModuleMetadataChanged::KIND, dist_git::SpecChanged::KIND];

/// Whose messages a configuration has handlers for, beside those that are always understood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Understood {
    /// Somebody knows advisories.
    pub(crate) advisories: bool,
    /// Images are found by builds.
    pub(crate) builds: bool,
    /// Modules are built.
    pub(crate) modules: bool,
}

impl Understood {
    fn by(config: &Config) -> Self {
        Self {
            advisories: config.advisories.is_some(),
            builds: config.koji.images_within_days.is_some(),
            modules: config.mbs.is_some(),
        }
    }

    fn has(self, kind: &str) -> bool {
        (self.advisories && OF_ADVISORIES.contains(&kind))
            || (self.builds && OF_BUILDS.contains(&kind))
            || (self.modules && OF_MODULES.contains(&kind))
    }
}

/// The messages that are understood.
pub(crate) fn parsers(prefixes: &[String], understood: Understood) -> Parsers {
    let kinds = [
        bodhi::UpdateStable::KIND,
        dist_git::DockerfileChanged::KIND,
        request::ManualRebuild::KIND,
        request::CancelEvent::KIND,
    ];
    let mut parsers = messages::parsers(prefixes);
    parsers.retain_kinds(|kind| kinds.contains(&kind) || understood.has(kind));
    parsers
}

pub(crate) fn catalog(path: &Path) -> Result<FilesCatalog> {
    let catalog = FilesCatalog::from_manifest(path)?;
    catalog.problems().iter().for_each(|problem| eprintln!("{problem}"));
    Ok(catalog)
}

/// The bus, bound to what is understood and to what says that a task or a compose has changed.
pub(crate) fn amqp(config: &Config) -> Result<Option<AmqpConfig>> {
    let Some(bus) = &config.fedora_messaging else { return Ok(None) };
    let amqp = AmqpConfig::read(&bus.file)?;
    let mut topics = parsers(&config.topic_prefixes, Understood::by(config)).topics();
    let mut hints = messages::parsers(&config.topic_prefixes);
    let changes = [
        koji_messages::TaskChanged::KIND,
        koji_messages::ContainerTaskChanged::KIND,
        odcs_messages::ComposeChanged::KIND,
    ];
    let modules = config.mbs.is_some();
    hints.retain_kinds(|kind| changes.contains(&kind) || (modules && kind == mbs_messages::ModuleChanged::KIND));
    topics.extend(hints.topics());
    Ok(Some(amqp.bind(topics)))
}

/// The hub, and the keys of its profile that mean nothing.
pub(crate) fn hub(config: &Config) -> Result<(System<KojiConfig>, Vec<String>)> {
    let given = &config.koji;
    let files = match &given.file {
        Some(file) => ProfileFiles::standard().with_config(file),
        None => ProfileFiles::standard(),
    };
    let Profile { config: mut hub, unknown, .. } = files.read(&given.profile)?;
    if let Some(instance) = &given.instance {
        hub.instance.clone_from(instance);
    }
    hub.poll = given.poll_s.map_or(hub.poll, Duration::from_secs);
    hub.settle = given.settle_s.map_or(hub.settle, Duration::from_secs);
    Ok((System { name: given.name.clone(), slots: given.slots, config: hub }, unknown))
}

pub(crate) fn odcs(config: &Config) -> Option<System<OdcsConfig>> {
    let given = config.odcs.as_ref()?;
    let mut odcs = OdcsConfig::new(given.url.as_str());
    odcs.http.tls.ca.clone_from(&given.ca);
    odcs.owner.clone_from(&given.owner);
    if let Some(file) = &given.token_file {
        odcs.login = OdcsLogin::TokenFile(file.clone());
    }
    Some(System { name: given.name.clone(), slots: given.slots, config: odcs })
}

/// Who makes new commits for modules.
pub(crate) fn commits(config: &Config) -> Option<GitCommits> {
    let commits = config.mbs.as_ref()?.commits.as_ref()?;
    let git = GitCommits::new(commits.name.as_str(), commits.email.as_str());
    Some(commits.push.iter().fold(git, |git, (prefix, address)| git.pushing_to(prefix, address)))
}

pub(crate) fn mbs(config: &Config) -> Option<Mbs> {
    let given = config.mbs.as_ref()?;
    let mut mbs = MbsConfig::new(given.url.as_str());
    mbs.http.tls.ca.clone_from(&given.ca);
    mbs.owner.clone_from(&given.owner);
    if let Some(file) = &given.token_file {
        mbs.login = MbsLogin::TokenFile(file.clone());
    } else if given.kerberos {
        mbs.login = MbsLogin::Kerberos;
    }
    let commits = commits(config).map(|git| Arc::new(git) as Arc<dyn Commits>);
    Some(Mbs { system: System { name: given.name.clone(), slots: given.slots, config: mbs }, commits })
}
