use crate::image::Unmet;
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Result;
use std::collections::BTreeSet;
use std::fmt;

/// What is known about the packages that are installed in an image which was just built.
#[async_trait]
pub trait InstalledPackages: fmt::Debug + Send + Sync {
    /// Returns the name of the service, as errors and reasons have it.
    fn service(&self) -> &'static str;

    /// Returns which of these demands an image does not meet; `None` as long as the service does
    /// not list the packages of every architecture that it knows of the image.
    ///
    /// A service that records no epochs compares without them.
    ///
    /// # Errors
    /// If the service cannot be asked, or what it says about the image makes no sense.
    async fn unmet(&self, image: &Nvr, demands: &BTreeSet<Nvr>) -> Result<Option<Vec<Unmet>>>;
}
