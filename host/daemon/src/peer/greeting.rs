//! How a device presents itself to its central: it says hello, within a time, and says nothing that cannot be.

use std::{collections::BTreeMap, time::Duration};

use host_core::{device::Device, ids::DeviceId, units::Bytes};
use host_wire::peer::{Hello, pb, pb::device_message::Says};
use tonic::{Status, Streaming};

use super::unwelcome::Unwelcome;

/// What a hello may take and say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GreetingLimits {
    /// From the opening of the stream to the hello on it.
    pub wait_max: Duration,
    /// Most memory that a device may say it has, all of its accelerators together.
    pub memory_max: Bytes,
}

/// The first thing that a device says on its stream, checked. The id is the one that it has proved.
pub(super) async fn hello(says: &mut Streaming<pb::DeviceMessage>, device: &DeviceId, limits: GreetingLimits) -> Result<Hello, (Unwelcome, Status)> {
    let none = |status| (Unwelcome::NoHello, status);
    let first = tokio::time::timeout(limits.wait_max, says.message()).await;
    let late = || Status::deadline_exceeded(format!("no hello came within {} ms", limits.wait_max.as_millis()));
    let first = first.map_err(|_| none(late()))?.map_err(none)?;
    let Some(Says::Hello(hello)) = first.and_then(|message| message.says) else {
        return Err(none(Status::invalid_argument("a device says hello first")));
    };
    let hello = Hello::read(hello, device.clone()).map_err(|error| (Unwelcome::Hello, Status::invalid_argument(error.to_string())))?;
    check_memory(&hello.device, limits.memory_max).map_err(|reason| (Unwelcome::Memory, Status::invalid_argument(reason)))?;
    Ok(hello)
}

/// Plans would count on memory that is not there.
fn check_memory(device: &Device, memory_max: Bytes) -> Result<(), String> {
    let mut pools: BTreeMap<u32, Bytes> = BTreeMap::new();
    for offer in &device.offers {
        let pool = pools.entry(offer.memory_pool).or_default();
        *pool = (*pool).max(offer.memory);
    }
    let memory: Bytes = pools.into_values().sum();
    if memory <= memory_max {
        return Ok(());
    }
    Err(format!(
        "device {} says that it has {} bytes of memory, at most {} are believed; `join.device_memory_bytes_max` of the central says how many",
        device.id, memory.0, memory_max.0
    ))
}

#[cfg(test)]
mod tests {
    use host_core::{
        cost::CostModel,
        device::{Offer, Roles},
        ids::{AcceleratorName, SiteName},
    };

    use super::*;

    fn device(offers: &[(u32, u64)]) -> Device {
        let offer = |(index, (memory_pool, bytes)): (usize, &(u32, u64))| Offer {
            accelerator: AcceleratorName::parse(&format!("npu-{index}")).expect("a name"),
            adapter: "cpu".to_owned(),
            memory_pool: *memory_pool,
            memory: Bytes(*bytes),
            weight_factor: 1.0,
            fixed: Bytes::ZERO,
            roles: Roles::ALL,
            cost: CostModel::UNCALIBRATED,
            shares_cores_with: Vec::new(),
            element_types: Vec::new(),
            needs_artefacts: None,
        };
        let offers = offers.iter().enumerate().map(offer).collect();
        Device { id: DeviceId::parse("pi").expect("a name"), site: SiteName::parse("shed").expect("a name"), labels: BTreeMap::new(), offers }
    }

    #[test]
    fn memory_is_believed_up_to_the_limit_and_shared_memory_is_counted_once() {
        let max = Bytes(1_000);
        let good: [&[(u32, u64)]; 4] = [&[], &[(0, 1_000)], &[(0, 600), (1, 400)], &[(0, 900), (0, 800), (1, 100)]];
        for good in good {
            assert_eq!(check_memory(&device(good), max), Ok(()), "{good:?}");
        }
        let bad: [(&[(u32, u64)], u64); 3] = [(&[(0, 1_001)], 1_001), (&[(0, 600), (1, 401)], 1_001), (&[(0, u64::MAX), (1, 5)], u64::MAX)];
        for (bad, sum) in bad {
            let expected = format!(
                "device pi says that it has {sum} bytes of memory, at most 1000 are believed; `join.device_memory_bytes_max` of the central says how many"
            );
            assert_eq!(check_memory(&device(bad), max), Err(expected));
        }
    }
}
