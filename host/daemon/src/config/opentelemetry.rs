//! What the standard variables of OpenTelemetry ask of this host. The SDK reads them by itself; this only says whether there is a
//! collector at all, and what is asked for that this host does not do.

use std::collections::BTreeMap;

/// Where a collector is: for traces alone, or for everything.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How it is spoken to, in the same order.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// The only protocol that this host speaks to a collector.
const PROTOCOL: &str = "http/protobuf";

/// Whether spans are sent, and warnings.
pub(super) fn read(variables: &BTreeMap<String, String>) -> (bool, Vec<String>) {
    let value = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let off = value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) || value("OTEL_TRACES_EXPORTER") == Some("none");
    let export = !off && ENDPOINTS.iter().any(|name| value(name).is_some());
    let stated = PROTOCOLS.iter().find_map(|name| value(name).map(|protocol| (name, protocol)));
    let warning = stated.filter(|(_, protocol)| export && *protocol != PROTOCOL);
    let warning = warning.map(|(name, protocol)| format!("{name} is {protocol}, this host sends its spans by {PROTOCOL}"));
    (export, warning.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sent_where_a_collector_is_named_and_nobody_forbids_it() {
        let read = |variables: &[(&str, &str)]| read(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(read(&[]), (false, Vec::new()));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), (false, Vec::new()));
        assert_eq!(read(&[endpoint]), (true, Vec::new()));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")]), (true, Vec::new()));
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), (false, Vec::new()));
        assert_eq!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), (false, Vec::new()));
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(read(&[endpoint, grpc]), (true, vec!["OTEL_EXPORTER_OTLP_PROTOCOL is grpc, this host sends its spans by http/protobuf".to_owned()]));
        assert_eq!(read(&[endpoint, grpc, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")]), (true, Vec::new()));
        assert_eq!(read(&[grpc]), (false, Vec::new()));
    }
}
