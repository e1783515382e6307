use super::client::Client;
use super::record::ComposeRecord;
use super::{OdcsComposer, PARALLEL, SourceType};
use crate::contracts::{ComposeSource, Composes, KnownCompose};
use async_trait::async_trait;
use freshmaker::backend::{Remedy, Result};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};

/// Each compose costs one request; up to 8 are sent at the same time.
#[async_trait]
impl Composes for OdcsComposer {
    async fn composes(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, std::result::Result<KnownCompose, String>>> {
        let asked = ids.iter().copied().map(|id| async move { Ok((id, self.known(id).await?)) });
        let answers: Vec<_> = futures_util::stream::iter(asked).buffered(PARALLEL).collect().await;
        answers.into_iter().collect()
    }
}

impl OdcsComposer {
    async fn known(&self, id: i64) -> Result<std::result::Result<KnownCompose, String>> {
        let Ok(number) = u64::try_from(id) else { return Ok(Err(format!("{id} is no number of a compose"))) };
        let answer = match self.client.described(number).await {
            Ok(answer) => answer,
            Err(error) if error.remedy == Remedy::NotFound => return Ok(Err(format!("ODCS has no compose {id}"))),
            // A page of a proxy, for example, says nothing about the compose.
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Ok(Err(format!("nothing can be said about compose {id}: {error}"))),
        };
        Ok(match Client::about_compose(number, answer) {
            Ok(Ok(record)) => known(&record),
            Ok(Err(odd)) => Err(format!("the description of compose {id} makes no sense: {}", odd.reason)),
            Err(about) => Err(format!("nothing can be said about compose {id}: {about}")),
        })
    }
}

fn known(record: &ComposeRecord) -> std::result::Result<KnownCompose, String> {
    let source = match record.source_type() {
        Some(SourceType::Pulp) => ComposeSource::ContentSets,
        Some(SourceType::Tag) => ComposeSource::Tag,
        Some(SourceType::Module) => ComposeSource::Modules,
        Some(SourceType::Build) => ComposeSource::Builds,
        Some(SourceType::RawConfig) => ComposeSource::Configuration,
        None => {
            return Err(format!(
                "compose {} has the source type {}, which is not known",
                record.id, record.source_type
            ));
        }
    };
    Ok(KnownCompose { source, names: record.sources().into_iter().map(str::to_owned).collect() })
}
