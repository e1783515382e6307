//! What the suites refuse: build systems that break one promise each.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Found, Result};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{AttemptId, ExternalId, Failure, FailureClass, Observed};
use freshmaker::time::Timestamp;
use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// What has ended gives its id to the next build.
    IdsAreUsedAgain,
    /// A marker that is known is started again.
    StartsTwice,
    /// The lookup finds nothing.
    FindsNothing,
    /// The lookup says that what has ended runs.
    FindsWhatRan,
    /// An id that was never given has a status.
    KnowsEverything,
    /// A failure has no text.
    SaysNoReason,
    /// A success has no digest.
    NoDigest,
    /// A build that is cancelled goes on.
    IsNotStopped,
    /// The statuses of several builds are swapped.
    MixesUp,
}

/// A build system with a fault. Its ids are those of the one in memory, or, if they are used again,
/// names for them.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    inner: MemoryBuildSystem,
    number: AtomicU32,
    named: Mutex<BTreeMap<ExternalId, ExternalId>>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let (inner, number) = (MemoryBuildSystem::new(), AtomicU32::new(1));
        Self { fault, inner, number, named: Mutex::default() }
    }

    fn next(&self) -> AttemptId {
        AttemptId::from_random(self.number.fetch_add(1, Ordering::Relaxed).into())
    }

    fn seen(&self, observed: Observed) -> Observed {
        match (self.fault, observed) {
            (Fault::SaysNoReason, Observed::Failed(failure)) => {
                Observed::Failed(Failure { text: String::new(), ..failure })
            }
            (Fault::NoDigest, Observed::Succeeded(mut output)) => {
                output.digest = None;
                Observed::Succeeded(output)
            }
            (_, observed) => observed,
        }
    }

    async fn ended(&self, id: &ExternalId) -> bool {
        let found = self.inner.status(std::slice::from_ref(id)).await.unwrap();
        found.iter().any(|found| found.observed != Observed::Running)
    }
}

#[async_trait]
impl BuildSystem for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let request = match self.fault {
            Fault::StartsTwice => &BuildRequest { attempt: self.next(), ..request.clone() },
            _ => request,
        };
        let id = self.inner.submit(request).await?;
        if self.fault != Fault::IdsAreUsedAgain {
            return Ok(id);
        }
        let named = self.named.lock().unwrap().clone();
        for (name, real) in &named {
            if *real == id {
                return Ok(name.clone());
            }
        }
        for (name, real) in named {
            if self.ended(&real).await {
                self.named.lock().unwrap().insert(name.clone(), id);
                return Ok(name);
            }
        }
        self.named.lock().unwrap().insert(id.clone(), id.clone());
        Ok(id)
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        let mut found = self.inner.find(request, since).await?;
        match self.fault {
            Fault::FindsNothing => found.clear(),
            Fault::FindsWhatRan => found.iter_mut().for_each(|found| found.observed = Observed::Running),
            Fault::IdsAreUsedAgain => {
                let named = self.named.lock().unwrap();
                for found in &mut found {
                    let name = named.iter().find(|(_, real)| **real == found.external);
                    found.external = name.map_or(found.external.clone(), |(name, _)| name.clone());
                }
            }
            _ => found.iter_mut().for_each(|found| found.observed = self.seen(found.observed.clone())),
        }
        Ok(found)
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let real = |id: &ExternalId| self.named.lock().unwrap().get(id).cloned().unwrap_or_else(|| id.clone());
        let mut all = Vec::new();
        for id in ids {
            let found = self.inner.status(&[real(id)]).await?.pop();
            let observed = match found {
                None | Some(Found { observed: Observed::Vanished, .. }) if self.fault == Fault::KnowsEverything => {
                    Some(Observed::Running)
                }
                found => found.map(|found| self.seen(found.observed)),
            };
            all.extend(observed.map(|observed| Found { external: id.clone(), observed }));
        }
        if self.fault == Fault::MixesUp && all.len() > 1 {
            let last = all.len() - 1;
            let (first, other) = (all[0].observed.clone(), all[last].observed.clone());
            (all[0].observed, all[last].observed) = (other, first);
        }
        Ok(all)
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        if self.fault == Fault::IsNotStopped {
            return Ok(());
        }
        let real = self.named.lock().unwrap().get(id).cloned().unwrap_or_else(|| id.clone());
        self.inner.cancel(&real).await
    }
}

#[async_trait]
impl BuildWorld for Faulty {
    fn request(&self, ending: Ending) -> BuildRequest {
        let attempt = self.next();
        let artifact = ArtifactId::new(format!("artifact-{attempt}"));
        match ending {
            Ending::Succeeds => {}
            Ending::Fails => {
                self.inner.fail_next(&artifact, Failure::new(FailureClass::Deterministic, "as wanted"));
            }
            Ending::Hangs => self.inner.hold(&artifact),
        }
        BuildRequest::new(attempt, artifact)
    }
}

/// What the suite says about a build system with this fault.
async fn refusal(fault: Fault) -> Option<String> {
    let checked = tokio::spawn(async move {
        let system = Faulty::new(fault);
        build_system(&system, &system).await;
    });
    let panic = checked.await.err()?.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

#[tokio::test]
async fn a_build_system_that_breaks_a_promise_is_refused() {
    let said = [
        (Fault::IdsAreUsedAgain, "is the id of two builds"),
        (Fault::StartsTwice, "the lookup by marker does not find what was started, once"),
        (Fault::FindsNothing, "the lookup by marker does not find what was started, once"),
        (Fault::FindsWhatRan, "the lookup and the status contradict each other"),
        (Fault::KnowsEverything, "an id that was never given has a status"),
        (Fault::SaysNoReason, "a failure has no reason"),
        (Fault::NoDigest, "a success has no digest"),
        (Fault::IsNotStopped, "did not end"),
        (Fault::MixesUp, "the status of several builds mixes them up"),
    ];
    assert_eq!(refusal(Fault::None).await, None);
    for (fault, text) in said {
        let refusal = refusal(fault).await;
        assert!(refusal.as_ref().is_some_and(|refusal| refusal.contains(text)), "{fault:?}: {refusal:?}");
    }
}
