use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, BuildSystem, Found};
use freshmaker::rebuild::{ExternalId, Observed};
use freshmaker::time::Timestamp;
use std::collections::BTreeSet;

/// How a build of the suite shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well, with a digest.
    Succeeds,
    /// Badly.
    Fails,
    /// Not before it is cancelled.
    Hangs,
}

/// What [`build_system`] needs from the world around the build system.
#[async_trait]
pub trait BuildWorld: Send + Sync {
    /// A request whose build ends so, under a marker that was never used.
    fn request(&self, ending: Ending) -> BuildRequest;

    /// An id that the build system never gave.
    fn unknown(&self) -> ExternalId {
        ExternalId::new("00000000-0000-4000-8000-000000000000")
    }

    /// Whether the build system knows a request again that is submitted twice. One that keeps no
    /// markers may not; the engine never submits twice without a lookup between.
    fn knows_again(&self) -> bool {
        true
    }

    /// Lets the build system get on: waits a short time, or advances a scripted one. Nothing, for
    /// one that gets on when it is asked.
    async fn settle(&self) {}
}

/// For a build system that gets on when it is asked, a function from endings to requests is world
/// enough.
impl<F: Fn(Ending) -> BuildRequest + Send + Sync> BuildWorld for F {
    fn request(&self, ending: Ending) -> BuildRequest {
        self(ending)
    }
}

/// How often the suite lets the world settle before it gives up.
const ROUNDS: usize = 3000;

/// Checks the contract of [`BuildSystem`].
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::memory::MemoryBuildSystem;
/// use freshmaker::backend::BuildRequest;
/// use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
/// # use freshmaker::rebuild::{AttemptId, Failure, FailureClass};
/// # use std::sync::atomic::{AtomicU32, Ordering};
///
/// struct World<'a>(&'a MemoryBuildSystem, AtomicU32);
///
/// #[async_trait]
/// impl BuildWorld for World<'_> {
///     fn request(&self, ending: Ending) -> BuildRequest {
///         let number = self.1.fetch_add(1, Ordering::Relaxed);
///         let artifact = freshmaker::ArtifactId::new(format!("artifact-{number}"));
///         match ending {
///             Ending::Succeeds => {}
///             Ending::Fails => self.0.fail_next(&artifact, Failure::new(FailureClass::Deterministic, "as wanted")),
///             Ending::Hangs => self.0.hold(&artifact),
///         }
///         BuildRequest::new(AttemptId::from_random(u128::from(number)), artifact)
///     }
///
///     async fn settle(&self) {}
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let builds = MemoryBuildSystem::new();
/// build_system(&builds, &World(&builds, AtomicU32::new(1))).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If the contract is broken, with a sentence that says how.
pub async fn build_system(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    what_was_never_started_is_not_found(system, world).await;
    a_success_is_found_and_started_once(system, world).await;
    a_failure_says_why(system, world).await;
    a_cancelled_build_ends(system, world).await;
    an_id_is_not_given_again(system, world).await;
    builds_do_not_mix(system, world).await;
}

async fn what_was_never_started_is_not_found(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    let request = world.request(Ending::Succeeds);
    assert_eq!(find(system, &request).await, [], "a marker that was never submitted is found");
    let unknown = world.unknown();
    let known: Vec<_> = status(system, &unknown).await.into_iter().filter(|it| *it != Observed::Vanished).collect();
    assert_eq!(known, [], "an id that was never given has a status");
}

async fn a_success_is_found_and_started_once(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    let request = world.request(Ending::Succeeds);
    let external = submit(system, &request).await;
    let lookup = system.capabilities().lookup;
    if lookup {
        only_found(system, &request, &external).await;
    }
    let again = lookup && world.knows_again();
    if again {
        assert_eq!(submit(system, &request).await, external, "the same marker was started twice");
    }
    let observed = end(system, world, &external).await;
    let Observed::Succeeded(output) = &observed else { panic!("a build that should succeed ended as {observed:?}") };
    assert!(output.digest.is_some(), "a success has no digest");
    if again {
        assert_eq!(submit(system, &request).await, external, "a marker was started again after its success");
    }
    if lookup {
        let again = only_found(system, &request, &external).await;
        assert_eq!(again, observed, "the lookup and the status contradict each other");
    }
    cancel(system, &external).await;
    assert_eq!(end(system, world, &external).await, observed, "cancelling what had ended changed it");
}

async fn a_failure_says_why(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    let external = submit(system, &world.request(Ending::Fails)).await;
    let observed = end(system, world, &external).await;
    let Observed::Failed(failure) = &observed else { panic!("a build that should fail ended as {observed:?}") };
    assert!(!failure.text.trim().is_empty(), "a failure has no reason");
    cancel(system, &external).await;
    assert_eq!(end(system, world, &external).await, observed, "cancelling what had failed changed it");
}

async fn a_cancelled_build_ends(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    let external = submit(system, &world.request(Ending::Hangs)).await;
    world.settle().await;
    let observed = status(system, &external).await;
    assert_eq!(observed, [Observed::Running], "a build that should hang does not run");
    cancel(system, &external).await;
    cancel(system, &external).await;
    let observed = end(system, world, &external).await;
    assert_eq!(observed, Observed::Canceled, "a cancelled build ended otherwise");
    cancel(system, &external).await;
}

async fn builds_do_not_mix(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    let requests = [Ending::Hangs, Ending::Fails, Ending::Succeeds].map(|ending| world.request(ending));
    let mut externals = Vec::new();
    for request in &requests {
        externals.push(submit(system, request).await);
    }
    assert!(matches!(end(system, world, &externals[1]).await, Observed::Failed(_)), "a failure took another end");
    assert!(matches!(end(system, world, &externals[2]).await, Observed::Succeeded(_)), "a success took another end");
    let all = match system.status(&externals).await {
        Ok(all) => all,
        Err(error) => panic!("the status of several builds is not answered: {error}"),
    };
    for found in &all {
        let place = externals.iter().position(|external| *external == found.external);
        let fits = match (place, &found.observed) {
            (Some(0), Observed::Running) | (Some(1), Observed::Failed(_)) | (Some(2), Observed::Succeeded(_)) => true,
            (_, _) => false,
        };
        assert!(fits, "the status of several builds mixes them up: {found:?}");
    }
    cancel(system, &externals[0]).await;
    assert_eq!(end(system, world, &externals[0]).await, Observed::Canceled, "a cancelled build ended otherwise");
}

async fn an_id_is_not_given_again(system: &dyn BuildSystem, world: &dyn BuildWorld) {
    let mut given = BTreeSet::new();
    for ending in [Ending::Succeeds, Ending::Fails, Ending::Succeeds] {
        let external = submit(system, &world.request(ending)).await;
        end(system, world, &external).await;
        assert!(given.insert(external.clone()), "{external} is the id of two builds");
    }
}

/// Submits as the engine does: in a session that was opened for it.
async fn submit(system: &dyn BuildSystem, request: &BuildRequest) -> ExternalId {
    let session = match system.session().await {
        Ok(session) => session,
        Err(error) => panic!("no session is opened: {error}"),
    };
    match system.submit(&BuildRequest { session, ..request.clone() }).await {
        Ok(external) => external,
        Err(error) => panic!("a request was not taken: {error}"),
    }
}

async fn find(system: &dyn BuildSystem, request: &BuildRequest) -> Vec<Found> {
    if !system.capabilities().lookup {
        return Vec::new();
    }
    match system.find(request, Timestamp::UNIX_EPOCH).await {
        Ok(found) => found,
        Err(error) => panic!("a lookup by marker is not answered: {error}"),
    }
}

async fn only_found(system: &dyn BuildSystem, request: &BuildRequest, external: &ExternalId) -> Observed {
    let mut found = find(system, request).await;
    let ids: Vec<_> = found.iter().map(|found| &found.external).collect();
    assert_eq!(ids, [external], "the lookup by marker does not find what was started, once");
    found.remove(0).observed
}

async fn status(system: &dyn BuildSystem, id: &ExternalId) -> Vec<Observed> {
    match system.status(std::slice::from_ref(id)).await {
        Ok(found) => found.into_iter().filter(|found| found.external == *id).map(|found| found.observed).collect(),
        Err(error) => panic!("the status of {id} is not answered: {error}"),
    }
}

async fn cancel(system: &dyn BuildSystem, id: &ExternalId) {
    if let Err(error) = system.cancel(id).await {
        panic!("the cancellation of {id} is refused: {error}");
    }
}

async fn end(system: &dyn BuildSystem, world: &dyn BuildWorld, id: &ExternalId) -> Observed {
    for _ in 0..ROUNDS {
        match status(system, id).await.pop() {
            None | Some(Observed::Running) => world.settle().await,
            Some(ended) => return ended,
        }
    }
    panic!("{id} did not end")
}
