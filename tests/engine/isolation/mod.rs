//! What hangs, fails or cannot be stored, and stops nothing that is not its own.

mod builds;
mod facts;
mod messages;
mod subscription;

use async_trait::async_trait;
use freshmaker::backend::{
    Claim, Documents, Error, Lease, Remedy, Result, Scope, Storage, StorageReads, StorageUpkeep,
};
use freshmaker::rebuild::{Commit, InboxRecord, Neighbourhood, RunId};
use freshmaker::{Context, Decision, HandlerResult};
use freshmaker_testing::world::Pushed;
use std::sync::Arc;
use std::time::Duration;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What a wrapped storage does otherwise.
#[async_trait]
trait Twist: std::fmt::Debug + Send + Sync + 'static {
    async fn before_load(&self, _: &Arc<dyn Storage>, _: &Scope) -> Result<()> {
        Ok(())
    }
    async fn before_commit(&self, _: &Arc<dyn Storage>, _: &Commit) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Twisted<T>(Arc<dyn Storage>, T);

#[async_trait]
impl<T: Twist> Storage for Twisted<T> {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self.0.upkeep()
    }
    fn reads(&self) -> &dyn StorageReads {
        self.0.reads()
    }
    fn documents(&self) -> &dyn Documents {
        self.0.documents()
    }
    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        self.0.lease(held).await
    }
    async fn release(&self, run: RunId) -> Result<()> {
        self.0.release(run).await
    }
    async fn reserve(&self, count: u32) -> Result<i64> {
        self.0.reserve(count).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        self.0.claim(claim).await
    }
    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        self.1.before_load(&self.0, scope).await?;
        self.0.load(scope).await
    }
    async fn commit(&self, commit: Commit) -> Result<()> {
        self.1.before_commit(&self.0, &commit).await?;
        self.0.commit(commit).await
    }
}

/// PostgreSQL cannot store a text with the character NUL.
#[derive(Debug)]
struct NoNul;

#[async_trait]
impl Twist for NoNul {
    async fn before_commit(&self, _: &Arc<dyn Storage>, commit: &Commit) -> Result<()> {
        if format!("{:?}", commit.changes).contains("\\0") {
            return Err(Error::new(Remedy::Rejected, "storage", "a text has the character NUL"));
        }
        Ok(())
    }
}
