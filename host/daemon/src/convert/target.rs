//! What shards are converted for, as people name it and as artefacts do.

use std::fmt;

use super::fault::ConversionFault;

/// Longest name of a chip.
const CHIP_BYTES_MAX: usize = 64;

/// A kind of accelerator that does not take ONNX, and where it matters which one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Rockchip's: the chip, such as `rk3588`.
    Rknn(String),
    /// Huawei's, through AscendCL: the chip as the toolkit writes it, such as `Ascend310P3`.
    Ascend(String),
    /// NVIDIA's.
    TensorRt,
}

impl Target {
    /// Reads `rknn:CHIP`, `ascend:CHIP`, which artefacts call `acl:CHIP`, or `tensorrt`.
    pub fn parse(text: &str) -> Result<Self, ConversionFault> {
        let wrong = || ConversionFault::Words {
            what: "target",
            text: text.to_owned(),
            expected: "it must be rknn:CHIP, such as rknn:rk3588, ascend:CHIP, such as ascend:Ascend310P3, or tensorrt".to_owned(),
        };
        let (kind, chip) = text.split_once(':').unwrap_or((text, ""));
        let is_name = chip.len() <= CHIP_BYTES_MAX && chip.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        match (kind, chip) {
            ("tensorrt", "") => Ok(Self::TensorRt),
            ("rknn", chip) if !chip.is_empty() && is_name => Ok(Self::Rknn(chip.to_lowercase())),
            ("ascend" | "acl", chip) if !chip.is_empty() && is_name => Ok(Self::Ascend(chip.to_owned())),
            _ => Err(wrong()),
        }
    }

    /// Whose settings count: what stands behind `conversion.` in the config.
    pub(super) fn family(&self) -> &'static str {
        match self {
            Self::Rknn(_) => "rknn",
            Self::Ascend(_) => "ascend",
            Self::TensorRt => "tensorrt",
        }
    }

    /// What files for it end with.
    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::Rknn(_) => "rknn",
            Self::Ascend(_) => "om",
            Self::TensorRt => "engine",
        }
    }
}

impl fmt::Display for Target {
    /// As artefacts and offers say it: in small letters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rknn(chip) => write!(f, "rknn:{chip}"),
            Self::Ascend(chip) => write!(f, "acl:{}", chip.to_lowercase()),
            Self::TensorRt => f.write_str("tensorrt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_people_write_them_and_written_as_artefacts_say_them() {
        for (text, shown) in
            [("rknn:RK3588", "rknn:rk3588"), ("ascend:Ascend310P3", "acl:ascend310p3"), ("acl:ascend310p3", "acl:ascend310p3"), ("tensorrt", "tensorrt")]
        {
            assert_eq!(Target::parse(text).map(|target| target.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "rknn", "rknn:", "ascend:a/b", "tensorrt:8", "cuda", "rknn:rk3588 "] {
            let error = Target::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("target `{text}` is not understood")), "{error}");
        }
    }
}
