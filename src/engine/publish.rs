use super::Handle;
use super::core::Core;
use crate::backend::{Result, Scope, StorageExt};
use crate::event::Message;
use crate::reason::Reason;
use crate::rebuild::{BuildId, EventId, Neighbourhood, Notification, RowChange};
use serde_json::Value;
use std::collections::BTreeMap;

/// Outbox to bus and subscribers, in the order in which the changes were stored; a notification is marked only after every bus took it, or refused
/// it for good.
pub(super) async fn run(core: &Core) {
    loop {
        match core.storage.notifications(core.options.batch).await {
            Ok(notifications) if notifications.is_empty() => {
                if core.is_stopping() {
                    return;
                }
                core.wait(&core.wake.publish, None).await;
            }
            Ok(notifications) => {
                if let Err(error) = publish(core, notifications).await {
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

async fn publish(core: &Core, notifications: Vec<Notification>) -> Result<()> {
    let mut changes = Vec::with_capacity(notifications.len());
    let mut failed = None;
    for notification in notifications {
        match send(core, &notification).await {
            Ok(refused) => changes.extend(refused),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
        changes.push(RowChange::Published {
            aggregate: notification.aggregate.clone(),
            id: notification.id.clone(),
            version: notification.version,
            topic: notification.topic.clone(),
        });
        // Nobody subscribed: nobody to tell.
        let _ = core.notifications.send(notification);
    }
    if !changes.is_empty() {
        core.storage.transact(changes).await?;
        core.wake.changed.notify_waiters();
    }
    failed.map_or(Ok(()), Err)
}

/// Hands all messages about a change to all buses. What a bus refuses for good becomes a dead letter, to be stored with the mark of the
/// notification.
async fn send(core: &Core, notification: &Notification) -> Result<Vec<RowChange>> {
    let mut dead = Vec::new();
    for message in messages(core, notification).await? {
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
async fn messages(core: &Core, notification: &Notification) -> Result<Vec<Message>> {
    let id = format!("{}:{}:{}", notification.aggregate, notification.id, notification.version);
    let mut messages = vec![message(id.clone(), &notification.topic, &notification.body)];
    if core.announcers.is_empty() {
        return Ok(messages);
    }
    let rows = rows(core, notification).await?;
    for announcement in core.announcers.iter().flat_map(|announcer| announcer.announce(notification, &rows)) {
        messages.push(message(format!("{id}:{}", announcement.topic), &announcement.topic, &announcement.body));
    }
    Ok(messages)
}

fn message(id: String, topic: &str, body: &Value) -> Message {
    Message { id, topic: topic.to_owned(), headers: BTreeMap::new(), body: body.to_string().into_bytes() }
}

/// The rows of the event or build that a change is about, as they are now.
async fn rows(core: &Core, notification: &Notification) -> Result<Neighbourhood> {
    let event = || notification.id.parse().map(EventId);
    let build = || notification.id.parse().map(BuildId);
    let scope = match notification.aggregate.as_str() {
        "event" => event().map(Scope::Event),
        _ => build().map(|id| Scope::Builds(vec![id])),
    };
    let Ok(scope) = scope else {
        tracing::error!(
            notification.aggregate,
            notification.id,
            "a stored notification names no row: announcers see no rows"
        );
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
