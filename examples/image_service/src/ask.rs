//! Commands that only read: each is a few lines over the client.

use crate::args::Directory;
use crate::condition::{Condition, Look};
use crate::entry::plain;
use crate::records::{Hold, Record};
use crate::site::Site;
use crate::sources::Sources;
use crate::tree::Recipes;
use crate::{Outcome, Result, say};
use freshmaker::artifact::{ArtifactId, ImageReference};
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::client::{Client, Pause};
use freshmaker::rebuild::{AttemptRecord, BuildRecord, BuildState, EventId, EventRecord};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// How many events `show` lists.
const EVENTS: u32 = 20;
/// The pause between two looks at what another process does.
const LOOK: Duration = Duration::from_millis(500);

/// Writes an answer: a value as JSON, or its text.
pub(crate) fn answer(directory: &Directory, value: &impl Serialize, text: &str) -> Result<()> {
    if directory.json {
        return say(&format!("{}\n", serde_json::to_string_pretty(value)?));
    }
    say(text)
}

/// Adds a line; what comes from elsewhere must not drive a terminal. Further lines of it are
/// indented, so that they cannot be taken for lines of ours.
pub(crate) fn line(text: &mut String, line: &str) {
    for (number, line) in line.trim_end().lines().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{}", if number == 0 { "" } else { "    " }, plain(line));
    }
}

/// What `status` says.
#[derive(Serialize)]
struct Status {
    /// Whether a service runs here; true for up to 90 seconds after one was killed.
    is_served: bool,
    images: Vec<ImageStatus>,
    /// What is wrong with the tree.
    problems: Vec<String>,
    pauses: Vec<Pause>,
    overview: serde_json::Value,
}

#[derive(Serialize)]
struct ImageStatus {
    #[serde(flatten)]
    condition: Condition,
    build: Option<BuildRecord>,
    hold: Option<Hold>,
}

/// The state of all images and of the service.
pub(crate) async fn status(directory: &Directory, watch: bool) -> Result<Outcome> {
    let site = Site::open(&directory.path)?;
    let client = site.client().await?;
    let mut changes = client.subscribe().await?;
    loop {
        let status = read(&site, &client).await?;
        answer(directory, &status, &text(&status))?;
        if !watch {
            let is_well = |image: &ImageStatus| image.condition.standing.is_well() || image.hold.is_some();
            return Ok(if !status.images.is_empty() && status.images.iter().all(is_well) {
                Outcome::Good
            } else {
                Outcome::Failed
            });
        }
        tokio::select! {
            change = changes.next() => drop(change?),
            _ = tokio::signal::ctrl_c() => return Ok(Outcome::Good),
        }
        tokio::time::sleep(LOOK).await;
        changes = client.subscribe().await?;
    }
}

async fn read(site: &Site, client: &Client) -> Result<Status> {
    let records = site.records().await?;
    let recipes = Recipes::of_trees(&site.trees()?)?;
    let snapshot = site.registries()?.snapshot();
    let mut holds = records.holds().await?;
    let mut open = open_builds(client).await?;
    let revisions = &Sources::default().read(site)?.revisions;
    let look = Look { recipes: &recipes, revisions, records: &records, snapshot: &snapshot };
    let images = look.all().await.into_iter().chain(look.left_out());
    let mut images: Vec<_> = images
        .map(|condition| ImageStatus {
            build: open.remove(&condition.image),
            hold: holds.remove(condition.image.as_str()),
            condition,
        })
        .collect();
    for image in images.iter_mut().filter(|image| image.build.is_none() && !image.condition.standing.is_well()) {
        image.build = failed_build(client, &image.condition.image).await?;
    }
    let pauses = client.pauses().await?;
    let overview = client.overview().await?;
    let overview = json!({ "messages_waiting": overview.messages_waiting, "messages_dead": overview.messages_dead,
        "builds_waiting": overview.builds_waiting, "builds_running": overview.builds_running,
        "builds_done": overview.builds_done, "builds_reused": overview.builds_reused,
        "builds_failed": overview.builds_failed });
    Ok(Status { is_served: !client.replicas().await?.is_empty(), images, problems: recipes.problems, pauses, overview })
}

/// Returns the latest build of an image, if it did not end well.
async fn failed_build(client: &Client, image: &ArtifactId) -> Result<Option<BuildRecord>> {
    let filter = BuildFilter { artifacts: vec![image.clone()], ..BuildFilter::default() };
    let latest = client.builds(filter, Paging::first(1)).await?.items.pop();
    Ok(latest.filter(|build| build.state.is_terminal() && !build.state.is_success()))
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    for ImageStatus { condition, build, hold } in &status.images {
        let name = familiar(&condition.image);
        let mut about = condition.because.clone();
        about.extend(build.as_ref().map(|build| format!("{}: {}", build.state, cause(&build.reason.text))));
        about.extend(hold.as_ref().map(ToString::to_string));
        let about = if about.is_empty() { String::new() } else { format!("  ({})", about.join("; ")) };
        line(&mut text, &format!("{:<8} {name}{about}", condition.standing.as_str()));
    }
    for problem in &status.problems {
        // One that is about an image is beside it already.
        if !status.images.iter().any(|image| image.condition.because.contains(problem)) {
            line(&mut text, &format!("problem: {problem}"));
        }
    }
    for Pause { reason, by, since, .. } in &status.pauses {
        line(&mut text, &format!("paused since {since} by {by}: {reason}"));
    }
    let counts: Vec<_> = ["fresh", "pinned", "stale", "missing", "unknown", "error"]
        .iter()
        .map(|name| (status.images.iter().filter(|image| image.condition.standing.as_str() == *name).count(), name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    match status.images.len() {
        0 => line(&mut text, "the tree has no images"),
        images => line(&mut text, &format!("{images} images: {}", counts.join(", "))),
    }
    let count = |key: &str| status.overview[key].as_u64().unwrap_or(0);
    let counts = ["builds_waiting", "builds_running", "builds_done", "builds_reused", "builds_failed", "messages_dead"];
    let counts: Vec<_> = counts.iter().map(|key| format!("{} {}", count(key), key.replace('_', " "))).collect();
    line(&mut text, &counts.join(", "));
    if !status.is_served {
        line(&mut text, "no service runs here: `image_service serve` starts it");
    }
    text
}

/// Returns why a build has failed, with the last two lines of its log: the last one says which step
/// failed, and the one before often why. `logs` shows all.
pub(crate) fn cause(text: &str) -> String {
    let Some((what, log)) = text.split_once("; its log ends: ") else { return text.to_owned() };
    let lines: Vec<&str> = log.split(" | ").map(|line| line.trim_start_matches("image_service: ")).collect();
    format!("{what}: {}", lines[lines.len().saturating_sub(2)..].join("; "))
}

/// Returns an image as people write it.
pub(crate) fn familiar(image: &ArtifactId) -> String {
    image.as_str().parse::<ImageReference>().map_or_else(|_| image.to_string(), |image| image.familiar())
}

/// Returns all builds that are meant, the newest first.
pub(crate) async fn builds(client: &Client, filter: BuildFilter) -> Result<Vec<BuildRecord>> {
    let page = |paging| client.builds(filter.clone(), paging);
    Ok(Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, page).await?.items)
}

/// Returns the builds that have not ended, by image.
pub(crate) async fn open_builds(client: &Client) -> Result<BTreeMap<ArtifactId, BuildRecord>> {
    let states = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    let filter = BuildFilter { states, ..BuildFilter::default() };
    let all = builds(client, filter).await?;
    Ok(all.into_iter().map(|build| (build.key.artifact.clone(), build)).collect())
}

/// The latest events, or one of them with everything that is known about it.
pub(crate) async fn show(directory: &Directory, event: Option<EventId>) -> Result<Outcome> {
    let client = Site::open(&directory.path)?.client().await?;
    let mut text = String::new();
    let Some(id) = event else {
        let events = client.events(EventFilter::default(), Paging::first(EVENTS)).await?.items;
        events.iter().for_each(|event| line(&mut text, &about(event)));
        answer(directory, &events, &text)?;
        return Ok(Outcome::Good);
    };
    let event = client.event(id).await?;
    let plan = client.plan(id).await?;
    let filter = BuildFilter { events: vec![id], ..BuildFilter::default() };
    let builds = builds(&client, filter).await?;
    line(&mut text, &about(&event));
    if let Some(plan) = &plan {
        text.push_str(&plan.to_string());
    }
    for build in builds.iter().rev() {
        line(&mut text, &about_build(build));
    }
    let plan = plan.map(|plan| plan.to_string());
    answer(directory, &json!({ "event": event, "plan": plan, "builds": builds }), &text)?;
    Ok(Outcome::Good)
}

fn about(event: &EventRecord) -> String {
    let envelope = &event.envelope;
    let counts =
        format!("{} done, {} failed or cancelled, {} open", event.builds_done, event.builds_failed, event.builds_open);
    format!("event {} {} {} {} ({}; {counts})", event.id, event.state, envelope.kind, envelope.search_key, event.reason)
}

fn about_build(build: &BuildRecord) -> String {
    let output = build.output.as_ref().map_or(String::new(), |output| format!(" as {}", output.name));
    format!(
        "build {} {} {}{output} ({})",
        build.id,
        build.state,
        familiar(&build.key.artifact),
        cause(&build.reason.text)
    )
}

/// What is known about the latest builds of an image.
#[derive(Serialize)]
struct Why {
    condition: Condition,
    record: Option<Record>,
    hold: Option<Hold>,
    builds: Vec<BuildRecord>,
    attempts: Vec<AttemptRecord>,
    explanations: Vec<String>,
}

/// Why an image was rebuilt, was not, or waits.
pub(crate) async fn why(directory: &Directory, image: &str) -> Result<Outcome> {
    let site = Site::open(&directory.path)?;
    let client = site.client().await?;
    let records = site.records().await?;
    let recipes = Recipes::of_trees(&site.trees()?)?;
    let left_out = recipes.left_out_as(image);
    let id = left_out.clone().map_or_else(|| find(&site, image), Ok)?;
    let reference: ImageReference = id.as_str().parse().map_err(|error| format!("{id}: {error}"))?;
    let (revisions, snapshot) = (&Sources::default().read(&site)?.revisions, site.registries()?.snapshot());
    let look = Look { recipes: &recipes, revisions, records: &records, snapshot: &snapshot };
    let condition = match left_out.and_then(|id| look.left_out().find(|condition| condition.image == id)) {
        Some(condition) => condition,
        None => look.one(reference).await,
    };
    let filter = BuildFilter { artifacts: vec![id.clone()], ..BuildFilter::default() };
    let builds = client.builds(filter, Paging::first(3)).await?.items;
    let attempts = client.attempts_of(builds.iter().map(|build| build.id).collect()).await?;
    let explanations = explanations(&client, &id).await?;
    let (record, hold) = (records.of(&id).await?, records.held(&id).await?);
    let why = Why { condition, record, hold, builds, attempts, explanations };
    let mut text = String::new();
    line(&mut text, &format!("{} is {}", familiar(&id), why.condition.standing.as_str()));
    why.condition.because.iter().for_each(|because| line(&mut text, &format!("  {because}")));
    if let Some(hold) = &why.hold {
        line(&mut text, &hold.to_string());
    }
    if let Some(record) = &why.record {
        let is_there = why.condition.digest.as_ref() == Some(&record.digest);
        let what = if is_there { "published" } else { "about to be published, or replaced since" };
        line(&mut text, &format!("{what}: {} by attempt {}", record.digest, record.attempt));
        if let Some(commit) = &record.commit {
            line(&mut text, &format!("  from commit {commit}"));
        }
        if let Some(same) = &record.same {
            let content = &record.content;
            let by = || format!("the same configuration and layers ({content})");
            let by = record.same_by.clone().unwrap_or_else(by);
            line(&mut text, &format!("  the latest build made {same}, with {by}: the tag stayed"));
        }
        for (parent, digest) in &record.parents {
            line(&mut text, &format!("  built on {} {digest}", familiar(&ArtifactId::from(parent.as_str()))));
        }
    }
    why.builds.iter().for_each(|build| line(&mut text, &about_build(build)));
    why.explanations.iter().for_each(|explanation| text.push_str(explanation));
    answer(directory, &why, &text)?;
    Ok(Outcome::Good)
}

/// Says for the latest events whose plans know an image why it is in or out.
async fn explanations(client: &Client, image: &ArtifactId) -> Result<Vec<String>> {
    const SHOWN: usize = 3;
    let mut found = Vec::new();
    for event in client.events(EventFilter::default(), Paging::first(EVENTS)).await?.items {
        let Some(plan) = client.plan(event.id).await? else { continue };
        if plan.node(image).is_none() && plan.excluded(image).is_none() {
            continue;
        }
        let asks = if event.reason.code == "ask_first" { asks(client, event.id).await } else { String::new() };
        found.push(format!("event {} ({}{asks}): {}\n", event.id, event.envelope.search_key, plan.explain(image)));
        if found.len() >= SHOWN {
            break;
        }
    }
    Ok(found)
}

/// Says whether the plan of an event that asks first was confirmed.
async fn asks(client: &Client, event: EventId) -> String {
    match client.message(Client::LOCAL, &Client::confirmation(event)).await {
        Ok(_) => "; its plan was confirmed".to_owned(),
        Err(_) => format!("; nothing is rebuilt until `image_service confirm {event}`"),
    }
}

/// Returns the image of the tree that is meant, by any of its names.
///
/// # Errors
/// If there is none.
pub(crate) fn find(site: &Site, name: &str) -> Result<ArtifactId> {
    let catalog = site.catalog()?;
    let graph = catalog.graph();
    let asked = ArtifactId::new(name);
    let by_reference = || graph.canonical(&ArtifactId::from(&name.parse::<ImageReference>().ok()?));
    let known = graph.canonical(&asked).or_else(by_reference).cloned();
    known.ok_or_else(|| format!("the tree has no image {name}; `image_service status` lists them").into())
}

/// What the latest build of an image has printed.
pub(crate) async fn logs(directory: &Directory, image: &str, follow: bool) -> Result<Outcome> {
    let site = Site::open(&directory.path)?;
    let client = site.client().await?;
    let id = find(&site, image)?;
    let builds = crate::serve::build_system(&site)?;
    let mut shown = 0;
    loop {
        let filter = BuildFilter { artifacts: vec![id.clone()], ..BuildFilter::default() };
        let build = client.builds(filter, Paging::first(1)).await?.items.into_iter().next();
        let build = build.ok_or_else(|| format!("{} was never built here", familiar(&id)))?;
        let attempt = client.attempts(build.id).await?.into_iter().last();
        let log = attempt.as_ref().and_then(|attempt| builds.log(&attempt.id).ok()).unwrap_or_default();
        if directory.json {
            say(&format!(
                "{}\n",
                serde_json::to_string_pretty(&json!({ "build": build, "attempt": attempt, "log": log }))?
            ))?;
            return Ok(Outcome::Good);
        }
        let lines = log.get(shown..).unwrap_or(&log).split_inclusive('\n');
        let new: String =
            lines.map(|line| line.strip_suffix('\n').map_or_else(|| plain(line), |line| plain(line) + "\n")).collect();
        say(&new)?;
        shown = log.len();
        if shown == 0 && (!follow || build.state.is_terminal()) {
            crate::complain(format_args!("it has no log: {}", about_build(&build)));
        }
        if !follow || build.state.is_terminal() {
            return Ok(if build.state.is_success() || !build.state.is_terminal() {
                Outcome::Good
            } else {
                Outcome::Failed
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_what_the_log_ends_with() {
        let text = "the program ended with status 1; its log ends: make | no such header | image_service: build failed";
        assert_eq!(cause(text), "the program ended with status 1: no such header; build failed");
        assert_eq!(cause("it was cancelled"), "it was cancelled");
    }

    #[test]
    fn what_has_several_lines_cannot_pass_for_ours() {
        let mut text = String::new();
        line(&mut text, "app: expected =\nfresh    other\n");
        assert_eq!(text, "app: expected =\n    fresh    other\n");
    }
}
