//! Backends, readers and clocks that misbehave: nothing of it stops what is not its own.

mod backends;
mod clocks;
mod messages;
mod strange;
mod unsendable;

use async_trait::async_trait;
use freshmaker::backend::{
    BuildRequest, BuildSystem, Bus, Capabilities, Catalog, CatalogAnswer, Claim, Delivery, DeliveryTag, Documents,
    Error, Found, Lease, Made, Remedy, Result, Retention, Scope, Storage, StorageReads, StorageUpkeep, Swept, Verifier,
};
use freshmaker::rebuild::{Commit, ExternalId, InboxRecord, Neighbourhood, Output, RunId, SessionId, Verification};
use freshmaker::time::Timestamp;
use freshmaker::{Artifact, Context, Decision, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, TokioClock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

/// How a call misbehaves.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// It never ends.
    Hangs,
    /// It panics.
    Panics,
    /// It has an error.
    Fails(Remedy),
    /// The process stands still meanwhile, for an hour; once.
    Suspends,
}

/// Which calls misbehave, and how often still.
#[derive(Debug, Default)]
struct Trouble {
    moods: Mutex<BTreeMap<&'static str, (Mood, u32)>>,
    /// How often each call was made.
    calls: Mutex<BTreeMap<&'static str, u32>>,
    /// If it is not empty, calls misbehave that are about something whose text has this in it.
    odd: Mutex<String>,
    /// The clock of a process that will stand still.
    clock: Mutex<Option<Arc<TokioClock>>>,
}

impl Trouble {
    fn with(call: &'static str, mood: Mood, times: u32) -> Arc<Self> {
        let trouble = Self::default();
        trouble.moods.lock().unwrap().insert(call, (mood, times));
        Arc::new(trouble)
    }

    /// Each call about this misbehaves.
    fn about(call: &'static str, mood: Mood, odd: &str) -> Arc<Self> {
        let trouble = Self::default();
        trouble.moods.lock().unwrap().insert(call, (mood, 0));
        *trouble.odd.lock().unwrap() = odd.to_owned();
        Arc::new(trouble)
    }

    /// The process stands still for an hour once it has made the first call about this.
    fn suspended(call: &'static str, odd: &str, clock: &Arc<TokioClock>) -> Arc<Self> {
        let trouble = Self::about(call, Mood::Suspends, odd);
        *trouble.clock.lock().unwrap() = Some(Arc::clone(clock));
        trouble
    }

    fn calls(&self, call: &'static str) -> u32 {
        self.calls.lock().unwrap().get(call).copied().unwrap_or_default()
    }

    /// What a call meets before it does its work, if it is about something odd.
    async fn meet_about(&self, call: &'static str, what: &impl std::fmt::Debug) -> Result<()> {
        let odd = {
            let odd = self.odd.lock().unwrap();
            !odd.is_empty() && format!("{what:?}").contains(odd.as_str())
        };
        if let Some((_, left)) = self.moods.lock().unwrap().get_mut(call).filter(|_| odd) {
            *left = 1;
        }
        self.meet(call).await
    }

    /// What a call meets before it does its work.
    async fn meet(&self, call: &'static str) -> Result<()> {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        let mood = match self.moods.lock().unwrap().get_mut(call) {
            Some((mood, left)) if *left > 0 => {
                *left -= 1;
                Some(*mood)
            }
            _ => None,
        };
        match mood {
            None => Ok(()),
            Some(Mood::Hangs) => std::future::pending().await,
            // Without a line for each on the terminal.
            Some(Mood::Panics) => std::panic::resume_unwind(Box::new(format!("{call} was told to panic"))),
            Some(Mood::Suspends) => {
                if let Some(clock) = self.clock.lock().unwrap().take() {
                    clock.set_forward(Duration::from_secs(3600));
                }
                Ok(())
            }
            Some(Mood::Fails(remedy)) => Err(Error::new(remedy, call, "it was told to fail")),
        }
    }
}

/// A backend with troubles.
#[derive(Debug)]
struct Troubled<T> {
    inner: Arc<T>,
    trouble: Arc<Trouble>,
}

impl<T> Troubled<T> {
    fn new(inner: &Arc<T>, trouble: &Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), trouble: Arc::clone(trouble) })
    }
}

#[async_trait]
impl<T: BuildSystem> BuildSystem for Troubled<T> {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.poll = Duration::from_secs(10);
        capabilities
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        self.trouble.meet("session").await?;
        Ok(Some(SessionId::new("S")))
    }

    async fn fence(&self, _session: &SessionId) -> Result<()> {
        self.trouble.meet("fence").await
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        self.trouble.meet("submit").await?;
        let submitted = self.inner.submit(request).await;
        self.trouble.meet("submit, after it took effect").await?;
        submitted
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        self.trouble.meet("find").await?;
        self.inner.find(request, since).await
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        self.trouble.meet_about("status", &ids).await?;
        self.inner.status(ids).await
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        self.trouble.meet("cancel").await?;
        self.inner.cancel(id).await
    }
}

#[async_trait]
impl<T: Bus> Bus for Troubled<T> {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        self.trouble.meet("receive").await?;
        self.inner.receive(limit).await
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.trouble.meet("acknowledge").await?;
        self.inner.acknowledge(tags).await
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        self.trouble.meet_about("publish", message).await?;
        self.inner.publish(message).await
    }
}

#[async_trait]
impl<T: Catalog> Catalog for Troubled<T> {
    async fn dependents(&self, of: &[freshmaker::ArtifactId]) -> Result<CatalogAnswer> {
        self.trouble.meet("dependents").await?;
        self.inner.dependents(of).await
    }

    async fn describe(&self, ids: &[freshmaker::ArtifactId]) -> Result<CatalogAnswer> {
        self.inner.describe(ids).await
    }
}

/// A verifier whose results are all good.
#[derive(Debug)]
struct Good;

#[async_trait]
impl Verifier for Troubled<Good> {
    async fn verify(&self, _made: &Made) -> Result<Verification> {
        self.trouble.meet("verify").await?;
        Ok(Verification::Passed(None))
    }
}

/// A storage with troubles, before and after its calls take effect.
#[derive(Debug)]
struct TroubledStorage {
    inner: Arc<dyn Storage>,
    trouble: Arc<Trouble>,
}

#[async_trait]
impl Storage for TroubledStorage {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self
    }

    fn reads(&self) -> &dyn StorageReads {
        self.inner.reads()
    }

    fn documents(&self) -> &dyn Documents {
        self.inner.documents()
    }

    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        if held.is_some() {
            self.trouble.meet("lease").await?;
        }
        self.inner.lease(held).await
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.trouble.meet("release").await?;
        self.inner.release(run).await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.trouble.meet("reserve").await?;
        self.inner.reserve(count).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        self.trouble.meet("claim").await?;
        self.inner.claim(claim).await
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.trouble.meet_about("load", scope).await?;
        self.inner.load(scope).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.trouble.meet_about("commit", &commit).await?;
        let committed = self.inner.commit(commit.clone()).await;
        self.trouble.meet_about("commit, after it took effect", &commit).await?;
        committed
    }
}

#[async_trait]
impl StorageUpkeep for TroubledStorage {
    async fn migrate(&self) -> Result<()> {
        self.inner.upkeep().migrate().await
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        self.trouble.meet("sweep").await?;
        self.inner.upkeep().sweep(run, retention, limit).await
    }
}

/// What a build made.
fn output(name: &str) -> Output {
    Output { name: name.to_owned(), digest: None, contents: None }
}

/// An image made of `base`.
fn image(name: &str) -> Artifact {
    Artifact::new(name, freshmaker::ArtifactKind::Image).with_source(name, None)
}
