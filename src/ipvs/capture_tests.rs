#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Operations beside what ipvsadm sends for them: `captures.txt`.

use std::collections::BTreeMap;

use super::tests::written;
use super::*;

const HEADER: Header = Header { family: 28, seq: 7 };
const CAPTURES: &str = include_str!("captures.txt");

/// Every capture: the command, and the payload that it sent.
fn captures() -> BTreeMap<&'static str, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut command = "";
    for line in CAPTURES.lines().filter(|line| !line.starts_with('#')) {
        let Some(hex) = line.strip_prefix("  ") else {
            command = line;
            continue;
        };
        let digits: String = hex.split(' ').collect();
        let bytes = (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap());
        found.entry(command).or_insert_with(Vec::new).extend(bytes);
    }
    found
}

fn plain(scheduler: &str) -> Settings {
    Settings { scheduler: scheduler.into(), flags: 0, one_packet: false, persistence: None, engine: None }
}

fn lasting(scheduler: &str, seconds: u32, netmask: u32) -> Settings {
    Settings { persistence: Some(Persistence { seconds, netmask }), ..plain(scheduler) }
}

fn server(forward: Forward, weight: u32) -> Destination {
    Destination::new(forward, Weight::new(weight).unwrap())
}

/// The same commands as operations.
fn operations() -> Vec<(&'static str, Op)> {
    let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let web = ServiceKey::Address(Protocol::Tcp, at("127.0.0.10:80"));
    let web6 = ServiceKey::Address(Protocol::Tcp, at("[2001:db8::10]:443"));
    let udp = |port| ServiceKey::Address(Protocol::Udp, SocketAddr::from(([127, 0, 0, 10], port)));
    let (mark, mark6) = (ServiceKey::Mark(Family::V4, 7), ServiceKey::Mark(Family::V6, 258));
    let limited = Destination { upper: 300, lower: 200, ..server(Forward::Ipip, 5) };
    vec![
        ("-A -t 127.0.0.10:80 -s wrr", Op::NewService(web, plain("wrr"))),
        ("-A -t [2001:db8::10]:443 -s wlc -p 600 -M 64", Op::NewService(web6, lasting("wlc", 600, 64))),
        (
            "-A -u 127.0.0.10:53 -s rr -o",
            Op::NewService(udp(53), Settings { one_packet: true, ..plain("rr") }),
        ),
        (
            "-A -f 7 -s sh -b sh-port,sh-fallback -p 300 -M 255.255.255.0",
            Op::NewService(mark, Settings { flags: 0x18, ..lasting("sh", 300, 0xffff_ff00) }),
        ),
        ("-A -f 258 -6 -s mh -b mh-port", Op::NewService(mark6, Settings { flags: 0x10, ..plain("mh") })),
        (
            "-A -u 127.0.0.10:5060 -s rr -p 60 --pe sip",
            Op::NewService(udp(5060), Settings { engine: Some("sip".into()), ..lasting("rr", 60, u32::MAX) }),
        ),
        ("-E -t 127.0.0.10:80 -s rr -p 600", Op::SetService(web, lasting("rr", 600, u32::MAX))),
        (
            "-a -t 127.0.0.10:80 -r 127.0.1.4:80 -i -w 5 -x 300 -y 200",
            Op::NewDestination(web, at("127.0.1.4:80"), limited),
        ),
        (
            "-a -t 127.0.0.10:80 -r 127.0.1.5:8080 -m -w 0",
            Op::NewDestination(web, at("127.0.1.5:8080"), server(Forward::Masq, 0)),
        ),
        (
            "-a -t [2001:db8::10]:443 -r [2001:db8::10]:443 -g -w 65535",
            Op::NewDestination(web6, at("[2001:db8::10]:443"), server(Forward::Gate, 65535)),
        ),
        ("-a -f 7 -r 127.0.1.6 -g", Op::NewDestination(mark, at("127.0.1.6:0"), server(Forward::Gate, 1))),
        (
            "-e -t 127.0.0.10:80 -r 127.0.1.4:80 -m -w 7",
            Op::SetDestination(web, at("127.0.1.4:80"), server(Forward::Masq, 7)),
        ),
        ("-d -t 127.0.0.10:80 -r 127.0.1.4:80", Op::DelDestination(web, at("127.0.1.4:80"))),
        ("-D -f 258 -6", Op::DelService(mark6)),
        ("-D -t [2001:db8::10]:443", Op::DelService(web6)),
    ]
}

/// A payload's command, and its attributes by nest and number.
fn parts(payload: &[u8]) -> (u8, BTreeMap<(u16, u16), Vec<u8>>) {
    let mut found = BTreeMap::new();
    for (nest, inside) in split(&payload[4..]) {
        found.extend(split(inside).map(|(number, value)| ((nest, number), value.to_vec())));
    }
    (payload[0], found)
}

/// The attributes that bytes consist of: number and payload.
fn split(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let (length, number) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        let value = &bytes[4..length];
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((number & !NLA_F_NESTED, value))
    })
}

#[test]
fn every_attribute_is_the_one_that_ipvsadm_sends() {
    let captures = captures();
    assert_eq!(captures.len(), operations().len());
    for (command, op) in operations() {
        let theirs = parts(&captures[format!("ipvsadm {command}").as_str()]);
        let ours = parts(&written(|into| operation(into, HEADER, &op))[16..]);
        assert_eq!(ours.0, theirs.0, "{command}");
        // Where only the key is asked for ipvsadm fills in the rest; and a tunnel's port and flags.
        let service = matches!(op, Op::NewService(..) | Op::SetService(..));
        let left_out = |place: &(u16, u16)| match *place {
            (1, 6..=9) => !service,
            (2, 14 | 15) => true,
            (2, 3..=6 | 13) => matches!(op, Op::DelDestination(..)),
            _ => false,
        };
        let mut needed = theirs.1;
        needed.retain(|place, _| !left_out(place));
        assert_eq!(ours.1, needed, "{command}");
    }
}

#[test]
fn what_ipvsadm_sends_reads_as_what_it_means() {
    let captures = captures();
    for (command, op) in operations() {
        let bytes = &captures[format!("ipvsadm {command}").as_str()];
        match op {
            Op::NewService(key, settings) | Op::SetService(key, settings) => {
                assert_eq!(service(bytes), Ok(Some((key, settings))), "{command}");
            }
            Op::NewDestination(key, at, sent) | Op::SetDestination(key, at, sent) => {
                assert_eq!(destination(bytes, key.family()), Ok((at, sent)), "{command}");
            }
            Op::DelService(_) | Op::DelDestination(..) => {}
        }
    }
}
