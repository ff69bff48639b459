//! Links as people ask for them.

use host_core::link::{Endpoint, KnownLink};
use serde::{Deserialize, Serialize};

/// How a device reaches another host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The device at the other end; none for the central.
    pub device: Option<String>,
    /// Whether the device cannot reach it, so that the central relays; then the figures are those of the way over it.
    pub relayed: bool,
    /// Mean time of a message of no bytes, one way; none if it was not measured.
    pub latency_ms: Option<f64>,
    /// Mean bandwidth; none if it was not measured or has no limit, as between devices of one process.
    pub bytes_per_s: Option<f64>,
    /// Mean bandwidth of the way back, which only of the central is shown here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s_back: Option<f64>,
}

impl From<KnownLink<'_>> for Link {
    /// The way back is another link; it starts empty.
    fn from(link: KnownLink<'_>) -> Self {
        let device = match link.target {
            Endpoint::Central => None,
            Endpoint::Device(id) => Some(id.to_string()),
        };
        Self { device, relayed: link.relayed, latency_ms: link.latency.map(|latency| latency.0), bytes_per_s: bytes_per_s(link), bytes_per_s_back: None }
    }
}

impl Link {
    /// The same with what is known of the way back.
    #[must_use]
    pub fn with_back(self, back: Option<KnownLink<'_>>) -> Self {
        Self { bytes_per_s_back: back.and_then(bytes_per_s), ..self }
    }
}

/// JSON has no number for what is without limit.
fn bytes_per_s(link: KnownLink<'_>) -> Option<f64> {
    link.bytes_per_ms.filter(|bytes| bytes.is_finite()).map(|bytes| bytes * 1e3)
}

#[cfg(test)]
mod tests {
    use host_core::{ids::DeviceId, units::Millis};

    use super::*;

    #[test]
    fn a_link_without_limit_can_be_written_and_read() {
        let target = Endpoint::Device(DeviceId::parse("b").expect("a name"));
        let known = KnownLink { target: &target, latency: Some(Millis(0.5)), bytes_per_ms: Some(f64::INFINITY), relayed: false };
        let back = KnownLink { bytes_per_ms: Some(7.0), ..known };
        let link = Link::from(known).with_back(Some(back));
        let json = serde_json::to_string(&link).expect("to memory");
        assert_eq!(json, r#"{"device":"b","relayed":false,"latency_ms":0.5,"bytes_per_s":null,"bytes_per_s_back":7000.0}"#);
        assert_eq!(serde_json::from_str::<Link>(&json).expect("a link"), link);
    }
}
