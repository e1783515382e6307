use super::core::Core;
use crate::backend::{Result, StorageExt};
use crate::event::Message;
use crate::rebuild::{Notice, RowChange};
use std::collections::BTreeMap;

/// Outbox to bus and subscribers, in the order in which the changes were stored; a notice is marked only after every bus took it.
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
    let mut marks = Vec::with_capacity(notices.len());
    let mut failed = None;
    for notice in notices {
        if let Err(error) = send(core, &notice).await {
            failed = Some(error);
            break;
        }
        marks.push(RowChange::Published {
            aggregate: notice.aggregate.clone(),
            id: notice.id.clone(),
            version: notice.version,
            topic: notice.topic.clone(),
        });
        // Nobody subscribed: nobody to tell.
        let _ = core.notices.send(notice);
    }
    if !marks.is_empty() {
        core.storage.transact(marks).await?;
        core.wake.changed.notify_waiters();
    }
    failed.map_or(Ok(()), Err)
}

async fn send(core: &Core, notice: &Notice) -> Result<()> {
    let message = Message {
        id: format!("{}:{}:{}", notice.aggregate, notice.id, notice.version),
        topic: notice.topic.clone(),
        headers: BTreeMap::new(),
        body: notice.body.to_string().into_bytes(),
    };
    for bus in core.buses.values() {
        bus.publish(&message).await?;
    }
    Ok(())
}
