//! The commands `plan` (what would be done) and `show` (what was done, and why).

use crate::Result;
use crate::out::say;
use crate::wires::Wires;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::Clock;
use freshmaker::backend::{BuildFilter, Catalog, EventFilter, Paging};
use freshmaker::client::{Client, Replica};
use freshmaker::engine::{PreviewOutcome, Previewed, SystemClock};
use freshmaker::plan::Plan;
use freshmaker::rebuild::{AttemptState, EventId, EventRecord, RowKey};
use freshmaker_redhat::messages::errata::AdvisoryRpmsSigned;

/// The plan of a rebuild of these, which is not made. A number is that of an advisory.
pub(crate) async fn plan(wires: Wires, artifacts: &[String]) -> Result<bool> {
    if let [number] = artifacts
        && let Ok(errata_id) = number.parse()
    {
        return advisory(wires, errata_id).await;
    }
    let artifacts: Vec<_> = artifacts.iter().map(|name| ArtifactId::new(name.as_str())).collect();
    let graph = wires.catalog.dependents(&artifacts).await?.complete()?;
    wires.catalog.policy().check_facts(wires.facts())?;
    let planner = graph.planner().policy(wires.catalog.policy());
    plan_of(&artifacts.into_iter().fold(planner, |planner, id| planner.rebuild(id)).plan()?);
    Ok(true)
}

fn plan_of(plan: &Plan) {
    say!("{}", plan.to_string().trim_end());
}

/// What would be done if this advisory were shipped now.
async fn advisory(wires: Wires, errata_id: i64) -> Result<bool> {
    if wires.advisories.is_none() {
        return Err("advisories are not known here: the configuration has no [advisories]".into());
    }
    let (advisory, security_impact) = (String::new(), String::new());
    let event = AdvisoryRpmsSigned { errata_id, advisory, released: true, security_impact };
    let preview = wires.preview().await?;
    let mut good = true;
    for Previewed { handler, decision, .. } in preview.event(&event, SystemClock.now()).await? {
        match decision {
            PreviewOutcome::Rebuilds(plan) => plan_of(&plan),
            PreviewOutcome::Asks { plan, reason } => {
                say!("{reason}");
                plan_of(&plan);
            }
            PreviewOutcome::Skips(reason) => say!("nothing: {reason}"),
            PreviewOutcome::Fails(reason) => {
                good = false;
                say!("{handler} fails: {reason}");
            }
            other => say!("{handler}: {other:?}"),
        }
    }
    Ok(good)
}

/// The latest events; or one of them with everything that is known about it.
pub(crate) async fn show(client: &Client, event: Option<EventId>) -> Result<bool> {
    match event {
        None => {
            let events = client.events(EventFilter::default(), Paging::first(20)).await?;
            events.items.iter().for_each(line);
            let overview = client.overview().await?;
            say!(
                "{} builds wait, {} run, {} dead letters",
                overview.builds_waiting,
                overview.builds_running,
                overview.messages_dead
            );
            for Replica { name, run, since, .. } in client.replicas().await? {
                say!("replica {name}, run {run} since {since}");
            }
        }
        Some(id) => {
            line(&client.event(id).await?);
            if let Some(plan) = client.plan(id).await? {
                plan_of(&plan);
            }
            builds(client, id).await?;
        }
    }
    Ok(true)
}

pub(crate) fn line(event: &EventRecord) {
    let envelope = &event.envelope;
    say!("event {} {} {} {} ({})", event.id, event.state, envelope.kind, envelope.search_key, event.reason);
}

/// The reason of a build whose result was found to lack what was demanded.
const STALE: &str = "stale";

/// The builds of an event with their attempts, oldest first.
pub(crate) async fn builds(client: &Client, event: EventId) -> Result<()> {
    let filter = BuildFilter { events: vec![event], ..BuildFilter::default() };
    let page = |paging| client.builds(filter.clone(), paging);
    for build in Paging::first(Paging::LIMIT_MAX).oldest_first().collect(usize::MAX, page).await?.items {
        let output = build.output.as_ref().map_or(String::new(), |output| format!(" as {}", output.name));
        say!("build {} {} {}{output} ({})", build.id, build.state, build.key.artifact, build.reason);
        for attempt in client.attempts(build.id).await? {
            let external = attempt.external.as_ref().map_or("no id".to_owned(), ToString::to_string);
            let history = client.transitions(&RowKey::Attempt(attempt.id.clone())).await?;
            let history: Vec<_> = history.into_iter().map(|step| step.reason.code).collect();
            let failed = attempt.state == AttemptState::Failed;
            let why = if failed { format!(": {}", attempt.reason.text) } else { String::new() };
            say!("  attempt {} {} {external} ({}){why}", attempt.number, attempt.state, history.join(", "));
        }
        let history = client.transitions(&RowKey::Build(build.id)).await?;
        for step in history.iter().filter(|step| step.reason.code == STALE) {
            say!("  verification: {}", step.reason.text);
        }
    }
    Ok(())
}
