//! Messages of driver processes.

use bytes::Bytes;
use host_core::units;
use host_driver::{Message, Parcel, Place};
use host_engine::{ElementType, Engine as _, TensorSpec, TractEngine};

pub fn seeds() -> super::Seeds {
    let inline = Parcel { element_type: ElementType::Fp32, shape: vec![1, 2], place: Place::Inline(Bytes::from_static(&[0; 8])) };
    let shared = Parcel { element_type: ElementType::Int8, shape: vec![1 << 20], place: Place::Shared { offset: 64, bytes: 1 << 20 } };
    let spec = TensorSpec::fixed("x", ElementType::Int64, &[1, 3]);
    vec![
        ("attach", Message::Attach { graph: 7, is_loaded: false }.encode()),
        ("beat", Message::Beat.encode()),
        ("hello", Message::Hello { protocol: 1, program: "0.1.0".into() }.encode()),
        ("loaded", Message::Loaded { inputs: vec![spec.clone()], outputs: vec![spec.clone()], buckets: vec![vec![spec]], memory: units::Bytes(9) }.encode()),
        ("opened", Message::Opened(TractEngine.info()).encode()),
        ("ran", Message::Ran(vec![inline, shared]).encode()),
    ]
}
