//! Units. Sizes are whole bytes, times are milliseconds. Both print the way a person reads them.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Sub},
};

/// A size in bytes. Arithmetic saturates: a sum that does not fit is as bad as one that barely does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// From whole MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// Rounds up; a negative or not finite value becomes the nearest size there is.
    pub fn from_f64(value: f64) -> Self {
        // `as` saturates and turns NaN into 0: both are what is wanted here.
        Self(value.ceil() as u64)
    }

    /// For computing with rates and factors.
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// In units of 10^6 bytes, as the cost model counts.
    pub fn megabytes(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Multiplies by a factor and rounds up.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self::from_f64(self.as_f64() * factor)
    }

    /// Multiplies by a count.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Bytes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.as_f64() / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if value.fract() < 0.05 { write!(f, "{value:.0} {}", UNITS[unit]) } else { write!(f, "{value:.1} {}", UNITS[unit]) }
    }
}

/// A length of time, or a moment counted from the start of the host, in milliseconds.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Millis(pub f64);

impl Millis {
    /// No time.
    pub const ZERO: Self = Self(0.0);
}

impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Millis {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for Millis {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms.abs() >= 1000.0 => write!(f, "{:.2} s", ms / 1000.0),
            ms if ms.abs() >= 10.0 => write!(f, "{ms:.1} ms"),
            ms if ms.abs() >= 0.1 => write!(f, "{ms:.2} ms"),
            ms => write!(f, "{:.0} µs", ms * 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_people_read_them() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (3 << 20, "3 MiB"), (1_288_490_189, "1.2 GiB")];
        for (size, text) in cases {
            assert_eq!(Bytes(size).to_string(), text);
        }
    }

    #[test]
    fn sizes_from_hostile_numbers_stay_in_range() {
        assert_eq!(Bytes::from_f64(f64::NAN), Bytes(0));
        assert_eq!(Bytes::from_f64(-1.0), Bytes(0));
        assert_eq!(Bytes::from_f64(f64::INFINITY), Bytes(u64::MAX));
        assert_eq!(Bytes(u64::MAX) + Bytes(1), Bytes(u64::MAX));
    }

    #[test]
    fn times_print_with_three_figures_or_so() {
        let cases = [(0.0004, "0 µs"), (0.021, "21 µs"), (0.84, "0.84 ms"), (12.34, "12.3 ms"), (2500.0, "2.50 s")];
        for (ms, text) in cases {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }
}
