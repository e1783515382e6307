use super::foresight::would_rebuild;
use super::rpm_advisory::SHIPPED;
use super::{AffectedImages, Wanted};
use crate::contracts::Advisory;
use crate::messages::errata::AdvisoryRpmsSigned;
use async_trait::async_trait;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};

/// Where builds find the packages of an advisory that has not shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreleasedPackages {
    /// Nowhere: no image can be rebuilt with them.
    #[default]
    Nowhere,
    /// In repositories that all recipes name, see
    /// [`WithRepositories`](crate::contracts::WithRepositories).
    InRepositories,
}

/// Rebuilds the container images that an advisory affects once it is announced as signed or shipped
/// by [`AnnounceAdvisories`](super::AnnounceAdvisories), see [`AffectedImages`].
///
/// Use it instead of [`RebuildImagesOfAdvisory`](super::RebuildImagesOfAdvisory), which handles
/// each message that an advisory was shipped.
///
/// An advisory that has not shipped is planned like any other. Its packages are in no repository of
/// any content set yet: `ImageComposes` take them from the tag that its builds are in. Without
/// these the event ends [skipped](Decision::Skip), with the images that would be rebuilt, unless
/// [`with_unreleased`](Self::with_unreleased) says where builds find the packages. When the
/// advisory ships it is planned anew, and images that were rebuilt for it before are left alone.
#[derive(Clone, Debug)]
pub struct RebuildImagesOfSignedAdvisory {
    affected: AffectedImages,
    unreleased: UnreleasedPackages,
}

impl RebuildImagesOfSignedAdvisory {
    /// Rebuilds what is affected.
    #[must_use]
    pub fn new(affected: AffectedImages) -> Self {
        Self { affected, unreleased: UnreleasedPackages::default() }
    }

    /// Sets where builds find the packages of an advisory that has not shipped; nowhere, by
    /// default.
    #[must_use]
    pub fn with_unreleased(self, unreleased: UnreleasedPackages) -> Self {
        Self { unreleased, ..self }
    }
}

#[async_trait]
impl Handler<AdvisoryRpmsSigned> for RebuildImagesOfSignedAdvisory {
    async fn handle(&self, event: AdvisoryRpmsSigned, cx: Context) -> HandlerResult {
        let advisory = self.affected.advisory(u64::try_from(event.errata_id)?).await?;
        if event.released {
            let advisory = Advisory { state: SHIPPED.to_owned(), ..advisory };
            return self.affected.decide(&advisory, &Wanted::default(), cx.facts(), &cx).await;
        }
        if advisory.state == SHIPPED {
            return Ok(Decision::Skip(format!(
                "{} has shipped meanwhile, which is an event of its own",
                advisory.name
            )));
        }
        let decision = self.affected.decide(&advisory, &Wanted::default(), cx.facts(), &cx).await?;
        let Decision::Rebuild(plan) = decision else { return Ok(decision) };
        let found = self.unreleased == UnreleasedPackages::InRepositories || self.affected.prepares_composes();
        if plan.is_empty() || found {
            return Ok(Decision::Rebuild(plan));
        }
        let would = would_rebuild(&advisory.name, &plan);
        let why = format!("its packages are in no repository until it is {SHIPPED}, and none is prepared for them");
        Ok(Decision::Skip(format!("{would}; {why}")))
    }
}
