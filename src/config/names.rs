//! Names of hosts and ports → numbers. They are looked up while a configuration is loaded, never later.

use std::net::{IpAddr, ToSocketAddrs};

use crate::model::{Family, Protocol};

/// What to do about a name that nobody knows.
const CURE: &str = "write the address itself, or put the name into /etc/hosts; \
    if the name server was away, reload once it is back";

/// What knows the numbers behind names.
pub trait Names {
    /// The first address of that family that the host has; else why there is none.
    fn host(&self, name: &str, family: Family) -> Result<IpAddr, String>;

    /// The port of a service's name with that protocol; without one, of the first entry.
    fn port(&self, name: &str, protocol: Option<Protocol>) -> Option<u16>;

    /// The name of this host, as some checks give it by default.
    fn this_host(&self) -> String;
}

/// The system's resolver, and what is read once: `/etc/services` and this host's name.
#[derive(Debug, Clone, Default)]
pub struct SystemNames {
    services: String,
    this_host: String,
}

impl SystemNames {
    /// Reads `/etc/services`; a system without that file knows no port by name.
    pub fn new() -> SystemNames {
        let services = std::fs::read("/etc/services").unwrap_or_default();
        let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        let node = || nix::unistd::gethostname().ok()?.into_string().ok();
        let this_host = named.or_else(node).unwrap_or_else(|| "localhost".into());
        SystemNames { services: String::from_utf8_lossy(&services).into_owned(), this_host }
    }
}

impl Names for SystemNames {
    /// Short forms such as `10.1` are the resolver's business: only it is asked about them.
    fn host(&self, name: &str, family: Family) -> Result<IpAddr, String> {
        let found = (name, 0).to_socket_addrs().map_err(|error| format!("{error}; {CURE}"))?;
        let of_family = found.map(|at| at.ip()).find(|ip| Family::of(*ip) == family);
        of_family.ok_or_else(|| match family {
            Family::V4 => "it has no IPv4 address".into(),
            Family::V6 => "it has no IPv6 address".into(),
        })
    }

    fn port(&self, name: &str, protocol: Option<Protocol>) -> Option<u16> {
        port_in(&self.services, name, protocol)
    }

    /// `HOSTNAME` in the environment, as ldirectord has it, else what the kernel says.
    fn this_host(&self) -> String {
        self.this_host.clone()
    }
}

/// Looks a port up in a text like `/etc/services`: `NAME PORT/PROTOCOL ALIAS… # COMMENT`.
pub fn port_in(services: &str, name: &str, protocol: Option<Protocol>) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let official = words.next()?;
        let (port, of) = words.next()?.split_once('/')?;
        let is_named = official == name || words.any(|alias| alias == name);
        let is_asked = protocol.is_none_or(|protocol| protocol.to_string() == of);
        (is_named && is_asked).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str =
        "# comment\nhttp\t80/tcp\twww # web\ndomain 53/tcp\ndomain 53/udp\nntp 123/udp\nbad\n";

    #[test]
    fn a_port_is_found_by_name_alias_and_protocol() {
        assert_eq!(port_in(SERVICES, "http", Some(Protocol::Tcp)), Some(80));
        assert_eq!(port_in(SERVICES, "www", Some(Protocol::Tcp)), Some(80));
        assert_eq!(port_in(SERVICES, "ntp", Some(Protocol::Tcp)), None);
        assert_eq!(port_in(SERVICES, "ntp", None), Some(123));
        assert_eq!(port_in(SERVICES, "web", None), None);
    }

    #[test]
    fn the_resolver_reads_short_and_octal_addresses_as_ldirectord_has_them() {
        let names = SystemNames::default();
        let host = |name, family| names.host(name, family).map(|ip| ip.to_string());
        assert_eq!(host("10.1", Family::V4).as_deref(), Ok("10.0.0.1"));
        assert_eq!(host("010.0.0.1", Family::V4).as_deref(), Ok("8.0.0.1"));
        assert_eq!(host("2001:db8::1", Family::V6).as_deref(), Ok("2001:db8::1"));
        assert!(host("10.0.0.1", Family::V6).is_err());
    }
}
