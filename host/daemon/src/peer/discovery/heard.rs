//! What centrals say of themselves in DNS-SD, and which of those that were heard is meant. Pure. Anybody on the network can say
//! anything, so what is kept is bounded, and texts are printed without what a terminal would obey.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use host_wire::join::Fingerprint;
use mdns_sd::{ResolvedService, ServiceInfo};

use super::SERVICE;
use crate::config::{HostAddress, Join};

/// Most centrals that are remembered, for the message if none of them is meant.
const HEARD_MAX: usize = 32;
/// Longest text of others that is repeated, in characters.
const TEXT_CHARS_MAX: usize = 64;
/// Digits of the authority's fingerprint in a central's name.
const NAME_DIGITS: usize = 16;

/// Keys of the TXT record: the release, the fingerprint of the authority, and where devices reach the central, if not at the
/// addresses of the machine.
const VERSION: &str = "version";
const AUTHORITY: &str = "authority";
const ADDRESS: &str = "address";

/// What a central says of itself.
pub(super) fn record(join: &Join, authority: Fingerprint, listens: SocketAddr) -> mdns_sd::Result<ServiceInfo> {
    let fingerprint = authority.to_string();
    let name = format!("central-{}", &fingerprint[..NAME_DIGITS]);
    let mut texts = vec![(VERSION, env!("CARGO_PKG_VERSION").to_owned()), (AUTHORITY, fingerprint)];
    texts.extend(join.advertise.as_ref().map(|address| (ADDRESS, address.to_string())));
    let own: Vec<IpAddr> = Some(listens.ip()).filter(|ip| !ip.is_unspecified()).into_iter().collect();
    let info = ServiceInfo::new(SERVICE, &name, &format!("{name}.local."), &own[..], listens.port(), &texts[..])?;
    Ok(if own.is_empty() { info.enable_addr_auto() } else { info })
}

/// Those who announced themselves.
#[derive(Debug, Default)]
pub(super) struct Heard(Vec<Announced>);

/// What one of them said.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Announced {
    name: String,
    version: Option<String>,
    authority: Option<Fingerprint>,
    addresses: Vec<String>,
}

impl Heard {
    /// Remembers who it is; gives the addresses to try, if it is the one that is meant.
    pub(super) fn take(&mut self, service: &ResolvedService, wanted: Fingerprint) -> Vec<String> {
        let announced = Announced::of(service);
        let addresses = if announced.authority == Some(wanted) { announced.addresses.clone() } else { Vec::new() };
        match self.0.iter().position(|known| known.name == announced.name) {
            Some(index) => self.0[index] = announced,
            None if self.0.len() < HEARD_MAX => self.0.push(announced),
            None => {}
        }
        addresses
    }

    /// Why the one that is meant was not found.
    pub(super) fn missed(&self, wanted: Fingerprint, waited_ms: u64) -> String {
        let all = self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let found = if self.0.is_empty() {
            "nobody announced itself".to_owned()
        } else if self.0.iter().any(|announced| announced.authority == Some(wanted)) {
            format!("it announced itself but answers nowhere; heard were {all}")
        } else {
            format!("only others announced themselves: {all}")
        };
        format!(
            "one with authority {wanted} was looked for by mDNS for {waited_ms} ms, and {found}; start it with --join-announce, or name its address with --join"
        )
    }
}

impl Announced {
    fn of(service: &ResolvedService) -> Self {
        let text = |key: &str| service.get_property_val_str(key).filter(|text| !text.is_empty());
        let named = text(ADDRESS).and_then(|text| text.parse::<HostAddress>().ok());
        Self {
            name: printable(service.get_fullname().strip_suffix(SERVICE).unwrap_or_default().trim_end_matches('.')),
            version: text(VERSION).map(printable),
            authority: text(AUTHORITY).and_then(Fingerprint::parse),
            addresses: named.map_or_else(|| addresses(service), |address| vec![address.to_string()]),
        }
    }
}

/// Where a central may be reached. Loopback comes last: a device that comes over it is not reached by devices on other machines.
/// Addresses that mean something on one link only are left out.
fn addresses(service: &ResolvedService) -> Vec<String> {
    let goes_anywhere = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let mut ips: Vec<IpAddr> = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr).filter(goes_anywhere).collect();
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
    ips.into_iter().map(|ip| SocketAddr::new(ip, service.get_port()).to_string()).collect()
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_CHARS_MAX).collect()
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority.map_or_else(|| "unknown".to_owned(), |authority| authority.to_string());
        let version = self.version.as_deref().unwrap_or("unknown");
        write!(f, "{} (release {version}, authority {authority}) at {}", self.name, self.addresses.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const OURS: Fingerprint = Fingerprint([0xab; 32]);
    const THEIRS: Fingerprint = Fingerprint([0x01; 32]);

    fn join(advertise: Option<&str>) -> Join {
        let advertise = advertise.map(|address| address.parse().expect("an address"));
        Join { advertise, ..Config::with_data("/data".into()).join }
    }

    fn announced(authority: Fingerprint, listens: &str, advertise: Option<&str>) -> ResolvedService {
        record(&join(advertise), authority, listens.parse().expect("an address")).expect("a record").as_resolved_service()
    }

    fn service(name: &str, addresses: &str, texts: &[(&str, &str)]) -> ResolvedService {
        ServiceInfo::new(SERVICE, name, "shed.local.", addresses, 23_457, texts).expect("a record").as_resolved_service()
    }

    #[test]
    fn a_central_is_found_by_its_authority_at_the_address_that_it_listens_on() {
        let mut heard = Heard::default();
        assert_eq!(heard.take(&announced(THEIRS, "10.0.0.1:23457", None), OURS), Vec::<String>::new());
        assert_eq!(heard.take(&announced(OURS, "10.0.0.2:23457", None), OURS), ["10.0.0.2:23457"]);
        assert_eq!(heard.take(&announced(OURS, "10.0.0.2:23457", Some("shed.local:1234")), OURS), ["shed.local:1234"]);
        // On every address, which mDNS fills in by itself.
        let everywhere = record(&join(None), OURS, "0.0.0.0:23457".parse().expect("an address")).expect("a record");
        assert!(everywhere.is_addr_auto() && everywhere.get_port() == 23_457);
    }

    #[test]
    fn addresses_that_lead_anywhere_come_first_and_loopback_last() {
        let authority = OURS.to_string();
        let service = service("x", "127.0.0.1,fe80::1,fd00::1,10.0.0.9,10.0.0.1", &[(AUTHORITY, &authority)]);
        let expected = ["10.0.0.1:23457", "10.0.0.9:23457", "[fd00::1]:23457", "127.0.0.1:23457"];
        assert_eq!(Heard::default().take(&service, OURS), expected);
    }

    #[test]
    fn whoever_says_nonsense_is_nobody_that_is_meant() {
        for authority in ["", "ab", "AB", &"g".repeat(64), &"a".repeat(65)] {
            let mut heard = Heard::default();
            assert_eq!(heard.take(&service("x", "10.0.0.1", &[(AUTHORITY, authority), (ADDRESS, "nowhere")]), OURS), Vec::<String>::new(), "{authority}");
            assert!(heard.missed(OURS, 1).contains("x (release unknown, authority unknown) at 10.0.0.1:23457"), "{}", heard.missed(OURS, 1));
        }
    }

    #[test]
    fn what_was_looked_for_and_what_was_found_is_said() {
        let mut heard = Heard::default();
        let wanted = format!("one with authority {OURS} was looked for by mDNS for 5000 ms, and ");
        let advice = "; start it with --join-announce, or name its address with --join";
        assert_eq!(heard.missed(OURS, 5_000), format!("{wanted}nobody announced itself{advice}"));
        heard.take(&announced(THEIRS, "10.0.0.1:23457", None), OURS);
        let version = env!("CARGO_PKG_VERSION");
        let other = format!("central-0101010101010101 (release {version}, authority {THEIRS}) at 10.0.0.1:23457");
        assert_eq!(heard.missed(OURS, 5_000), format!("{wanted}only others announced themselves: {other}{advice}"));
        heard.take(&announced(OURS, "10.0.0.2:1", None), OURS);
        let ours = format!("central-abababababababab (release {version}, authority {OURS}) at 10.0.0.2:1");
        assert_eq!(heard.missed(OURS, 5_000), format!("{wanted}it announced itself but answers nowhere; heard were {other}; {ours}{advice}"));
    }

    #[test]
    fn a_crowd_is_not_remembered_without_end_and_prints_nothing_that_a_terminal_obeys() {
        let mut heard = Heard::default();
        for number in 0..10 * HEARD_MAX {
            heard.take(&service(&format!("evil-{number}"), "10.0.0.1", &[(VERSION, "\u{1b}[2J1.0")]), OURS);
        }
        assert_eq!(heard.0.len(), HEARD_MAX);
        let said = heard.missed(OURS, 1);
        assert!(said.contains("release [2J1.0") && !said.contains('\u{1b}'), "{said}");
    }
}
