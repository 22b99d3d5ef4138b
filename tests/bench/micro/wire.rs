//! Netlink messages about 10,000 servers, without a kernel: the bytes alone.

use std::hint::black_box;

use lvsentry::ipvs::wire::{Body, Header, destination, operation, replies};
use lvsentry::model::{Family, Forward, Weight};
use lvsentry::table::{Destination, Op};

use crate::pair::Pairs;
use crate::plan::LARGE;

const HEADER: Header = Header { family: 28, seq: 7 };
/// The attribute of a destination's weight.
const WEIGHT: u16 = 4;
/// The kernel fills datagrams of a dump up to this.
const DATAGRAM: usize = 32 << 10;

pub(crate) fn measure(pairs: &mut Pairs) {
    let new = |key, at| Op::NewDestination(key, at, Destination::new(Forward::Masq, Weight::ONE));
    let of = |(i, key)| LARGE.servers(i).map(move |at| new(key, at));
    let ops: Vec<Op> = LARGE.keys().enumerate().flat_map(of).collect();
    let ready: Vec<_> = ops.iter().map(|op| encoded(std::slice::from_ref(op), Vec::new())).collect();
    // Memory that is there already, as the daemon's is after the first send.
    let room = || Vec::with_capacity(ready.iter().map(Vec::len).sum());
    let (mut ours, mut theirs) = (room(), room());
    pairs.add(
        "encode",
        "10,000 operations as messages",
        |b| b.iter(|| ours = encoded(&ops, std::mem::take(&mut ours))),
        "ready messages copied to one buffer",
        |b| {
            b.iter(|| {
                theirs.clear();
                ready.iter().for_each(|message| theirs.extend_from_slice(message));
                black_box(theirs.len())
            });
        },
    );

    let datagrams = dump();
    assert_eq!((decoded(&datagrams), walked(&datagrams)), (10_000, 10_000));
    pairs.add(
        "decode",
        "a dump of 10,000 servers read",
        |b| b.iter(|| decoded(black_box(&datagrams))),
        "its attributes walked, the weights added up",
        |b| b.iter(|| walked(black_box(&datagrams))),
    );
}

/// The operations as messages, instead of what is in the buffer.
fn encoded(ops: &[Op], mut into: Vec<u8>) -> Vec<u8> {
    into.clear();
    ops.iter().for_each(|op| operation(&mut into, HEADER, black_box(op)));
    into
}

// ---- a dump ----

/// What the kernel answers: all servers, as if of one service.
fn dump() -> Vec<Vec<u8>> {
    let mut datagrams = vec![Vec::new()];
    for at in (0..LARGE.services).flat_map(|i| LARGE.servers(i)) {
        let std::net::IpAddr::V4(ip) = at.ip() else { unreachable!("all are IPv4") };
        let message = entry(ip.octets(), at.port());
        if datagrams.last().is_some_and(|last: &Vec<u8>| last.len() + message.len() > DATAGRAM) {
            datagrams.push(Vec::new());
        }
        datagrams.last_mut().unwrap().extend(message);
    }
    datagrams
}

/// One destination with all that Linux 6.1 says of it, in its order.
fn entry(ip: [u8; 4], port: u16) -> Vec<u8> {
    let word = |number, value: u32| attribute(number, &value.to_ne_bytes());
    let narrow: Vec<u8> =
        (1..=10).flat_map(|n| attribute(n, &[0; 8][..if n == 4 || n == 5 { 8 } else { 4 }])).collect();
    let wide: Vec<u8> = (1..=10).flat_map(|n| attribute(n, &[0; 8])).collect();
    let mut address = [0; 16];
    address[..4].copy_from_slice(&ip);
    let attributes = [
        attribute(1, &address),
        attribute(2, &port.to_be_bytes()),
        word(3, 0),
        word(WEIGHT, 1),
        attribute(13, &[0]),
        attribute(14, &[0; 2]),
        attribute(15, &[0; 2]),
        word(5, 0),
        word(6, 0),
        word(7, 0),
        word(8, 0),
        word(9, 0),
        attribute(11, &2u16.to_ne_bytes()),
        attribute(10, &narrow),
        attribute(12, &wide),
    ];
    let payload = [vec![5, 1, 0, 0], attribute(2, &attributes.concat())].concat();
    let length = payload.len() as u32 + 16;
    let (kind, flags) = (HEADER.family.to_ne_bytes(), 2u16.to_ne_bytes());
    [&length.to_ne_bytes()[..], &kind, &flags, &HEADER.seq.to_ne_bytes(), &[0; 4], &payload].concat()
}

/// As the kernel writes it.
fn attribute(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((payload.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sums the weights up, as the program reads them.
fn decoded(datagrams: &[Vec<u8>]) -> u32 {
    let weight = |body: Body<'_>| match body {
        Body::Entry(payload) => black_box(destination(payload, Family::V4).unwrap()).1.weight.get(),
        other => panic!("{other:?} in a dump"),
    };
    datagrams.iter().flat_map(|datagram| replies(datagram)).map(|reply| weight(reply.unwrap().body)).sum()
}

/// Sums the weights up by going from header to header.
fn walked(datagrams: &[Vec<u8>]) -> u32 {
    let half = |bytes: &[u8], at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut sum = 0;
    for mut rest in datagrams.iter().map(Vec::as_slice) {
        while !rest.is_empty() {
            let (message, tail) = rest.split_at(word(rest, 0) as usize);
            rest = tail;
            // Behind netlink's header, the generic one's and the nest's.
            let mut at = 16 + 4 + 4;
            while at < message.len() {
                if half(message, at + 2) == WEIGHT {
                    sum += word(message, at + 4);
                }
                at += usize::from(half(message, at)).next_multiple_of(4);
            }
        }
    }
    sum
}
