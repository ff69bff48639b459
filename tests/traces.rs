//! Spans of a real host, as a collector gets them: they continue the client's trace and name the plugins and the devices. A
//! collector that is not there is said once and holds nobody up.

#[allow(dead_code, reason = "the other tests of a running host use the rest")]
mod running;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as AnyValue},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use running::{Host, PATIENCE, samples};

/// A span with the attributes of whoever sent it.
struct Sent {
    span: Span,
    resource: Vec<KeyValue>,
}

/// A collector on loopback.
struct Collector {
    url: String,
    spans: Receiver<Sent>,
    seen: Vec<Sent>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (tell, spans) = channel();
        let take = move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).expect("what a collector is sent");
            for sent in request.resource_spans {
                let resource = sent.resource.unwrap_or_default().attributes;
                for span in sent.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    // Nobody listens once the test is over.
                    let _ = tell.send(Sent { span, resource: resource.clone() });
                }
            }
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                listener.set_nonblocking(true).expect("set");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, Router::new().route("/v1/traces", post(take))).await.expect("it serves");
            });
        });
        Self { url, spans, seen: Vec::new() }
    }

    /// Waits until as many spans have come that are wanted; all of those.
    fn wait_for(&mut self, count: usize, wanted: impl Fn(&Span) -> bool) -> Vec<&Sent> {
        let end = Instant::now() + PATIENCE;
        while self.seen.iter().filter(|sent| wanted(&sent.span)).count() < count {
            let sent = self.spans.recv_timeout(end.saturating_duration_since(Instant::now()));
            self.seen.push(sent.expect("the spans come in time"));
        }
        self.seen.iter().filter(|sent| wanted(&sent.span)).collect()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(AnyValue::StringValue(text)) => text,
        Some(AnyValue::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// Sends a picture with a trace of the client's own; the status.
fn classify(host: &Host, traceparent: &str) -> u16 {
    let picture = std::fs::read(&samples()[0]).expect("readable");
    let request = running::client().post(format!("{}/v2/models/digits/infer", host.url));
    let request = request.header("content-type", "image/png").header("traceparent", traceparent).body(picture);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { request.send().await.expect("the host answers").status().as_u16() })
}

const THREE: [&str; 4] = ["--local-devices", "3", "--models", "models"];
/// Sends soon, so that tests need not wait for more to come together.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

#[test]
fn a_request_continues_its_clients_trace_through_queue_plugins_and_every_stage() {
    let mut collector = Collector::start();
    let url = collector.url.clone();
    let host = Host::start_with(&THREE, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), SOON, ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")]);
    let stages = host.json(&["plan", "explain", "digits"])["replicas"][0]["stages"].as_array().expect("stages").len();
    assert_eq!(stages, 3);
    host.json(&["plugin", "swap", "queueing", "priority-queueing"]);
    // The client's own sampler said no to this one.
    let unsampled = [7; 16];
    assert_eq!(classify(&host, "00-07070707070707070707070707070707-0101010101010101-00"), 200);
    let (trace, client) = ([0xab; 16], [0xcd; 8]);
    assert_eq!(classify(&host, "00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01"), 200);

    let spans = collector.wait_for(4 + stages, |span| span.trace_id == trace);
    assert_eq!(spans.len(), 4 + stages, "{:?}", spans.iter().map(|sent| &sent.span.name).collect::<Vec<_>>());
    let named = |name: &str| spans.iter().filter(|sent| sent.span.name == name).map(|sent| &sent.span).collect::<Vec<_>>();
    let [infer] = named("infer")[..] else { unreachable!("one span for the request") };
    assert_eq!((infer.parent_span_id.as_slice(), infer.kind()), (client.as_slice(), SpanKind::Server));
    let of_infer = |key: &str| text(&infer.attributes, key);
    assert_eq!([of_infer("shardhost.model"), of_infer("shardhost.model.version"), of_infer("shardhost.outcome")], ["digits", "1", "success"]);
    assert!(of_infer("shardhost.policy").starts_with("least-loaded-routing generation 1 sha256:"), "{}", of_infer("shardhost.policy"));
    assert!(spans.iter().all(|sent| sent.span.span_id == infer.span_id || sent.span.parent_span_id == infer.span_id));
    for (name, plugin) in [("route", "least-loaded-routing"), ("admit", "priority-queueing")] {
        let [call] = named(name)[..] else { unreachable!("one span for {name}") };
        assert_eq!((text(&call.attributes, "shardhost.plugin"), text(&call.attributes, "shardhost.plugin.generation")), (plugin.to_owned(), "1".to_owned()));
        assert_eq!((text(&call.attributes, "shardhost.outcome"), text(&call.attributes, "shardhost.plugin.digest").len()), ("answered".to_owned(), 64));
    }
    assert_eq!(named("queue").len(), 1);
    let stage_spans = named("stage");
    let devices: BTreeSet<String> = stage_spans.iter().map(|span| text(&span.attributes, "shardhost.device")).collect();
    assert_eq!((stage_spans.len(), devices.len()), (stages, 3));
    assert!(stage_spans.iter().all(|span| text(&span.attributes, "shardhost.plugin") == "cpu-adapter" && span.end_time_unix_nano >= span.start_time_unix_nano));
    assert!(stage_spans.iter().any(|span| text(&span.attributes, "shardhost.blocks").starts_with("[0..")));
    let resource = &spans[0].resource;
    assert_eq!([text(resource, "service.name"), text(resource, "deployment.environment")], ["shardhost", "test"]);

    // What the host does by itself has traces of its own.
    let allocations = collector.wait_for(2, |span| span.name == "allocate");
    assert!(allocations.iter().all(|sent| text(&sent.span.attributes, "shardhost.plugin") == "balanced-allocation" && sent.span.parent_span_id.is_empty()));
    let (code, _data) = host.stop();
    assert_eq!(code, Some(0));
    assert!(!collector.seen.iter().any(|sent| sent.span.trace_id == unsampled), "what the client does not sample is not sent");
}

#[test]
fn what_was_not_sent_yet_is_sent_before_the_host_ends() {
    let mut collector = Collector::start();
    let url = collector.url.clone();
    let hour = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let host = Host::start_with(&THREE, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{url}/v1/traces")), hour, ("OTEL_SERVICE_NAME", "corner-shop")]);
    assert_eq!(classify(&host, "00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01"), 200);
    let (code, _data) = host.stop();
    assert_eq!(code, Some(0));
    let sent = collector.wait_for(1, |span| span.name == "infer");
    assert_eq!(text(&sent[0].resource, "service.name"), "corner-shop");
}

#[test]
fn a_collector_that_is_not_there_is_said_once_and_holds_nobody_up() {
    // Takes connections and never answers; and a port where nobody listens.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for address in [mute.local_addr().expect("an address"), closed] {
        let url = format!("http://{address}");
        let host = Host::start_with(&THREE, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), SOON, ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")]);
        let complaints = || host.said().iter().filter(|line| line.contains("spans cannot be sent to their collector")).count();
        let end = Instant::now() + PATIENCE;
        let mut answered = 0;
        while complaints() == 0 || answered < 20 {
            assert!(Instant::now() < end, "the host never says that the collector is not there");
            assert_eq!(classify(&host, "00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01"), 200);
            answered += 1;
        }
        assert_eq!(complaints(), 1);
        let (code, _data) = host.stop();
        assert_eq!(code, Some(0));
    }
}
