//! Settings of the engine: from the host's config when it is opened, and from a guest when it loads a shard.

use std::collections::BTreeMap;

use host_engine::Error;

/// Names of the settings.
pub(super) const NAMES: [&str; 3] = ["core_mask", "target", "zero_copy"];

/// Which cores, by the name that people write and the number of `rknn_core_mask`.
const MASKS: [(&str, i32); 6] = [("auto", 0), ("0", 1), ("1", 2), ("2", 4), ("0_1", 3), ("0_1_2", 7)];

/// What is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Settings {
    /// Cores of the NPU that a context runs on; none lets the library choose.
    pub(super) core_mask: Option<i32>,
    /// The chip that artefacts must be for: `rk3588`.
    pub(super) target: Option<String>,
    /// Whether tensors may lie in memory that the NPU reads itself, where the library has it.
    pub(super) zero_copy: ZeroCopyWhen,
}

/// When tensors lie in memory that the NPU reads itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum ZeroCopyWhen {
    /// Where library and tensors allow it.
    #[default]
    Auto,
    /// Never.
    Never,
}

impl Settings {
    /// These settings with others over them. Refuses names and values that are not known.
    pub(super) fn with(mut self, given: &BTreeMap<String, String>) -> Result<Self, Error> {
        for (name, value) in given {
            match name.as_str() {
                "core_mask" => {
                    let mask = MASKS.iter().find(|row| row.0 == value).ok_or_else(|| wrong(name, value, &MASKS.map(|row| row.0)))?.1;
                    self.core_mask = (mask != 0).then_some(mask);
                }
                "target" => self.target = Some(value.clone()).filter(|target| !target.is_empty()),
                "zero_copy" => {
                    self.zero_copy = match value.as_str() {
                        "auto" => ZeroCopyWhen::Auto,
                        "never" => ZeroCopyWhen::Never,
                        _ => return Err(wrong(name, value, &["auto", "never"])),
                    }
                }
                _ => return Err(Error::unsupported(format!("engine rknn knows no setting `{name}`, there are {}", NAMES.join(", ")))),
            }
        }
        Ok(self)
    }
}

fn wrong(name: &str, value: &str, known: &[&str]) -> Error {
    Error::unsupported(format!("setting `{name}` of engine rknn is `{value}`, it must be one of {}", known.join(", ")))
}

/// The chip of this machine as its device tree names it: `rk3588`; none on other machines.
pub(super) fn chip() -> Option<String> {
    std::fs::read("/proc/device-tree/compatible").ok().and_then(|list| chip_of(&list))
}

/// Reads a device tree's list, from the most special name to the most general one, each ended by a zero byte.
fn chip_of(list: &[u8]) -> Option<String> {
    let names = list.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    names.filter_map(|name| name.strip_prefix("rockchip,")).find(|chip| chip.starts_with("rk3") || chip.starts_with("rv1")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn later_settings_stand_over_earlier_ones_and_unknown_ones_are_refused() {
        let settings = Settings::default().with(&given("core_mask", "0_1")).expect("known").with(&given("zero_copy", "never")).expect("known");
        assert_eq!(settings, Settings { core_mask: Some(3), target: None, zero_copy: ZeroCopyWhen::Never });
        assert_eq!(settings.with(&given("core_mask", "auto")).expect("known").core_mask, None);
        let error = Settings::default().with(&given("core_mask", "3")).expect_err("there are three cores");
        assert_eq!(error.to_string(), "setting `core_mask` of engine rknn is `3`, it must be one of auto, 0, 1, 2, 0_1, 0_1_2");
        assert!(Settings::default().with(&given("cores", "1")).is_err());
    }

    #[test]
    fn the_chip_is_the_general_name_in_the_device_tree() {
        assert_eq!(chip_of(b"radxa,rock-5b\0rockchip,rk3588\0").as_deref(), Some("rk3588"));
        assert_eq!(chip_of(b"radxa,rock-5a\0rockchip,rk3588s\0").as_deref(), Some("rk3588s"));
        assert_eq!(chip_of(b"rockchip,evb-board\0rockchip,rk3568\0").as_deref(), Some("rk3568"));
        assert_eq!(chip_of(b"raspberrypi,5-model-b\0brcm,bcm2712\0"), None);
    }
}
