use super::rpm_advisory::SHIPPED;
use crate::contracts::{Advisories, Advisory, AdvisoryBuilds};
use crate::messages::errata::{AdvisoryRpmsSigned, AdvisoryStatusChanged, ModuleAdvisorySigned};
use crate::messages::koji::{PRIMARY, RpmSigned};
use async_trait::async_trait;
use freshmaker::Message;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{BoxError, Remedy, Result};
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use std::sync::Arc;

/// The states of an advisory between its tests and its release.
const TESTED: [&str; 3] = ["REL_PREP", "PUSH_READY", "IN_PUSH"];

/// The state of an advisory that is tested.
const TESTING: &str = "QE";

/// Most builds that a sentence names.
const NAMED_MAX: usize = 10;

/// Finds the advisories whose packages can be built with, and announces each of them once: as
/// [`AdvisoryRpmsSigned`], for
/// [`RebuildImagesOfSignedAdvisory`](super::RebuildImagesOfSignedAdvisory).
///
/// The event has the same identity whichever message leads to it: a change of the state, a
/// signature of one of the packages, a [scan](crate::scan) for advisories that were missed. So each
/// advisory is handled once when it ships, and once for each of its revisions when all its builds
/// are signed, however many messages come, and in whatever order.
///
/// This is the handler of [`AdvisoryStatusChanged`]:
///
/// | new state | decision |
/// |---|---|
/// | `SHIPPED_LIVE` | the event, released, whatever the tool says about the state by now |
/// | `REL_PREP`, `PUSH_READY`, `IN_PUSH` | the event, not released, if all builds are signed |
/// | `QE` | skipped if Flatpak applications could be built from its modules, which come later |
/// | others | nothing |
///
/// An advisory that ships no packages is [skipped](Decision::Skip) when it ships, and the reason
/// says what it ships: operator bundles come later. If it has shipped by now, a late message about
/// an earlier state leads to nothing.
///
/// [`on_signatures`](Self::on_signatures) and [`on_modules`](Self::on_modules) are the handlers of
/// the other messages.
///
/// ```
/// use freshmaker::Engine;
/// use freshmaker_redhat::handlers::{AffectedImages, AnnounceAdvisories, RebuildImagesOfSignedAdvisory};
/// use freshmaker_redhat::contracts::{Advisories, AdvisoryBuilds};
/// use std::sync::Arc;
///
/// fn wire(
///     advisories: Arc<dyn Advisories>,
///     builds: Arc<dyn AdvisoryBuilds>,
///     affected: AffectedImages,
/// ) -> freshmaker::engine::EngineBuilder {
///     let announce = AnnounceAdvisories::new(advisories, builds);
///     Engine::builder()
///         .on(announce.clone().on_signatures())
///         .on(announce.clone().on_modules())
///         .on(announce)
///         .on(RebuildImagesOfSignedAdvisory::new(affected))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AnnounceAdvisories {
    advisories: Arc<dyn Advisories>,
    builds: Arc<dyn AdvisoryBuilds>,
    instance: String,
}

/// What stands in the way of an advisory that has not shipped.
enum Unready {
    /// It does not concern these handlers.
    Ignored,
    /// It may not be handled, or not yet, for this reason.
    Waits(String),
}

impl AnnounceAdvisories {
    /// Asks these about advisories and their builds.
    #[must_use]
    pub fn new(advisories: Arc<dyn Advisories>, builds: Arc<dyn AdvisoryBuilds>) -> Self {
        Self { advisories, builds, instance: PRIMARY.to_owned() }
    }

    /// Sets the Koji whose builds advisories have, as it calls itself in messages;
    /// [`PRIMARY`](crate::messages::koji::PRIMARY) by default.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<String>) -> Self {
        Self { instance: instance.into(), ..self }
    }

    /// Returns the handler of signed packages.
    #[must_use]
    pub fn on_signatures(self) -> AnnounceSignedAdvisories {
        AnnounceSignedAdvisories(self)
    }

    /// Returns the handler of signed modules.
    #[must_use]
    pub fn on_modules(self) -> ExplainFlatpaks {
        ExplainFlatpaks(self)
    }

    /// Returns what stands in the way of images being rebuilt with an advisory that has not
    /// shipped.
    async fn unready(&self, advisory: &Advisory, cx: &Context) -> Result<std::result::Result<(), Unready>> {
        let shipped_or_dropped = !TESTED.contains(&advisory.state.as_str()) && advisory.state != TESTING;
        if shipped_or_dropped || advisory.unsuited().is_some() {
            return Ok(Err(Unready::Ignored));
        }
        if let Some(verdict) = cx.policy().blocks_all(&advisory.facts(cx.facts()).with("kind", "image")) {
            return Ok(Err(Unready::Waits(format!("{} is {verdict}", advisory.name))));
        }
        let unsigned = self.builds.unsigned_builds(advisory.id).await?;
        if unsigned.is_empty() {
            return Ok(Ok(()));
        }
        let mut names: Vec<_> = unsigned.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        if unsigned.len() > NAMED_MAX {
            names.push(format!("{} more", unsigned.len() - NAMED_MAX));
        }
        Ok(Err(Unready::Waits(format!("{} has builds that are not signed: {}", advisory.name, names.join(", ")))))
    }

    /// Returns whether Flatpak applications could be built from the modules of an advisory: it is
    /// being tested, ships to hidden repositories alone, and all its builds are signed. Whether its
    /// release is one of those that Flatpaks are built for is not asked.
    async fn is_for_flatpaks(&self, advisory: &Advisory) -> Result<bool> {
        if advisory.state != TESTING || !advisory.content_types.contains("module") {
            return Ok(false);
        }
        let repositories = self.advisories.repositories(advisory.id).await?;
        let hidden = repositories.iter().all(|id| id.contains("-hidden-"));
        Ok(hidden && self.builds.unsigned_builds(advisory.id).await?.is_empty())
    }

    async fn explain_flatpaks(&self, advisory: &Advisory) -> HandlerResult {
        if !self.is_for_flatpaks(advisory).await? {
            return Ok(Decision::Ignore);
        }
        let why = format!("Flatpak applications could be built from {}, which comes later", advisory.name);
        Ok(Decision::Skip(why))
    }
}

/// Returns the message that announces an advisory. Its identity depends on the advisory alone.
fn announcement(advisory: &Advisory, released: bool) -> std::result::Result<Message, BoxError> {
    let Advisory { id, name, security_impact, .. } = advisory;
    let identity = if released { format!("errata/{id}/shipped") } else { format!("errata/{id}/{name}/signed") };
    let event = AdvisoryRpmsSigned {
        errata_id: i64::try_from(*id)?,
        advisory: name.clone(),
        released,
        security_impact: security_impact.clone(),
    };
    Ok(Message::of(identity, &event)?)
}

#[async_trait]
impl Handler<AdvisoryStatusChanged> for AnnounceAdvisories {
    async fn handle(&self, event: AdvisoryStatusChanged, cx: Context) -> HandlerResult {
        let to = event.to.as_str();
        if to != SHIPPED && to != TESTING && !TESTED.contains(&to) {
            return Ok(Decision::Ignore);
        }
        let advisory = self.advisories.advisory(u64::try_from(event.errata_id)?).await?;
        if to == SHIPPED {
            return match advisory.unsuited() {
                Some(why) => Ok(Decision::Skip(why)),
                None => Ok(Decision::Emit(vec![announcement(&advisory, true)?])),
            };
        }
        if to == TESTING {
            return self.explain_flatpaks(&advisory).await;
        }
        Ok(match self.unready(&advisory, &cx).await? {
            Ok(()) => Decision::Emit(vec![announcement(&advisory, false)?]),
            Err(Unready::Ignored) => Decision::Ignore,
            Err(Unready::Waits(why)) => Decision::Skip(why),
        })
    }
}

/// The handler of signed packages of [`AnnounceAdvisories`].
///
/// It listens to [`RpmSigned`], asks for the advisories that have the build, and announces each one
/// that is in `QE` or later, has not shipped, and has no other build that is not signed. If all
/// that the policy allows have unsigned builds, the event is [skipped](Decision::Skip) with their
/// names. A build that no advisory has leads to nothing: most signatures are of such builds.
#[derive(Clone, Debug)]
pub struct AnnounceSignedAdvisories(AnnounceAdvisories);

#[async_trait]
impl Handler<RpmSigned> for AnnounceSignedAdvisories {
    async fn handle(&self, event: RpmSigned, cx: Context) -> HandlerResult {
        if event.instance != self.0.instance {
            return Ok(Decision::Ignore);
        }
        let build: Nvr = event.nvr.parse()?;
        let ids = match self.0.builds.advisories_of_build(&build).await {
            Err(error) if error.remedy == Remedy::NotFound => return Ok(Decision::Ignore),
            ids => ids?,
        };
        let (mut messages, mut waiting) = (Vec::new(), Vec::new());
        for id in ids {
            let advisory = self.0.advisories.advisory(id).await?;
            match self.0.unready(&advisory, &cx).await? {
                Ok(()) => messages.push(announcement(&advisory, false)?),
                Err(Unready::Ignored) => {}
                Err(Unready::Waits(why)) => waiting.push(why),
            }
        }
        if !messages.is_empty() {
            return Ok(Decision::Emit(messages));
        }
        Ok(if waiting.is_empty() { Decision::Ignore } else { Decision::Skip(waiting.join("; ")) })
    }
}

/// The handler of signed modules of [`AnnounceAdvisories`].
///
/// It listens to [`ModuleAdvisorySigned`]. An advisory from whose modules Flatpak applications
/// could be built ends [skipped](Decision::Skip), because they come later; the number 17 of their
/// events is reserved. Others lead to nothing.
#[derive(Clone, Debug)]
pub struct ExplainFlatpaks(AnnounceAdvisories);

#[async_trait]
impl Handler<ModuleAdvisorySigned> for ExplainFlatpaks {
    async fn handle(&self, event: ModuleAdvisorySigned, _: Context) -> HandlerResult {
        let advisory = self.0.advisories.advisory(u64::try_from(event.errata_id)?).await?;
        self.0.explain_flatpaks(&advisory).await
    }
}
