//! The way of spans to their collector. Each batch is sent by the runtime of the host while a thread of the SDK waits for it. A
//! collector that does not answer is said once, and once more when it answers again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry_otlp::{ExporterBuildError, SpanExporter as OtlpExporter};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use tokio::runtime::Handle;

/// Sends spans where the environment says.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: Arc<OtlpExporter>,
    runtime: Handle,
    failing: AtomicBool,
}

/// Reads the environment. Nothing is sent yet.
pub(super) fn start() -> Result<Exporter, ExporterBuildError> {
    let otlp = OtlpExporter::builder().with_http().build()?;
    Ok(Exporter { otlp: Arc::new(otlp), runtime: Handle::current(), failing: AtomicBool::new(false) })
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let otlp = Arc::clone(&self.otlp);
        // The HTTP client needs a runtime, and the thread that waits here has none.
        let sent = self.runtime.spawn(async move { otlp.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        match &sent {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector of spans answers again");
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "spans cannot be sent to their collector; they are lost until it answers, and requests go on");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called before the first batch, when nobody else holds it.
        if let Some(otlp) = Arc::get_mut(&mut self.otlp) {
            otlp.set_resource(resource);
        }
    }
}
