//! Traces of what has ended, for a collector of OpenTelemetry, as the section `[otel]` of the
//! configuration says.

use freshmaker::backend::Result;
use freshmaker::client::Client;
use freshmaker::engine::SystemClock;
use freshmaker::memory::MemoryStorage;
use freshmaker_web::{TraceExporter, TraceSettings};
use std::sync::Arc;

/// What exports the traces of a storage; `None` without such a section.
pub(crate) fn exporter(settings: Option<&TraceSettings>, client: &Client) -> Result<Option<TraceExporter>> {
    let exporter =
        |settings: &TraceSettings| TraceExporter::new(client.clone(), settings.read()?, Arc::new(SystemClock));
    settings.map(exporter).transpose()
}

/// The same for checks, which export nothing.
pub(crate) fn checked(settings: Option<&TraceSettings>) -> Result<Option<TraceExporter>> {
    exporter(settings, &Client::new(Arc::new(MemoryStorage::new())))
}

/// Exports what ends, for ever.
pub(crate) async fn export(exporter: Option<&TraceExporter>) {
    match exporter {
        Some(exporter) => exporter.run().await,
        None => std::future::pending().await,
    }
}
