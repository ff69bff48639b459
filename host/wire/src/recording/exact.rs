//! A number that survives to the last bit: a JSON number where there is one, else its bits as text.

use std::fmt;

use host_core::units::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number that comes back as it went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exact(pub f64);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl From<Millis> for Exact {
    fn from(time: Millis) -> Self {
        Self(time.0)
    }
}

impl From<Exact> for Millis {
    fn from(number: Exact) -> Self {
        Self(number.0)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The shortest decimal digits that are read as the same number, which `float_roundtrip` reads so.
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.serialize_str(&format!("{:016x}", self.0.to_bits())) }
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

struct Number;

impl de::Visitor<'_> for Number {
    type Value = Exact;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or the bits of one as 16 hexadecimal digits")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Exact, E> {
        Ok(Exact(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Exact, E> {
        Ok(Exact(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Exact, E> {
        Ok(Exact(number as f64))
    }

    fn visit_str<E: de::Error>(self, bits: &str) -> Result<Exact, E> {
        u64::from_str_radix(bits, 16).map(|bits| Exact(f64::from_bits(bits))).map_err(|_| E::invalid_value(de::Unexpected::Str(bits), &self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bit_pattern_comes_back(bits in any::<u64>()) {
            let number = Exact(f64::from_bits(bits));
            let text = serde_json::to_string(&number).expect("a number is written");
            prop_assert_eq!(serde_json::from_str::<Exact>(&text).expect("and read"), number, "{}", text);
        }
    }

    #[test]
    fn zeros_infinities_and_what_is_no_number_come_back() {
        for number in [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE, 5e-324, 0.1, 1e22] {
            let text = serde_json::to_string(&Exact(number)).expect("written");
            assert_eq!(serde_json::from_str::<Exact>(&text).expect("read"), Exact(number), "{text}");
        }
        assert!(serde_json::from_str::<Exact>("\"infinity\"").is_err());
    }
}
