//! The whole story on one machine: fakes of all services on real sockets, with the real client of
//! each, and a bus in memory.
//!
//! An update of a package is published. Two images contain it, a third is built on those. A
//! repository is prepared, the first image turns out to have the old package and is built again,
//! and one answer of the hub gets lost. At the same time an advisory is shipped: three released
//! images contain the package that it fixes, each built on the one before, and the last one fails
//! once. The compose that they were built with is renewed, and one more is made for a content set
//! of the last one. And the spec file of a package changes: the module that contains it is rebuilt
//! from a new commit.

use crate::Result;
use crate::advisories::Sources;
use crate::config::VerifyBy;
use crate::display::{Display, LOOK};
use crate::modules::{self, Modules};
use crate::out::say;
use crate::released::{self, Released, Teller};
use crate::show;
use crate::stored::Stored;
use crate::wires::{Mbs, System, Understood, Wires, parsers};
use freshmaker::ArtifactGraph;
use freshmaker::Message;
use freshmaker::backend::{ComposeRequest, Composer, EventFilter, Paging, Retention};
use freshmaker::client::Client;
use freshmaker::engine::SystemClock;
use freshmaker::memory::MemoryBus;
use freshmaker::rebuild::{AttemptId, EventRecord};
use freshmaker_local::files::{FilesCatalog, manifest::Manifest};
use freshmaker_net::Secret;
use freshmaker_redhat::fakes::koji::{Dialect, Fate, Hub, Trouble};
use freshmaker_redhat::fakes::odcs::{Course, FakeOdcs};
use freshmaker_redhat::koji::{KojiConfig, KojiLogin};
use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const TARGET: &str = "f40-containers";
/// Without a terminal there is a line of progress for each such part of the work: for each build.
const PARTS: u64 = 100;
const PREFIX: &str = "org.fedoraproject.prod";

pub(crate) async fn run(teller: Teller) -> Result<bool> {
    let hub = hub().await?;
    let odcs = FakeOdcs::start(Arc::new(SystemClock)).await?;
    odcs.script("f40-updates", Course::slow(Duration::ZERO, Duration::from_millis(500)));
    let made = made_before(&odcs).await?;
    let released = Released::start(&hub, made, teller).await?;
    let modules = Modules::start().await?;
    let bus = Arc::new(MemoryBus::new());
    let state = tempfile::tempdir()?;
    let (sources, mbs) = (released.sources(), modules.wire());
    let engine = wires(&hub, &odcs, (sources, mbs), &bus, state.path().join("state.sqlite"))?.engine()?;
    let client = engine.client();

    say!(
        "openssl-libs-3.2.2-3.fc40 becomes stable; the hub will lose an answer, and build base from old packages at first\n\
         RHSA-2026:1398 with bash-5.1.8-9.el9 is shipped; the last of three images will fail once\n\
         compose 1 is renewed for them, and a new one has a content set that only the last one uses\n\
         the spec file of zlib changes; the module web:1 contains it, and is rebuilt from a new commit\n"
    );
    bus.send(update());
    bus.send(released::shipped(PREFIX));
    bus.send(modules::changed(PREFIX));
    let messages = tokio::spawn(deliver(hub, odcs, modules, Arc::clone(&bus), client.clone()));
    let mut followed = Ok(());
    engine.run_until(async { followed = follow(&client).await }).await?;
    followed?;
    let (hub, odcs, modules) = messages.await?;

    for event in client.events(EventFilter::default(), Paging::first(10)).await?.items {
        show::line(&event);
        show::builds(&client, event.id).await?;
    }
    published(&bus);
    let ledger = hub.ledger();
    let counts = (ledger.entries.len(), odcs.composes().len(), modules.submitted());
    say!("\nthe hub counts {} tasks, ODCS {} composes, MBS {} requests", counts.0, counts.1, counts.2);
    let mut wrong: Vec<_> = ledger.violations().iter().map(|violation| format!("{violation:?}")).collect();
    wrong.extend(odcs.violations());
    wrong.extend(client.check_consistency().await?.iter().map(|violation| violation.text.clone()));
    wrong.iter().for_each(|text| say!("WRONG   {text}"));
    let overview = client.overview().await?;
    Ok(wrong.is_empty() && overview.builds_failed == 0 && overview.builds_done > 0)
}

/// A hub on which things go wrong.
async fn hub() -> Result<Hub> {
    let hub = Hub::start(Arc::new(SystemClock)).await?;
    hub.add_user("freshmaker", "not a secret");
    hub.add_target(TARGET);
    hub.add_target(released::TARGET);
    hub.script(|submission| {
        if let Some(fate) = released::fate(submission) {
            return Some(fate);
        }
        let takes = Duration::from_millis(300);
        let stale = submission.artifact().ends_with("/base") && submission.number == 1;
        let package = if stale { "openssl-libs-3.2.1-2.fc40" } else { "openssl-libs-3.2.2-3.fc40" };
        Some(Fate::succeeds().taking(takes).with_version("40").with_rpm("x86_64", package).with_rpm("aarch64", package))
    });
    hub.trouble("buildContainer", 2, Trouble::AnswerLost);
    Ok(hub)
}

/// Makes the compose that the released images were built with; its number.
async fn made_before(odcs: &FakeOdcs) -> Result<i64> {
    let compose = Compose::pulp([released::CONTENT_SET]);
    let request = ComposeRequest {
        attempt: AttemptId::from_random(0),
        artifact: compose.artifact(),
        parameters: compose.into(),
        no_cache: false,
    };
    let made = OdcsComposer::new(OdcsConfig::new(odcs.url()))?.prepare(&request).await?;
    let number = made.as_str().split('@').next().unwrap_or_default().parse()?;
    // Nothing waits for what is said about it.
    drop(odcs.messages());
    Ok(number)
}

fn wires(
    hub: &Hub,
    odcs: &FakeOdcs,
    (sources, mbs): (Sources, Mbs),
    bus: &Arc<MemoryBus>,
    state: std::path::PathBuf,
) -> Result<Wires> {
    let mut koji = KojiConfig::new(hub.url());
    koji.login = KojiLogin::Password { user: "freshmaker".to_owned(), password: Secret::new("not a secret") };
    koji.topurl = Some(hub.files_url());
    koji.settle = Duration::from_millis(500);
    let mut composes = OdcsConfig::new(odcs.url());
    composes.settle = Duration::from_millis(500);
    composes.poll = Duration::from_millis(200);
    let mut graph = ArtifactGraph::new();
    let problems = |problems: Vec<freshmaker_local::files::Problem>| format!("{problems:?}");
    Manifest::parse("catalog.toml", include_str!("../catalog.toml"))
        .map_err(problems)?
        .add_to(&mut graph)
        .map_err(problems)?;
    Ok(Wires {
        stored: Stored::File(state),
        catalog: Arc::new(FilesCatalog::from_graph(graph)),
        parsers: parsers(&[PREFIX.to_owned()], Understood { advisories: true, builds: false, modules: true }),
        freshmaker_messages: Some("https://freshmaker.example.org".to_owned()),
        bus: Some(Arc::clone(bus) as _),
        koji: System { name: "koji".to_owned(), slots: 4, config: koji },
        verified_by: Some(VerifyBy::Koji),
        dry_run: false,
        retention: Retention::default(),
        odcs: Some(System { name: "odcs".to_owned(), slots: 4, config: composes }),
        mbs: Some(mbs),
        advisories: Some(sources),
        images_within: None,
    })
}

/// What Bodhi says when an update is stable.
fn update() -> Message {
    let body = serde_json::json!({
        "update": {
            "updateid": "FEDORA-2026-0123456789",
            "alias": "FEDORA-2026-0123456789",
            "builds": [{ "nvr": "openssl-libs-3.2.2-3.fc40", "epoch": 1, "type": "rpm" }],
            "release": { "name": "F40", "branch": "f40" },
            "severity": "high",
        },
    });
    Message {
        id: "a0e1f2c4-5b66-4c0f-9d0a-2f6f2d1c9a11".to_owned(),
        topic: format!("{PREFIX}.bodhi.update.complete.stable"),
        headers: Default::default(),
        body: body.to_string().into_bytes(),
    }
}

/// Brings what hub, ODCS and MBS say to the bus, as long as there is something to do. Builds would
/// end without it, a minute later.
async fn deliver(
    hub: Hub,
    odcs: FakeOdcs,
    modules: Modules,
    bus: Arc<MemoryBus>,
    client: Client,
) -> (Hub, FakeOdcs, Modules) {
    while !is_finished(&client).await {
        // Each is returned once: asking removes them.
        let (tasks, composes) = (hub.messages(Dialect::Fedora), odcs.messages());
        tasks.into_iter().chain(composes).chain(modules.messages()).for_each(|message| bus.send(message));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (hub, odcs, modules)
}

async fn is_finished(client: &Client) -> bool {
    client.events(EventFilter::default(), Paging::first(10)).await.is_ok_and(|events| have_ended(&events.items))
}

fn have_ended(events: &[EventRecord]) -> bool {
    !events.is_empty() && events.iter().all(|event| event.state.is_terminal())
}

/// Shows each plan as soon as there is one, and then how far the builds are, until all have ended.
async fn follow(client: &Client) -> Result<()> {
    let mut changes = client.subscribe().await?;
    let mut planned = BTreeSet::new();
    let mut display: Option<Display> = None;
    loop {
        let events = client.events(EventFilter::default(), Paging::first(10).oldest_first()).await?.items;
        for event in events.iter().filter(|event| planned.insert(event.id)) {
            // A bar and a plan would be written over each other.
            if let Some(display) = display.take() {
                display.done();
            }
            show::line(event);
            if let Some(plan) = client.plan(event.id).await? {
                say!("{}", plan.to_string().trim_end());
            }
        }
        let shown = display.get_or_insert_with(|| Display::new(PARTS));
        shown.show(&events, client.overview().await?.builds_running);
        if have_ended(&events) {
            shown.done();
            return Ok(());
        }
        tokio::select! {
            _ = changes.next() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Says which messages went out.
fn published(bus: &MemoryBus) {
    let mut topics: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for message in bus.published() {
        topics.entry(message.topic.clone()).or_default().push(message);
    }
    for (topic, messages) in topics {
        say!("\n{} messages went out as {topic}, the last one:", messages.len());
        let last = messages.last().map(|message| String::from_utf8_lossy(&message.body));
        say!("  {}", last.unwrap_or_default());
    }
}
