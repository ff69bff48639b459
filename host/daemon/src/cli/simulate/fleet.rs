//! Reads fleets, which are TOML files: devices, the ways between them, what happens to them, models and requests. Collects
//! everything that is wrong before it gives up. What it means is in `host_core::simulate`.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use host_core::{
    cost::CostModel,
    device::{Device, Offer},
    ids::{AcceleratorName, DeviceId, ModelName, SiteName},
    link::Speed,
    problem::{Objective, Placement},
    profile::DeviceProfile,
    simulate::{Change, DEVICES_MAX, Ending, Failures, FleetDevice, FleetEvent, FleetLinks, SimulationSettings},
    units::{Bytes, Millis},
};
use toml::Value;

use super::{host_settings, models::ModelSource, traffic::TrafficSource};
use crate::{
    config::{Section, described_network, described_profile, read_profile},
    error::{Error, Fault},
};

/// Largest fleet file; more is a wrong file, or one that should say `count`.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most entries of one list.
const ENTRIES_MAX: usize = 10_000;
/// Moments and lengths of time: up to a year.
pub(super) const TIME_MS: RangeInclusive<f64> = 0.0..=31_536_000_000.0;
const FAILURE_MS: RangeInclusive<f64> = 1.0..=31_536_000_000.0;
const COEFFICIENT: RangeInclusive<f64> = 0.0..=1e9;

/// What a fleet file says.
#[derive(Debug)]
pub(super) struct Fleet {
    pub name: String,
    pub devices: Vec<FleetDevice>,
    pub events: Vec<FleetEvent>,
    pub links: FleetLinks,
    pub models: Vec<ModelSource>,
    pub traffic: Vec<TrafficSource>,
    pub settings: SimulationSettings,
}

/// Devices that are described together.
struct Group {
    name: String,
    first: usize,
    devices: Vec<FleetDevice>,
}

/// Reads one file, or says all that is wrong with it. Paths in it are relative to its folder.
pub(super) fn read(path: &Path) -> Result<Fleet, Error> {
    let fault = |error: std::io::Error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    let bytes = fs::metadata(path).map_err(fault)?.len();
    if bytes > FILE_BYTES_MAX {
        let faults = vec![format!("{}: it has {bytes} bytes, a fleet has at most {FILE_BYTES_MAX}", path.display())];
        return Err(Fault::Config { faults }.into());
    }
    let text = fs::read_to_string(path).map_err(fault)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let profile = |file: &str| read_profile(&folder.join(file));
    parse(&path.display().to_string(), &stem, &text, &profile).map_err(|faults| {
        // A profile that several groups name is wrong once.
        let mut faults = faults;
        faults.dedup();
        Fault::Config { faults }.into()
    })
}

/// Pure but for the profiles: the same text gives the same fleet, or the same list of faults.
fn parse(file: &str, name: &str, text: &str, profile: &dyn Fn(&str) -> Result<DeviceProfile, Vec<String>>) -> Result<Fleet, Vec<String>> {
    let (mut faults, mut of_profiles) = (Vec::new(), Vec::new());
    let fleet = Section::whole_file(file, text, &mut faults).map(|mut section| {
        let fleet = whole(&mut section, name, profile, &mut of_profiles);
        section.finish();
        fleet
    });
    faults.extend(of_profiles);
    fleet.filter(|_| faults.is_empty()).ok_or(faults)
}

fn whole(section: &mut Section<'_>, name: &str, profile: &dyn Fn(&str) -> Result<DeviceProfile, Vec<String>>, of_profiles: &mut Vec<String>) -> Fleet {
    let name = section.word("name", |text| DeviceId::parse(text).ok()).map_or_else(|| name.to_owned(), |name| name.to_string());
    let machine = section.inner("machine", cost).unwrap_or(CostModel::UNCALIBRATED);
    let mut links = FleetLinks::default();
    if let Some((site, speed)) = section.inner("central", |central| (site(central, "site"), described_network(central))) {
        (links.central, links.central_line) = (site, speed);
    }
    links.within_site = section.inner("within_site", described_network).unwrap_or(links.within_site);
    links.between_sites = section.inner("between_sites", described_network).unwrap_or(links.between_sites);
    links.pairs = section.each("links", ENTRIES_MAX, |way| (site(way, "from"), site(way, "to"), described_network(way)));
    links.measured_pairs_max = section.whole("measured_pairs_max", 0..=10_000_000).map_or(links.measured_pairs_max, |pairs| pairs as usize);
    let mut settings = section.inner("host", host_settings::host).unwrap_or_default();
    section.inner("run", |run| host_settings::run(run, &mut settings));
    let mut first = 0;
    let groups = section.each("devices", ENTRIES_MAX, |entry| {
        let group = group(entry, first, &machine, profile, of_profiles);
        first += group.devices.len();
        group
    });
    if first > DEVICES_MAX {
        section.fault("devices", &format!("{first} in all"), &format!("it must be at most {DEVICES_MAX}"));
    }
    let events = events(section, &groups);
    Fleet {
        name,
        events,
        devices: groups.into_iter().flat_map(|group| group.devices).collect(),
        links,
        models: section.each("models", ENTRIES_MAX, super::models::described),
        traffic: section.each("traffic", ENTRIES_MAX, super::traffic::described),
        settings,
    }
}

fn group(
    entry: &mut Section<'_>,
    first: usize,
    machine: &CostModel,
    profile: &dyn Fn(&str) -> Result<DeviceProfile, Vec<String>>,
    of_profiles: &mut Vec<String>,
) -> Group {
    let count = entry.whole("count", 1..=DEVICES_MAX as u64).unwrap_or(1) as usize;
    let name = entry.word("name", |text| DeviceId::parse(text).ok()).map_or_else(|| format!("device-{first}"), |name| name.to_string());
    let sites = sites(entry);
    let present = entry.flag("present").unwrap_or(true);
    let failures = entry.inner("failures", failures);
    let stated = entry.inner("cost", cost);
    let described = match entry.text("profile") {
        Some(file) => profile(&file).unwrap_or_else(|faults| {
            of_profiles.extend(faults);
            blank(&name)
        }),
        None => described_profile(entry, &name),
    };
    if described.memory.is_none() && of_profiles.is_empty() {
        entry.fault("memory_bytes", &"missing", "a device of a fleet must say what it can hold");
    }
    let cost = stated.unwrap_or_else(|| machine.slowed(described.compute.slowdown(machine)));
    let device = |index: usize| {
        let id = if count == 1 { name.clone() } else { format!("{name}-{}", index + 1) };
        let parsed = DeviceId::parse(&id).ok();
        // Devices of one kind wander in ways of their own.
        let mut fluctuation = described.fluctuation;
        fluctuation.seed = fluctuation.seed.wrapping_add((first + index) as u64);
        Some(FleetDevice {
            device: offering(parsed?, sites[index % sites.len()].clone(), &described, cost),
            network: described.network,
            fluctuation,
            outages: described.outages.clone(),
            failures,
            present,
        })
    };
    let devices: Vec<FleetDevice> = (0..count).filter_map(device).collect();
    if devices.len() < count {
        entry.fault("name", &name, &format!("it must leave room for `-{count}`"));
    }
    Group { name, first, devices }
}

fn offering(id: DeviceId, site: SiteName, profile: &DeviceProfile, cost: CostModel) -> Device {
    let accelerator = profile.accelerator.clone().or_else(|| AcceleratorName::parse("cpu").ok());
    let offer = accelerator.map(|accelerator| Offer {
        adapter: accelerator.to_string(),
        accelerator,
        memory_pool: 0,
        memory: profile.memory.unwrap_or_default(),
        weight_factor: 1.0,
        fixed: Bytes::ZERO,
        roles: profile.roles,
        cost,
        shares_cores_with: Vec::new(),
        element_types: vec!["fp32".into()],
        needs_artefacts: None,
    });
    let labels = BTreeMap::from([("profile".to_owned(), profile.name.clone())]);
    Device { id, site, labels, offers: offer.into_iter().collect() }
}

/// What stands for a profile that could not be read.
fn blank(name: &str) -> DeviceProfile {
    DeviceProfile {
        name: name.to_owned(),
        compute: host_core::profile::ComputeSpeed::Slowdown(1.0),
        fluctuation: host_core::profile::Fluctuation::NONE,
        memory: None,
        accelerator: None,
        roles: host_core::device::Roles::ALL,
        network: Speed::FREE,
        outages: host_core::profile::Outages::NONE,
    }
}

fn cost(section: &mut Section<'_>) -> CostModel {
    CostModel {
        gflop_ms: section.needed("gflop_ms", COEFFICIENT),
        weight_mb_ms: section.number("weight_mb_ms", COEFFICIENT).unwrap_or(0.0),
        activation_mb_ms: section.number("activation_mb_ms", COEFFICIENT).unwrap_or(0.0),
        fixed_ms: section.number("fixed_ms", COEFFICIENT).unwrap_or(0.0),
    }
}

fn failures(section: &mut Section<'_>) -> Failures {
    let words = [("leaves", Ending::Leaves), ("crashes", Ending::Crashes), ("falls", Ending::Falls)];
    Failures {
        mean_between: Millis(section.needed("mean_between_ms", FAILURE_MS)),
        mean_repair: Millis(section.needed("mean_repair_ms", FAILURE_MS)),
        manner: section.choice("manner", &words).unwrap_or(Ending::Crashes),
    }
}

fn site(section: &mut Section<'_>, key: &'static str) -> SiteName {
    section.word(key, |text| SiteName::parse(text).ok()).unwrap_or(FleetLinks::default().central)
}

/// One site for all of a group, or several in turn.
fn sites(section: &mut Section<'_>) -> Vec<SiteName> {
    let Some(value) = section.take("sites") else { return vec![site(section, "site")] };
    let words: Option<Vec<&str>> = value.as_array().and_then(|words| words.iter().map(Value::as_str).collect());
    let names: Option<Vec<SiteName>> = words.and_then(|words| words.into_iter().map(|word| SiteName::parse(word).ok()).collect());
    names.filter(|names| !names.is_empty()).unwrap_or_else(|| {
        section.fault("sites", &value, "it must be a list of names");
        vec![FleetLinks::default().central]
    })
}

/// What happens to a device, to a group, or to all of a site.
fn events(section: &mut Section<'_>, groups: &[Group]) -> Vec<FleetEvent> {
    let words = [
        ("joins", Change::Joins),
        ("leaves", Change::Ends(Ending::Leaves)),
        ("crashes", Change::Ends(Ending::Crashes)),
        ("falls", Change::Ends(Ending::Falls)),
        ("is_cut", Change::Cut),
        ("is_restored", Change::Restored),
    ];
    let of_entry = |entry: &mut Section<'_>| {
        let at = Millis(entry.needed("at_ms", TIME_MS));
        if !entry.has("what") {
            entry.fault("what", &"missing", "it must say what happens");
        }
        let change = entry.choice("what", &words);
        let (device, site) = (entry.text("device"), entry.text("site"));
        let targets = targets(groups, device.as_deref(), site.as_deref());
        if targets.is_empty() {
            let named = device.or(site).unwrap_or_else(|| "missing".to_owned());
            entry.fault("device", &named, "it must name a device, a group of devices, or with `site` the site of some");
        }
        let event = |device| Some(FleetEvent { at, device, change: change? });
        targets.into_iter().filter_map(event).collect::<Vec<_>>()
    };
    section.each("events", ENTRIES_MAX, of_entry).into_iter().flatten().collect()
}

fn targets(groups: &[Group], device: Option<&str>, site: Option<&str>) -> Vec<usize> {
    let all = groups.iter().flat_map(|group| group.devices.iter().enumerate().map(move |(index, device)| (group, group.first + index, device)));
    let is_meant = |group: &Group, of: &FleetDevice| match (device, site) {
        (Some(name), None) => group.name == name || of.device.id.as_str() == name,
        (None, Some(name)) => of.device.site.as_str() == name,
        _ => false,
    };
    all.filter(|(group, _, device)| is_meant(group, device)).map(|(_, index, _)| index).collect()
}

/// `placement` of a model in a fleet, as in `model.yaml`.
pub(super) fn placement(section: &mut Section<'_>) -> Placement {
    let words = [("latency", Objective::Latency), ("throughput", Objective::Throughput), ("balanced", Objective::Balanced)];
    let default = Placement::default();
    let objective = section.choice("objective", &words).unwrap_or_default();
    let mut count = |key, default: u32| section.whole(key, 1..=u64::from(u32::MAX)).map_or(default, |count| u32::try_from(count).unwrap_or(default));
    Placement {
        objective,
        stages_min: count("stages_min", default.stages_min),
        stages_max: count("stages_max", default.stages_max),
        replicas_max: count("replicas_max", default.replicas_max),
    }
}

/// The model's name, checked.
pub(super) fn model_name(section: &mut Section<'_>, key: &'static str) -> Option<ModelName> {
    section.word(key, |text| ModelName::parse(text).ok())
}

/// A path of the fleet, relative to its folder.
pub(super) fn beside(fleet: &Path, file: &Path) -> PathBuf {
    fleet.parent().unwrap_or(Path::new("")).join(file)
}

#[cfg(test)]
mod tests {
    use host_core::simulate::Scenario;

    use super::*;

    fn parsed(text: &str) -> Result<Fleet, Vec<String>> {
        parse("f.toml", "f", text, &|file| Err(vec![format!("{file}: it is not there")]))
    }

    #[test]
    fn the_fleets_that_come_with_the_host_are_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fleets");
        let mut sizes = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let fleet = read(&path).unwrap_or_else(|error| panic!("{error}"));
                let models = fleet.models.iter().flat_map(|model| model.load(&path).expect("its models are described")).collect::<Vec<_>>();
                let traffic = fleet.traffic.iter().map(|traffic| traffic.load(&path, &models).expect("its requests are described")).collect();
                sizes.insert(fleet.name.clone(), fleet.devices.len());
                Scenario::new(fleet.devices, fleet.events, fleet.links, models, traffic, fleet.settings).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            }
        }
        let expected = [("churn", 24), ("drawer", 6), ("lab", 24), ("sites", 12), ("ten-thousand", 10_000), ("thousand", 1_000)];
        assert_eq!(sizes, expected.map(|(name, size)| (name.to_owned(), size)).into());
    }

    #[test]
    fn groups_sites_and_events_are_spread_over_devices() {
        let text = r#"
            [[devices]]
            name = "pi"
            count = 3
            sites = ["north", "south"]
            memory_bytes = 1_048_576
            compute = { gflops = 100 }
            failures = { mean_between_ms = 5, mean_repair_ms = 6, manner = "falls" }
            [[devices]]
            name = "box"
            memory_bytes = 1_048_576
            present = false
            cost = { gflop_ms = 2.0 }
            [[events]]
            at_ms = 7
            what = "is_cut"
            site = "north"
            [[events]]
            at_ms = 8
            what = "joins"
            device = "box"
        "#;
        let fleet = parsed(text).expect("sound");
        let named: Vec<(&str, &str)> = fleet.devices.iter().map(|of| (of.device.id.as_str(), of.device.site.as_str())).collect();
        assert_eq!(named, [("pi-1", "north"), ("pi-2", "south"), ("pi-3", "north"), ("box", "default")]);
        assert_eq!(fleet.devices[0].device.offers[0].cost.gflop_ms, 10.0, "10^9 operations at 100 GFLOP/s");
        assert_eq!(fleet.devices[3].device.offers[0].cost, CostModel { gflop_ms: 2.0, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 });
        assert_eq!(fleet.devices[0].failures.map(|failures| failures.manner), Some(Ending::Falls));
        let event = |at, device, change| FleetEvent { at: Millis(at), device, change };
        assert_eq!(fleet.events, [event(7.0, 0, Change::Cut), event(7.0, 2, Change::Cut), event(8.0, 3, Change::Joins)]);
        assert!(fleet.devices[0].present && !fleet.devices[3].present);
    }

    #[test]
    fn all_faults_come_at_once_each_with_file_key_value_and_range() {
        let text = r#"
            colour = "red"
            [central]
            site = "no such/site"
            [[devices]]
            count = 0
            profile = "gone.toml"
            failures = { mean_between_ms = 5 }
            [[devices]]
            name = "a"
            sites = []
            [[events]]
            at_ms = -1
            what = "explodes"
            device = "nobody"
            [[models]]
            blocks = 2
            [[traffic]]
            arrivals = "sometimes"
            [run]
            seed = -1
            is_settled = "maybe"
        "#;
        let expected = [
            "f.toml: central.site is \"no such/site\", it must be 1 to 64 letters, digits, `-`, `_` and `.`, the first a letter or digit",
            "f.toml: run.seed is -1, it must be a whole number from 0 to 9223372036854775807",
            "f.toml: run.is_settled is \"maybe\", it must be true or false",
            "f.toml: devices[0].count is 0, it must be a whole number from 1 to 100000",
            "f.toml: devices[0].failures.mean_repair_ms is missing, it must be a number from 1 to 31536000000",
            "f.toml: devices[1].sites is [], it must be a list of names",
            "f.toml: events[0].at_ms is -1, it must be a number from 0 to 31536000000",
            "f.toml: events[0].what is \"explodes\", it must be one of joins, leaves, crashes, falls, is_cut, is_restored",
            "f.toml: events[0].device is nobody, it must name a device, a group of devices, or with `site` the site of some",
            "f.toml: models[0].gflop is missing, it must be a number from 0 to 1000000000",
            "f.toml: traffic[0].arrivals is \"sometimes\", it must be one of poisson, regular, bursts, closed, trace",
            "f.toml: traffic[0].per_s is missing, it must be a number from 0.000001 to 10000000",
            "gone.toml: it is not there",
        ];
        let faults = parsed(text).expect_err("faults");
        let unknown = faults.iter().filter(|fault| fault.starts_with("f.toml: key `colour` is not known, there are name, machine, central,")).count();
        assert_eq!(unknown, 1, "{faults:?}");
        for fault in expected {
            assert!(faults.iter().any(|known| known == fault), "{fault} is not among {faults:#?}");
        }
    }

    #[test]
    fn a_device_must_say_what_it_can_hold() {
        let faults = parsed("[[devices]]\nname = \"a\"").expect_err("no memory");
        assert_eq!(faults, ["f.toml: devices[0].memory_bytes is missing, a device of a fleet must say what it can hold"]);
    }
}
