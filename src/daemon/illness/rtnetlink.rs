//! Routes, interfaces and neighbours by routing netlink: one request, one answer (rtnetlink(7)).
//! Numbers are named as in the kernel's headers.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::way::{Gateway, Look, State, Way};

/// The kernel answers inside `send`, unless it waits for somebody who configures an interface.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of an answer that are read: more than an interface's with all its attributes.
const ROOM: usize = 32 << 10;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;

const RTM_GETLINK: u16 = 18;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const NDA_DST: u16 = 1;
const NDA_FLAGS_EXT: u16 = 15;

const RTN_UNREACHABLE: u8 = 7;
const RTN_BLACKHOLE: u8 = 6;
const RTN_PROHIBIT: u8 = 8;

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 0x1_0000;

const NUD_INCOMPLETE: u16 = 0x01;
const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_FAILED: u16 = 0x20;
const NTF_EXT_LEARNED: u8 = 0x10;
const NTF_ROUTER: u8 = 0x80;

/// Bytes of a message's header.
const HEADER: usize = 16;

/// A socket of routing netlink.
#[derive(Debug)]
pub(super) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
    room: Vec<u8>,
}

/// The kernel's answer: a message's body, or an error's number.
type Answer = Result<Vec<u8>, i32>;

impl Rtnetlink {
    /// Opens one, in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Rtnetlink> {
        let (domain, protocol) = (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_ROUTE));
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(Rtnetlink { socket, sequence: 0, room: vec![0; ROOM] })
    }

    /// Puts one request, and waits for its answer; none when there is none in time.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> Option<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&message(kind, flags, self.sequence, body)).ok()?;
        // Late answers to earlier requests may come first; there are never many.
        for _ in 0..16 {
            let length = match (&self.socket).read(&mut self.room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.ok()?,
            };
            if let Some(answer) = answer(self.room.get(..length)?, self.sequence) {
                return Some(answer);
            }
        }
        None
    }

    fn neighbour(&mut self, gateway: Gateway) -> Option<Neighbour> {
        let body = neighbour_request(gateway, 0, 0);
        neighbour(&self.ask(RTM_GETNEIGH, NLM_F_REQUEST, &body)?.ok()?)
    }
}

impl Look for Rtnetlink {
    fn way(&mut self, to: IpAddr) -> Option<Way> {
        let mut body = vec![0; 12];
        (body[0], body[1]) = (family(to), bits(to));
        attribute(&mut body, RTA_DST, &octets(to));
        match self.ask(RTM_GETROUTE, NLM_F_REQUEST, &body)? {
            Ok(answer) => way(&answer, to),
            Err(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES) => Some(Way::None),
            Err(_) => None,
        }
    }

    fn has_carrier(&mut self, interface: u32) -> bool {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&interface.to_ne_bytes());
        let answer = self.ask(RTM_GETLINK, NLM_F_REQUEST, &body).and_then(Result::ok);
        answer.and_then(|answer| carrier(&answer)).unwrap_or(true)
    }

    fn state(&mut self, gateway: Gateway) -> State {
        self.neighbour(gateway).map_or(State::Unknown, |neighbour| neighbour.state())
    }

    fn solicit(&mut self, gateway: Gateway) {
        // Between a look and this the kernel may have changed its mind: what is fixed must stay so.
        let Some(known) = self.neighbour(gateway).filter(|known| known.state() == State::Believed) else {
            return;
        };
        let body = neighbour_request(gateway, NUD_PROBE, known.flags & NTF_ROUTER);
        // Without the right to, what the kernel knows has to do.
        let _ = self.ask(RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE, &body);
    }
}

/// What the kernel holds of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Neighbour {
    nud: u16,
    flags: u8,
    /// Whether another program looks after it.
    is_foreign: bool,
}

impl Neighbour {
    fn state(self) -> State {
        match self.nud {
            nud if nud & NUD_FAILED != 0 => State::Silent,
            nud if nud & (NUD_INCOMPLETE | NUD_PROBE) != 0 => State::Asking,
            nud if nud & (NUD_REACHABLE | NUD_STALE | NUD_DELAY) != 0 && !self.is_foreign => State::Believed,
            _ => State::Unknown,
        }
    }
}

fn neighbour_request(gateway: Gateway, state: u16, flags: u8) -> Vec<u8> {
    let mut body = vec![0; 12];
    body[0] = family(gateway.address);
    body[4..8].copy_from_slice(&gateway.interface.to_ne_bytes());
    body[8..10].copy_from_slice(&state.to_ne_bytes());
    body[10] = flags;
    attribute(&mut body, NDA_DST, &octets(gateway.address));
    body
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let (nud, flags) = (u16::from_ne_bytes(part(body, 8)?), *body.get(10)?);
    let more = attributes(body.get(12..)?).any(|(kind, value)| kind == NDA_FLAGS_EXT && value != [0; 4]);
    Some(Neighbour { nud, flags, is_foreign: more || flags & NTF_EXT_LEARNED != 0 })
}

/// Whether an interface is up and has a carrier.
fn carrier(body: &[u8]) -> Option<bool> {
    let flags = u32::from_ne_bytes(part(body, 8)?);
    Some(flags & IFF_UP != 0 && flags & IFF_LOWER_UP != 0)
}

/// What an answer says of the way to `to`.
fn way(body: &[u8], to: IpAddr) -> Option<Way> {
    if matches!(body.get(7)?, &(RTN_UNREACHABLE | RTN_BLACKHOLE | RTN_PROHIBIT)) {
        return Some(Way::None);
    }
    let (mut interface, mut gateway) = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            RTA_OIF => interface = part(value, 0).map(u32::from_ne_bytes),
            RTA_GATEWAY => gateway = address(value),
            // A family, then an address of it: a route of IPv4 by way of IPv6.
            RTA_VIA => gateway = value.get(2..).and_then(address),
            _ => {}
        }
    }
    Some(Way::Out { interface: interface?, gateway: gateway.filter(|gateway| *gateway != to) })
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut all = Vec::with_capacity(HEADER + body.len());
    all.extend(length.to_ne_bytes());
    all.extend(kind.to_ne_bytes());
    all.extend(flags.to_ne_bytes());
    all.extend(sequence.to_ne_bytes());
    all.extend([0; 4]);
    all.extend(body);
    all
}

/// The answer to a request in a datagram, if it is there.
fn answer(datagram: &[u8], sequence: u32) -> Option<Answer> {
    let length = u32::from_ne_bytes(part(datagram, 0)?) as usize;
    let (kind, number) = (u16::from_ne_bytes(part(datagram, 4)?), u32::from_ne_bytes(part(datagram, 8)?));
    let body = datagram.get(HEADER..length.min(datagram.len()))?;
    match kind {
        _ if number != sequence => None,
        NLMSG_ERROR => match i32::from_ne_bytes(part(body, 0)?) {
            0 => Some(Ok(Vec::new())),
            error => Some(Err(error.wrapping_neg())),
        },
        _ => Some(Ok(body.to_vec())),
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((value.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The attributes up to the first that is cut.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(part(rest, 0)?));
        let (kind, value) = (u16::from_ne_bytes(part(rest, 2)?), rest.get(4..length)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// `N` bytes from `at` on.
fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(part::<4>(bytes, 0)?).into()),
        16 => Some(Ipv6Addr::from(part::<16>(bytes, 0)?).into()),
        _ => None,
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1));
    const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 7));

    /// The body of an answer about a route: of that type, out of interface 3.
    fn route(kind: u8, more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![libc::AF_INET as u8, 32, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0];
        attribute(&mut body, RTA_DST, &octets(SERVER));
        attribute(&mut body, RTA_OIF, &3_u32.to_ne_bytes());
        more.iter().for_each(|(kind, value)| attribute(&mut body, *kind, value));
        body
    }

    #[test]
    fn a_route_goes_through_a_gateway_or_straight_to_the_target_or_nowhere() {
        let out = |gateway| Some(Way::Out { interface: 3, gateway });
        assert_eq!(way(&route(1, &[]), SERVER), out(None));
        assert_eq!(way(&route(1, &[(RTA_GATEWAY, &octets(GATEWAY))]), SERVER), out(Some(GATEWAY)));
        assert_eq!(way(&route(1, &[(RTA_GATEWAY, &octets(SERVER))]), SERVER), out(None));
        let v6: Ipv6Addr = "fe80::1".parse().unwrap();
        let via = [&[libc::AF_INET6 as u8, 0][..], &v6.octets()].concat();
        assert_eq!(way(&route(1, &[(RTA_VIA, &via)]), SERVER), out(Some(v6.into())));
        for kind in [RTN_UNREACHABLE, RTN_BLACKHOLE, RTN_PROHIBIT] {
            assert_eq!(way(&route(kind, &[]), SERVER), Some(Way::None));
        }
    }

    #[test]
    fn what_is_cut_says_nothing() {
        let whole = route(1, &[(RTA_GATEWAY, &octets(GATEWAY))]);
        for length in 0..whole.len() {
            assert_ne!(way(&whole[..length], SERVER), Some(Way::None), "{length} bytes");
            assert_eq!(neighbour(&whole[..length.min(11)]), None);
            assert_eq!(carrier(&whole[..length.min(11)]), None);
            assert_eq!(answer(&whole[..length.min(HEADER - 1)], 0), None);
        }
        // Lengths that lie: none, less than a header, more than there is.
        for length in [0_u16, 1, 3, 5, u16::MAX] {
            let cut = [&length.to_ne_bytes()[..], &[1, 0, 0]].concat();
            assert!(attributes(&cut).count() <= 1);
        }
    }

    #[test]
    fn an_interface_needs_to_be_up_and_to_have_a_carrier() {
        let link = |flags: u32| [&[0; 8][..], &flags.to_ne_bytes(), &[0; 4]].concat();
        assert_eq!(carrier(&link(IFF_UP | IFF_LOWER_UP)), Some(true));
        assert_eq!(carrier(&link(IFF_UP)), Some(false));
        assert_eq!(carrier(&link(IFF_LOWER_UP)), Some(false));
    }

    #[test]
    fn a_neighbour_is_what_the_kernel_takes_it_for() {
        let seen = |nud: u16, flags: u8, more: u32| {
            let gateway = Gateway { interface: 3, address: GATEWAY };
            let mut body = neighbour_request(gateway, nud, flags);
            attribute(&mut body, NDA_FLAGS_EXT, &more.to_ne_bytes());
            neighbour(&body).unwrap().state()
        };
        const NUD_NOARP: u16 = 0x40;
        const NUD_PERMANENT: u16 = 0x80;
        for nud in [NUD_REACHABLE, NUD_STALE, NUD_DELAY] {
            assert_eq!(seen(nud, 0, 0), State::Believed);
            assert_eq!(seen(nud, NTF_ROUTER, 0), State::Believed);
            assert_eq!(seen(nud, NTF_EXT_LEARNED, 0), State::Unknown);
            assert_eq!(seen(nud, 0, 1), State::Unknown);
        }
        assert_eq!(seen(NUD_INCOMPLETE, 0, 0), State::Asking);
        assert_eq!(seen(NUD_PROBE, 0, 0), State::Asking);
        assert_eq!(seen(NUD_FAILED, 0, 0), State::Silent);
        assert_eq!(seen(NUD_NOARP, 0, 0), State::Unknown);
        assert_eq!(seen(NUD_PERMANENT, 0, 0), State::Unknown);
    }

    #[test]
    fn the_kernel_knows_the_way_to_ourselves() {
        let mut socket = Rtnetlink::open().unwrap();
        let Some(Way::Out { interface, gateway: None }) = socket.way(Ipv4Addr::LOCALHOST.into()) else {
            panic!("no way to 127.0.0.1");
        };
        assert!(socket.has_carrier(interface));
        let nobody = Gateway { interface, address: GATEWAY };
        assert_eq!(socket.state(nobody), State::Unknown);
        socket.solicit(nobody);
        assert_eq!(socket.state(nobody), State::Unknown, "nothing was made");
        assert!(socket.has_carrier(u32::MAX), "an interface that is not there is no evidence");
    }
}
