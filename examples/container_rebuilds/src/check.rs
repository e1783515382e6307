//! Whether the configuration is valid, and whether every service that it names can be reached and
//! accepts the login.

use crate::Result;
use crate::advisories::Sources;
use crate::config::Config;
use crate::out::say;
use crate::site::Site;
use crate::stored::Stored;
use crate::traces;
use crate::wires::{self, System, Wires};
use freshmaker::backend::{BuildSystem, Clock, Error, Remedy};
use freshmaker::client::Difference;
use freshmaker::engine::SystemClock;
use freshmaker::time::Timestamp;
use freshmaker_amqp::{AmqpBus, AmqpConfig};
use freshmaker_local::files::FilesCatalog;
use freshmaker_net::HttpConfig;
use freshmaker_redhat::contracts::{Advisories, ContentSets};
use freshmaker_redhat::errata::ErrataTool;
use freshmaker_redhat::koji::xmlrpc::Request;
use freshmaker_redhat::koji::{Client, KojiBuildSystem, KojiConfig, KojiLogin};
use freshmaker_redhat::mbs::{MbsBuildSystem, MbsLogin};
use freshmaker_redhat::odcs::{OdcsComposer, OdcsConfig, OdcsLogin};
use freshmaker_redhat::pulp::Pulp;
use freshmaker_sql::PostgresTables;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

/// Collects what was looked at; one failure does not hide the next.
struct Report(bool);

impl Report {
    fn line<T: Display>(&mut self, what: &str, outcome: std::result::Result<T, impl Display>) {
        match outcome {
            Ok(text) => say!("ok      {what}: {text}"),
            Err(error) => {
                self.0 = false;
                say!("FAILED  {what}: {error}");
            }
        }
    }

    /// The service runs with this, and perhaps not as it is meant to.
    fn warning(&mut self, what: &str, text: impl Display) {
        say!("warning {what}: {text}");
    }
}

/// What could be read of the configuration.
struct Parts {
    bus: Option<AmqpConfig>,
    hub: Option<KojiConfig>,
    odcs: Option<OdcsConfig>,
    mbs: Option<MbsBuildSystem>,
    sources: Option<Sources>,
}

pub(crate) async fn run(path: &Path, online: bool) -> Result<bool> {
    let mut report = Report(true);
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            report.line::<&str>("configuration", Err(error));
            return Ok(false);
        }
    };
    report.line("configuration", Ok::<_, Error>(path.display()));
    let parts = offline(&mut report, &config, SystemClock.now());
    if online {
        storage_online(&mut report, &config).await;
        if let Ok(Some(exporter)) = traces::checked(config.otel.as_ref()) {
            report.line("collector of traces", exporter.check().await.map(|()| "takes spans"));
        }
        if let Some(bus) = parts.bus {
            bus_online(&mut report, bus).await?;
        }
        if let Some(hub) = parts.hub {
            report.line("koji login", login(hub).await);
        }
        if let Some(odcs) = parts.odcs {
            let odcs = OdcsComposer::new(odcs)?;
            report.line("odcs", odcs.check().await.map(|about| format!("{about:?}")));
            let made = odcs.check_login().await;
            report.line("odcs login", made.map(|()| "composes may be made and renewed"));
        }
        if let Some(mbs) = parts.mbs {
            report.line("mbs", mbs.check().await.map(|version| format!("version {version}")));
            report.line("mbs login", mbs.check_login().await.map(|()| "modules may be submitted"));
        }
        if let Some(sources) = parts.sources {
            advisories_online(&mut report, sources).await?;
        }
    }
    Ok(report.0)
}

/// Everything that can be found without the network.
fn offline(report: &mut Report, config: &Config, now: Timestamp) -> Parts {
    let stored = Stored::of(config);
    let name = if config.storage.is_some() { "storage" } else { "state" };
    report.line(
        name,
        stored
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|stored| stored.check_offline(now).map_err(|error| error.to_string())),
    );
    match traces::checked(config.otel.as_ref()) {
        Ok(None) => {}
        Ok(Some(_)) => report.line("otel", Ok::<_, Error>("its section makes sense")),
        Err(error) => report.line::<&str>("otel", Err(error)),
    }
    if let Some(url) = &config.freshmaker_messages {
        report.line("freshmaker_messages", HttpConfig::check_url(url).map(|()| url));
    }
    site(report, config);
    let bus = wires::amqp(config).and_then(|bus| {
        if let Some(bus) = &bus {
            bus.check_offline()?;
            bus.check_certificate(now)?;
        }
        Ok(bus)
    });
    let said = |bus: &Option<AmqpConfig>| if bus.is_some() { "its file makes sense" } else { "not used" };
    report.line("fedora_messaging", bus.as_ref().map(said));
    let hub = hub_offline(report, config, now);
    if let Err(error) = wires::verified_by(config) {
        report.line::<&str>("koji", Err(error));
    }
    if config.dry_run {
        report.warning("dry_run", "nothing is built");
    }
    let odcs = odcs_offline(report, config, now);
    let mbs = mbs_offline(report, config, now);
    let names = [Some(config.koji.name.as_str()), config.odcs.as_ref().map(|odcs| odcs.name.as_str())];
    let names = names.into_iter().chain([config.mbs.as_ref().map(|mbs| mbs.name.as_str())]);
    let names: Vec<_> = names.flatten().collect();
    for (at, name) in names.iter().enumerate().filter(|(at, name)| names[..*at].contains(name)) {
        let what = if at == 1 && config.odcs.is_some() { "odcs" } else { "mbs" };
        let other = if *name == config.koji.name { "Koji" } else { "ODCS" };
        report.line::<&str>(what, Err(format_args!("{other} has the name {name:?}, too")));
    }
    let sources = config.advisories.as_ref().map(Sources::of);
    if let Some(sources) = &sources {
        advisories_offline(report, sources, now);
    }
    let catalog =
        wires::catalog(&config.catalog).and_then(|catalog| all_have_builders(&catalog, &names).map(|()| catalog));
    report.line("catalog", catalog.map(|catalog| format!("{} artifacts", catalog.graph().len())));
    Parts { bus: bus.ok().flatten(), hub, odcs, mbs, sources: sources.and_then(std::result::Result::ok) }
}

/// Looks at the profile of the hub, and returns it if it can be asked.
fn hub_offline(report: &mut Report, config: &Config, now: Timestamp) -> Option<KojiConfig> {
    let hub = wires::hub(config).and_then(|(hub, unknown)| {
        limited(&hub)?;
        hub.config.check_offline()?;
        hub.config.http.tls.check_validity(now)?;
        Ok((hub, unknown))
    });
    report.line("koji", hub.as_ref().map(|(hub, _)| &hub.config.http.url));
    let (hub, unknown) = hub.ok()?;
    if !unknown.is_empty() {
        report.warning("koji", format_args!("keys without a meaning: {}", unknown.join(", ")));
    }
    if hub.config.login == KojiLogin::Anonymous {
        report.warning("koji", "anonymous: it cannot build");
    }
    Some(hub.config)
}

/// Looks at the service of repositories, and returns it if it can be asked.
fn odcs_offline(report: &mut Report, config: &Config, now: Timestamp) -> Option<OdcsConfig> {
    let odcs = wires::odcs(config)?;
    let checked = odcs.config.check_offline();
    let usable = checked.is_ok();
    report.line("odcs", limited(&odcs).and_then(|()| valid(checked, &odcs.config.http, now)));
    if odcs.config.login == OdcsLogin::None && odcs.config.http.tls.client_cert.is_none() {
        report.warning("odcs", "anonymous: it cannot make repositories");
    }
    usable.then_some(odcs.config)
}

/// Whether the certificate of the client is valid, after all else was checked; the URL if so.
fn valid(checked: std::result::Result<(), Error>, http: &HttpConfig, now: Timestamp) -> Result<&str> {
    checked?;
    http.tls.check_validity(now)?;
    Ok(&http.url)
}

/// Looks at the build system of modules, and returns it if it can be asked.
fn mbs_offline(report: &mut Report, config: &Config, now: Timestamp) -> Option<MbsBuildSystem> {
    let mbs = wires::mbs(config)?;
    let commits = || wires::commits(config).map_or(Ok(()), |commits| commits.check_offline());
    let checked = mbs.system.config.check_offline().and_then(|()| commits());
    let checked = limited(&mbs.system).and_then(|()| valid(checked, &mbs.system.config.http, now));
    let usable = checked.is_ok();
    report.line("mbs", checked);
    if mbs.system.config.login == MbsLogin::None && mbs.system.config.http.tls.client_cert.is_none() {
        report.warning("mbs", "anonymous: it cannot build");
    }
    if mbs.commits.is_none() {
        report.warning("mbs", "without [mbs.commits] no module is rebuilt for a package in it");
    }
    if usable { mbs.open().ok() } else { None }
}

fn advisories_offline(report: &mut Report, sources: &Result<Sources>, now: Timestamp) {
    match sources {
        Err(error) => report.line::<&str>("advisories", Err(error)),
        Ok(Sources { errata, pulp, images, .. }) => {
            report.line("errata", valid(errata.check_offline(), &errata.http, now));
            report.line("pulp", valid(pulp.check_offline(), &pulp.http, now));
            report.line(images.name(), valid(images.check_offline(), images.http(), now));
        }
    }
}

/// Whether REST can be served as `[web]` says, if it is there.
fn site(report: &mut Report, config: &Config) {
    match Site::checked(config, None) {
        Ok(None) => {}
        Ok(Some(site)) => {
            report.line("web", Ok::<_, Error>(site.listen));
            site.warnings().iter().for_each(|warning| report.warning("web", warning));
        }
        Err(error) => report.line::<&str>("web", Err(error)),
    }
}

/// Asks each service for something that is not there, which needs the login that questions need.
async fn advisories_online(report: &mut Report, Sources { errata, pulp, images, .. }: Sources) -> Result<()> {
    let answered = |error: Error| if error.remedy == Remedy::NotFound { Ok("answers") } else { Err(error) };
    let asked = ErrataTool::new(errata)?.advisory(0).await;
    report.line("errata login", asked.map(|_| "answers").or_else(answered));
    let asked = Pulp::new(pulp)?.content_sets(&["of-nobody".to_owned()].into()).await;
    report.line("pulp login", asked.map(|_| "answers"));
    let nobody = "of-nobody-0-0".parse()?;
    let asked = images.open()?.images(&[nobody].into(), &["bash".to_owned()].into()).await;
    report.line(&format!("{} login", images.name()), asked.map(|_| "answers"));
    Ok(())
}

fn limited<C>(system: &System<C>) -> Result<()> {
    if system.slots == 0 {
        return Err("`slots` is 0: nothing would ever be built".into());
    }
    Ok(())
}

/// Whether each artifact is built by one of these.
fn all_have_builders(catalog: &FilesCatalog, names: &[&str]) -> Result<()> {
    let artifacts = catalog.graph().artifacts();
    let systems: BTreeSet<_> = artifacts.filter_map(|artifact| artifact.system.as_deref()).collect();
    match systems.into_iter().find(|system| !names.contains(system)) {
        Some(unknown) => {
            Err(format!("nothing is configured that has the name {unknown:?}, and artifacts name it").into())
        }
        None => Ok(()),
    }
}

/// Asks the server of the storage, and whether the processes that share it are configured like
/// this.
async fn storage_online(report: &mut Report, config: &Config) {
    let Ok(stored) = Stored::of(config) else { return };
    let Some(server) = stored.check_online().await else { return };
    let is_current = server.as_ref().is_ok_and(|server| server.tables == PostgresTables::Current);
    report.line("storage server", server);
    if is_current {
        match differences(config).await {
            Ok(found) => found.iter().for_each(|differs| report.warning("replica", differs)),
            Err(error) => report.line::<&str>("replicas", Err(error)),
        }
    }
}

/// What is configured otherwise on a replica that runs.
async fn differences(config: &Config) -> Result<Vec<Difference>> {
    let engine = Wires::of(config)?.engine()?;
    let Some(mine) = engine.replica() else { return Ok(Vec::new()) };
    let others = engine.client().replicas().await?;
    Ok(others.iter().flat_map(|other| mine.differences(other)).collect())
}

async fn bus_online(report: &mut Report, bus: AmqpConfig) -> Result<()> {
    let made = !bus.passive_declares;
    for check in AmqpBus::new(bus)?.check().await {
        let granted = if check.what.starts_with("permission") { "granted" } else { "is there" };
        match check.outcome {
            Err(error) if made && error.remedy == Remedy::NotFound => {
                report.line(&check.what, Ok::<_, Error>("is not there yet; it will be made"));
            }
            Err(error) if error.remedy == Remedy::Unsupported && check.what.starts_with("permission to publish") => {
                let hint = "nothing is published; with `listen_only` in [consumer_config.freshmaker] nothing is tried";
                report.warning(&check.what, format_args!("{error} ({hint})"));
            }
            outcome => report.line(&check.what, outcome.map(|()| granted)),
        }
    }
    Ok(())
}

/// Opens a session, and closes it again; without a login asks for what needs none.
async fn login(hub: KojiConfig) -> std::result::Result<String, Error> {
    if hub.login == KojiLogin::Anonymous {
        let answer = Client::new(&hub)?.call(&Request::new("getAPIVersion", Vec::new())).await;
        answer.map_err(|error| Error::new(Remedy::Unavailable, hub.http.url, error))?;
        return Ok("none; the hub answers".to_owned());
    }
    let builds = KojiBuildSystem::new(hub)?;
    let Some(session) = builds.session().await? else { return Ok("there are no sessions".to_owned()) };
    builds.fence(&session).await?;
    Ok(format!("logged in, and out of session {session} again"))
}
