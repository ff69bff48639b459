//! What a plugin asks for: its `plugin.toml`, beside the component or in its custom section `shardhost:manifest`.

use serde::Deserialize;

use crate::{
    error::{Error, Fault},
    limits::Limits,
    names::SlotName,
};

/// What happens to a request that a policy fails on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// The built-in plugin answers it.
    #[default]
    Fallback,
    /// The request fails, so that nothing else than this plugin ever decides. Gives up availability.
    FailClosed,
}

/// The languages that `host plugin build` knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Built by cargo.
    Rust,
    /// Built by `zig cc` or clang.
    C,
    /// Built by componentize-py.
    Python,
    /// Built by componentize-qjs.
    JavaScript,
}

/// What Rust builds for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub enum RustTarget {
    /// A component at once. It imports what the standard library needs of WASI, and never calls it.
    #[default]
    #[serde(rename = "wasm32-wasip2")]
    Wasip2,
    /// A core module without WASI, which is then wrapped.
    #[serde(rename = "wasm32-unknown-unknown")]
    Unknown,
}

/// How a plugin is built. Nothing that a host acts on.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// What its sources are written in.
    pub language: Language,
    /// What Rust builds for.
    #[serde(default)]
    pub target: RustTarget,
    /// Folder of the contract, relative to the manifest.
    #[serde(default = "Build::wit")]
    pub wit: String,
}

impl Build {
    fn wit() -> String {
        "wit".to_owned()
    }
}

/// A plugin's wishes. What it does not name is the host's default.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// Name under which it is installed; else the component's own name, else the file's.
    pub name: Option<String>,
    /// For people.
    pub version: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// For people.
    pub license: Option<String>,
    /// The slot that it is made for.
    pub slot: Option<String>,
    /// Linear memory in bytes.
    pub memory_bytes_max: Option<usize>,
    /// Deadline of its main function, in milliseconds, and of an allocation policy's reviews, which may have to solve again.
    pub call_ms_max: Option<u64>,
    /// Instances kept ready.
    pub instances: Option<usize>,
    /// Strikes before it is rolled back.
    pub strikes_max: Option<u32>,
    /// What happens to a request that it fails on.
    pub failure_policy: FailurePolicy,
    /// Hosts that it wants to reach. None can be granted yet, so the list must be empty.
    pub allowed_hosts: Vec<String>,
    /// Handed to `configure` as JSON.
    pub config: toml::Table,
    /// How `host plugin build` makes the component. Not in a component's own manifest.
    pub build: Option<Build>,
}

impl Manifest {
    /// Reads TOML; the error names the line and the field.
    pub fn read(plugin: &str, text: &str) -> Result<Self, Error> {
        let reason = |error: toml::de::Error| Fault::Manifest { plugin: plugin.to_owned(), reason: error.to_string().trim().replace('\n', " ") };
        let manifest: Self = toml::from_str(text).map_err(reason)?;
        if let Some(host) = manifest.allowed_hosts.first() {
            let reason = format!("it asks to reach {host}, no guest gets a network");
            return Err(Fault::Manifest { plugin: plugin.to_owned(), reason }.into());
        }
        Ok(manifest)
    }

    /// The slot that it names.
    pub fn slot(&self) -> Result<Option<SlotName>, Error> {
        self.slot.as_deref().map(SlotName::parse).transpose()
    }

    /// The configuration as the JSON object that a guest is given.
    pub fn config_json(&self) -> String {
        serde_json::to_string(&self.config).unwrap_or_else(|_| "{}".to_owned())
    }

    /// What it asks for beyond the defaults: name, how much, and the most that a host with these limits grants.
    pub fn asks(&self, limits: &Limits) -> Vec<(&'static str, u64, u64)> {
        let memory = self.memory_bytes_max.map(|bytes| ("memory_bytes_max", bytes as u64, limits.memory_bytes_granted_max as u64));
        let time = self.call_ms_max.map(|ms| ("call_ms_max", ms, limits.call_ms_granted_max));
        let instances = self.instances.map(|instances| ("instances", instances as u64, limits.instances_granted_max as u64));
        [memory, time, instances].into_iter().flatten().collect()
    }

    /// The first of these that such a host does not grant.
    pub fn refused(&self, limits: &Limits) -> Option<(&'static str, u64, u64)> {
        self.asks(limits).into_iter().find(|(_, asked, granted_max)| *asked == 0 || asked > granted_max)
    }

    /// The host's limits with these wishes in them, where the host grants them.
    pub(crate) fn granted(&self, plugin: &str, limits: &Limits) -> Result<Limits, Error> {
        if let Some((what, asked, granted_max)) = self.refused(limits) {
            return Err(Fault::Grant { plugin: plugin.to_owned(), what, asked, granted_max }.into());
        }
        let mut granted = limits.clone();
        if let Some(bytes) = self.memory_bytes_max {
            granted.memory_bytes_max = bytes;
        }
        if let Some(ms) = self.call_ms_max {
            let times = &mut granted.deadlines;
            (times.allocate_ms_max, times.review_ms_max, times.route_ms_max, times.admit_ms_max, times.run_ms_max) = (ms, ms, ms, ms, ms);
        }
        if let Some(instances) = self.instances {
            granted.warm_instances = instances;
        }
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_its_configuration_becomes_json() {
        let text = "slot = \"routing\"\nmemory_bytes_max = 1048576\nfailure_policy = \"fail_closed\"\n[config]\nweights = [1, 2]\n";
        let manifest = Manifest::read("p", text).expect("a good manifest");
        assert_eq!(manifest.slot().expect("a slot"), Some(SlotName::Routing(None)));
        assert_eq!(manifest.config_json(), r#"{"weights":[1,2]}"#);
        assert_eq!(manifest.failure_policy, FailurePolicy::FailClosed);
        assert_eq!(manifest.granted("p", &Limits::default()).expect("granted").memory_bytes_max, 1 << 20);
    }

    #[test]
    fn how_it_is_built_is_read_with_defaults() {
        let build = Manifest::read("p", "[build]\nlanguage = \"javascript\"").expect("a good manifest").build.expect("a build");
        assert_eq!(build, Build { language: Language::JavaScript, target: RustTarget::Wasip2, wit: "wit".to_owned() });
        let error = Manifest::read("p", "[build]\nlanguage = \"cobol\"").expect_err("no such language").to_string();
        assert!(error.contains("cobol") && error.contains("python"), "{error}");
    }

    #[test]
    fn wishes_that_are_not_known_or_not_granted_are_named() {
        let unknown = Manifest::read("p", "memory_max = 1").expect_err("a misspelt field").to_string();
        assert!(unknown.contains("memory_max"), "{unknown}");
        let network = Manifest::read("p", "allowed_hosts = [\"example.org\"]").expect_err("no network").to_string();
        assert_eq!(network, "the manifest of `p` cannot be read: it asks to reach example.org, no guest gets a network");
        let greedy = Manifest::read("p", "memory_bytes_max = 1000000000").expect("readable");
        let error = greedy.granted("p", &Limits::default()).expect_err("too much").to_string();
        assert_eq!(error, "`p` asks for memory_bytes_max = 1000000000, the host grants 1 to 536870912");
    }
}
