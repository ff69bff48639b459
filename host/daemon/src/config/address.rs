//! Where another host is: a name or an IP address, and a port; of the central also that it is to be looked for. Whether anyone is
//! there, only a connection shows.

use std::{fmt, net::SocketAddr, str::FromStr};

/// Longest name that the domain name system has.
const NAME_BYTES_MAX: usize = 253;

/// `shed.local:23457`, `10.0.0.1:23457` or `[fd00::1]:23457`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAddress(String);

/// Which central a host joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CentralAddress {
    /// The one at this address.
    At(HostAddress),
    /// The one on the local network whose authority the host knows.
    Auto,
}

/// The word for a central that is looked for. No address is equal to it: it has no port.
const AUTO: &str = "auto";

impl FromStr for CentralAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == AUTO { Ok(Self::Auto) } else { text.parse().map(Self::At) }
    }
}

impl fmt::Display for CentralAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Auto => f.write_str(AUTO),
        }
    }
}

impl FromStr for HostAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 || address.ip().is_unspecified() { Err(()) } else { Ok(Self(address.to_string())) };
        }
        let (name, port) = text.rsplit_once(':').ok_or(())?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(())?;
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_label = |label: &str| !label.is_empty() && label.chars().all(letter);
        // Digits and dots alone are an IP address that went wrong.
        let is_name = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && name.contains(|c: char| !c.is_ascii_digit() && c != '.');
        if is_name { Ok(Self(format!("{name}:{port}"))) } else { Err(()) }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_a_port_are_taken_and_nothing_else() {
        for good in ["shed:1", "shed.local:23457", "10.0.0.1:80", "[fd00::1]:65535", "my_box-2.lan:9"] {
            assert_eq!(good.parse::<HostAddress>().map(|address| address.to_string()).as_deref(), Ok(good));
        }
        let long = format!("{}:1", "a".repeat(254));
        for bad in
            ["", "shed", ":1", "shed:", "shed:0", "shed:65536", "10.0.0:1", "0.0.0.0:1", "10.0.0.1:0", "fd00::1", "a b:1", "a..b:1", "http://shed:1", &long]
        {
            assert!(bad.parse::<HostAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_central_is_named_or_looked_for() {
        for text in ["auto", "shed.local:23457"] {
            assert_eq!(text.parse::<CentralAddress>().map(|central| central.to_string()).as_deref(), Ok(text));
        }
        for bad in ["", "Auto", "auto ", "shed"] {
            assert!(bad.parse::<CentralAddress>().is_err(), "{bad}");
        }
    }
}
