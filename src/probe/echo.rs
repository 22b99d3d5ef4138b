//! The pinger: one raw socket a family for the whole process, many echo requests in flight.
//!
//! A socket is opened at the first request of its family, and a task reads its replies for as
//! long as the [`Pinger`] lives. A request waits under its peer and sequence number; a reply must
//! come from that peer and carry our identifier, the number and all the data that was sent
//! (RFC 792, RFC 4443 section 4).

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Call, dial};
use crate::model::Family;
use crate::outcome::{Failure, Phase, Reason};

/// Data bytes of a request, as ldirectord sends.
const DATA: usize = 64;
/// Bytes of an ICMP echo header: type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// Requests that may be in flight, per family.
const IN_FLIGHT: usize = 32_768;

/// Sends echo requests and hands out their replies.
#[derive(Debug, Default)]
pub struct Pinger {
    v4: Line,
    v6: Line,
}

/// The socket of one family, once it is open.
#[derive(Debug, Default)]
struct Line(Mutex<Option<Open>>);

/// An open socket; its reader ends with it.
#[derive(Debug)]
struct Open {
    link: Arc<Link>,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Pinger {
    /// A pinger that has opened nothing yet.
    pub fn new() -> Pinger {
        Pinger::default()
    }

    /// Sends one request and waits for its reply, for ever if need be; dropped, it waits no more.
    /// The port of `to` must be 0.
    pub async fn echo(&self, to: SocketAddr, call: &Call) -> Result<String, Failure> {
        let link = match Family::of(to.ip()) {
            Family::V4 => self.v4.open(Family::V4),
            Family::V6 => self.v6.open(Family::V6),
        };
        let link = link.map_err(|error| refused(&error))?;
        let mut waiter = link.send(to).await?;
        call.enter(Phase::Receive);
        waiter.reply().await;
        Ok("echo reply".to_owned())
    }
}

fn refused(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::new(Phase::Connect, Reason::Local, "a ping needs CAP_NET_RAW, which this process lacks")
        }
        _ => dial::fault(Phase::Connect, "raw ICMP socket", error),
    }
}

impl Line {
    fn open(&self, family: Family) -> io::Result<Arc<Link>> {
        let mut open = lock(&self.0);
        if let Some(open) = &*open
            && !open.reader.is_finished()
        {
            return Ok(open.link.clone());
        }
        let link = Arc::new(Link::new(raw_socket(family)?, family));
        let reader = tokio::spawn(link.clone().read()).abort_handle();
        *open = Some(Open { link: link.clone(), reader });
        Ok(link)
    }
}

/// A raw ICMP socket in the clothes of a UDP one: sending to and receiving from an address are the
/// same calls for both.
fn raw_socket(family: Family) -> io::Result<UdpSocket> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // A burst of replies should find room; less is granted to those without rights.
    socket.set_recv_buffer_size(1 << 20)?;
    UdpSocket::from_std(socket.into())
}

/// Who waits for a reply: by peer and sequence number.
type Waiters = BTreeMap<(IpAddr, u16), oneshot::Sender<()>>;

/// One socket and those who wait on it.
#[derive(Debug)]
struct Link {
    socket: UdpSocket,
    family: Family,
    /// Tells our requests from those of other processes.
    id: u16,
    /// What goes out in the data is made from it, for each peer another, so that a reply can not be
    /// guessed, not even by who is asked too.
    key: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    waiters: Waiters,
    next: u16,
}

impl Link {
    fn new(socket: UdpSocket, family: Family) -> Link {
        let key = RandomState::new();
        Link { socket, family, id: key.hash_one(std::process::id()) as u16, key, table: Mutex::default() }
    }

    /// Sends a request and registers who waits for its reply.
    async fn send(&self, to: SocketAddr) -> Result<Waiter<'_>, Failure> {
        let waiter = self.register(to.ip())?;
        let packet = self.request(waiter.key);
        match self.socket.send_to(&packet, to).await {
            Ok(_) => Ok(waiter),
            Err(error) => Err(dial::fault(Phase::Connect, to.ip(), &error)),
        }
    }

    fn register(&self, peer: IpAddr) -> Result<Waiter<'_>, Failure> {
        let mut table = lock(&self.table);
        if table.waiters.len() >= IN_FLIGHT {
            let detail = format!("{IN_FLIGHT} pings are in flight already");
            return Err(Failure::new(Phase::Connect, Reason::Local, detail));
        }
        // Ends: fewer numbers than there are can be taken.
        while table.waiters.contains_key(&(peer, table.next)) {
            table.next = table.next.wrapping_add(1);
        }
        let key = (peer, table.next);
        table.next = table.next.wrapping_add(1);
        let (sender, replied) = oneshot::channel();
        table.waiters.insert(key, sender);
        Ok(Waiter { link: self, key, replied })
    }

    /// An echo request. The kernel fills in the checksum of ICMPv6, which covers its addresses.
    fn request(&self, (peer, sequence): (IpAddr, u16)) -> Vec<u8> {
        let kind = match self.family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend(self.id.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.data((peer, sequence)));
        if self.family == Family::V4 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    fn data(&self, key: (IpAddr, u16)) -> [u8; DATA] {
        let token = self.key.hash_one(key).to_be_bytes();
        std::array::from_fn(|i| token.get(i).copied().unwrap_or(i as u8))
    }

    /// Reads replies until the socket fails; `Line` then opens a new one.
    async fn read(self: Arc<Link>) {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer).await {
            let packet = &buffer[..length];
            let packet = match self.family {
                Family::V4 => after_ip_header(packet),
                Family::V6 => Some(packet),
            };
            if let Some(sequence) = packet.and_then(|packet| self.reply(from.ip(), packet)) {
                self.deliver((from.ip(), sequence));
            }
        }
    }

    /// The sequence number, when the packet is a reply to a request of ours to this peer.
    fn reply(&self, peer: IpAddr, packet: &[u8]) -> Option<u16> {
        let (header, data) = packet.split_first_chunk::<HEADER>()?;
        let kind = match self.family {
            Family::V4 => 0,
            Family::V6 => 129,
        };
        let sequence = u16::from_be_bytes([header[6], header[7]]);
        let numbers = header[..2] == [kind, 0] && header[4..6] == self.id.to_be_bytes();
        (numbers && data == self.data((peer, sequence))).then_some(sequence)
    }

    fn deliver(&self, key: (IpAddr, u16)) {
        if let Some(waiter) = lock(&self.table).waiters.remove(&key) {
            // An error means that it has just ceased to wait.
            let _ = waiter.send(());
        }
    }
}

/// A place in the table of those who wait; left when dropped.
struct Waiter<'a> {
    link: &'a Link,
    key: (IpAddr, u16),
    replied: oneshot::Receiver<()>,
}

impl Waiter<'_> {
    async fn reply(&mut self) {
        // The sender is only ever dropped after sending, or together with this waiter.
        let _ = (&mut self.replied).await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // Its number may be in use by a later one already.
        self.replied.close();
        let waiters = &mut lock(&self.link.table).waiters;
        if waiters.get(&self.key).is_some_and(oneshot::Sender::is_closed) {
            waiters.remove(&self.key);
        }
    }
}

/// The payload of an IPv4 packet: raw sockets of IPv4 hand out the header too (raw(7)).
fn after_ip_header(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(header..)
}

/// The Internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A poisoned lock guards a map that every panic leaves whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use super::*;

    /// A link over UDP, whose peer is this test: the packets are those of ICMPv6.
    async fn link() -> (Arc<Link>, UdpSocket) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        (Arc::new(Link::new(socket, Family::V6)), peer)
    }

    fn waiting(link: &Link) -> usize {
        lock(&link.table).waiters.len()
    }

    #[tokio::test]
    async fn only_a_faithful_reply_ends_the_waiting() {
        let (link, peer) = link().await;
        let _reader = Open { link: link.clone(), reader: tokio::spawn(link.clone().read()).abort_handle() };
        let mut waiter = link.send(peer.local_addr().unwrap()).await.unwrap();
        let mut packet = [0; 100];
        let (length, from) = peer.recv_from(&mut packet).await.unwrap();
        assert_eq!(length, HEADER + DATA);

        let mut reply = packet[..length].to_vec();
        reply[0] = 129;
        // Type, code, identifier, sequence number, token, last byte: each one wrong once.
        for at in [0, 1, 4, 7, 8, length - 1] {
            let mut wrong = reply.clone();
            wrong[at] ^= 1;
            peer.send_to(&wrong, from).await.unwrap();
        }
        peer.send_to(&reply[..20], from).await.unwrap();
        peer.send_to(&[], from).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), waiter.reply()).await;
        assert!(early.is_err(), "a wrong reply was taken");

        peer.send_to(&reply, from).await.unwrap();
        waiter.reply().await;
        assert_eq!(waiting(&link), 0);
    }

    #[tokio::test]
    async fn a_reply_from_another_address_is_not_taken() {
        let (link, _peer) = link().await;
        let waiter = link.register("127.0.0.1".parse().unwrap()).unwrap();
        link.deliver(("127.0.0.2".parse().unwrap(), waiter.key.1));
        assert_eq!(waiting(&link), 1);
        link.deliver(waiter.key);
        assert_eq!(waiting(&link), 0);
    }

    #[tokio::test]
    async fn who_is_asked_learns_nothing_of_what_others_are_asked() {
        let (link, _peer) = link().await;
        let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap());
        let mut reply = link.request((one, 7));
        reply[0] = 129;
        assert_eq!(link.reply(one, &reply), Some(7));
        assert_eq!(link.reply(other, &reply), None, "one peer's reply will do for another");
        // Nor can the data of the next request be reckoned from that of the last one.
        let token = |sequence| link.data((one, sequence))[..8].to_vec();
        let both = token(7).into_iter().zip(token(8)).filter(|(a, b)| a == b).count();
        assert!(both < 6, "two requests differ in {} bytes", 8 - both);
    }

    #[tokio::test]
    async fn who_waits_no_more_leaves_the_table() {
        let (link, peer) = link().await;
        let silent = async {
            let mut waiter = link.send(peer.local_addr().unwrap()).await.unwrap();
            waiter.reply().await;
        };
        assert!(tokio::time::timeout(Duration::from_millis(200), silent).await.is_err());
        assert_eq!(waiting(&link), 0);
    }

    #[tokio::test]
    async fn the_table_is_bounded_and_numbers_are_not_used_twice() {
        let (link, _peer) = link().await;
        let peer = "127.0.0.1".parse().unwrap();
        let first = link.register(peer).unwrap();
        lock(&link.table).next = first.key.1;
        assert_ne!(link.register(peer).unwrap().key, first.key);

        let held: Vec<_> = (1..IN_FLIGHT).map(|_| link.register(peer).unwrap()).collect();
        assert_eq!(link.register(peer).err().unwrap().reason, Reason::Local);
        drop(held);
        assert!(link.register(peer).is_ok());
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    #[test]
    fn a_short_or_odd_packet_has_no_payload() {
        assert_eq!(after_ip_header(&[]), None);
        assert_eq!(after_ip_header(&[0x4f, 0]), None);
        assert_eq!(after_ip_header(&[0x40, 7]), Some(&[0x40, 7][..]));
    }
}
