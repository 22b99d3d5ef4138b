#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const HEADER: Header = Header { family: 28, seq: 7 };

fn operation(header: Header, op: &Op) -> Vec<u8> {
    let mut message = written(|into| super::operation(into, header, op));
    acknowledge(&mut message);
    message
}

/// What is written into an empty buffer.
pub(in crate::ipvs) fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn zeros(count: usize) -> String {
    "00".repeat(count)
}

fn plain(scheduler: &str) -> Settings {
    Settings { scheduler: scheduler.into(), flags: 0, one_packet: false, persistence: None, engine: None }
}

fn tcp(at: &str) -> ServiceKey {
    ServiceKey::Address(Protocol::Tcp, at.parse().unwrap())
}

/// An attribute as the kernel writes it.
fn raw(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((payload.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The payload of an answer with one nest.
fn answer(command: u8, nest: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    [vec![command, 1, 0, 0], raw(nest, &attributes.concat())].concat()
}

fn v4(a: [u8; 4]) -> Vec<u8> {
    [a.to_vec(), vec![0; 12]].concat()
}

#[cfg(target_endian = "little")]
#[test]
fn a_new_service_has_the_bytes_that_ipvsadm_sends() {
    // ipvsadm -A -t 127.0.0.10:80 -s wrr
    let expected = bytes_of(&format!(
        "68000000 1c00 0500 07000000 00000000  01 01 0000
         5400 0180  0600 0100 0200 0000  0600 0200 0600 0000  1400 0300 7f00000a {}
         0600 0400 0050 0000  0800 0600 77727200  0c00 0700 00000000 ffffffff
         0800 0800 00000000  0800 0900 ffffffff",
        zeros(12)
    ));
    assert_eq!(operation(HEADER, &Op::NewService(tcp("127.0.0.10:80"), plain("wrr"))), expected);
}

#[cfg(target_endian = "little")]
#[test]
fn a_new_destination_has_its_services_key_and_all_that_a_set_must_carry() {
    // as for ipvsadm -a -t 127.0.0.10:80 -r 127.0.1.4:80 -i -w 5 -x 300 -y 200
    let expected = bytes_of(&format!(
        "94000000 1c00 0500 07000000 00000000  05 01 0000
         3000 0180  0600 0100 0200 0000  0600 0200 0600 0000  1400 0300 7f00000a {0}
         0600 0400 0050 0000
         5000 0280  0600 0b00 0200 0000  1400 0100 7f000104 {0}  0600 0200 0050 0000
         0800 0300 02000000  0800 0400 05000000  0800 0500 2c010000  0800 0600 c8000000
         0500 0d00 00000000",
        zeros(12)
    ));
    let tunnel =
        Destination { forward: Forward::Ipip, weight: Weight::new(5).unwrap(), upper: 300, lower: 200 };
    let op = Op::NewDestination(tcp("127.0.0.10:80"), "127.0.1.4:80".parse().unwrap(), tunnel);
    assert_eq!(operation(HEADER, &op), expected);
}

#[test]
fn messages_lie_one_behind_the_other_as_each_is_alone() {
    let (key, at) = (tcp("192.0.2.1:80"), "10.0.0.1:80".parse().unwrap());
    let ops = [
        Op::NewService(key, plain("wrr")),
        Op::NewDestination(key, at, Destination::new(Forward::Masq, Weight::ONE)),
        Op::DelDestination(key, at),
        Op::DelService(key),
    ];
    let together = written(|into| ops.iter().for_each(|op| super::operation(into, HEADER, op)));
    assert_eq!(together, ops.map(|op| written(|into| super::operation(into, HEADER, &op))).concat());
}

#[cfg(target_endian = "little")]
#[test]
fn a_mark_is_keyed_by_family_and_number_alone() {
    // as for ipvsadm -D -f 258 -6
    let expected = bytes_of(
        "28000000 1c00 0500 07000000 00000000  03 01 0000
         1400 0180  0600 0100 0a00 0000  0800 0500 02010000",
    );
    assert_eq!(operation(HEADER, &Op::DelService(ServiceKey::Mark(Family::V6, 258))), expected);
}

#[cfg(target_endian = "little")]
#[test]
fn the_controller_is_asked_for_the_family_by_name() {
    let expected = bytes_of("20000000 1000 0100 07000000 00000000  03 01 0000  0900 0200 49505653 00 000000");
    assert_eq!(written(|into| get_family(into, 7)), expected);
}

#[test]
fn a_persistent_services_netmask_is_in_network_order_for_ipv4_and_a_prefix_for_ipv6() {
    let flags = [&1u32.to_ne_bytes()[..], &u32::MAX.to_ne_bytes()].concat();
    let common = [raw(6, b"sh\0"), raw(7, &flags), raw(8, &600u32.to_ne_bytes())].concat();
    let v4_service = [
        raw(1, &2u16.to_ne_bytes()),
        raw(2, &17u16.to_ne_bytes()),
        raw(3, &v4([192, 0, 2, 1])),
        raw(4, &[0, 53]),
        common.clone(),
        raw(9, &[255, 255, 255, 0]),
    ];
    let (key, settings) = service(&answer(1, 1, &v4_service)).unwrap().unwrap();
    assert_eq!(key, ServiceKey::Address(Protocol::Udp, "192.0.2.1:53".parse().unwrap()));
    assert_eq!(settings.persistence, Some(Persistence { seconds: 600, netmask: 0xffff_ff00 }));

    let v6_mark =
        [raw(1, &10u16.to_ne_bytes()), raw(5, &9u32.to_ne_bytes()), common, raw(9, &64u32.to_ne_bytes())];
    let (key, settings) = service(&answer(1, 1, &v6_mark)).unwrap().unwrap();
    assert_eq!(key, ServiceKey::Mark(Family::V6, 9));
    assert_eq!(settings.persistence, Some(Persistence { seconds: 600, netmask: 64 }));
}

#[test]
fn the_kernels_own_flag_and_the_timeout_of_a_service_that_is_not_persistent_mean_nothing() {
    let attributes = [
        raw(1, &2u16.to_ne_bytes()),
        raw(5, &7u32.to_ne_bytes()),
        raw(6, b"mh\0"),
        raw(7, &(0x2u32 | 0x4 | 0x10 | 0x4000).to_ne_bytes()),
        raw(8, &300u32.to_ne_bytes()),
        raw(9, &[255, 0, 0, 0]),
    ];
    let (_, settings) = service(&answer(1, 1, &attributes)).unwrap().unwrap();
    assert_eq!(settings, Settings { flags: 0x10, one_packet: true, ..plain("mh") });
}

#[test]
fn a_destination_is_read_by_number_whatever_the_order_and_whatever_else_is_there() {
    let attributes = [
        raw(99, b"from a newer kernel"),
        raw(1, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        raw(2, &[0x1f, 0x90]),
        raw(3, &0u32.to_ne_bytes()),
        raw(4, &3u32.to_ne_bytes()),
        raw(13, &[1]),
        raw(14, &[0x17, 0xc0]),
        raw(5, &10u32.to_ne_bytes()),
        raw(6, &5u32.to_ne_bytes()),
        raw(11, &10u16.to_ne_bytes()),
        raw(10, &[0; 64]),
    ];
    let (at, found) = destination(&answer(5, 2, &attributes), Family::V4).unwrap();
    assert_eq!(at, "[2001:db8::9]:8080".parse().unwrap());
    let three = Weight::new(3).unwrap();
    assert_eq!(found, Destination { forward: Forward::Masq, weight: three, upper: 10, lower: 5 });
}

#[test]
fn the_connections_of_a_destination_are_read_with_its_weight() {
    let known = [raw(1, &v4([10, 0, 0, 1])), raw(2, &[0, 80]), raw(3, &[0; 4]), raw(4, &7u32.to_ne_bytes())];
    let counts = [raw(7, &300u32.to_ne_bytes()), raw(8, &u32::MAX.to_ne_bytes())];
    let whole = [&known[..], &counts].concat();
    let expected = Flow { weight: Weight::new(7).unwrap(), active: 300, inactive: u32::MAX };
    assert_eq!(flow(&answer(5, 2, &whole), Family::V4), Ok(("10.0.0.1:80".parse().unwrap(), expected)));
    let without = Err(Malformed("a destination without counts"));
    assert_eq!(flow(&answer(5, 2, &known), Family::V4), without);
}

#[test]
fn an_old_kernels_destination_is_of_its_services_family() {
    let attributes =
        [raw(1, &[10, 0, 0, 1]), raw(2, &[0, 80]), raw(3, &3u32.to_ne_bytes()), raw(4, &1u32.to_ne_bytes())];
    let (at, found) = destination(&answer(5, 2, &attributes), Family::V4).unwrap();
    assert_eq!((at, found), ("10.0.0.1:80".parse().unwrap(), Destination::new(Forward::Gate, Weight::ONE)));
}

#[test]
fn tunnels_and_methods_of_others_keep_their_numbers() {
    let forward = |method: u32, tunnel: u8| {
        let attributes = [
            raw(1, &v4([10, 0, 0, 1])),
            raw(2, &[0, 80]),
            raw(3, &method.to_ne_bytes()),
            raw(4, &1u32.to_ne_bytes()),
            raw(13, &[tunnel]),
        ];
        destination(&answer(5, 2, &attributes), Family::V4).unwrap().1.forward
    };
    assert_eq!(forward(2, 0), Forward::Ipip);
    assert_eq!(forward(2, 1), Forward::Other(2, 1));
    assert_eq!(forward(2, 2), Forward::Other(2, 2));
    assert_eq!(forward(1, 0), Forward::Other(1, 0));
    assert_eq!(forward(4, 0), Forward::Other(4, 0));
    // Tunnel attributes that somebody gave to a routed destination stay there without effect.
    assert_eq!(forward(3, 1), Forward::Gate);
}

#[test]
fn attributes_that_are_missing_or_too_short_are_an_error_with_a_name() {
    let head = [raw(1, &2u16.to_ne_bytes()), raw(2, &6u16.to_ne_bytes())].concat();
    let without_address = answer(1, 1, std::slice::from_ref(&head));
    assert_eq!(service(&without_address), Err(Malformed("a service without its address")));
    let short = answer(1, 1, &[head.clone(), raw(3, &[127, 0]), raw(4, &[0, 80])]);
    assert_eq!(service(&short), Err(Malformed("a service without its address")));
    let no_flags = answer(1, 1, &[head, raw(3, &v4([127, 0, 0, 1])), raw(4, &[0, 80])]);
    assert_eq!(service(&no_flags), Err(Malformed("a service without flags")));
    let family = answer(5, 2, &[raw(11, &7u16.to_ne_bytes())]);
    assert_eq!(destination(&family, Family::V4), Err(Malformed("an unknown address family")));
    assert_eq!(destination(&[], Family::V4), Err(Malformed("a message's attributes do not fit it")));
}

#[test]
fn an_attribute_that_is_longer_than_what_holds_it_or_shorter_than_its_header_is_an_error() {
    let unfit = Err(Malformed("a message's attributes do not fit it"));
    let whole = answer(5, 2, &[raw(11, &2u16.to_ne_bytes())]);
    for length in [0_u16, 3, 9, u16::MAX] {
        let mut torn = [whole.clone(), raw(9, &[0; 4])].concat();
        let at = whole.len();
        torn[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(destination(&torn, Family::V4), unfit, "{length}");
    }
    let inside = answer(5, 2, &[vec![9, 0, 11, 0, 2, 0, 0, 0]]);
    let without = Err(Malformed("a destination without its attributes"));
    assert_eq!(destination(&inside, Family::V4), without);
}

#[test]
fn the_flags_of_an_attributes_type_are_not_part_of_its_number() {
    let (nested, network_order) = (0x8000, 0x4000);
    let [family, forward, weight] =
        [(11, 2), (3, 0), (4, 5)].map(|(n, value)| raw(n, &u32::to_ne_bytes(value)));
    let attributes = [family, raw(1, &v4([10, 0, 0, 7])), raw(2 | network_order, &[0, 80]), forward, weight];
    let (at, of) = destination(&answer(5, 2 | nested, &attributes), Family::V4).unwrap();
    assert_eq!((at, of.weight.get()), ("10.0.0.7:80".parse().unwrap(), 5));
}

#[test]
fn a_service_of_a_protocol_without_a_name_is_passed_over() {
    let icmp = answer(1, 1, &[raw(1, &2u16.to_ne_bytes()), raw(2, &1u16.to_ne_bytes())]);
    assert_eq!(service(&icmp), Ok(None));
}

#[test]
fn a_datagram_is_split_into_its_messages() {
    let status = |seq: u32, number: i32| {
        let body = [&number.to_ne_bytes()[..], &[0; 16]].concat();
        message_of(NLMSG_ERROR, seq, &body)
    };
    let done = message_of(NLMSG_DONE, 3, &(-4i32).to_ne_bytes());
    let datagram = [status(1, 0), status(2, -17), done, message_of(28, 4, b"abc")].concat();
    let found: Vec<_> = replies(&datagram).collect::<Result<_, _>>().unwrap();
    let expected = [
        Reply { seq: 1, body: Body::Status(0) },
        Reply { seq: 2, body: Body::Status(17) },
        Reply { seq: 3, body: Body::Done(4) },
        Reply { seq: 4, body: Body::Entry(b"abc") },
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_length_that_does_not_fit_ends_the_datagram_with_an_error() {
    for length in [0u32, 15, 21, u32::MAX] {
        let mut message = message_of(28, 1, &[0; 4]);
        message[..4].copy_from_slice(&length.to_ne_bytes());
        let found: Vec<_> = replies(&message).collect();
        assert_eq!(found, [Err(Malformed("a message's length does not fit its datagram"))], "{length}");
    }
}

#[test]
fn names_that_would_be_cut_are_not_sent() {
    let with = |scheduler: &str, engine: Option<&str>| {
        let settings = Settings { engine: engine.map(str::to_owned), ..plain(scheduler) };
        is_sendable(&Op::NewService(tcp("127.0.0.1:80"), settings))
    };
    assert!(with("fifteen_letters", Some("sip")));
    assert!(!with("sixteen__letters", None));
    assert!(!with("", None));
    assert!(!with("r\0r", None));
    assert!(!with("rr", Some("")));
}

fn message_of(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((payload.len() + 16) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0, 0]);
    bytes.extend(seq.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits)))
    ]
}

fn any_socket() -> impl Strategy<Value = SocketAddr> {
    (any_ip(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn any_key() -> impl Strategy<Value = ServiceKey> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    prop_oneof![
        (protocol, any_socket()).prop_map(|(protocol, at)| ServiceKey::Address(protocol, at)),
        (family, 1u32..).prop_map(|(family, mark)| ServiceKey::Mark(family, mark))
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let persistence = proptest::option::of(
        (1u32..2_678_401, any::<u32>()).prop_map(|(seconds, netmask)| Persistence { seconds, netmask }),
    );
    ("[a-z]{1,15}", 0u32..8, any::<bool>(), persistence, proptest::option::of("[a-z]{1,15}")).prop_map(
        |(scheduler, flags, one_packet, persistence, engine)| Settings {
            scheduler,
            flags: flags << 3,
            one_packet,
            persistence,
            engine,
        },
    )
}

fn any_destination() -> impl Strategy<Value = Destination> {
    let forward = prop_oneof![
        Just(Forward::Masq),
        Just(Forward::Gate),
        Just(Forward::Ipip),
        any::<u8>().prop_map(|tunnel| Forward::Other(1, tunnel)),
        (1u8..).prop_map(|tunnel| Forward::Other(2, tunnel)),
        any::<u8>().prop_map(|tunnel| Forward::Other(4, tunnel)),
    ];
    (forward, 0..=Weight::MAX, any::<u32>(), any::<u32>()).prop_map(|(forward, weight, upper, lower)| {
        Destination { forward, weight: Weight::new(weight).unwrap(), upper, lower }
    })
}

/// What the kernel answers has the form of what it is sent, so a request reads as an answer.
fn payload_of(message: &[u8]) -> &[u8] {
    let reply = replies(message).next().unwrap().unwrap();
    assert_eq!(reply.seq, HEADER.seq);
    let Body::Entry(payload) = reply.body else { panic!("{reply:?}") };
    payload
}

proptest! {
    #[test]
    fn a_service_comes_back_as_it_was_sent(key in any_key(), settings in any_settings()) {
        let message = operation(HEADER, &Op::NewService(key, settings.clone()));
        prop_assert_eq!(service(payload_of(&message)), Ok(Some((key, settings))));
    }

    #[test]
    fn a_destination_comes_back_as_it_was_sent(
        key in any_key(),
        at in any_socket(),
        sent in any_destination(),
    ) {
        let message = operation(HEADER, &Op::SetDestination(key, at, sent.clone()));
        prop_assert_eq!(destination(payload_of(&message), key.family()), Ok((at, sent)));
    }

    #[test]
    fn no_bytes_whatever_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for reply in replies(&bytes).flatten() {
            if let Body::Entry(payload) = reply.body {
                let _ = (service(payload), destination(payload, Family::V6), family(payload));
            }
        }
        let _ = (service(&bytes), destination(&bytes, Family::V4), family(&bytes));
    }

    #[test]
    fn no_damage_to_a_true_message_makes_the_reader_panic(
        key in any_key(),
        settings in any_settings(),
        at in any_socket(),
        sent in any_destination(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        for op in [Op::NewService(key, settings), Op::NewDestination(key, at, sent)] {
            let mut message = operation(HEADER, &op);
            for (place, byte) in &damage {
                let place = place.index(message.len());
                message[place] = *byte;
            }
            message.truncate(cut.index(message.len() + 1));
            for reply in replies(&message).flatten() {
                if let Body::Entry(payload) = reply.body {
                    let _ = (service(payload), destination(payload, Family::V4), family(payload));
                }
            }
            let payload = message.get(16..).unwrap_or_default();
            let _ = (service(payload), destination(payload, Family::V6), family(payload));
        }
    }
}
