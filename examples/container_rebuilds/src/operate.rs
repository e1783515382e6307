//! What operators see and do while a service runs: each is a few lines over the client.

use crate::Result;
use crate::args::Verb;
use crate::out::say;
use crate::plain::plain;
use crate::show;
use crate::verbs;
use crate::wires::Wires;
use freshmaker::backend::{EventFilter, Overview, Paging};
use freshmaker::client::{Client, Pause, Replica, Stuck, StuckSubject};
use freshmaker::rebuild::EventState;
use serde_json::json;
use std::time::Duration;

/// How many open events `status` lists.
const EVENTS: u32 = 20;

/// After this time without a change something counts as stuck in `status`.
const LONG: Duration = Duration::from_secs(3600);

/// Does what is done with a client alone; whether all is well.
pub(crate) async fn run(wires: &Wires, act: Verb) -> Result<bool> {
    let client = wires.client()?;
    let done = match act {
        Verb::Status { json } => return status(&client, json).await,
        Verb::Stuck { longer_than, json } => return stuck(&client, longer_than, json).await,
        Verb::DeadLetters { requeue: None, json } => {
            let letters = verbs::dead_letters(&client).await?;
            if json {
                say!("{}", serde_json::to_string_pretty(&letters)?);
            } else {
                lines(&verbs::about_letters(&letters));
            }
            return Ok(letters.is_empty());
        }
        Verb::CheckState => {
            let (violations, said) = verbs::check_state(&client).await?;
            lines(&said);
            return Ok(violations.is_empty());
        }
        Verb::DeadLetters { requeue: Some(id), .. } => verbs::requeue(&client, &id).await?,
        Verb::Dismiss { message, reason, by } => verbs::dismiss(&client, &message, &reason, &by).await?,
        Verb::Confirm { event } => verbs::confirm(&client, event).await?,
        Verb::Cancel { event, by } => {
            client.cancel(event, &by).await?;
            format!("event {event}: {}", client.event(event).await?.reason)
        }
        Verb::Pause { system, reason, by } => {
            known(wires, &system)?;
            client.pause(&system, &reason, &by).await?;
            format!("no more builds of {system} are started until `container_rebuilds resume {system}`")
        }
        Verb::Resume { system } => {
            client.resume(&system).await?;
            format!("builds of {system} are started again")
        }
        Verb::Backup { file } => {
            client.backup(&file).await?;
            format!("copied to {}", file.display())
        }
        other => return Err(format!("{other:?} is done elsewhere").into()),
    };
    say!("{}", plain(&done));
    Ok(true)
}

fn lines(lines: &[String]) {
    lines.iter().for_each(|line| say!("{}", plain(line)));
}

/// Whether a build system of this name is configured.
fn known(wires: &Wires, system: &str) -> Result<()> {
    let names: Vec<_> = wires.systems().collect();
    if names.contains(&system) {
        return Ok(());
    }
    Err(format!("no build system is called {system:?}; there are {}", names.join(", ")).into())
}

/// Says what is under way, and what needs somebody; whether nothing does.
async fn status(client: &Client, json: bool) -> Result<bool> {
    let states = EventState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    let open = EventFilter { states, ..EventFilter::default() };
    let events = client.events(open, Paging::first(EVENTS).oldest_first()).await?.items;
    let (overview, pauses, replicas) = (client.overview().await?, client.pauses().await?, client.replicas().await?);
    let stuck = client.stuck(LONG).await?;
    let is_well = stuck.is_empty() && overview.messages_dead == 0;
    if json {
        let status = json!({ "overview": counted(&overview), "events": events, "pauses": pauses, "stuck": stuck });
        say!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(is_well);
    }
    events.iter().for_each(show::line);
    let more = overview.events_open.saturating_sub(events.len() as u64);
    if more > 0 {
        say!("and {more} more events in progress");
    }
    for Pause { system, reason, by, since, .. } in &pauses {
        say!("{system} is paused since {since} by {}: {}", plain(by), plain(reason));
    }
    for Replica { name, run, since, .. } in replicas {
        say!("replica {name}, run {run} since {since}");
    }
    let counts = counted(&overview);
    let counts =
        counts.as_object().into_iter().flatten().map(|(name, count)| format!("{} {count}", name.replace('_', " ")));
    say!("{}", counts.collect::<Vec<_>>().join(", "));
    if overview.messages_dead > 0 {
        say!("`container_rebuilds dead-letters` lists what could not be handled");
    }
    if !stuck.is_empty() {
        say!("{} do not move for an hour: see `container_rebuilds stuck`", stuck.len());
    }
    Ok(is_well)
}

fn counted(overview: &Overview) -> serde_json::Value {
    json!({
        "events_open": overview.events_open,
        "builds_waiting": overview.builds_waiting,
        "builds_running": overview.builds_running,
        "builds_done": overview.builds_done,
        "builds_reused": overview.builds_reused,
        "builds_failed": overview.builds_failed,
        "builds_canceled": overview.builds_canceled,
        "messages_waiting": overview.messages_waiting,
        "messages_dead": overview.messages_dead,
        "notifications_waiting": overview.notifications_waiting,
    })
}

/// Lists what does not move; whether there is nothing.
async fn stuck(client: &Client, longer_than: Duration, json: bool) -> Result<bool> {
    let stuck = client.stuck(longer_than).await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&stuck)?);
    } else if stuck.is_empty() {
        say!("everything moves");
    } else {
        lines(&stuck.iter().map(about).collect::<Vec<_>>());
    }
    Ok(stuck.is_empty())
}

fn about(Stuck { what, since, cause, advice, .. }: &Stuck) -> String {
    let what = match what {
        StuckSubject::Message(key) => format!("message {} from {}", key.message_id, key.source),
        StuckSubject::DeadLetter(key) => format!("dead letter {} from {}", key.message_id, key.source),
        StuckSubject::Build { build, attempt: None } => format!("build {build}"),
        StuckSubject::Build { build, attempt: Some(attempt) } => format!("build {build}, attempt {attempt}"),
        StuckSubject::Bus { bus, partition } => format!("bus {bus}, partition {partition}"),
        StuckSubject::Row(text) => text.clone(),
        other => format!("{other:?}"),
    };
    format!("{what}, since {since}: {cause}: {advice}")
}
