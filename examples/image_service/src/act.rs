//! Starts each command, and has those that change something: each is a few lines over the client.

use crate::args::{Act, Directory, Sent};
use crate::ask::{self, answer, familiar, find, line};
use crate::fix::FixAvailable;
use crate::records::{Hold, Records};
use crate::site::{SYSTEM, Site};
use crate::{Outcome, Result, check, complain, plan, restore, rollback, verbs};
use freshmaker::artifact::{ArtifactId, Digest, ImageReference};
use freshmaker::client::Client;
use freshmaker::event::Severity;
use freshmaker::handler::{ImagePushed, RebuildRequested};
use freshmaker_web::{NewToken, Role, Tokens};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// How long a token is valid.
const TOKEN: Duration = Duration::from_secs(90 * 86_400);

pub(crate) async fn run(directory: &Directory, act: Act) -> Result<Outcome> {
    match act {
        Act::CheckConfig { online } => return check::run(directory, online).await,
        Act::Plan { images, format } => return plan::run(directory, &images, format).await,
        Act::Status { watch } => return ask::status(directory, watch).await,
        Act::Show { event } => return ask::show(directory, event).await,
        Act::Why { image } => return ask::why(directory, &image).await,
        Act::Logs { image, follow } => return ask::logs(directory, &image, follow).await,
        Act::Rollback { image, to, by } => return rollback::run(directory, &image, to, &by).await,
        _ => {}
    }
    let site = Site::open(&directory.path)?;
    if let Act::Restore { file } = &act {
        let kept = restore::run(&site, file).await?;
        let done = format!("{} is the database now; what it replaces is kept as {}", file.display(), kept.display());
        return answer(directory, &json!({ "done": done, "kept": kept }), &format!("{done}\n")).map(|()| Outcome::Good);
    }
    let client = site.client().await?;
    let records = Records::new(client.clone());
    let done = match act {
        Act::Send { images, what: Sent::Fix { advisory }, by } => {
            let sent = fix(&site, &client, &images, advisory, by).await?;
            format!("sent {sent}; `image_service show` lists what becomes of it")
        }
        Act::Send { images, what, by } => send(&site, &client, &images, what, &by).await?,
        Act::Retry { event, part, by } => {
            verbs::only_once(&client, part.message(event)).await?;
            format!("event {event} is tried again, by message {}", client.retry(event, part, &by).await?)
        }
        Act::Cancel { event, by } => {
            client.cancel(event, &by).await?;
            format!("event {event}: {}", client.event(event).await?.reason)
        }
        Act::Confirm { event } => verbs::confirm(&client, event).await?,
        Act::Pause { reason, by } => {
            client.pause(SYSTEM, &reason, &by).await?;
            "no more builds are started until `image_service resume`".to_owned()
        }
        Act::Resume => {
            client.resume(SYSTEM).await?;
            "builds are started again".to_owned()
        }
        Act::Hold { image, reason, by } => {
            let image = reference(&find(&site, &image)?)?;
            records.hold(&image, &Hold { reason, by }).await?;
            format!("{} is not rebuilt until `image_service release {image}`", image.familiar())
        }
        Act::Release { image } => release(&site, &records, &image).await?,
        Act::CheckState => {
            let (violations, said) = verbs::check_state(&client).await?;
            return all_is_well(directory, &violations, &said);
        }
        Act::DeadLetters { requeue: None } => {
            let letters = verbs::dead_letters(&client).await?;
            return all_is_well(directory, &letters, &verbs::about_letters(&letters));
        }
        Act::DeadLetters { requeue: Some(id) } => verbs::requeue(&client, &id).await?,
        Act::Dismiss { message, reason, by } => verbs::dismiss(&client, &message, &reason, &by).await?,
        Act::Backup { file } => {
            client.backup(&file).await?;
            format!("copied to {}", file.display())
        }
        Act::Token { name, by } => return token(directory, client, &name, &by).await,
        other => return Err(format!("{other:?} is done elsewhere").into()),
    };
    answer(directory, &json!({ "done": done }), &format!("{done}\n"))?;
    Ok(Outcome::Good)
}

/// Answers with what is wrong, in a line each; all is well if there is nothing.
fn all_is_well(directory: &Directory, wrong: &[impl Serialize], lines: &[String]) -> Result<Outcome> {
    let mut text = String::new();
    lines.iter().for_each(|said| line(&mut text, said));
    answer(directory, &wrong, &text)?;
    Ok(if wrong.is_empty() { Outcome::Good } else { Outcome::Failed })
}

/// Ends a hold of an image, by any of its names; also of one that the tree does not have any more.
async fn release(site: &Site, records: &Records, name: &str) -> Result<String> {
    let known = find(site, name).and_then(|id| reference(&id));
    let given = name.parse::<ImageReference>().map_err(Into::into);
    for image in [known, given].into_iter().flatten() {
        if records.release(&image).await? {
            return Ok(format!("{} is rebuilt again, also because of what has changed meanwhile", image.familiar()));
        }
    }
    Err(format!("{name} is not held").into())
}

/// Events that say that images have changed.
#[derive(Default)]
pub(crate) struct Changes {
    /// Bases that have new content.
    pub(crate) bases: Vec<ImagePushed>,
    /// Images of the tree are rebuilt.
    pub(crate) own: Option<RebuildRequested>,
}

/// Returns what says that these images have changed: `alone` without what is built on them.
pub(crate) fn changes(
    site: &Site,
    images: &[String],
    alone: bool,
    digest: Option<&Digest>,
    by: &str,
) -> Result<Changes> {
    let catalog = site.catalog()?;
    let (mut changes, mut own) = (Changes::default(), Vec::new());
    for name in images {
        let id = find(site, name)?;
        if catalog.graph().get(&id).is_some_and(freshmaker::Artifact::buildable) {
            own.push(id.to_string());
        } else {
            changes.bases.push(ImagePushed { image: id.to_string(), digest: digest.cloned() });
        }
    }
    if !own.is_empty() {
        if digest.is_some() {
            return Err("--digest is about a base: what an image of the tree will be is not known yet".into());
        }
        changes.own = Some(RebuildRequested { artifacts: own, dependents: !alone, requester: Some(by.to_owned()) });
    }
    Ok(changes)
}

async fn send(site: &Site, client: &Client, images: &[String], what: Sent, by: &str) -> Result<String> {
    let (alone, digest) = match what {
        Sent::Changed { digest } => (false, digest),
        _ => (true, None),
    };
    let mut changes = changes(site, images, alone, digest.as_ref(), by)?;
    let registries = site.registries()?;
    for base in changes.bases.iter_mut().filter(|base| base.digest.is_none()) {
        // What a base is now is asked, so that everything is built on the same.
        base.digest = Some(registries.head(&reference(&ArtifactId::new(base.image.as_str()))?).await?);
    }
    let mut sent = Vec::new();
    for base in &changes.bases {
        sent.push(client.send(base).await?);
    }
    if let Some(own) = &changes.own {
        sent.push(client.send(own).await?);
    }
    Ok(format!("sent {}; `image_service show` lists what becomes of it", sent.join(", ")))
}

/// Says that images contain what an advisory is about; returns the message.
async fn fix(site: &Site, client: &Client, images: &[String], advisory: String, by: String) -> Result<String> {
    let catalog = site.catalog()?;
    let mut own = Vec::new();
    for name in images {
        let id = find(site, name)?;
        if !catalog.graph().get(&id).is_some_and(freshmaker::Artifact::buildable) {
            let name = familiar(&id);
            return Err(format!("{name} is not built here: name the images that are to be built again").into());
        }
        own.push(id.to_string());
    }
    let event = FixAvailable { advisory, images: own, severity: Severity::default(), requester: Some(by) };
    Ok(client.send(&event).await?)
}

async fn token(directory: &Directory, client: Client, name: &str, by: &str) -> Result<Outcome> {
    let issued = Tokens::new(client).issue(NewToken::new(name, [Role::ManualRebuilder], TOKEN), by).await?;
    let token = issued.token.to_string();
    let info = json!({ "token": token, "id": issued.info.id, "expires_at": issued.info.expires_at });
    answer(directory, &info, &format!("{token}\n"))?;
    complain(format_args!("valid until {}; it is not shown again", issued.info.expires_at));
    Ok(Outcome::Good)
}

/// Returns an image of the tree as a reference.
pub(crate) fn reference(id: &ArtifactId) -> Result<ImageReference> {
    id.as_str().parse().map_err(|error| format!("{}: {error}", familiar(id)).into())
}
