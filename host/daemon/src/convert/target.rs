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
            ("rknn", chip) if !chip.is_empty() && is_name => Ok(Self::Rknn(rockchip(&chip.to_lowercase()).to_owned())),
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

/// The name under which what was converted for a target is kept: of two names for the same target, one. What is no target of ours stays
/// as it is, in small letters.
pub fn target_name(text: &str) -> String {
    Target::parse(text).map_or_else(|_| text.to_lowercase(), |target| target.to_string())
}

/// What Rockchip's toolkit calls a chip: variants of it run the same files and have no name there, as `rk3588s` and `rk3588j` of
/// `rk3588`. Of its chips for cameras those with a letter more are others, as `rv1103b` is.
fn rockchip(chip: &str) -> &str {
    const FAMILY_DIGITS: usize = 4;
    let Some(rest) = chip.strip_prefix("rk") else { return chip };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == FAMILY_DIGITS { &chip[..chip.len() - rest.len() + digits] } else { chip }
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

    #[test]
    fn variants_of_a_chip_are_one_target_and_other_chips_are_others() {
        for (said, kept) in [
            ("rknn:rk3588s", "rknn:rk3588"),
            ("rknn:RK3588S2", "rknn:rk3588"),
            ("rknn:rk3576j", "rknn:rk3576"),
            ("rknn:rk3566", "rknn:rk3566"),
            ("rknn:rk3568", "rknn:rk3568"),
            ("rknn:rv1103b", "rknn:rv1103b"),
            ("rknn:rv1106", "rknn:rv1106"),
            ("rknn:rk35881", "rknn:rk35881"),
            ("acl:Ascend310P3", "acl:ascend310p3"),
            ("acl:ascend310p1", "acl:ascend310p1"),
            ("rknn", "rknn"),
            ("Other:Chip", "other:chip"),
        ] {
            assert_eq!(target_name(said), kept, "{said}");
        }
    }
}
