//! Moves a tag back to an earlier content, holds the image back, and stops its builds.

use crate::act::reference;
use crate::args::Directory;
use crate::ask::{answer, builds, familiar, find};
use crate::records::{Hold, Record, Records};
use crate::site::Site;
use crate::verify::at;
use crate::{Outcome, Result};
use freshmaker::artifact::{ArtifactId, Digest, ImageReference};
use freshmaker::backend::{BuildFilter, Paging};
use freshmaker::client::Client;
use freshmaker::handler::RebuildRequested;
use freshmaker::rebuild::{BuildRecord, BuildState};
use freshmaker_oci::poll;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a build of the image that is under way may take to end.
const WAIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(
    directory: &Directory,
    image: &ImageReference,
    to: Option<Digest>,
    by: &str,
) -> Result<Outcome> {
    let site = Site::open(&directory.path)?;
    let client = site.client().await?;
    let records = Records::new(client.clone());
    let id = find(&site, &image.to_string())?;
    let image = reference(&id)?;
    let record = records.of(&id).await?.ok_or_else(|| format!("this service has published no {}", familiar(&id)))?;
    let bad = record.digest.clone();
    let to = to.or_else(|| record.good_before().cloned());
    let to = to.ok_or_else(|| {
        format!("no earlier content of {} is known that nobody rolled back from; --to names one", familiar(&id))
    })?;
    let registries = site.registries()?;
    // Before anything is changed: what the registry has lost cannot be gone back to.
    let content = site.platforms()?.content(&at(&image, &to)?).await?;
    let hold = Hold { reason: format!("rolled back from {bad}"), by: by.to_owned() };
    records.hold(&image, &hold).await?;
    let stopped = stop(&site, &client, &id, by).await?;
    settle(&client, &id).await?;
    let parents = BTreeMap::new();
    let next = Record {
        digest: to.clone(),
        content,
        parents,
        attempt: "rollback".to_owned(),
        revision: None,
        commit: None,
        same: None,
        same_by: None,
        earlier: Vec::new(),
        rejected: vec![bad.clone()],
    };
    records.publish(&id, &next).await?;
    registries.tag(&at(&image, &to)?, image.tag().unwrap_or("latest")).await?;
    let told = registries.head(&image).await?;
    if told != to {
        return Err(format!("{} names {told} after it was moved to {to}", familiar(&id)).into());
    }
    poll::remember(&client, &image, to.clone()).await?;
    let children = built_on(&site, &records, &id, &bad).await?;
    if !children.is_empty() {
        let artifacts = children.iter().map(ToString::to_string).collect();
        client.send(&RebuildRequested { artifacts, dependents: true, requester: Some(by.to_owned()) }).await?;
    }
    let text = format!(
        "{} names {to} again, and is held until `image_service release {image}`; {stopped} builds that waited for it were \
         stopped, {} images that were built on it are rebuilt\n",
        familiar(&id),
        children.len()
    );
    answer(
        directory,
        &json!({ "image": image, "digest": to, "from": bad, "stopped": stopped, "rebuilt": children }),
        &text,
    )?;
    Ok(Outcome::Good)
}

/// Gives up the builds of an image, and of what depends on it, that have not started; returns how
/// many.
async fn stop(site: &Site, client: &Client, image: &ArtifactId, by: &str) -> Result<usize> {
    let affected = site.catalog()?.graph().affected_by(std::slice::from_ref(image));
    let artifacts = affected.artifacts().filter(|artifact| artifact.buildable()).map(|artifact| artifact.id.clone());
    let states = vec![BuildState::Blocked, BuildState::Ready];
    let filter = BuildFilter { artifacts: artifacts.collect(), states, ..BuildFilter::default() };
    let mut stopped = 0;
    for BuildRecord { id, .. } in builds(client, filter).await? {
        // It may have started, or ended with the one before it.
        stopped += usize::from(client.give_up(id, &format!("{} is rolled back", familiar(image)), by).await.is_ok());
    }
    Ok(stopped)
}

/// Waits until no build of the image is under way. One that begins now publishes nothing, because
/// the image is held; one that looked before may be about to move the tag.
async fn settle(client: &Client, image: &ArtifactId) -> Result<()> {
    let begin = Instant::now();
    let states = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    let filter = BuildFilter { artifacts: vec![image.clone()], states, ..BuildFilter::default() };
    while !client.builds(filter.clone(), Paging::first(1)).await?.items.is_empty() {
        if begin.elapsed() > WAIT {
            return Err(
                format!("a build of {} does not end; it is held, and its tag was not moved", familiar(image)).into()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Returns the images that are built on this content.
async fn built_on(site: &Site, records: &Records, image: &ArtifactId, bad: &Digest) -> Result<Vec<ArtifactId>> {
    let catalog = site.catalog()?;
    let mut found = Vec::new();
    for (child, _) in catalog.graph().children(image) {
        let record = records.of(child).await?;
        if record.is_some_and(|record| record.parents.get(image.as_str()) == Some(bad)) {
            found.push(child.clone());
        }
    }
    Ok(found)
}
