//! Bytes ↔ table: what the kernel is sent, and what it answers. Pure.
//!
//! Numbers are in host byte order save ports, addresses and the IPv4 netmask, which are in network
//! order. Answers are read by attribute number, never by place; unknown attributes are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use neli::consts::genl::{Cmd, CtrlAttr, CtrlCmd, NlAttrType};
use neli::consts::nl::NlmF;

use super::consts::errno::EINTR;
use super::consts::*;
use crate::model::{Family, Forward, Persistence, Protocol, ServiceKey, Settings, Weight};
use crate::table::flow::Flow;
use crate::table::{Destination, Op};

/// An answer that is not of the protocol: what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Where a message's flags stand (`struct nlmsghdr`).
const FLAGS: std::ops::Range<usize> = 6..8;

/// What every message of ours begins with.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// The number of the family `IPVS`, given out when the module is loaded.
    pub family: u16,
    /// The number by which the answer is known; not 0.
    pub seq: u32,
}

// ---- what is sent ----

/// Whether an operation can be put into bytes at all: a name that is too long or holds a NUL would
/// be cut or refused, so it is not sent.
pub fn is_sendable(op: &Op) -> bool {
    let name_is_good =
        |name: &str| (1..=IP_VS_SCHEDNAME_MAXLEN).contains(&name.len()) && !name.contains('\0');
    match op {
        Op::NewService(_, settings) | Op::SetService(_, settings) => {
            name_is_good(&settings.scheduler) && settings.engine.as_deref().is_none_or(name_is_good)
        }
        _ => true,
    }
}

/// Adds an operation to `messages`; it is answered when it fails. It must be [`is_sendable`].
pub fn operation(messages: &mut Vec<u8>, header: Header, op: &Op) {
    message(messages, header, NlmF::REQUEST, command(op), |into| match op {
        Op::NewService(key, settings) | Op::SetService(key, settings) => full_service(into, key, settings),
        Op::DelService(key) => key_of(into, key),
        Op::NewDestination(key, at, destination) | Op::SetDestination(key, at, destination) => {
            key_of(into, key);
            full_destination(into, at, destination);
        }
        Op::DelDestination(key, at) => {
            key_of(into, key);
            nest(into, CmdAttr::Dest, |into| destination_key(into, at));
        }
    });
}

/// Asks for an acknowledgement of an [`operation`]'s message: that it is answered when it succeeds, too.
pub fn acknowledge(message: &mut [u8]) {
    message[FLAGS].copy_from_slice(&(NlmF::REQUEST | NlmF::ACK).bits().to_ne_bytes());
}

fn command(op: &Op) -> IpvsCmd {
    match op {
        Op::NewService(..) => IpvsCmd::NewService,
        Op::SetService(..) => IpvsCmd::SetService,
        Op::DelService(..) => IpvsCmd::DelService,
        Op::NewDestination(..) => IpvsCmd::NewDest,
        Op::SetDestination(..) => IpvsCmd::SetDest,
        Op::DelDestination(..) => IpvsCmd::DelDest,
    }
}

/// Asks for one service; answered by it or by an error.
pub fn get_service(messages: &mut Vec<u8>, header: Header, key: &ServiceKey) {
    message(messages, header, NlmF::REQUEST, IpvsCmd::GetService, |into| key_of(into, key));
}

/// Asks for all services.
pub fn dump_services(messages: &mut Vec<u8>, header: Header) {
    message(messages, header, NlmF::REQUEST | NlmF::DUMP, IpvsCmd::GetService, |_| {});
}

/// Asks for all destinations of a service.
pub fn dump_destinations(messages: &mut Vec<u8>, header: Header, key: &ServiceKey) {
    message(messages, header, NlmF::REQUEST | NlmF::DUMP, IpvsCmd::GetDest, |into| key_of(into, key));
}

/// Asks for the version of IPVS: the cheapest question that needs the right to ask.
pub fn get_info(messages: &mut Vec<u8>, header: Header) {
    message(messages, header, NlmF::REQUEST, IpvsCmd::GetInfo, |_| {});
}

/// Asks the controller for the number of the family `IPVS`. This loads the module where it can.
pub fn get_family(messages: &mut Vec<u8>, seq: u32) {
    let header = Header { family: GENL_ID_CTRL, seq };
    message(messages, header, NlmF::REQUEST, CtrlCmd::Getfamily, |into| {
        text(into, CtrlAttr::FamilyName, IPVS_GENL_NAME);
    });
}

fn full_service(into: &mut Vec<u8>, key: &ServiceKey, settings: &Settings) {
    let (seconds, netmask) = match (settings.persistence, key.family()) {
        (Some(p), Family::V4) => (p.seconds, p.netmask.to_be_bytes()),
        (Some(p), Family::V6) => (p.seconds, p.netmask.to_ne_bytes()),
        (None, Family::V4) => (0, u32::MAX.to_be_bytes()),
        (None, Family::V6) => (0, 128u32.to_ne_bytes()),
    };
    nest(into, CmdAttr::Service, |into| {
        service_key(into, key);
        text(into, SvcAttr::SchedName, &settings.scheduler);
        attribute(into, SvcAttr::Flags, flags(settings));
        attribute(into, SvcAttr::Timeout, seconds.to_ne_bytes());
        attribute(into, SvcAttr::Netmask, netmask);
        if let Some(engine) = &settings.engine {
            text(into, SvcAttr::PeName, engine);
        }
    });
}

/// The flags, then the mask of those that are to be set or cleared: all.
fn flags(settings: &Settings) -> [u8; 8] {
    let mut flags = settings.flags & IP_VS_SVC_F_SCHED;
    if settings.persistence.is_some() {
        flags |= IP_VS_SVC_F_PERSISTENT;
    }
    if settings.one_packet {
        flags |= IP_VS_SVC_F_ONEPACKET;
    }
    let mut bytes = [0xff; 8];
    bytes[..4].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn key_of(into: &mut Vec<u8>, key: &ServiceKey) {
    nest(into, CmdAttr::Service, |into| service_key(into, key));
}

fn service_key(into: &mut Vec<u8>, key: &ServiceKey) {
    attribute(into, SvcAttr::Af, family_number(key.family()).to_ne_bytes());
    match key {
        ServiceKey::Address(protocol, at) => {
            attribute(into, SvcAttr::Protocol, protocol_number(*protocol).to_ne_bytes());
            attribute(into, SvcAttr::Addr, address_bytes(at.ip()));
            attribute(into, SvcAttr::Port, at.port().to_be_bytes());
        }
        ServiceKey::Mark(_, mark) => attribute(into, SvcAttr::Fwmark, mark.to_ne_bytes()),
    }
}

fn full_destination(into: &mut Vec<u8>, at: &SocketAddr, destination: &Destination) {
    let (method, tunnel) = match destination.forward {
        Forward::Masq => (IP_VS_CONN_F_MASQ, IP_VS_CONN_F_TUNNEL_TYPE_IPIP),
        Forward::Gate => (IP_VS_CONN_F_DROUTE, IP_VS_CONN_F_TUNNEL_TYPE_IPIP),
        Forward::Ipip => (IP_VS_CONN_F_TUNNEL, IP_VS_CONN_F_TUNNEL_TYPE_IPIP),
        Forward::Other(method, tunnel) => (method, tunnel),
    };
    nest(into, CmdAttr::Dest, |into| {
        destination_key(into, at);
        attribute(into, DestAttr::FwdMethod, method.to_ne_bytes());
        attribute(into, DestAttr::Weight, destination.weight.get().to_ne_bytes());
        attribute(into, DestAttr::UThresh, destination.upper.to_ne_bytes());
        attribute(into, DestAttr::LThresh, destination.lower.to_ne_bytes());
        attribute(into, DestAttr::TunType, tunnel.to_ne_bytes());
    });
}

fn destination_key(into: &mut Vec<u8>, at: &SocketAddr) {
    attribute(into, DestAttr::AddrFamily, family_number(Family::of(at.ip())).to_ne_bytes());
    attribute(into, DestAttr::Addr, address_bytes(at.ip()));
    attribute(into, DestAttr::Port, at.port().to_be_bytes());
}

fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

fn protocol_number(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
        Protocol::Sctp => IPPROTO_SCTP,
    }
}

/// An address as the kernel's union holds it: 16 bytes, IPv4 in the first four.
fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
    }
}

/// A message of generic netlink (`struct nlmsghdr`, `struct genlmsghdr`) that holds the attributes which `fill` adds.
/// It is laid behind those that are there, and not made by neli's builders, which give each part of one a buffer of its own:
/// that took twice as long.
fn message(
    into: &mut Vec<u8>,
    header: Header,
    flags: NlmF,
    command: impl Cmd,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&header.family.to_ne_bytes());
    into.extend_from_slice(&flags.bits().to_ne_bytes());
    into.extend_from_slice(&header.seq.to_ne_bytes());
    // From whom the kernel knows; both families that are asked are of version 1.
    into.extend_from_slice(&[0, 0, 0, 0, command.into(), GENL_VERSION, 0, 0]);
    fill(into);
    let length = (into.len() - start) as u32;
    into[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// An attribute that holds the attributes which `fill` adds.
fn nest(into: &mut Vec<u8>, number: CmdAttr, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    head(into, 0, u16::from(number) | NLA_F_NESTED);
    fill(into);
    let length = (into.len() - start) as u16;
    into[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

/// An attribute with a text, which ends with a NUL.
fn text(into: &mut Vec<u8>, number: impl NlAttrType, text: &str) {
    head(into, text.len() + 1, number.into());
    into.extend_from_slice(text.as_bytes());
    into.extend_from_slice(&[0; 4][text.len() % 4..]);
}

fn attribute<const N: usize>(into: &mut Vec<u8>, number: impl NlAttrType, payload: [u8; N]) {
    head(into, N, number.into());
    into.extend_from_slice(&payload);
    into.extend_from_slice(&[0; 4][..N.next_multiple_of(4) - N]);
}

/// The header of an attribute (`struct nlattr`) with a payload of so many bytes, after which comes what is missing
/// to a multiple of four.
fn head(into: &mut Vec<u8>, length: usize, kind: u16) {
    let [a, b] = ((NLA_HDRLEN + length) as u16).to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    into.extend_from_slice(&[a, b, c, d]);
}

// ---- what is answered ----

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The number of the request that it answers.
    pub seq: u32,
    /// What it says.
    pub body: Body<'a>,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The request succeeded (0) or failed with this error number.
    Status(i32),
    /// The end of a dump, whole (0) or broken off with this error number.
    Done(i32),
    /// One entry; see [`service`], [`destination`], [`family`].
    Entry(&'a [u8]),
    /// Netlink's own, without meaning for us.
    Noise,
}

/// The messages of a datagram.
///
/// The outer headers are read here and not by neli, which takes their lengths on trust.
pub fn replies(datagram: &[u8]) -> Replies<'_> {
    Replies { rest: datagram }
}

/// See [`replies`].
pub struct Replies<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Reply<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((reply, tail)) = split(rest) else {
            return Some(Err(Malformed("a message's length does not fit its datagram")));
        };
        self.rest = tail;
        Some(reply)
    }
}

/// The first message of `bytes` (`struct nlmsghdr`), and what comes after it; none when its length is wrong.
fn split(bytes: &[u8]) -> Option<(Result<Reply<'_>, Malformed>, &[u8])> {
    let length = word(bytes, 0)? as usize;
    let (kind, flags, seq) = (half(bytes, 4)?, half(bytes, FLAGS.start)?, word(bytes, 8)?);
    let payload = bytes.get(16..length)?;
    let torn = flags & NLM_F_DUMP_INTR != 0;
    let body = if torn { Ok(Body::Done(EINTR)) } else { body(kind, payload) };
    Some((body.map(|body| Reply { seq, body }), behind(bytes, length)))
}

fn body(kind: u16, payload: &[u8]) -> Result<Body<'_>, Malformed> {
    let status = || word(payload, 0).map(|n| (n as i32).saturating_neg());
    match kind {
        NLMSG_ERROR => status().map(Body::Status).ok_or(Malformed("an error without its number")),
        // Old kernels send no number with it.
        NLMSG_DONE => Ok(Body::Done(status().unwrap_or(0))),
        NLMSG_MIN_TYPE.. => Ok(Body::Entry(payload)),
        _ => Ok(Body::Noise),
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// What comes after the first so many bytes: messages and attributes begin at multiples of four.
fn behind(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

/// The number of the family, from the controller's answer.
pub fn family(payload: &[u8]) -> Result<u16, Malformed> {
    Attributes::of(payload)?.u16(CtrlAttr::FamilyId).ok_or(Malformed("a family without its number"))
}

/// A service; none when it is of a protocol that we have no name for.
pub fn service(payload: &[u8]) -> Result<Option<(ServiceKey, Settings)>, Malformed> {
    let service = Attributes::of(payload)?
        .nested(CmdAttr::Service)
        .ok_or(Malformed("a service without its attributes"))?;
    let Some(key) = decode_key(service)? else { return Ok(None) };
    Ok(Some((key, decode_settings(service, key.family())?)))
}

fn decode_key(service: Attributes) -> Result<Option<ServiceKey>, Malformed> {
    let family = decode_family(service.u16(SvcAttr::Af).ok_or(Malformed("a service without family"))?)?;
    if let Some(mark) = service.u32(SvcAttr::Fwmark) {
        return Ok(Some(ServiceKey::Mark(family, mark)));
    }
    let protocol = match service.u16(SvcAttr::Protocol).ok_or(Malformed("a service without protocol"))? {
        IPPROTO_TCP => Protocol::Tcp,
        IPPROTO_UDP => Protocol::Udp,
        IPPROTO_SCTP => Protocol::Sctp,
        _ => return Ok(None),
    };
    let at = service.socket(family, SvcAttr::Addr, SvcAttr::Port);
    Ok(Some(ServiceKey::Address(protocol, at.ok_or(Malformed("a service without its address"))?)))
}

fn decode_settings(service: Attributes, family: Family) -> Result<Settings, Malformed> {
    let flags = service.u32(SvcAttr::Flags).ok_or(Malformed("a service without flags"))?;
    let netmask = service.first(SvcAttr::Netmask).map(|mask| match family {
        Family::V4 => u32::from_be_bytes(mask),
        Family::V6 => u32::from_ne_bytes(mask),
    });
    let persistence = match (flags & IP_VS_SVC_F_PERSISTENT, service.u32(SvcAttr::Timeout), netmask) {
        (0, ..) => None,
        (_, Some(seconds), Some(netmask)) => Some(Persistence { seconds, netmask }),
        _ => return Err(Malformed("a persistent service without timeout or netmask")),
    };
    Ok(Settings {
        // A service without a scheduler carries the word `none` or nothing.
        scheduler: service.text(SvcAttr::SchedName).unwrap_or_else(|| "none".into()),
        flags: flags & IP_VS_SVC_F_SCHED,
        one_packet: flags & IP_VS_SVC_F_ONEPACKET != 0,
        persistence,
        engine: service.text(SvcAttr::PeName),
    })
}

/// A destination of a service of that family (which old kernels do not repeat).
pub fn destination(payload: &[u8], service: Family) -> Result<(SocketAddr, Destination), Malformed> {
    let (at, destination) = decode_place(payload, service)?;
    Ok((at, decode_destination(destination)?))
}

/// The connections of a destination of a service of that family.
pub fn flow(payload: &[u8], service: Family) -> Result<(SocketAddr, Flow), Malformed> {
    let (at, destination) = decode_place(payload, service)?;
    let Destination { weight, .. } = decode_destination(destination)?;
    let count = |number| destination.u32(number).ok_or(Malformed("a destination without counts"));
    Ok((at, Flow { weight, active: count(DestAttr::ActiveConns)?, inactive: count(DestAttr::InactConns)? }))
}

/// A destination's address, and its attributes.
fn decode_place(payload: &[u8], service: Family) -> Result<(SocketAddr, Attributes<'_>), Malformed> {
    let destination = Attributes::of(payload)?
        .nested(CmdAttr::Dest)
        .ok_or(Malformed("a destination without its attributes"))?;
    let family = destination.u16(DestAttr::AddrFamily).map_or(Ok(service), decode_family)?;
    let at = destination.socket(family, DestAttr::Addr, DestAttr::Port);
    Ok((at.ok_or(Malformed("a destination without its address"))?, destination))
}

fn decode_destination(destination: Attributes) -> Result<Destination, Malformed> {
    let method =
        destination.u32(DestAttr::FwdMethod).ok_or(Malformed("a destination without forwarding method"))?;
    let weight = destination.u32(DestAttr::Weight).ok_or(Malformed("a destination without weight"))?;
    let tunnel =
        destination.first(DestAttr::TunType).map_or(IP_VS_CONN_F_TUNNEL_TYPE_IPIP, u8::from_ne_bytes);
    Ok(Destination {
        forward: match (method & IP_VS_CONN_F_FWD_MASK, tunnel) {
            (IP_VS_CONN_F_MASQ, _) => Forward::Masq,
            (IP_VS_CONN_F_DROUTE, _) => Forward::Gate,
            (IP_VS_CONN_F_TUNNEL, IP_VS_CONN_F_TUNNEL_TYPE_IPIP) => Forward::Ipip,
            (method, tunnel) => Forward::Other(method, tunnel),
        },
        weight: Weight::new(weight).ok_or(Malformed("a destination with a negative weight"))?,
        upper: destination.u32(DestAttr::UThresh).unwrap_or(0),
        lower: destination.u32(DestAttr::LThresh).unwrap_or(0),
    })
}

fn decode_family(number: u16) -> Result<Family, Malformed> {
    match number {
        AF_INET => Ok(Family::V4),
        AF_INET6 => Ok(Family::V6),
        _ => Err(Malformed("an unknown address family")),
    }
}

fn decode_address(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?).into()),
        Family::V6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?).into()),
    }
}

/// Attributes of an answer, read where they lie: neli gives each a buffer of its own first, which took four times as long,
/// and the table is read again and again.
#[derive(Clone, Copy)]
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those of a message of generic netlink: they come after its header (`struct genlmsghdr`).
    fn of(payload: &'a [u8]) -> Result<Attributes<'a>, Malformed> {
        let attributes = payload.get(GENL_HDRLEN..).and_then(Attributes::whole);
        attributes.ok_or(Malformed("a message's attributes do not fit it"))
    }

    /// Attributes that fill these bytes; none when a length is wrong.
    fn whole(bytes: &'a [u8]) -> Option<Attributes<'a>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, _, rest) = next_attribute(rest)?;
        }
        Some(Attributes(bytes))
    }

    /// The payload of the first attribute with this number.
    fn get(self, number: impl NlAttrType) -> Option<&'a [u8]> {
        let (number, mut rest): (u16, _) = (number.into(), self.0);
        loop {
            let (kind, payload, tail) = next_attribute(rest)?;
            if kind == number {
                return Some(payload);
            }
            rest = tail;
        }
    }

    /// The attributes that lie in another one; none when it is missing or a length is wrong.
    fn nested(self, number: impl NlAttrType) -> Option<Attributes<'a>> {
        Attributes::whole(self.get(number)?)
    }

    /// The first bytes of an attribute; none when it is missing or too short.
    fn first<const N: usize>(self, number: impl NlAttrType) -> Option<[u8; N]> {
        self.get(number)?.first_chunk().copied()
    }

    fn u16(self, number: impl NlAttrType) -> Option<u16> {
        self.first(number).map(u16::from_ne_bytes)
    }

    fn u32(self, number: impl NlAttrType) -> Option<u32> {
        self.first(number).map(u32::from_ne_bytes)
    }

    /// An address and its port; none when one is missing or too short.
    fn socket<T: NlAttrType>(self, family: Family, address: T, port: T) -> Option<SocketAddr> {
        let ip = decode_address(family, self.get(address)?)?;
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.first(port)?)))
    }

    /// A text without its NUL; none when it is missing or empty.
    fn text(self, number: impl NlAttrType) -> Option<String> {
        let bytes = self.get(number)?.split(|&b| b == 0).next()?;
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The number and the payload of the first attribute (`struct nlattr`), and what comes after it; none when its length is
/// wrong.
fn next_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)?);
    Some((kind & NLA_TYPE_MASK, bytes.get(NLA_HDRLEN..length)?, behind(bytes, length)))
}

#[cfg(all(test, target_endian = "little"))]
#[path = "capture_tests.rs"]
mod capture_tests;

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(super) mod tests;
