//! Addresses: of virtual services, of fallbacks; hosts and ports by name. Pure, but for the names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::diagnostic::Faults;
use crate::config::names::Names;
use crate::config::raw::{Directive, Text, is_blank};
use crate::config::resolve::options::Asked;
use crate::config::value::{Found, decimal, did_you_mean, whole};
use crate::model::{Fallback, Family, Forward, Protocol, ServiceKey, Watch};
use crate::span::Fault;

type Hosts = BTreeMap<(String, Family), Result<IpAddr, String>>;

/// A lookup that asks for each host once, so that one load sees one answer.
pub struct Lookup<'n> {
    names: &'n dyn Names,
    hosts: RefCell<Hosts>,
}

impl<'n> Lookup<'n> {
    /// A lookup that has not been asked yet.
    pub fn new(names: &'n dyn Names) -> Lookup<'n> {
        Lookup { names, hosts: RefCell::default() }
    }

    /// The address of a host, or why there is none.
    pub fn host(&self, name: Text, family: Family) -> Result<IpAddr, String> {
        let name = String::from_utf8_lossy(name.bytes).into_owned();
        if let Ok(ip) = name.parse::<IpAddr>()
            && Family::of(ip) == family
        {
            return Ok(ip);
        }
        let mut hosts = self.hosts.borrow_mut();
        hosts.entry((name, family)).or_insert_with_key(|(name, _)| self.names.host(name, family)).clone()
    }

    /// A port as a number or by the name of its service.
    pub fn port(&self, name: Text, protocol: Option<Protocol>) -> Option<u16> {
        if name.bytes.iter().all(u8::is_ascii_digit) {
            return decimal(name.bytes).and_then(|port| u16::try_from(port).ok());
        }
        self.names.port(&String::from_utf8_lossy(name.bytes), protocol)
    }
}

impl Lookup<'_> {
    /// The port of a fallback. One for all services must mean the same over TCP and over UDP.
    fn fallback_port(&self, name: Text, protocol: Option<Protocol>) -> Option<u16> {
        match protocol {
            Some(protocol) => self.port(name, Some(protocol)),
            None => {
                let port = self.port(name, Some(Protocol::Tcp))?;
                (self.port(name, Some(Protocol::Udp)) == Some(port)).then_some(port)
            }
        }
    }
}

/// A host as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// The name or number, without brackets.
    pub name: Text<'a>,
    /// Whether it stood in brackets, as IPv6 addresses do.
    pub bracketed: bool,
}

impl Host<'_> {
    /// As it is written, for messages.
    pub fn shown(&self) -> String {
        if self.bracketed { format!("[{}]", self.name.shown()) } else { self.name.shown() }
    }
}

/// Takes a host from the beginning of a text: `[IPv6]`, or a name of characters that satisfy `is`.
pub fn host<'a>(text: Text<'a>, is: impl Fn(u8) -> bool) -> Option<(Host<'a>, Text<'a>)> {
    let (host, rest) = match text.after(b"[") {
        Some(inner) => {
            let (name, rest) = inner.take(|b| b != b']');
            (Host { name, bracketed: true }, rest.after(b"]")?)
        }
        None => {
            let (name, rest) = text.take(is);
            (Host { name, bracketed: false }, rest)
        }
    };
    (!host.name.is_empty()).then_some((host, rest))
}

/// Takes `:PORT` from the beginning of a text.
pub fn port(text: Text<'_>) -> Option<(Text<'_>, Text<'_>)> {
    let (port, rest) = text.after(b":")?.take(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (!port.is_empty()).then_some((port, rest))
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-')
}

/// The word of a forwarding method.
pub fn forward(word: Text) -> Result<Forward, Fault> {
    match word.bytes {
        b"gate" => Ok(Forward::Gate),
        b"masq" => Ok(Forward::Masq),
        b"ipip" => Ok(Forward::Ipip),
        _ => {
            let allowed = "gate: direct routing, masq: NAT, ipip: tunnel";
            let help = did_you_mean(&word.shown(), ["gate", "masq", "ipip"], allowed);
            Err(Fault::error(word.span(), "forward method must be gate, masq or ipip").help(help))
        }
    }
}

/// What identifies a virtual service: its address, and the protocol that the block asks for.
pub fn service(
    head: &Directive,
    family: Family,
    asked: Option<&Found<Asked>>,
    lookup: &Lookup,
    faults: &mut Faults,
) -> Option<ServiceKey> {
    let (first, rest) = head.value.trim().take(|b| !is_blank(b));
    let is_mark = !first.is_empty() && first.bytes.iter().all(u8::is_ascii_digit);
    let result = if is_mark {
        mark(first, family, asked).map(|key| (key, rest))
    } else if is_numeric(first) && !has_port(first) {
        mark_by_mistake(first, family, asked, faults).map(|key| (key, rest))
    } else {
        bound(first, family, asked, lookup)
    };
    let (key, junk) = faults.keep(result)?;
    let ignored = if junk.is_empty() { rest.trim() } else { junk };
    if !ignored.is_empty() && !ignored.trim().is_empty() {
        faults.push(Fault::advice(
            ignored.span(),
            format!("`{}` after the address is left out", ignored.shown()),
        ));
    }
    Some(key)
}

fn is_numeric(text: Text) -> bool {
    text.bytes.first().is_some_and(u8::is_ascii_digit)
}

fn has_port(text: Text) -> bool {
    host(text, is_host).is_some_and(|(_, rest)| port(rest).is_some())
}

fn mark(digits: Text, family: Family, asked: Option<&Found<Asked>>) -> Result<ServiceKey, Fault> {
    if let Some(Found { value: Asked::Transport(_), span }) = asked {
        let complaint = "protocol must be fwm if the virtual service is a fwmark (a number)";
        return Err(Fault::error(span.clone(), complaint).help("leave `protocol` out or write protocol=fwm"));
    }
    // Zero, and what has no place in 32 bits, is the kernel's to refuse.
    Ok(ServiceKey::Mark(family, decimal(digits.bytes).unwrap_or(0)))
}

/// An address without a port whose first digits make it a firewall mark, as in `192.0.2.1`.
fn mark_by_mistake(
    text: Text,
    family: Family,
    asked: Option<&Found<Asked>>,
    faults: &mut Faults,
) -> Result<ServiceKey, Fault> {
    let digits = text.take(|b| b.is_ascii_digit()).0;
    let key = mark(digits, family, asked)?;
    let message = format!("`{}` without a port is the firewall mark {}", text.shown(), digits.shown());
    let help = match family {
        Family::V4 => "an address needs a port, as in virtual=192.0.2.1:80",
        Family::V6 => "an address needs a port, as in virtual6=[2001:db8::1]:80",
    };
    faults.push(Fault::mistake(text.span(), message).help(help));
    Ok(key)
}

/// A service on an address and a port. Also gives what follows the port.
fn bound<'a>(
    text: Text<'a>,
    family: Family,
    asked: Option<&Found<Asked>>,
    lookup: &Lookup,
) -> Result<(ServiceKey, Text<'a>), Fault> {
    let invalid = |help: String| Fault::error(text.span(), "invalid address for virtual server").help(help);
    let example = match family {
        Family::V4 => "virtual=192.0.2.1:80",
        Family::V6 => "virtual6=[2001:db8::1]:80",
    };
    let (host, rest) = host(text, is_host).ok_or_else(|| invalid(format!("for instance {example}")))?;
    if host.bracketed && family == Family::V4 {
        let complaint = "cannot specify an IPv6 address here. please use \"virtual6\" instead.";
        return Err(Fault::error(text.span(), complaint));
    }
    if family == Family::V6 && parse_ip(host.name).is_some_and(|ip| ip.is_ipv4()) {
        return Err(Fault::error(text.span(), "invalid address for virtual service")
            .help("a virtual6 has an IPv6 address"));
    }
    let (port, rest) = port(rest).ok_or_else(|| {
        invalid(format!("an address needs a port, as in {example}; a firewall mark is digits only"))
    })?;
    // ldirectord has a text of its own for what can not be resolved.
    let unresolved =
        |span, help: String| Fault::error(span, "invalid address for virtual service").help(help);
    let ip = lookup.host(host.name, family).map_err(|reason| {
        unresolved(text.span(), format!("could not resolve {}: {reason}", host.name.shown()))
    })?;
    let protocol = transport(port, asked)?;
    let number = lookup.port(port, Some(protocol));
    let number = number.ok_or_else(|| unresolved(port.span(), format!("a port is {PORT_HELP}")))?;
    Ok((ServiceKey::Address(protocol, SocketAddr::new(ip, number)), rest))
}

/// What a port may be.
pub const PORT_HELP: &str = "a number from 0 to 65535, or a name that /etc/services has for this protocol";

fn transport(port: Text, asked: Option<&Found<Asked>>) -> Result<Protocol, Fault> {
    match asked {
        Some(Found { value: Asked::Transport(protocol), .. }) => Ok(*protocol),
        Some(Found { value: Asked::Mark, span }) => {
            let complaint = "protocol must be tcp or udp if the virtual service is an address and port";
            Err(Fault::error(span.clone(), complaint).help("leave `protocol` out or write protocol=tcp"))
        }
        None if matches!(port.bytes, b"53" | b"domain") => Ok(Protocol::Udp),
        None => Ok(Protocol::Tcp),
    }
}

fn parse_ip(name: Text) -> Option<IpAddr> {
    std::str::from_utf8(name.bytes).ok()?.parse().ok()
}

/// A fallback as written: `HOST[:PORT] [METHOD]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastResort {
    ip: IpAddr,
    port: Option<u16>,
    forward: Forward,
    /// Whether it was given for all services.
    global: bool,
}

/// Reads a fallback. `protocol` is that of the service, none for a global fallback.
pub fn last_resort(
    directive: &Directive,
    family: Family,
    protocol: Option<Protocol>,
    global: bool,
    lookup: &Lookup,
    faults: &mut Faults,
) -> Option<LastResort> {
    let text = whole(directive, faults);
    if text.is_empty() && family == Family::V4 {
        let fault = Fault::advice(directive.name.clone(), "an empty `fallback` means 127.0.0.1");
        faults.push(fault.help("fallback=127.0.0.1:80 gate, say"));
        let ip = Ipv4Addr::LOCALHOST.into();
        return Some(LastResort { ip, port: None, forward: Forward::Gate, global });
    }
    faults.keep(read_last_resort(text, family, protocol, global, lookup))
}

fn read_last_resort(
    text: Text,
    family: Family,
    protocol: Option<Protocol>,
    global: bool,
    lookup: &Lookup,
) -> Result<LastResort, Fault> {
    let version = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let invalid = |at: Text, host: String, help: String| {
        let message = format!("invalid {version} address or could not resolve for fallback server: {host}");
        Fault::error(at.span(), message).help(help)
    };
    let (first, _) = text.take(|b| !is_blank(b));
    let example = if family == Family::V4 { "127.0.0.1:80 gate" } else { "[::1]:80 gate" };
    let (host, rest) = host(text, is_host)
        .ok_or_else(|| invalid(first, first.shown(), format!("for instance {example}")))?;
    let ip = lookup.host(host.name, family).map_err(|reason| invalid(host.name, host.shown(), reason))?;
    let (port, rest) = match rest.bytes.first() {
        Some(b':') => {
            let wrong =
                |at: Text| Fault::error(at.span(), "invalid port for fallback server").help(PORT_HELP);
            let (port, rest) = port(rest).ok_or_else(|| wrong(rest))?;
            (Some(lookup.fallback_port(port, protocol).ok_or_else(|| wrong(port))?), rest)
        }
        _ => (None, rest),
    };
    let forward = match rest.trim() {
        method if method.is_empty() => Forward::Gate,
        method => self::forward(method)?,
    };
    Ok(LastResort { ip, port, forward, global })
}

impl LastResort {
    /// The fallback of that service. A global one stands in a mark's service without a port.
    pub fn for_service(&self, key: ServiceKey) -> Fallback {
        let port = match key.port() {
            None if self.global => 0,
            own => self.port.or(own).unwrap_or(0),
        };
        let address = SocketAddr::new(self.ip, port);
        Fallback {
            entry: entry(key, self.forward, address),
            address,
            forward: self.forward,
            watch: Watch::On,
        }
    }
}

/// Where a server stands in the kernel's table: packets that are not translated keep the
/// service's port, so the kernel is given that one, as `ipvsadm` does. A mark has no port.
pub fn entry(key: ServiceKey, forward: Forward, address: SocketAddr) -> SocketAddr {
    match key.port() {
        Some(port) if forward.keeps_port() => SocketAddr::new(address.ip(), port),
        _ => address,
    }
}
