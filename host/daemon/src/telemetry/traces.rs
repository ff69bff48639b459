//! Spans: what happened to a request on its way, and when, for a collector that speaks OTLP over HTTP. The standard variables of
//! OpenTelemetry say where it is, what this host is called and what is sampled. Where they name no collector, every span here
//! is nothing, and making it is one branch. Spans wait in a bounded line of the SDK, which drops what finds it full: no request
//! ever waits for a collector.

mod exporter;

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use host_core::{ids::ModelId, shard::ShardId};
use host_plugin::{Bearer, Decision};
use opentelemetry::{
    Context, Key, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

use crate::{
    config,
    error::{Error, Fault},
    metrics::Outcome,
};

/// Who makes the spans, and what a host is called that nobody gives a name.
const NAME: &str = "shardhost";
/// The attribute with a service's name.
const SERVICE_NAME: Key = Key::from_static_str("service.name");
/// What the SDK calls a service that nobody gives a name.
const NAMELESS: &str = "unknown_service";

/// Makes spans, or nothing where no collector is named. A clone is another handle of the same.
#[derive(Clone, Debug)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    flush_max: Duration,
}

/// A place in a trace that spans can begin at: within a request. Nothing where no spans are made.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Place>);

#[derive(Clone, Debug)]
struct Place {
    inner: Arc<Inner>,
    /// Holds the request's own span.
    context: Context,
}

/// A span under way. It is over when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Span(Option<SdkSpan>);

impl Traces {
    /// Makes no spans.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins to make spans if the environment names a collector. Must be called within the runtime that is to send them.
    pub fn start(settings: &config::Traces) -> Result<Self, Error> {
        if !settings.export {
            return Ok(Self::none());
        }
        let exporter = exporter::start().map_err(|error| Error::from(Fault::Traces).because(error))?;
        let named = Resource::builder().build();
        let nameless = named.get_ref(&SERVICE_NAME).is_none_or(|name| name.as_str().starts_with(NAMELESS));
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let resource = if nameless { resource.with_service_name(NAME) } else { resource };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer(NAME);
        Ok(Self(Some(Arc::new(Inner { provider, tracer, flush_max: Duration::from_millis(settings.flush_ms_max) }))))
    }

    /// A request for a model has arrived. Its span continues the trace that its client names in `traceparent`, if it names one.
    pub fn request(&self, headers: &HeaderMap, model: &ModelId) -> Trace {
        let Some(inner) = &self.0 else { return Trace::default() };
        let before = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        let attributes = [KeyValue::new("shardhost.model", model.name.to_string()), KeyValue::new("shardhost.model.version", i64::from(model.version))];
        let span = SpanBuilder::from_name("infer").with_kind(SpanKind::Server).with_attributes(attributes);
        let span = inner.tracer.build_with_context(span, &before);
        Trace(Some(Place { inner: Arc::clone(inner), context: before.with_span(span) }))
    }

    /// A request of another host has come to a stage of this one, with the span that this stage's own belongs to.
    pub fn continued(&self, traceparent: &str) -> Trace {
        let Some(inner) = self.0.as_ref().filter(|_| !traceparent.is_empty()) else { return Trace::default() };
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Parent(traceparent));
        Trace(Some(Place { inner: Arc::clone(inner), context }))
    }

    /// Something that no request asks for begins, for a model.
    pub fn own(&self, name: &'static str, model: &ModelId) -> Span {
        let span = |inner: &Arc<Inner>| {
            let span = SpanBuilder::from_name(name).with_attributes([KeyValue::new("shardhost.model", model.to_string())]);
            inner.tracer.build_with_context(span, &Context::new())
        };
        Span(self.0.as_ref().map(span))
    }

    /// Sends what is left, for as long as the settings allow. Spans that come later are lost.
    pub async fn finish(&self) {
        let Some(inner) = self.0.clone() else { return };
        let flush_ms_max = u64::try_from(inner.flush_max.as_millis()).unwrap_or(u64::MAX);
        let sent = tokio::task::spawn_blocking(move || inner.provider.shutdown_with_timeout(inner.flush_max)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, flush_ms_max, "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
    }
}

impl Trace {
    /// The request begins something.
    pub fn span(&self, name: &'static str) -> Span {
        let span = |place: &Place| place.inner.tracer.build_with_context(SpanBuilder::from_name(name), &place.context);
        Span(self.0.as_ref().map(span))
    }

    /// The request's own span for another host, as W3C's `traceparent`; empty where no spans are made.
    pub fn parent(&self) -> String {
        let mut written = Written::default();
        if let Some(place) = &self.0 {
            TraceContextPropagator::new().inject_context(&place.context, &mut written);
        }
        written.0
    }

    /// The request's path was chosen by this plugin.
    pub fn policy(&self, policy: &str) {
        if let Some(place) = &self.0 {
            place.context.span().set_attribute(KeyValue::new("shardhost.policy", policy.to_owned()));
        }
    }

    /// The request is over.
    pub fn end(&self, outcome: Outcome) {
        let Some(place) = &self.0 else { return };
        let span = place.context.span();
        span.set_attribute(KeyValue::new("shardhost.outcome", outcome.word()));
        if !matches!(outcome, Outcome::Success | Outcome::Invalid | Outcome::Cancelled) {
            span.set_status(Status::error(outcome.word()));
        }
        span.end();
    }
}

impl Span {
    /// A plugin decided, or the one in its place did, or nobody could; and the span is over.
    pub fn decided<T>(mut self, decided: &Result<Decision<T>, host_plugin::Error>) {
        let Some(span) = &mut self.0 else { return };
        match decided {
            Ok(decision) => {
                span.set_attributes(of_plugin(&decision.by));
                span.set_attribute(KeyValue::new("shardhost.outcome", decision.outcome()));
                if let Some(fault) = &decision.fallback {
                    span.set_attribute(KeyValue::new("shardhost.fallback", fault.to_string()));
                }
            }
            Err(error) => span.set_status(Status::error(error.to_string())),
        }
    }

    /// A stage ran on a device; and the span is over.
    pub fn stage(mut self, shard: &ShardId, device: &str, adapter: Option<&Bearer>, ran: &Result<(), Error>) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new("shardhost.device", device.to_owned()));
        span.set_attribute(KeyValue::new("shardhost.blocks", shard.range.to_string()));
        span.set_attributes(adapter.into_iter().flat_map(of_plugin));
        if let Err(error) = ran {
            span.set_status(Status::error(error.to_string()));
        }
    }
}

/// Which plugin it was.
fn of_plugin(bearer: &Bearer) -> [KeyValue; 4] {
    [
        KeyValue::new("shardhost.slot", bearer.slot.to_string()),
        KeyValue::new("shardhost.plugin", bearer.plugin.to_string()),
        KeyValue::new("shardhost.plugin.generation", i64::try_from(bearer.generation.0).unwrap_or(i64::MAX)),
        KeyValue::new("shardhost.plugin.digest", bearer.digest.to_string()),
    ]
}

/// The header that names a span.
const TRACEPARENT: &str = "traceparent";

/// A span of another host, as a propagator reads it.
struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// A span for another host, as a propagator writes it.
#[derive(Default)]
struct Written(String);

impl Injector for Written {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = value;
        }
    }
}

/// A request's headers, as a propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
