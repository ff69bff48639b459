//! Guests of this version as adapters. Tensors go in and out as handles that the instance holds for one call.

use std::sync::Arc;

use host_core::policy::{Answer, PolicyFault};
use host_engine::{Shard, Tensor};
use wasmtime::component::ResourceTableError;

use super::{
    Instance,
    bindings::adapter::{ShardAdapter, exports::shardhost::plugin::adapter as wit},
};
use crate::{
    adapter::{Adapter, AdapterOffer, EngineFailure, Fit, RunCall},
    guest::Broke,
    program::Caged,
};

/// Characters of an accelerator's name that an error repeats.
const NAME_CHARACTERS_MAX: usize = 64;

impl Adapter for Instance<ShardAdapter> {
    fn probe(&mut self) -> Result<Vec<AdapterOffer>, PolicyFault> {
        let offers = self.cage.call("probe", |store| self.world.shardhost_plugin_adapter().call_probe(store))?;
        offers.iter().try_for_each(sound_offer)?;
        Ok(offers.into_iter().map(AdapterOffer::from).collect())
    }

    fn load(&mut self, shard: Arc<Shard>, offer: u32) -> Answer<Fit> {
        let handle = self.guest_mut().handles.hold_shard(shard).map_err(|Broke(fault)| fault)?;
        let fit = self.cage.call("load", |store| self.world.shardhost_plugin_adapter().call_load(store, handle, offer))?;
        fit.as_ref().map_or(Ok(()), sound_fit)?;
        Ok(fit.map(Fit::from).map_err(Into::into))
    }

    fn run(&mut self, call: &RunCall, inputs: Vec<Tensor>) -> Result<Result<Vec<Tensor>, EngineFailure>, PolicyFault> {
        let held = &mut self.guest_mut().handles;
        let handles = inputs.into_iter().map(|tensor| held.hold_tensor(tensor)).collect::<Result<Vec<_>, _>>().map_err(|Broke(fault)| fault)?;
        let call = wit::Call::from(call);
        let answer = self.cage.call("run", |store| self.world.shardhost_plugin_adapter().call_run(store, call, &handles))?;
        let handles = match answer {
            Ok(handles) => handles,
            Err(error) => return Ok(Err(error.into())),
        };
        let tensors = &mut self.guest_mut().handles.tensors;
        handles.into_iter().map(|handle| tensors.delete(handle).map_err(missing)).collect::<Result<Vec<_>, _>>().map(Ok)
    }
}

/// Whether planning can compute with an offer. Asked before sizes become whole bytes, which would hide what is no number.
fn sound_offer(offer: &wit::Offer) -> Result<(), PolicyFault> {
    let sizes = [("memory-bytes", offer.memory_bytes), ("fixed-bytes", offer.fixed_bytes)];
    let wrong = sizes.into_iter().find(|(_, size)| !size.is_finite() || *size < 0.0);
    let rule = match wrong {
        Some((what, size)) => format!("{what} {size}, it must be a finite number not below 0"),
        None if offer.weight_factor.is_finite() && offer.weight_factor > 0.0 => return Ok(()),
        None => format!("weight-factor {}, it must be a finite number above 0", offer.weight_factor),
    };
    Err(PolicyFault::invalid(format!("offer {} has {rule}", offer.accelerator.chars().take(NAME_CHARACTERS_MAX).collect::<String>())))
}

fn sound_fit(fit: &wit::Fit) -> Result<(), PolicyFault> {
    if fit.memory_bytes.is_finite() && fit.memory_bytes >= 0.0 {
        return Ok(());
    }
    Err(PolicyFault::invalid(format!("loading took {} bytes, it must be a finite number not below 0", fit.memory_bytes)))
}

fn missing(error: ResourceTableError) -> PolicyFault {
    PolicyFault::invalid(format!("it gave a tensor that it does not hold: {error}"))
}
