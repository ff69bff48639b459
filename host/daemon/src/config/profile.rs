//! Reads the profiles of simulated devices, which are TOML files. Collects everything that is wrong with one before it gives
//! up. What the numbers do is in host-core.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use host_core::{
    device::Roles,
    ids::{AcceleratorName, DeviceId},
    link::Speed,
    profile::{ComputeSpeed, DeviceProfile, Fluctuation, Outage, Outages, Pace},
    units::{Bytes, Millis},
};
use toml::Value;

use super::{Config, section::Section};
use crate::error::{Error, Fault};

/// Largest profile; more is a wrong file.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Most outages that a profile may list.
const OUTAGES_MAX: usize = 1_000;
/// From what is measurable up to more than any accelerator there is.
const GFLOPS: RangeInclusive<f64> = 0.001..=1e9;
const SLOWDOWN: RangeInclusive<f64> = 1.0..=Pace::SLOWDOWN_MAX;
/// 1 MiB to 1 PiB.
const MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 50;
/// From a modem up to more than any network card.
const BANDWIDTH_BYTES_PER_S: RangeInclusive<f64> = 1e3..=1e12;
const LATENCY_MS: RangeInclusive<f64> = 0.0..=60_000.0;
/// Moments and lengths of outages: up to ten days.
const OUTAGE_MS: RangeInclusive<f64> = 1.0..=864_000_000.0;
const AT_MS: RangeInclusive<f64> = 0.0..=864_000_000.0;
/// What TOML can hold.
const SEED: RangeInclusive<u64> = 0..=i64::MAX as u64;

/// Reads every profile that the config names, and puts it into the slower world that the config asks for.
pub(super) fn read_all(config: &Config) -> Result<BTreeMap<PathBuf, DeviceProfile>, Error> {
    let named = config.profile.iter().chain(config.local_devices.iter().filter_map(|device| device.profile.as_ref()));
    let (mut profiles, mut faults) = (BTreeMap::new(), Vec::new());
    for path in named {
        if profiles.contains_key(path) {
            continue;
        }
        match read(path) {
            Ok(profile) => drop(profiles.insert(path.clone(), profile.dilated(config.profile_time_ratio))),
            Err(found) => faults.extend(found),
        }
    }
    faults.dedup();
    if faults.is_empty() { Ok(profiles) } else { Err(Fault::Config { faults }.into()) }
}

/// Reads one file, or says all that is wrong with it.
pub fn read(path: &Path) -> Result<DeviceProfile, Vec<String>> {
    let fault = |reason: String| vec![format!("{}: {reason}", path.display())];
    let bytes = fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(fault(format!("it has {bytes} bytes, a profile has at most {FILE_BYTES_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&path.display().to_string(), &stem, &text)
}

/// Pure: the same text gives the same profile, or the same list of faults.
fn parse(file: &str, name: &str, text: &str) -> Result<DeviceProfile, Vec<String>> {
    let mut faults = Vec::new();
    let profile = Section::whole_file(file, text, &mut faults).map(|mut section| {
        let profile = described(&mut section, name);
        section.finish();
        profile
    });
    profile.filter(|_| faults.is_empty()).ok_or(faults)
}

/// The profile that a table describes; the caller finishes the table.
pub fn described(section: &mut Section<'_>, name: &str) -> DeviceProfile {
    DeviceProfile {
        name: section.word("name", |text| DeviceId::parse(text).ok()).map_or_else(|| name.to_owned(), |name| name.to_string()),
        accelerator: section.word("accelerator", |text| AcceleratorName::parse(text).ok()),
        roles: roles(section),
        memory: section.whole("memory_bytes", MEMORY_BYTES).map(Bytes),
        network: network(section),
        compute: section.inner("compute", compute).unwrap_or(ComputeSpeed::Slowdown(1.0)),
        fluctuation: section.inner("fluctuation", fluctuation).unwrap_or(Fluctuation::NONE),
        outages: outages(section),
    }
}

fn roles(section: &mut Section<'_>) -> Roles {
    let Some(value) = section.take("roles") else { return Roles::ALL };
    let words: Option<Vec<&str>> = value.as_array().and_then(|words| words.iter().map(Value::as_str).collect());
    let words = words.unwrap_or_default();
    let has = |role| words.contains(&role);
    if words.is_empty() || !words.iter().all(|word| ["head", "body", "tail"].contains(word)) {
        section.fault("roles", &value, r#"it must list some of "head", "body" and "tail""#);
    }
    Roles { head: has("head"), body: has("body"), tail: has("tail") }
}

/// The way that `latency_ms` and `bandwidth_bytes_per_s` describe; what is not said is no limit.
pub fn network(section: &mut Section<'_>) -> Speed {
    let bandwidth = section.number("bandwidth_bytes_per_s", BANDWIDTH_BYTES_PER_S);
    let latency = section.number("latency_ms", LATENCY_MS).map_or(Speed::FREE.latency, Millis);
    Speed { latency, bytes_per_ms: bandwidth.map_or(Speed::FREE.bytes_per_ms, |bytes| bytes / 1e3) }
}

fn compute(section: &mut Section<'_>) -> ComputeSpeed {
    let gflops = section.number("gflops", GFLOPS);
    match (gflops, section.number("slowdown", SLOWDOWN)) {
        (Some(_), Some(slowdown)) => {
            section.fault("slowdown", &slowdown, "and there is compute.gflops too; it must be one of them");
            ComputeSpeed::Slowdown(slowdown)
        }
        (Some(gflops), None) => ComputeSpeed::Gflops(gflops),
        (None, slowdown) => ComputeSpeed::Slowdown(slowdown.unwrap_or(1.0)),
    }
}

fn fluctuation(section: &mut Section<'_>) -> Fluctuation {
    Fluctuation {
        ratio: section.needed("ratio", Fluctuation::RATIO),
        period: Millis(section.needed("period_ms", Fluctuation::PERIOD_MS)),
        seed: section.whole("seed", SEED).unwrap_or(0),
    }
}

/// A list of them, or one in every stretch of time.
fn outages(section: &mut Section<'_>) -> Outages {
    if !section.is_list("outages") {
        return section.inner("outages", repeated).unwrap_or(Outages::NONE);
    }
    let Some(Value::Array(entries)) = section.take("outages") else { return Outages::NONE };
    if entries.len() > OUTAGES_MAX {
        section.fault("outages", &format!("a list of {}", entries.len()), &format!("it must have at most {OUTAGES_MAX}"));
        return Outages::NONE;
    }
    let mut listed: Vec<Outage> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let free_from = listed.last().map_or(Millis::ZERO, Outage::until);
        let outage = section.within(&format!("outages[{index}]"), entry, |outage| {
            let at = outage.needed("at_ms", AT_MS);
            if index > 0 && at <= free_from.0 {
                outage.fault("at_ms", &at, &format!("it must be after {}, when the outage before it ends", free_from.0));
            }
            Outage { at: Millis(at), lasting: Millis(outage.needed("for_ms", OUTAGE_MS)) }
        });
        listed.extend(outage);
    }
    Outages::Listed(listed)
}

fn repeated(section: &mut Section<'_>) -> Outages {
    let (every, lasting) = (section.needed("every_ms", OUTAGE_MS), section.needed("for_ms", OUTAGE_MS));
    if lasting >= every {
        section.fault("for_ms", &lasting, &format!("it must be less than outages.every_ms, which is {every}"));
    }
    Outages::Repeated { every: Millis(every), lasting: Millis(lasting), seed: section.whole("seed", SEED).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse("p.toml", "p", text).expect_err("faults")
    }

    #[test]
    fn a_profile_says_all_that_it_can() {
        let text = r#"
            name = "board"
            accelerator = "npu"
            roles = ["body", "tail"]
            memory_bytes = 4_294_967_296
            bandwidth_bytes_per_s = 117_600_000
            latency_ms = 0.15
            [compute]
            gflops = 890
            [fluctuation]
            ratio = 0.1
            period_ms = 5_000
            seed = 3
            [outages]
            every_ms = 60_000
            for_ms = 2_000
            seed = 4
        "#;
        let profile = parse("p.toml", "p", text).expect("sound");
        let expected = DeviceProfile {
            name: "board".into(),
            compute: ComputeSpeed::Gflops(890.0),
            fluctuation: Fluctuation { ratio: 0.1, period: Millis(5_000.0), seed: 3 },
            memory: Some(Bytes(4 << 30)),
            accelerator: AcceleratorName::parse("npu").ok(),
            roles: Roles { head: false, body: true, tail: true },
            network: Speed { latency: Millis(0.15), bytes_per_ms: 117_600.0 },
            outages: Outages::Repeated { every: Millis(60_000.0), lasting: Millis(2_000.0), seed: 4 },
        };
        assert_eq!(profile, expected);
    }

    #[test]
    fn an_empty_profile_is_this_machine() {
        let profile = parse("p.toml", "p", "").expect("sound");
        assert_eq!((profile.name.as_str(), profile.compute, profile.network), ("p", ComputeSpeed::Slowdown(1.0), Speed::FREE));
        assert_eq!((profile.fluctuation, profile.outages, profile.roles), (Fluctuation::NONE, Outages::NONE, Roles::ALL));
    }

    #[test]
    fn outages_may_be_listed() {
        let profile = parse("p.toml", "p", "[[outages]]\nat_ms = 5\nfor_ms = 10\n[[outages]]\nat_ms = 20\nfor_ms = 1.5").expect("sound");
        let outage = |at, lasting| Outage { at: Millis(at), lasting: Millis(lasting) };
        assert_eq!(profile.outages, Outages::Listed(vec![outage(5.0, 10.0), outage(20.0, 1.5)]));
    }

    #[test]
    fn all_faults_come_at_once_each_with_file_key_value_and_range() {
        let text = r#"
            colour = "red"
            accelerator = "no such/name"
            roles = ["middle"]
            memory_bytes = 0.5
            bandwidth_bytes_per_s = 0
            latency_ms = "short"
            [compute]
            gflops = -1
            cores = 8
            [fluctuation]
            ratio = 1.5
            [[outages]]
            at_ms = 10
            for_ms = 10
            [[outages]]
            at_ms = 15
            for_ms = 0
        "#;
        let expected = [
            "p.toml: accelerator is \"no such/name\", it must be 1 to 64 letters, digits, `-`, `_` and `.`, the first a letter or digit",
            "p.toml: roles is [\"middle\"], it must list some of \"head\", \"body\" and \"tail\"",
            "p.toml: memory_bytes is 0.5, it must be a whole number from 1048576 to 1125899906842624",
            "p.toml: bandwidth_bytes_per_s is 0, it must be a number from 1000 to 1000000000000",
            "p.toml: latency_ms is \"short\", it must be a number from 0 to 60000",
            "p.toml: compute.gflops is -1, it must be a number from 0.001 to 1000000000",
            "p.toml: key `compute.cores` is not known, there are gflops, slowdown",
            "p.toml: fluctuation.ratio is 1.5, it must be a number from 0 to 0.9",
            "p.toml: fluctuation.period_ms is missing, it must be a number from 1 to 86400000",
            "p.toml: outages[1].at_ms is 15, it must be after 20, when the outage before it ends",
            "p.toml: outages[1].for_ms is 0, it must be a number from 1 to 864000000",
            "p.toml: key `colour` is not known, there are name, accelerator, roles, memory_bytes, bandwidth_bytes_per_s, latency_ms, compute, fluctuation, outages",
        ];
        assert_eq!(faults(text), expected);
    }

    #[test]
    fn contradictions_and_broken_text_are_named() {
        assert_eq!(faults("[compute]\ngflops = 5\nslowdown = 2"), ["p.toml: compute.slowdown is 2, and there is compute.gflops too; it must be one of them"]);
        assert_eq!(faults("[outages]\nevery_ms = 50\nfor_ms = 100"), ["p.toml: outages.for_ms is 100, it must be less than outages.every_ms, which is 50"]);
        assert_eq!(faults("compute = 3"), ["p.toml: compute is 3, it must be a table of keys and values"]);
        assert!(faults("a = 1\nb = ")[0].starts_with("p.toml: line 2: "), "{:?}", faults("a = 1\nb = "));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let gone = read(Path::new("/no/such/profile.toml")).expect_err("it is not there");
        assert!(gone[0].starts_with("/no/such/profile.toml: "), "{gone:?}");
    }

    #[test]
    fn the_profiles_that_come_with_the_host_are_sound_and_differ() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
        let mut speeds = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let profile = read(&path).unwrap_or_else(|faults| panic!("{faults:?}"));
                let ComputeSpeed::Gflops(gflops) = profile.compute else { panic!("{path:?} does not say how fast it computes") };
                assert!(profile.memory.is_some() && profile.network != Speed::FREE, "{path:?}");
                speeds.insert(profile.name, gflops);
            }
        }
        assert!(speeds.len() >= 6, "{speeds:?}");
        assert!(speeds["raspberry-pi-5"] < speeds["rk3588"] && speeds["rk3588"] < speeds["gpu-server"], "{speeds:?}");
    }
}
