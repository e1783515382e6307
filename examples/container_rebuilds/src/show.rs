//! What would be done, and what was done and why.

use crate::Result;
use crate::wires::Wires;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{BuildFilter, Catalog, EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::rebuild::{EventId, EventRecord};

/// The plan of a rebuild of these, which is not made.
pub(crate) async fn plan(wires: &Wires, artifacts: &[String]) -> Result<bool> {
    let artifacts: Vec<_> = artifacts.iter().map(|name| ArtifactId::new(name.as_str())).collect();
    let graph = wires.catalog.dependents(&artifacts).await?.complete()?;
    wires.catalog.policy().check_facts([])?;
    let planner = graph.planner().policy(wires.catalog.policy());
    print!("{}", artifacts.into_iter().fold(planner, |planner, id| planner.rebuild(id)).plan()?);
    Ok(true)
}

/// The latest events; or one of them with everything that is known about it.
pub(crate) async fn show(client: &Client, event: Option<EventId>) -> Result<bool> {
    match event {
        None => {
            let events = client.events(EventFilter::default(), Paging::first(20)).await?;
            events.items.iter().for_each(line);
            let overview = client.overview().await?;
            println!(
                "{} builds wait, {} run, {} dead letters",
                overview.builds_waiting, overview.builds_running, overview.messages_dead
            );
        }
        Some(id) => {
            line(&client.event(id).await?);
            if let Some(plan) = client.plan(id).await? {
                print!("{plan}");
            }
            builds(client, id).await?;
        }
    }
    Ok(true)
}

fn line(event: &EventRecord) {
    let envelope = &event.envelope;
    println!("event {} {} {} {} ({})", event.id, event.state, envelope.kind, envelope.search_key, event.reason);
}

/// The builds of an event with their attempts, oldest first.
pub(crate) async fn builds(client: &Client, event: EventId) -> Result<()> {
    let filter = BuildFilter { event: Some(event), ..BuildFilter::default() };
    let builds = client.builds(filter, Paging::first(Paging::LIMIT_MAX)).await?.items;
    for build in builds.iter().rev() {
        let output = build.output.as_ref().map_or(String::new(), |output| format!(" as {}", output.name));
        println!("build {} {} {}{output} ({})", build.id, build.state, build.key.artifact, build.reason);
        for attempt in client.attempts(build.id).await? {
            let external = attempt.external.as_ref().map_or("no id".to_owned(), ToString::to_string);
            let history = client.transitions("attempt", attempt.id.as_str()).await?;
            let history: Vec<_> = history.into_iter().map(|step| step.reason.code).collect();
            println!("  attempt {} {} {external} ({})", attempt.number, attempt.state, history.join(", "));
        }
    }
    Ok(())
}
