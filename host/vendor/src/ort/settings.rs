//! Settings of the engines behind ONNX Runtime: what the host's config and an adapter's options say, by name.

use std::{collections::BTreeMap, path::PathBuf};

use host_engine::{Error, LoadOptions};
use ort::session::builder::GraphOptimizationLevel;

use super::{Provider, profiles::Profiles};

/// Values that `optimization` takes.
const LEVELS: [&str; 5] = ["none", "basic", "extended", "layout", "all"];
/// Values that `precision_mode` takes, as CANN knows them.
const PRECISIONS: [&str; 5] = ["force_fp32", "force_fp16", "allow_fp32_to_fp16", "must_keep_origin_dtype", "allow_mix_precision"];

/// Everything that can be set. What a provider does not know was refused before.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Settings {
    /// Whether threads that wait for work keep a core busy: faster where the machine is otherwise idle, and much slower where it is not
    /// (with another busy process 78 ms a token against 47 ms, and 4.6 against 6.6 on a quiet machine).
    pub(super) spinning: bool,
    /// How far the graph is rewritten: one of `LEVELS`.
    pub(super) optimization: usize,
    /// Which accelerator of its kind, from 0.
    pub(super) device_id: u32,
    /// Bytes of the accelerator's memory that one graph may use; none for all.
    pub(super) memory_limit: Option<u64>,
    /// Whether 32-bit floats may be computed as 16-bit ones.
    pub(super) fp16: bool,
    /// Lengths to prepare for.
    pub(super) profiles: Profiles,
    /// Folder for what took long to build; none to build it each time.
    pub(super) engine_cache: Option<PathBuf>,
    /// How CANN rounds; none for its own default.
    pub(super) precision_mode: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let optimization = LEVELS.len() - 1;
        Self {
            spinning: false,
            optimization,
            device_id: 0,
            memory_limit: None,
            fp16: false,
            profiles: Profiles::default(),
            engine_cache: None,
            precision_mode: None,
        }
    }
}

impl Settings {
    /// Reads what the config says and, over that, what comes with a load. Refuses names that the provider does not know, and values that
    /// a name does not take.
    pub(super) fn read(provider: Provider, config: &BTreeMap<String, String>, load: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut all = config.clone();
        all.extend(load.clone());
        let options = LoadOptions { settings: all, ..LoadOptions::default() };
        options.check_settings(provider.engine(), provider.settings())?;
        let mut settings = Self::default();
        for (name, value) in &options.settings {
            settings
                .set(name, value)
                .map_err(|wanted| Error::unsupported(format!("option `{name}` of engine {}: expected {wanted}, found `{value}`", provider.engine())))?;
        }
        Ok(settings)
    }

    /// The error says what the name takes.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let switch = || value.parse::<bool>().map_err(|_| "true or false".to_owned());
        let listed = |list: &[&str]| list.iter().position(|known| *known == value).ok_or_else(|| format!("one of {}", list.join(", ")));
        match name {
            "spinning" => self.spinning = switch()?,
            "optimization" => self.optimization = listed(&LEVELS)?,
            // The binding takes a signed number.
            "device_id" => self.device_id = value.parse::<u16>().map_err(|_| "a number from 0 to 65535".to_owned())?.into(),
            "memory_limit" => {
                let bytes = value.parse::<u64>().ok().filter(|bytes| *bytes > 0);
                self.memory_limit = Some(bytes.ok_or_else(|| "a number of bytes above 0".to_owned())?);
            }
            "fp16" => self.fp16 = switch()?,
            "profiles" => self.profiles = Profiles::parse(value)?,
            "engine_cache" => {
                // The binding panics on a 0 in a text.
                let path = Some(PathBuf::from(value)).filter(|path| path.is_absolute() && !value.contains('\0'));
                self.engine_cache = Some(path.ok_or_else(|| "an absolute path of a folder".to_owned())?);
            }
            "precision_mode" => {
                listed(&PRECISIONS)?;
                self.precision_mode = Some(value.to_owned());
            }
            _ => return Err("nothing: no engine has it".to_owned()),
        }
        Ok(())
    }

    /// How far the graph is rewritten.
    pub(super) fn level(&self) -> GraphOptimizationLevel {
        match self.optimization {
            0 => GraphOptimizationLevel::Disable,
            1 => GraphOptimizationLevel::Level1,
            2 => GraphOptimizationLevel::Level2,
            3 => GraphOptimizationLevel::Level3,
            _ => GraphOptimizationLevel::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_comes_with_a_load_stands_over_the_config() {
        let read = Settings::read(Provider::Cuda, &map(&[("device_id", "1"), ("spinning", "true")]), &map(&[("device_id", "2")])).expect("known");
        assert_eq!((read.device_id, read.spinning), (2, true));
        assert!(matches!(read.level(), GraphOptimizationLevel::All));
    }

    #[test]
    fn names_and_values_that_are_not_known_are_refused_by_name() {
        let cases = [
            (Provider::Cpu, "core_mask", "1", "engine ort knows no option `core_mask`, there are threads, optimization, spinning"),
            (Provider::Cpu, "device_id", "0", "engine ort knows no option `device_id`, there are threads, optimization, spinning"),
            (Provider::Cpu, "spinning", "yes", "option `spinning` of engine ort: expected true or false, found `yes`"),
            (Provider::Cuda, "memory_limit", "0", "option `memory_limit` of engine cuda: expected a number of bytes above 0, found `0`"),
            (Provider::Cuda, "device_id", "-1", "option `device_id` of engine cuda: expected a number from 0 to 65535, found `-1`"),
            (Provider::TensorRt, "engine_cache", "here", "option `engine_cache` of engine tensorrt: expected an absolute path of a folder, found `here`"),
            (Provider::Cpu, "optimization", "most", "option `optimization` of engine ort: expected one of none, basic, extended, layout, all, found `most`"),
        ];
        for (provider, name, value, expected) in cases {
            assert_eq!(Settings::read(provider, &BTreeMap::new(), &map(&[(name, value)])).expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn every_setting_that_a_provider_lists_takes_some_value() {
        let values = [
            ("spinning", "true"),
            ("optimization", "basic"),
            ("device_id", "3"),
            ("memory_limit", "1000000"),
            ("fp16", "true"),
            ("profiles", "sequence=1/64/512"),
            ("engine_cache", "/var/cache/engines"),
            ("precision_mode", "force_fp16"),
        ];
        for provider in Provider::ALL {
            for name in provider.settings() {
                let value = values.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no value for {name}"));
                let read = Settings::read(provider, &map(&[*value]), &BTreeMap::new()).expect("a good value");
                assert_ne!(read, Settings::default(), "{name} changed nothing");
            }
        }
    }
}
