//! `servers`: addresses, weights, limits. Pure, but for the names.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use crate::config::diagnostic::Faults;
use crate::config::draft::{Said, ServerDraft};
use crate::config::yaml::address::{FORWARDS, HostPort, Places, split};
use crate::config::yaml::check::CheckSettings;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::Item;
use crate::config::yaml::node::{Node, Value};
use crate::model::{Family, Forward, ServiceKey, Weight};
use crate::span::Fault;

const NAMES: [&str; 7] = ["address", "port", "weight", "forward", "upper", "lower", "check"];

/// What a server takes over from its service.
pub struct Home<'a> {
    /// The service.
    pub key: ServiceKey,
    /// How packets reach servers that do not say it.
    pub forward: Option<&'a Said<Forward>>,
    /// How servers are checked.
    pub check: &'a CheckSettings,
    /// Looks names up.
    pub places: Places<'a>,
    /// Whether it was told that nobody says how packets reach servers.
    pub told: Cell<bool>,
}

/// Where a server is.
struct Site {
    name: Option<String>,
    first: IpAddr,
    count: usize,
    port: Option<u16>,
}

impl Home<'_> {
    /// A member of `servers`: a mapping, or an address alone.
    pub fn server(&self, node: &Node, faults: &mut Faults) -> Option<ServerDraft> {
        if matches!(node.value, Value::Text(_)) {
            return self.plain(&Item { name: "address", node }, faults);
        }
        let fields = Fields::read(node, "a server", &NAMES, faults)?;
        let weight = fields.take("weight", faults, |item| item.number(0, Weight::MAX));
        let forward = fields.take("forward", faults, |item| item.one_of(&FORWARDS));
        // One that was refused is not missing as well.
        let refused = fields.get("forward").map(|item| Said::at(Forward::Masq, item.span()));
        let port = fields.take("port", faults, |item| item.port(0));
        let upper = fields.take("upper", faults, |item| item.number(0, u32::MAX));
        let lower = fields.take("lower", faults, |item| item.number(0, u32::MAX));
        let pair = fields.get("check").and_then(|item| self.check.pair(&item, faults));
        let Some(address) = fields.get("address") else {
            faults.push(
                Fault::error(node.span.clone(), "a server without an `address`")
                    .help("for instance 10.0.0.1:80"),
            );
            return None;
        };
        let site = self.site(&address);
        let site = faults.keep(site)?;
        if let (Some(_), Some(Said { span: Some(span), .. })) = (site.port, &port) {
            faults.push(
                Fault::error(span.clone(), "the port is given twice")
                    .help("it stands in the address already"),
            );
        }
        let (upper, lower) = (upper.map_or(0, |said| said.value), lower.map_or(0, |said| said.value));
        if lower > upper
            && let Some(item) = fields.get("lower")
        {
            let fault = Fault::error(item.span(), "the lower threshold is above the upper one");
            faults.push(fault.help(format!("lower: {lower}, upper: {upper}: the kernel refuses this")));
        }
        let weight = weight.map_or(Said::default(Weight::ONE), |said| Said {
            value: Weight::new(said.value).unwrap_or(Weight::ONE),
            span: said.span,
        });
        Some(ServerDraft {
            span: address.span(),
            line: address.span(),
            name: site.name,
            address: SocketAddr::new(site.first, self.port(site.port.or(port.map(|said| said.value)))),
            count: site.count,
            forward: forward
                .or(refused)
                .or_else(|| self.forward.cloned())
                .or_else(|| self.no_forward(&address, faults))?,
            weight,
            upper,
            lower,
            pair,
        })
    }

    fn plain(&self, address: &Item, faults: &mut Faults) -> Option<ServerDraft> {
        let site = faults.keep(self.site(address))?;
        Some(ServerDraft {
            span: address.span(),
            line: address.span(),
            name: site.name,
            address: SocketAddr::new(site.first, self.port(site.port)),
            count: site.count,
            forward: self.forward.cloned().or_else(|| self.no_forward(address, faults))?,
            weight: Said::default(Weight::ONE),
            upper: 0,
            lower: 0,
            pair: None,
        })
    }

    /// A server without a port of its own listens where the service does.
    fn port(&self, own: Option<u16>) -> u16 {
        own.or(self.key.port()).unwrap_or(0)
    }

    fn no_forward(&self, address: &Item, faults: &mut Faults) -> Option<Said<Forward>> {
        if !self.told.replace(true) {
            let fault = Fault::error(address.span(), "how packets reach this server is not said");
            faults.push(fault.help("forward: masq, gate or ipip, in the server, the service or `defaults`"));
        }
        None
    }

    fn site(&self, item: &Item) -> Result<Site, Fault> {
        let text = item.text()?;
        let wrong = || {
            item.refuse(
                "an address",
                "for instance 10.0.0.1, 10.0.0.1:80, [2001:db8::1]:80 or 10.0.0.1-10.0.0.9:80",
            )
        };
        let HostPort { host, port } = split(text).ok_or_else(wrong)?;
        let protocol = match self.key {
            ServiceKey::Address(protocol, _) => Some(protocol),
            ServiceKey::Mark(..) => None,
        };
        let port = port.map(|port| self.places.port(port, protocol, &item.span())).transpose()?;
        if let Some((first, last)) = range(host) {
            return Ok(Site { name: None, first, count: self.count(item, first, last)?, port });
        }
        let first = self.places.host(host, self.key.family(), &item.span())?;
        let name = host.parse::<IpAddr>().is_err().then(|| host.to_owned());
        Ok(Site { name, first, count: 1, port })
    }

    /// How many addresses a range has.
    fn count(&self, item: &Item, first: IpAddr, last: IpAddr) -> Result<usize, Fault> {
        match (first, last) {
            _ if self.key.family() == Family::V6 => {
                Err(Fault::error(item.span(), "a range of addresses is for IPv4 only")
                    .help("name each server"))
            }
            (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => Ok((b.to_bits() - a.to_bits()) as usize + 1),
            _ => Err(Fault::error(item.span(), "the range ends before it begins")
                .help("write the lower address first")),
        }
    }
}

/// `FIRST-LAST`, both numeric.
fn range(host: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, last) = host.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
