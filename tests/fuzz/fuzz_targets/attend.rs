//! What a device and its central say to each other, and how passages go on and end. The same bytes are read as each message;
//! what is taken goes to the wire and back unchanged.

#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use host_core::{
    ids::{DeviceId, ModelId, ModelName},
    link::Endpoint,
};
use host_wire::peer::{Conclusion, Heartbeat, Hello, LinkMeasured, Load, LoadProgress, Revocations, ShardAt, Source, Stuck, Way, pb};
use libfuzzer_sys::fuzz_target;
use pb::{central_message, device_message};
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(says) = decoded::<pb::DeviceMessage>(&bytes).and_then(|message| message.says) {
        device_says(says);
    }
    if let Some(says) = decoded::<pb::CentralMessage>(&bytes).and_then(|message| message.says) {
        central_says(says);
    }
    if let Some(conclusion) = decoded::<pb::Conclusion>(&bytes) {
        there_and_back::<_, Conclusion>(conclusion);
    }
    if let Some(stuck) = decoded::<pb::Stuck>(&bytes) {
        let stuck = Stuck::from(stuck);
        assert_eq!(Stuck::from(pb::Stuck::from(stuck.clone())), stuck);
    }
    if let Some(wire) = decoded::<pb::Way>(&bytes) {
        read_way(wire);
    }
});

fn decoded<M: Message + Default>(bytes: &Bytes) -> Option<M> {
    M::decode(bytes.clone()).ok()
}

fn device_says(says: device_message::Says) {
    use device_message::Says;

    match says {
        Says::Hello(wire) => read_hello(wire),
        Says::Heartbeat(wire) => there_and_back::<_, Heartbeat>(wire),
        Says::Loaded(wire) | Says::Unloaded(wire) => there_and_back::<_, ShardAt>(wire),
        Says::LoadFailed(wire) => wire.shard.into_iter().for_each(there_and_back::<_, ShardAt>),
        Says::LinkMeasured(wire) => there_and_back::<_, LinkMeasured>(wire),
        Says::LoadProgress(wire) => there_and_back::<_, LoadProgress>(wire),
        Says::Leaving(_) => {}
    }
}

fn central_says(says: central_message::Says) {
    use central_message::Says;

    match says {
        Says::Load(wire) => there_and_back::<_, Load>(wire),
        Says::Unload(wire) => there_and_back::<_, ShardAt>(wire),
        Says::MeasureLink(wire) => {
            let Ok(end) = Endpoint::try_from(wire) else { return };
            assert_eq!(Endpoint::try_from(pb::MeasureLink::from(&end)), Ok(end));
        }
        Says::Revoked(wire) => there_and_back::<_, Revocations>(wire),
        Says::Peers(wire) => wire.peers.into_iter().for_each(there_and_back::<_, Source>),
        Says::Welcome(_) | Says::Cancel(_) | Says::HeartbeatSeen(_) | Says::Goodbye(_) => {}
    }
}

fn there_and_back<W, V>(wire: W)
where
    W: Message + Default + From<V>,
    V: TryFrom<W, Error: Debug + PartialEq> + Clone + PartialEq + Debug,
{
    let Ok(value) = V::try_from(wire) else { return };
    let sent = W::from(value.clone()).encode_to_vec();
    assert_eq!(V::try_from(W::decode(&sent[..]).expect("just encoded")), Ok(value));
}

fn read_hello(wire: pb::Hello) {
    let id = DeviceId::parse("pi").expect("a name");
    let Ok(hello) = Hello::read(wire, id.clone()) else { return };
    assert!(hello.device.check().is_ok(), "{:?}", hello.device);
    assert_eq!(Hello::read(pb::Hello::from(hello.clone()), id), Ok(hello));
}

/// The stages follow one another from the first block on.
fn read_way(wire: pb::Way) {
    let model = ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 };
    let from = wire.hops.first().map_or(0, |hop| hop.start);
    let Ok(way) = Way::read(wire, &model, from) else { return };
    let mut done = from;
    for hop in &way.hops {
        assert_eq!(hop.range.start(), done);
        done = hop.range.end();
    }
    assert_eq!(Way::read(pb::Way::from(way.clone()), &model, from), Ok(way));
}
