//! The devices inside the process, as the config names them: a count of equal ones, profile files, or a list.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use host_core::{
    ids::{AcceleratorName, DeviceId, SiteName},
    profile::Pace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::{number, structured};

/// Most devices in one process; each has its own threads.
const COUNT_MAX: usize = 64;
/// What the files of profiles end with.
const PROFILE_SUFFIX: &str = ".toml";

/// A device inside the process of the central. What it says itself wins over its profile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalDevice {
    /// Its id.
    pub id: String,
    /// The group of devices that it belongs to.
    #[serde(default = "site_default")]
    pub site: String,
    /// What people call it by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Memory for shards; without it what its profile says, or an equal part of half the machine's.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// How many times slower than this machine it pretends to be; without it as slow as its profile says, or not at all.
    #[serde(default)]
    pub slowdown: Option<f64>,
    /// The file of the device that it simulates.
    #[serde(default)]
    pub profile: Option<PathBuf>,
    /// The adapters that it is asked about, by the kinds of accelerators; without it `cpu` and those whose engine is here and can be
    /// used. Of a simulated device the first one counts.
    #[serde(default)]
    pub adapters: Option<Vec<String>>,
}

impl LocalDevice {
    /// So many equal devices: `local-1`, `local-2`, …
    pub fn numbered(count: usize) -> Vec<Self> {
        (1..=count).map(|number| Self::plain(format!("local-{number}"))).collect()
    }

    /// One for each profile, called as the file is. Where a file is named more than once, its devices are numbered.
    fn simulated(files: &[&str]) -> Vec<Self> {
        let stem = |file: &str| Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let stems: Vec<String> = files.iter().map(|file| stem(file)).collect();
        let id = |index: usize| {
            let same = |upto: usize| stems[..upto].iter().filter(|stem| **stem == stems[index]).count();
            if same(stems.len()) == 1 { stems[index].clone() } else { format!("{}-{}", stems[index], same(index + 1)) }
        };
        files.iter().enumerate().map(|(index, file)| Self { profile: Some(PathBuf::from(file)), ..Self::plain(id(index)) }).collect()
    }

    fn plain(id: String) -> Self {
        Self { id, site: site_default(), labels: BTreeMap::new(), memory_bytes: None, slowdown: None, profile: None, adapters: None }
    }

    fn check(&self) -> Result<(), String> {
        DeviceId::parse(&self.id).map_err(|error| error.to_string())?;
        SiteName::parse(&self.site).map_err(|error| error.to_string())?;
        self.check_adapters()?;
        match self.slowdown.filter(|slowdown| !(1.0..=Pace::SLOWDOWN_MAX).contains(slowdown)) {
            Some(slowdown) => Err(format!("device `{}`: slowdown is {slowdown}, it must be 1 to {}", self.id, Pace::SLOWDOWN_MAX)),
            None => Ok(()),
        }
    }
}

impl LocalDevice {
    /// Which of them there are is known when plugins have started.
    fn check_adapters(&self) -> Result<(), String> {
        let Some(adapters) = &self.adapters else { return Ok(()) };
        if adapters.is_empty() {
            return Err(format!("device `{}`: adapters is empty, it must name one such as cpu", self.id));
        }
        for (index, kind) in adapters.iter().enumerate() {
            AcceleratorName::parse(kind).map_err(|error| format!("device `{}`: adapters: {error}", self.id))?;
            if adapters[..index].contains(kind) {
                return Err(format!("device `{}`: adapter {kind} is there twice", self.id));
            }
        }
        Ok(())
    }
}

/// Takes a count, the files of profiles, or a list of devices; or says what it must be.
pub(super) fn read(field: &mut Vec<LocalDevice>, value: &Value) -> Result<(), String> {
    let devices = match structured(value) {
        Value::Array(entries) => listed(entries)?,
        Value::String(text) if text.trim_end().ends_with(PROFILE_SUFFIX) => from_files(&text)?,
        _ => {
            let mut count = 0_usize;
            number(&mut count, value, 0..=COUNT_MAX as u64)
                .map_err(|expected| format!("{expected}, profiles such as rk3588.toml,desktop.toml, or a list of devices"))?;
            LocalDevice::numbered(count)
        }
    };
    if devices.len() > COUNT_MAX {
        return Err(format!("it must list 0 to {COUNT_MAX} devices, it has {}", devices.len()));
    }
    for (index, device) in devices.iter().enumerate() {
        device.check()?;
        if devices[..index].iter().any(|other| other.id == device.id) {
            return Err(format!("device `{}` is there twice", device.id));
        }
    }
    *field = devices;
    Ok(())
}

fn listed(entries: Vec<Value>) -> Result<Vec<LocalDevice>, String> {
    let device = |(index, entry)| serde_json::from_value(entry).map_err(|error| format!("device {index}: {error}"));
    entries.into_iter().enumerate().map(device).collect()
}

fn from_files(text: &str) -> Result<Vec<LocalDevice>, String> {
    let files: Vec<&str> = text.split(',').map(str::trim).collect();
    match files.iter().find(|file| !file.ends_with(PROFILE_SUFFIX)) {
        Some(other) => Err(format!("`{other}` is no profile: their names end with {PROFILE_SUFFIX}")),
        None => Ok(LocalDevice::simulated(&files)),
    }
}

fn site_default() -> String {
    "local".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn devices(value: Value) -> Result<Vec<(String, Option<PathBuf>)>, String> {
        let mut devices = Vec::new();
        read(&mut devices, &value).map(|()| devices.into_iter().map(|device| (device.id, device.profile)).collect())
    }

    #[test]
    fn a_count_profiles_or_a_list_make_devices() {
        let named = |id: &str, profile: Option<&str>| (id.to_owned(), profile.map(PathBuf::from));
        assert_eq!(devices(json!("2")), Ok(vec![named("local-1", None), named("local-2", None)]));
        assert_eq!(devices(json!("a/fast.toml")), Ok(vec![named("fast", Some("a/fast.toml"))]));
        assert_eq!(
            devices(json!("a/pi.toml, b/fast.toml,c/pi.toml")),
            Ok(vec![named("pi-1", Some("a/pi.toml")), named("fast", Some("b/fast.toml")), named("pi-2", Some("c/pi.toml"))])
        );
        assert_eq!(devices(json!([{"id": "x", "profile": "p.toml"}, {"id": "y"}])), Ok(vec![named("x", Some("p.toml")), named("y", None)]));
    }

    #[test]
    fn what_makes_no_devices_is_refused_in_words() {
        let cases = [
            (json!("a.toml,2.toml,nonsense,b.toml"), "`nonsense` is no profile: their names end with .toml"),
            (json!("two words.toml"), "device name `two words` may hold letters, digits, `-`, `_` and `.`, at most 64, the first a letter or digit"),
            (json!("pi-1.toml,pi.toml,x/pi.toml"), "device `pi-1` is there twice"),
            (Value::Array((0..65).map(|number| json!({ "id": format!("d{number}") })).collect()), "it must list 0 to 64 devices, it has 65"),
            (json!([{"id": "x", "slowdown": 0.5}]), "device `x`: slowdown is 0.5, it must be 1 to 10000"),
            (json!([{"id": "x", "adapters": []}]), "device `x`: adapters is empty, it must name one such as cpu"),
            (json!([{"id": "x", "adapters": ["cpu", "rknn", "cpu"]}]), "device `x`: adapter cpu is there twice"),
            (json!("many"), "it must be a whole number from 0 to 64, profiles such as rk3588.toml,desktop.toml, or a list of devices"),
        ];
        for (value, expected) in cases {
            assert_eq!(devices(value), Err(expected.to_owned()));
        }
    }
}
