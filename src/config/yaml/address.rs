//! Addresses: what a service listens on, servers, fallbacks. Pure, but for the names.

use std::net::{IpAddr, SocketAddr};

use crate::config::Kinds;
use crate::config::diagnostic::Faults;
use crate::config::draft::{FallbackDraft, Said};
use crate::config::raw::Text;
use crate::config::resolve::address::{Lookup, PORT_HELP, entry};
use crate::config::yaml::check::CheckSettings;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::{Item, shown};
use crate::config::yaml::node::Value;
use crate::model::{Fallback, Family, Forward, Protocol, ServiceKey, Watch};
use crate::span::{Fault, Span};

/// The ways to forward, by their names.
pub const FORWARDS: [(&str, Forward); 3] =
    [("masq", Forward::Masq), ("gate", Forward::Gate), ("ipip", Forward::Ipip)];

const PROTOCOLS: [(&str, Protocol); 2] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

/// A host and perhaps a port, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort<'t> {
    /// The name or number, without brackets.
    pub host: &'t str,
    /// The port, by number or name.
    pub port: Option<&'t str>,
}

/// Takes `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT` or a bare IPv6 address apart.
pub fn split(text: &str) -> Option<HostPort<'_>> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None if text.matches(':').count() > 1 => (text, ""),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':').filter(|port| !port.is_empty())?),
    };
    let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-' | b':');
    (!host.is_empty() && host.bytes().all(is_host)).then_some(HostPort { host, port })
}

/// Looks things up, and says what is wrong at a place.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    /// What knows names.
    pub lookup: &'a Lookup<'a>,
}

impl Places<'_> {
    /// The address of a host.
    pub fn host(&self, host: &str, family: Family, span: &Span) -> Result<IpAddr, Fault> {
        let version = if family == Family::V4 { "IPv4" } else { "IPv6" };
        let found = self.lookup.host(Text { bytes: host.as_bytes(), at: 0 }, family);
        found.map_err(|reason| {
            let fault = Fault::error(span.clone(), format!("no {version} address for {}", shown(host)));
            fault.help(match host.parse::<IpAddr>() {
                Ok(_) => format!("the service is {version}, and so are its servers and its fallback"),
                Err(_) => reason,
            })
        })
    }

    /// A port by number or name.
    pub fn port(&self, port: &str, protocol: Option<Protocol>, span: &Span) -> Result<u16, Fault> {
        let found = self.lookup.port(Text { bytes: port.as_bytes(), at: 0 }, protocol);
        found.ok_or_else(|| Fault::error(span.clone(), format!("no port {}", shown(port))).help(PORT_HELP))
    }

    /// What a service listens on: `ADDRESS:PORT/PROTOCOL`.
    pub fn listen(&self, item: &Item) -> Result<ServiceKey, Fault> {
        let text = item.text()?;
        let wrong =
            || item.refuse("ADDRESS:PORT/PROTOCOL", "for instance 192.0.2.1:80/tcp or [2001:db8::1]:53/udp");
        let (at, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((at, word)) => {
                let known = PROTOCOLS.iter().find(|(name, _)| *name == word);
                (
                    at,
                    known
                        .ok_or_else(|| {
                            item.refuse("of protocol tcp or udp", "192.0.2.1:80/tcp, for instance")
                        })?
                        .1,
                )
            }
        };
        let HostPort { host, port } = split(at).ok_or_else(wrong)?;
        let port = self.port(port.ok_or_else(wrong)?, Some(protocol), &item.span())?;
        let ip = match host.parse() {
            Ok(ip) => ip,
            Err(_) => self
                .host(host, Family::V4, &item.span())
                .or_else(|fault| self.host(host, Family::V6, &item.span()).map_err(|_| fault))?,
        };
        Ok(ServiceKey::Address(protocol, SocketAddr::new(ip, port)))
    }
}

/// A server of last resort as written, before it is known whose.
#[derive(Debug, Clone)]
pub struct LastResort {
    host: String,
    port: Option<String>,
    forward: Option<Forward>,
    /// How it is checked, if it is; what it does not say is as for servers.
    check: Option<CheckSettings>,
    span: Span,
}

impl LastResort {
    /// Reads a list of them: each an address, or a mapping of address, forward and check.
    pub fn list(item: &Item, kinds: Kinds, faults: &mut Faults) -> Option<Said<Vec<LastResort>>> {
        let members = faults.keep(item.list())?;
        let read = members.iter().filter_map(|member| LastResort::read(member, kinds, faults)).collect();
        Some(Said::at(read, item.span()))
    }

    fn read(item: &Item, kinds: Kinds, faults: &mut Faults) -> Option<LastResort> {
        let (mut forward, mut check) = (None, None);
        let mut place = *item;
        if matches!(item.node.value, Value::Map(_)) {
            let fields = Fields::read(item.node, "a fallback", &["address", "forward", "check"], faults)?;
            check = fields.get("check").map(|item| CheckSettings::read(&item, kinds, faults));
            forward = fields.take("forward", faults, |item| item.one_of(&FORWARDS));
            let missing = || {
                Fault::error(item.span(), "a fallback without an `address`").help("for instance 127.0.0.1:80")
            };
            place = faults.keep(fields.get("address").ok_or_else(missing))?;
        }
        let text = faults.keep(place.text())?;
        let found = split(text).ok_or_else(|| {
            place.refuse("an address and perhaps a port", "for instance 127.0.0.1:8080 or [::1]:8080")
        });
        let HostPort { host, port } = faults.keep(found)?;
        let forward = forward.map(|said| said.value);
        let (host, port) = (host.to_owned(), port.map(str::to_owned));
        Some(LastResort { host, port, forward, check, span: place.span() })
    }

    /// Whether it can be the fallback of a service of that family.
    pub fn fits(&self, family: Family) -> bool {
        self.host.parse::<IpAddr>().map_or(true, |ip| Family::of(ip) == family)
    }

    /// The fallback of that service. Without a word on it, packets are handed on unchanged where
    /// the port stays the same, and translated where it does not.
    pub fn for_service(
        &self,
        key: ServiceKey,
        servers: &CheckSettings,
        places: Places,
    ) -> Result<FallbackDraft, Fault> {
        let protocol = match key {
            ServiceKey::Address(protocol, _) => Some(protocol),
            ServiceKey::Mark(..) => None,
        };
        let ip = places.host(&self.host, key.family(), &self.span)?;
        let own = self.port.as_ref().map(|port| places.port(port, protocol, &self.span)).transpose()?;
        let port = own.or(key.port()).unwrap_or(0);
        let same = key.port().is_none_or(|service| service == port);
        let forward = self.forward.unwrap_or(if same { Forward::Gate } else { Forward::Masq });
        let address = SocketAddr::new(ip, port);
        let fallback = Fallback { entry: entry(key, forward, address), address, forward, watch: Watch::On };
        let check = self.check.clone().filter(|check| !check.unclear);
        let check = check.map(|check| check.or(servers).draft(&self.span)).transpose()?;
        Ok(FallbackDraft { fallback: Said::at(fallback, self.span.clone()), check })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_its_port_are_taken_apart() {
        let of = |text| split(text).map(|HostPort { host, port }| (host, port));
        assert_eq!(of("10.0.0.1:80"), Some(("10.0.0.1", Some("80"))));
        assert_eq!(of("10.0.0.1"), Some(("10.0.0.1", None)));
        assert_eq!(of("[2001:db8::1]:80"), Some(("2001:db8::1", Some("80"))));
        assert_eq!(of("[2001:db8::1]"), Some(("2001:db8::1", None)));
        assert_eq!(of("2001:db8::1"), Some(("2001:db8::1", None)));
        assert_eq!(of("web-1:http"), Some(("web-1", Some("http"))));
        for wrong in ["", ":80", "a:", "[::1", "[::1]80", "a b:1", "10.0.0.1:80:"] {
            assert!(split(wrong).is_none_or(|found| found.host.contains(':')), "{wrong}");
        }
    }
}
