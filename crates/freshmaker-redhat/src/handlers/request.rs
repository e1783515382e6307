use super::rpm_advisory::SHIPPED;
use super::{AffectedImages, Wanted, earlier};
use crate::messages::request::{CancelEvent, ManualRebuild};
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Error;
use freshmaker::event::Message;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use freshmaker::rebuild::EventId;
use serde_json::Value;
use std::collections::BTreeSet;

/// Rebuilds the container images of an advisory that a person asks for: all that it affects, or
/// those that the request names, see [`AffectedImages`].
///
/// * The rules of the policy have the fact `manual`.
/// * An advisory that has not shipped needs `ImageComposes`: its packages are taken from the tag
///   that its builds are in.
/// * On top of an earlier event of the same advisory, what that one has rebuilt is used as it is:
///   its rebuilds are the parents of others, and only the rest is rebuilt. So a request that is
///   repeated after failures rebuilds what is missing. If the request names the event alone, it is
///   handled as one that names its advisory as well.
/// * Images that events of this advisory have rebuilt for their own sake are not rebuilt again,
///   unless the request names images, or its `metadata` has `"skip_rebuilt": false`.
///
/// These requests end [skipped](Decision::Skip), with the reason:
///
/// * while an event of the same advisory is in progress, unless the request has `force`;
/// * on top of an event that does not exist, or that is about something else;
/// * with overrides for operator bundles, which are not rebuilt yet;
/// * about an advisory that has not shipped, without `ImageComposes`.
///
/// A request for a [dry run](freshmaker::Event::dry_run) is planned alike.
#[derive(Clone, Debug)]
pub struct RebuildImagesOnRequest(pub AffectedImages);

#[async_trait]
impl Handler<ManualRebuild> for RebuildImagesOnRequest {
    async fn handle(&self, event: ManualRebuild, cx: Context) -> HandlerResult {
        let skip = |why: &str| Ok(Decision::Skip(why.to_owned()));
        if event.bundle_related_image_overrides.is_some() {
            return skip("it is about operator bundles, which are not rebuilt yet");
        }
        let below = match below(&event, &cx).await? {
            Ok(below) => below,
            Err(why) => return skip(&why),
        };
        let Some(id) = event.errata_id else {
            return match below {
                // The event is found by the number of its advisory later.
                Some((_, advisory)) => {
                    let errata_id = Some(i64::try_from(advisory)?);
                    Ok(Decision::Emit(vec![Message::of("", &ManualRebuild { errata_id, ..event })?]))
                }
                None => skip("the request names neither an advisory nor an event"),
            };
        };
        let id = u64::try_from(id)?;
        let named = event.container_images.iter().map(|name| name.parse::<Nvr>());
        let named = named.collect::<Result<BTreeSet<_>, _>>()?;
        let running = if event.force { Vec::new() } else { earlier::running(&cx.history(), id).await? };
        if !running.is_empty() {
            let running: Vec<_> = running.iter().map(ToString::to_string).collect();
            let text = "of this advisory are in progress; with `force` it is rebuilt all the same";
            return skip(&format!("events {text}: {}", running.join(", ")));
        }
        let advisory = self.0.advisory(id).await?;
        if advisory.state != SHIPPED && !self.0.prepares_composes() {
            let (name, state) = (&advisory.name, &advisory.state);
            return skip(&format!("{name} is {state}, and its packages are in no repository until it is {SHIPPED}"));
        }
        let mut wanted = Wanted::default().only(named);
        if event.metadata.as_ref().and_then(|data| data.get("skip_rebuilt")) == Some(&Value::Bool(false)) {
            wanted = wanted.again();
        }
        if let Some((event, _)) = below {
            wanted = wanted.on_top_of(event);
        }
        self.0.decide(&advisory, &wanted, cx.facts().with("manual", "true"), &cx).await
    }
}

/// Returns the event that a request refers to and its advisory, or why it must not refer to that
/// event; `None` if it refers to none.
async fn below(request: &ManualRebuild, cx: &Context) -> Result<Result<Option<(EventId, u64)>, String>, Error> {
    let Some(id) = request.freshmaker_event_id.map(EventId) else { return Ok(Ok(None)) };
    if !cx.history().is_known() {
        return Ok(Err(format!("earlier events are not known here, so nothing can be built on event {id}")));
    }
    let Some(event) = cx.history().event(id).await? else { return Ok(Err(format!("there is no event {id}"))) };
    let Some(advisory) = earlier::advisory_of(&event) else {
        return Ok(Err(format!(
            "event {id} does not rebuild the images of an advisory, but is {}",
            event.envelope.kind
        )));
    };
    if request.errata_id.is_some_and(|asked| u64::try_from(asked) != Ok(advisory)) {
        return Ok(Err(format!("event {id} is about advisory {advisory}, and the request about another one")));
    }
    Ok(Ok(Some((id, advisory))))
}

/// Cancels the event that a person names. Builds that other events want go on.
///
/// # Errors
/// None.
pub async fn cancel_on_request(event: CancelEvent, _: Context) -> HandlerResult {
    Ok(Decision::Cancel(vec![EventId(event.event_id)]))
}
