//! Handlers of the simulated world for messages other than pushes: one that emits several events,
//! one that cancels, one that panics; and messages that cannot be read.

use super::backends::Shared;
use super::trouble::Trouble;
use async_trait::async_trait;
use freshmaker::backend::{Clock, EventFilter};
use freshmaker::event::{Event, Message};
use freshmaker::handler::{Context, Decision, Handler, HandlerResult, ImagePushed, rebuild_dependents};
use freshmaker::rebuild::EventState;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// Several images were pushed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ImagesPushed {
    pub(super) images: Vec<String>,
}

impl Event for ImagesPushed {
    const KIND: &'static str = "images.pushed";
}

/// What was pushed is taken back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PushWithdrawn {}

impl Event for PushWithdrawn {
    const KIND: &'static str = "push.withdrawn";
}

/// Something from which nothing follows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Noted {}

impl Event for Noted {
    const KIND: &'static str = "noted";
}

/// An event that cannot be read: its reader panics.
#[derive(Debug, Serialize)]
pub(super) struct Riddle;

impl Event for Riddle {
    const KIND: &'static str = "riddle";
}

impl<'de> Deserialize<'de> for Riddle {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panics("the reader of riddles")
    }
}

/// Panics, without a line on the terminal.
fn panics(who: &str) -> ! {
    std::panic::resume_unwind(Box::new(format!("{who} gives up")))
}

/// Rebuilds what depends on an image.
pub(super) struct Rebuilds(pub(super) Shared);

#[async_trait]
impl Handler<ImagePushed> for Rebuilds {
    async fn handle(&self, event: ImagePushed, cx: Context) -> HandlerResult {
        self.0.world().asked(format!("a handler about {}", cx.received().message_id));
        rebuild_dependents(event, cx).await
    }
}

/// The name under which [`announce`] is registered.
pub(super) const ANNOUNCE: &str = "announce";

/// Handles each image of several as if it had been pushed alone.
pub(super) async fn announce(event: ImagesPushed, _: Context) -> HandlerResult {
    let pushes = event.images.into_iter().map(|image| Message::of("", &ImagePushed { image, digest: None }));
    Ok(Decision::Emit(pushes.collect::<Result<_, _>>()?))
}

/// Cancels all that is under way.
pub(super) struct Withdraws(pub(super) Shared);

#[async_trait]
impl Handler<PushWithdrawn> for Withdraws {
    async fn handle(&self, _: PushWithdrawn, cx: Context) -> HandlerResult {
        let filter = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
        let open: Vec<_> = cx.history().events(filter).await?.iter().map(|event| event.id).collect();
        self.0.world().say(|| format!("{open:?} are to be cancelled, says {}", cx.received().message_id));
        Ok(if open.is_empty() { Decision::Ignore } else { Decision::Cancel(open) })
    }
}

/// Takes its time, or does not come to an end.
pub(super) struct Clerk(pub(super) Shared);

#[async_trait]
impl Handler<Noted> for Clerk {
    async fn handle(&self, _: Noted, cx: Context) -> HandlerResult {
        self.0.world().asked(format!("the clerk about {}", cx.received().message_id));
        if self.0.world().suffers(Trouble::Handler) {
            std::future::pending::<()>().await;
        }
        let (clock, seconds) = {
            let mut world = self.0.world();
            (world.clock.clone(), world.rng.u64(..120))
        };
        clock.sleep(Duration::from_secs(seconds)).await;
        Ok(Decision::Skip("it is noted".into()))
    }
}

/// The name under which [`clumsy`] is registered.
pub(super) const CLUMSY: &str = "clumsy";

/// Panics.
pub(super) async fn clumsy(_: Noted, _: Context) -> HandlerResult {
    panics("a clumsy handler")
}

/// Skips what others rebuild.
pub(super) async fn look_on(_: ImagePushed, _: Context) -> HandlerResult {
    Ok(Decision::Skip("it only looks on".into()))
}
