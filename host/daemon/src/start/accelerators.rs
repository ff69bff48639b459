//! What each device of this process can compute with: which adapters are asked, what they found, and how fast that is. Called once, by
//! `start`.

use std::{collections::BTreeMap, sync::Arc};

use host_core::{
    cost::CostModel,
    ids::{AcceleratorName, DeviceId},
    units::Millis,
};
use host_engine::Engines;
use host_plugin::{AdapterOffer, AdapterSlot, PluginHost};

use crate::{
    config::{Config, LocalDevice},
    error::{Error, Fault},
};

/// The adapter that every device has unless its config says otherwise.
const CPU: &str = "cpu";
/// The attribute by which offers say what computes.
const ENGINE_ATTRIBUTE: &str = "engine";

/// One accelerator, as the adapter that drives it found it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub adapter: Arc<AdapterSlot>,
    /// Which of the adapter's offers it is.
    pub index: u32,
    pub offer: AdapterOffer,
    /// Which memory of its device it uses. The machine's own is 0, whoever computes there; others are numbered through all adapters.
    pub pool: u32,
    /// What it is called on its device: `rknn`, and `rknn-2` for the next one with memory of its own.
    pub name: AcceleratorName,
    /// What this machine takes to compute on it.
    pub cost: CostModel,
}

/// For each device of the config what it has, in the order of its adapters.
pub(super) fn find(config: &Config, plugins: &PluginHost, engines: &Engines) -> Result<Vec<Vec<Found>>, Error> {
    let mut machine = Machine { config, plugins, engines, wanted: BTreeMap::new(), found: BTreeMap::new(), costs: BTreeMap::new() };
    let kinds = config.local_devices.iter().map(|device| machine.kinds(device)).collect::<Result<Vec<_>, _>>()?;
    for kind in kinds.iter().flatten() {
        *machine.wanted.entry(kind.clone()).or_default() += 1;
    }
    config.local_devices.iter().zip(&kinds).map(|(device, kinds)| machine.of(device, kinds)).collect()
}

struct Machine<'a> {
    config: &'a Config,
    plugins: &'a PluginHost,
    engines: &'a Engines,
    /// Devices that want each kind.
    wanted: BTreeMap<String, usize>,
    /// What was found of each kind. Each adapter is asked once.
    found: BTreeMap<String, Vec<Found>>,
    /// By the engine that was measured.
    costs: BTreeMap<String, CostModel>,
}

impl Machine<'_> {
    /// The adapters that a device is asked about: those that it names, or that of the CPU and those whose engine is here and can be
    /// used. So no adapter is compiled in vain. One that is simulated has one accelerator, whatever this machine could drive.
    fn kinds(&self, device: &LocalDevice) -> Result<Vec<String>, Error> {
        let known = self.plugins.adapter_kinds();
        let mut kinds = match &device.adapters {
            Some(named) => named.clone(),
            None => {
                let usable = self.engines.info().into_iter().filter(|info| info.unusable().is_none()).map(|info| info.accelerator);
                let mut others: Vec<String> = usable.filter(|kind| kind != CPU && known.contains(kind)).collect();
                others.sort_unstable();
                others.dedup();
                std::iter::once(CPU.to_owned()).chain(others).collect()
            }
        };
        if let Some(unknown) = kinds.iter().find(|kind| !known.contains(kind)) {
            return Err(Fault::UnknownAdapter { device: device.id.clone(), kind: unknown.clone(), known }.into());
        }
        if self.config.profile_of(device).is_some() {
            kinds.truncate(1);
        }
        Ok(kinds)
    }

    fn of(&mut self, device: &LocalDevice, kinds: &[String]) -> Result<Vec<Found>, Error> {
        let mut all = Vec::new();
        for kind in kinds {
            let found = self.ask(kind)?;
            if found.is_empty() {
                let id = DeviceId::parse(&device.id)?;
                tracing::warn!(device = %id, adapter = %kind, "the adapter finds nothing to drive on this machine; its log says why");
            }
            all.extend(found);
        }
        let own = all.iter_mut().filter(|found| found.offer.memory.is_some() && found.offer.accelerator != CPU);
        (1_u32..).zip(own).for_each(|(pool, found)| found.pool = pool);
        if all.is_empty() {
            return Err(Fault::NothingToDrive { device: device.id.clone(), adapters: kinds.to_vec() }.into());
        }
        if self.config.profile_of(device).is_some() {
            all.truncate(1);
        }
        Ok(all)
    }

    /// What one adapter found. Of offers that share memory the first one counts: they are other ways to the same accelerator.
    fn ask(&mut self, kind: &str) -> Result<Vec<Found>, Error> {
        if let Some(found) = self.found.get(kind) {
            return Ok(found.clone());
        }
        let adapter = self.plugins.adapter(kind)?;
        let mut found: Vec<Found> = Vec::new();
        for (index, offer) in (0_u32..).zip(adapter.probe()?) {
            if found.iter().any(|before| before.offer.memory_pool == offer.memory_pool) {
                continue;
            }
            let name = if found.is_empty() { offer.accelerator.clone() } else { format!("{}-{}", offer.accelerator, found.len() + 1) };
            let (name, cost) = (AcceleratorName::parse(&name)?, self.cost(kind, &offer)?);
            found.push(Found { adapter: adapter.clone(), index, offer, pool: 0, name, cost });
        }
        self.found.insert(kind.to_owned(), found.clone());
        Ok(found)
    }

    /// What computing takes on an offer, measured with its own engine. An engine that only runs what was converted cannot load what is
    /// measured with; then the CPU's figures stand in, and a profile, or the first measured runs (`cost/refined.rs` of host-core),
    /// make them good.
    fn cost(&mut self, kind: &str, offer: &AdapterOffer) -> Result<CostModel, Error> {
        let named = offer.attributes.iter().find(|(name, _)| name == ENGINE_ATTRIBUTE).map(|(_, engine)| engine.as_str());
        if kind == CPU {
            return self.of_cpu(named);
        }
        let devices = self.wanted.get(kind).copied().unwrap_or(1);
        match named.map(|engine| self.measured(engine, devices)) {
            Some(Ok(cost)) => Ok(cost),
            Some(Err(error)) => {
                tracing::info!(adapter = %kind, %error, "the accelerator cannot be calibrated; it counts as fast as the CPU until runs are measured");
                self.of_cpu(None)
            }
            None => self.of_cpu(None),
        }
    }

    /// With the engine that serves where none is named. All devices of the process share its cores, whatever adapters they name.
    fn of_cpu(&mut self, named: Option<&str>) -> Result<CostModel, Error> {
        let engine = match named.filter(|name| self.engines.get(name).is_ok()) {
            Some(name) => name.to_owned(),
            None => self.engines.calibrating()?.info().name,
        };
        self.measured(&engine, self.config.local_devices.len())
    }

    /// What each device takes while the others compute too.
    fn measured(&mut self, engine: &str, devices: usize) -> Result<CostModel, Error> {
        if let Some(cost) = self.costs.get(engine) {
            return Ok(*cost);
        }
        let budget = Millis(self.config.calibration_ms as f64);
        let cost = host_engine::calibrate_together(self.engines.standing_for(engine)?.as_ref(), devices, budget)?;
        self.costs.insert(engine.to_owned(), cost);
        Ok(cost)
    }
}

#[cfg(test)]
mod tests {
    use host_core::units::Bytes;
    use host_engine::{Engine, EngineInfo, Graph, LoadOptions, Shard, TractEngine};
    use host_plugin::{EventSink, PluginConfig};
    use serde_json::json;

    use super::*;

    const MISSING: Option<&str> = Some("libascendcl.so is not here");

    /// An engine that loads nothing but what was converted, and nothing was.
    #[derive(Debug)]
    struct Converted {
        name: &'static str,
        accelerator: &'static str,
        memory: Option<Bytes>,
        unusable: Option<&'static str>,
    }

    impl Engine for Converted {
        fn info(&self) -> EngineInfo {
            let attributes = self.unusable.map(|reason| (EngineInfo::UNUSABLE.to_owned(), reason.to_owned()));
            let (name, accelerator) = (self.name.to_owned(), self.accelerator.to_owned());
            EngineInfo { name, accelerator, memory: self.memory, attributes: attributes.into_iter().collect(), ..TractEngine.info() }
        }

        fn load(&self, _shard: &Shard, _options: &LoadOptions) -> Result<Box<dyn Graph>, host_engine::Error> {
            Err(host_engine::Error::unsupported("it was not converted"))
        }
    }

    /// What devices have on a machine with an NPU in the machine's own memory, and another one with memory of its own whose library may be
    /// missing.
    fn found(devices: serde_json::Value, unusable: Option<&'static str>) -> Result<Vec<Vec<Found>>, String> {
        let rknn = Converted { name: "rknn", accelerator: "rknn", memory: None, unusable: None };
        let acl = Converted { name: "acl", accelerator: "ascend", memory: Some(Bytes::mib(64)), unusable };
        let engines = Arc::new(Engines::new(vec![Arc::new(TractEngine), Arc::new(rknn), Arc::new(acl)]));
        let plugins = PluginHost::start(PluginConfig::default(), engines.clone(), EventSink::none()).expect("the built-in plugins start");
        let config =
            Config { local_devices: serde_json::from_value(devices).expect("sound devices"), calibration_ms: 5, ..Config::with_data("/nowhere".into()) };
        find(&config, &plugins, &engines).map_err(|error| error.to_string())
    }

    fn names(found: &[Found]) -> Vec<(&str, u32)> {
        found.iter().map(|found| (found.name.as_str(), found.pool)).collect()
    }

    #[test]
    fn a_device_has_what_it_names_or_what_can_be_used() {
        let all = found(json!([{"id": "a"}, {"id": "b", "adapters": ["rknn"]}, {"id": "c", "adapters": ["cpu"]}]), MISSING).expect("they have");
        let [a, b, c] = &all[..] else { panic!("{all:?}") };
        assert_eq!((names(a), names(b), names(c)), (vec![("cpu", 0), ("rknn", 0)], vec![("rknn", 0)], vec![("cpu", 0)]));
        assert_eq!(a[1].cost, a[0].cost, "what cannot be calibrated counts as fast as the CPU");
    }

    #[test]
    fn accelerators_with_memory_of_their_own_are_pools_of_their_own() {
        let all = found(json!([{"id": "a", "adapters": ["ascend", "cpu"]}]), None).expect("it has");
        assert_eq!(names(&all[0]), [("ascend", 1), ("cpu", 0)]);
    }

    #[test]
    fn adapters_that_are_not_here_or_find_nothing_are_named() {
        let unknown = found(json!([{"id": "a", "adapters": ["cpu", "abacus"]}]), MISSING).expect_err("no such adapter");
        assert_eq!(unknown, "device a names adapter `abacus`, there are ascend, cpu, cuda, rknn, tensorrt");
        let nothing = found(json!([{"id": "a", "adapters": ["ascend"]}]), MISSING).expect_err("its library is missing");
        assert_eq!(nothing, "device a has nothing to compute with: adapter ascend finds nothing on this machine, its log says why");
    }
}
