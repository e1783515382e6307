use super::Handle;
use super::core::Core;
use crate::backend::{Result, Scope, StorageExt};
use crate::event::Message;
use crate::reason::Reason;
use crate::rebuild::{BuildId, EventId, Neighbourhood, Notice, RowChange};
use serde_json::Value;
use std::collections::BTreeMap;

/// Outbox to bus and subscribers, in the order in which the changes were stored; a notice is marked only after every bus took it, or refused
/// it for good.
pub(super) async fn run(core: &Core) {
    loop {
        match core.storage.notices(core.options.batch).await {
            Ok(notices) if notices.is_empty() => {
                if core.is_stopping() {
                    return;
                }
                core.wait(&core.wake.publish, None).await;
            }
            Ok(notices) => {
                if let Err(error) = publish(core, notices).await {
                    if core.is_stopping() {
                        return;
                    }
                    core.pause("publish", &error).await;
                }
            }
            Err(error) => {
                if core.is_stopping() {
                    return;
                }
                core.pause("publish", &error).await;
            }
        }
    }
}

async fn publish(core: &Core, notices: Vec<Notice>) -> Result<()> {
    let mut changes = Vec::with_capacity(notices.len());
    let mut failed = None;
    for notice in notices {
        match send(core, &notice).await {
            Ok(refused) => changes.extend(refused),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
        changes.push(RowChange::Published {
            aggregate: notice.aggregate.clone(),
            id: notice.id.clone(),
            version: notice.version,
            topic: notice.topic.clone(),
        });
        // Nobody subscribed: nobody to tell.
        let _ = core.notices.send(notice);
    }
    if !changes.is_empty() {
        core.storage.transact(changes).await?;
        core.wake.changed.notify_waiters();
    }
    failed.map_or(Ok(()), Err)
}

/// Hands all messages about a change to all buses. What a bus refuses for good becomes a dead letter, to be stored with the mark of the
/// notice.
async fn send(core: &Core, notice: &Notice) -> Result<Vec<RowChange>> {
    let mut dead = Vec::new();
    for message in messages(core, notice).await? {
        let mut refusals = Vec::new();
        for (name, bus) in &core.buses {
            match bus.publish(&message).await {
                Ok(()) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::error!(bus = name, message.id, message.topic, %error, "a bus refuses a message: it is a dead letter");
                    refusals.push(format!("{name}: {error}"));
                }
            }
        }
        if !refusals.is_empty() {
            let reason = Reason::new("refused", refusals.join("; "));
            dead.push(RowChange::Receive(core.inbox_record(Handle::REFUSED, message, Some(reason))));
        }
    }
    Ok(dead)
}

/// The messages about a change: the engine's own, and those of the announcers. Repeated, they have the same ids.
async fn messages(core: &Core, notice: &Notice) -> Result<Vec<Message>> {
    let id = format!("{}:{}:{}", notice.aggregate, notice.id, notice.version);
    let mut messages = vec![message(id.clone(), &notice.topic, &notice.body)];
    if core.announcers.is_empty() {
        return Ok(messages);
    }
    let rows = rows(core, notice).await?;
    for announcement in core.announcers.iter().flat_map(|announcer| announcer.announce(notice, &rows)) {
        messages.push(message(format!("{id}:{}", announcement.topic), &announcement.topic, &announcement.body));
    }
    Ok(messages)
}

fn message(id: String, topic: &str, body: &Value) -> Message {
    Message { id, topic: topic.to_owned(), headers: BTreeMap::new(), body: body.to_string().into_bytes() }
}

/// The rows of the event or build that a change is about, as they are now.
async fn rows(core: &Core, notice: &Notice) -> Result<Neighbourhood> {
    let event = || notice.id.parse().map(EventId);
    let build = || notice.id.parse().map(BuildId);
    let scope = match notice.aggregate.as_str() {
        "event" => event().map(Scope::Event),
        _ => build().map(|id| Scope::Builds(vec![id])),
    };
    let Ok(scope) = scope else {
        tracing::error!(notice.aggregate, notice.id, "a stored notice names no row: announcers see no rows");
        return Ok(Neighbourhood::default());
    };
    let mut rows = core.storage.load(&scope).await?;
    let shown: Vec<BuildId> = match scope {
        Scope::Event(id) => rows.causes.keys().filter(|(_, event)| *event == id).map(|(build, _)| *build).collect(),
        _ => build().into_iter().collect(),
    };
    let tried = shown.into_iter().filter(|id| rows.builds.get(id).is_some_and(|build| build.attempts > 0));
    for build in tried.collect::<Vec<_>>() {
        let attempts = core.storage.attempts(build).await?;
        rows.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
    }
    Ok(rows)
}
