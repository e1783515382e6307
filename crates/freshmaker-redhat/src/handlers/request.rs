use super::AffectedImages;
use super::rpm_advisory::SHIPPED;
use crate::messages::request::{CancelEvent, ManualRebuild};
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use freshmaker::rebuild::EventId;
use std::collections::BTreeSet;

/// Rebuilds the container images of an advisory that a person asks for: all that it affects, or
/// those that the request names, see [`AffectedImages`].
///
/// The rules of the policy have the fact `manual`. These requests end
/// [skipped](Decision::Skip), with the reason:
///
/// * without an advisory, or on top of an earlier event: an event that failed is repeated with
///   [`Client::retry`](freshmaker::client::Client::retry), on what it has built well;
/// * with overrides for operator bundles, which are not rebuilt yet;
/// * about an advisory that has not shipped: its packages are in no repository;
/// * for a dry run of this request alone: the mode is that of the engine.
#[derive(Clone, Debug)]
pub struct RebuildImagesOnRequest(pub AffectedImages);

#[async_trait]
impl Handler<ManualRebuild> for RebuildImagesOnRequest {
    async fn handle(&self, event: ManualRebuild, cx: Context) -> HandlerResult {
        let skip = |why: &str| Ok(Decision::Skip(why.to_owned()));
        if event.dry_run {
            return skip("a dry run of one request is not possible: the whole service runs dry or not");
        }
        if event.freshmaker_event_id.is_some() && event.errata_id.is_some() {
            return skip(
                "a request does not build on what an earlier event has rebuilt; to repeat that event, retry it",
            );
        }
        if event.bundle_related_image_overrides.is_some() {
            return skip("it is about operator bundles, which are not rebuilt yet");
        }
        let Some(advisory) = event.errata_id else {
            return skip("the request names no advisory; to repeat an event, retry it");
        };
        let named = event.container_images.iter().map(|name| name.parse::<Nvr>());
        let named = named.collect::<Result<BTreeSet<_>, _>>()?;
        let advisory = self.0.advisory(u64::try_from(advisory)?).await?;
        if advisory.state != SHIPPED {
            let (name, state) = (&advisory.name, &advisory.state);
            return skip(&format!("{name} is {state}, and its packages are in no repository until it is {SHIPPED}"));
        }
        self.0.decide(&advisory, &named, cx.facts().with("manual", "true"), &cx).await
    }
}

/// Cancels the event that a person names. Builds that other events want go on.
///
/// # Errors
/// None.
pub async fn cancel_on_request(event: CancelEvent, _: Context) -> HandlerResult {
    Ok(Decision::Cancel(vec![EventId(event.event_id)]))
}
