#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::super::ber::head;
use super::*;

/// The contents of a message.
fn inside(message: &[u8]) -> &[u8] {
    Reader(message).tagged(SEQUENCE).unwrap()
}

#[test]
fn the_requests_are_those_of_rfc_4511() {
    assert_eq!(bind(1, b"", b""), b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00");
    assert_eq!(bind(1, b"cn=a", b"pw"), b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw");
    let wanted = b"\x30\x2e\x02\x01\x02\x63\x29\x04\x04dc=x\x0a\x01\x00\x0a\x01\x02\x02\x01\x00\x02\x01\x00\
                   \x01\x01\x00\x87\x0bobjectClass\x30\x05\x04\x031.1";
    assert_eq!(search(2, b"dc=x"), wanted);
    assert_eq!(unbind(3), b"\x30\x05\x02\x01\x03\x42\x00");
}

#[test]
fn lengths_have_as_many_bytes_as_they_need() {
    for (length, start) in [
        (0, &[4, 0][..]),
        (127, &[4, 127]),
        (128, &[4, 0x81, 128]),
        (255, &[4, 0x81, 255]),
        (256, &[4, 0x82, 1, 0]),
        (70_000, &[4, 0x83, 1, 0x11, 0x70]),
    ] {
        let element = element(OCTETS, &vec![0; length]);
        assert!(element.starts_with(start), "{length}");
        assert_eq!(Reader(&element).tagged(OCTETS).unwrap().len(), length);
    }
}

#[test]
fn answers_are_read() {
    let result = |op, code| message(2, op, &[element(ENUMERATED, &[code]), vec![4, 0, 4, 0]].concat());
    assert_eq!(read(inside(&result(BIND_RESPONSE, 49))), Ok((2, Said::Bound(49))));
    assert_eq!(read(inside(&result(SEARCH_DONE, 0))), Ok((2, Said::Done(0))));
    assert_eq!(read(inside(&result(EXTENDED_RESPONSE, 52))), Ok((2, Said::Else)));
    let bye = message(0, EXTENDED_RESPONSE, b"\x0a\x01\x34\x04\x00\x04\x00");
    assert_eq!(read(inside(&bye)), Ok((0, Said::Bye(52))));
    let entry = message(2, SEARCH_ENTRY, b"\x04\x04dc=x\x30\x00");
    assert_eq!(read(inside(&entry)), Ok((2, Said::Entry(b"dc=x".to_vec()))));
    assert_eq!(read(inside(&message(2, SEARCH_REFERENCE, b""))), Ok((2, Said::Else)));
}

#[test]
fn what_is_cut_or_odd_is_refused() {
    let whole = message(2, BIND_RESPONSE, b"\x0a\x01\x00\x04\x00\x04\x00");
    let contents = inside(&whole);
    for length in 0..contents.len() {
        assert_eq!(read(&contents[..length]), Err(Broken), "{length} bytes");
    }
    // A number of no byte and one of five; a code that is no ENUMERATED; a request; an odd tag.
    for odd in [
        &b"\x02\x00\x61\x07\x0a\x01\x00\x04\x00\x04\x00"[..],
        b"\x02\x05\x00\x00\x00\x00\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x02\x01\x02\x61\x07\x02\x01\x00\x04\x00\x04\x00",
        b"\x02\x01\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00",
        b"\x02\x01\x02\x7f\x81\x01\x00",
    ] {
        assert_eq!(read(odd), Err(Broken), "{odd:x?}");
    }
    assert_eq!(head(&[0x30, 0x80, 0, 0]), Err(Broken), "an indefinite length");
    assert_eq!(head(&[0x30, 0x85, 0, 0, 0, 0, 1]), Err(Broken), "a length of five bytes");
    assert_eq!(head(&[0x30, 0x84, 0xff]), Ok(None));
    assert_eq!(head(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).unwrap().unwrap().length, 0xffff_ffff);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = head(&bytes);
        for operation in [BIND_RESPONSE, SEARCH_ENTRY, SEARCH_DONE, EXTENDED_RESPONSE] {
            let _ = read(inside(&message(2, operation, &bytes)));
        }
    }

    #[test]
    fn numbers_come_back(number in any::<i32>()) {
        let element = element(INTEGER, &number.to_be_bytes());
        prop_assert_eq!(Reader(&element).number(INTEGER), Ok(number));
    }
}
