//! `plan`: what would happen if images had changed, without a side effect.

use crate::act::changes;
use crate::args::Directory;
use crate::live::LiveCatalog;
use crate::quiet::Quiets;
use crate::records::Records;
use crate::site::{SYSTEM, Site};
use crate::sources::Sources;
use crate::{Outcome, Result, complain, handlers, say};
use freshmaker::Engine;
use freshmaker::backend::Clock;
use freshmaker::client::Client;
use freshmaker::engine::{Preview, PreviewOutcome, SystemClock};
use freshmaker::memory::{MemoryBuildSystem, MemoryStorage};
use freshmaker::plan::{Format, Plan};
use std::sync::Arc;

/// Returns what decides about events without doing anything.
async fn preview(site: &Site) -> Result<Preview> {
    let client = match site.client().await {
        Ok(client) => client,
        // Without a service that has run, nothing is known about earlier builds.
        Err(_) => Client::new(Arc::new(MemoryStorage::new())),
    };
    let records = Records::new(client);
    let read = Sources::default().read(site)?;
    let policy = read.files.policy().clone();
    let live = LiveCatalog::new(read, records.clone());
    let builder = Engine::builder()
        .policy(policy)
        .facts(["manual"])
        .catalog("tree", Arc::new(live))
        // Nothing is built, and no directory is made for it.
        .build_system(SYSTEM, Arc::new(MemoryBuildSystem::default()));
    // A preview waits for nothing.
    Ok(handlers::on(builder, &records, None, &site.config.freeze, Quiets::none()).preview()?)
}

/// Writes what would be rebuilt if these images had changed.
pub(crate) async fn run(directory: &Directory, images: &[String], format: Format) -> Result<Outcome> {
    let site = Site::open(&directory.path)?;
    let preview = preview(&site).await?;
    let (changes, now) = (changes(&site, images, false, None, "plan")?, SystemClock.now());
    let mut foreseen = Vec::new();
    for base in &changes.bases {
        foreseen.extend(preview.event(base, now).await?);
    }
    if let Some(own) = &changes.own {
        foreseen.extend(preview.event(own, now).await?);
    }
    let show = |plan: &Plan| say(&format!("{}\n", plan.render(format).to_string().trim_end()));
    let mut outcome = Outcome::Good;
    for previewed in foreseen {
        match previewed.decision {
            PreviewOutcome::Rebuilds(plan) => show(&plan)?,
            PreviewOutcome::Asks { plan, reason } => {
                complain(format_args!("{reason}"));
                show(&plan)?;
            }
            PreviewOutcome::Skips(reason) => complain(format_args!("nothing would be rebuilt: {reason}")),
            PreviewOutcome::Fails(reason) => {
                complain(format_args!("it would fail: {reason}"));
                outcome = Outcome::Failed;
            }
            other => complain(format_args!("{other:?}")),
        }
    }
    Ok(outcome)
}
